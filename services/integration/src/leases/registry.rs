//! Leases as the process knows them: the check before a call is local.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::invariants::LEASE_2;
use tgmesh_proto::lease::v1::Purpose;
use uuid::Uuid;

use super::{Key, Lease};

/// A lease that was found to be held, by the caller's workspace. Check it with
/// `still_valid` in the very step that hands a request over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The lease.
    pub lease_id: Uuid,
    /// Its fencing token.
    pub token: i64,
    /// The account.
    pub account_id: Uuid,
    /// Whose account.
    pub workspace_id: Uuid,
    /// What the account is held for.
    pub purpose: Purpose,
    /// The chat it is held for; 0 when for none.
    pub chat_id: i64,
    /// What the holder works on.
    pub work: String,
    /// The user whom the holder acts for.
    pub user: Uuid,
}

/// What is known of an account's leases.
#[derive(Debug, Default)]
struct Entry {
    /// The highest token seen; lower ones are refused for ever (LEASE-2).
    highest: i64,
    /// Leases with this token or a lower one are over, whatever an answer of the
    /// store that was under way meanwhile says.
    ended: i64,
    held: Option<(Verified, Duration)>,
    /// The token of the last request that was handed over.
    on_the_wire: i64,
}

/// The leases held now, by account. Deadlines are kept on the monotonic clock,
/// so that a shift of the wall clock neither prolongs nor ends one.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    accounts: HashMap<Uuid, Entry>,
    /// The account of each lease that is held.
    leases: HashMap<Uuid, Uuid>,
}

impl Registry {
    /// Notes a lease that is held until `deadline` on the monotonic clock;
    /// `None` when a newer one is known, or this one is known to be over.
    pub(super) fn register(&self, lease: &Lease, deadline: Duration) -> Option<Verified> {
        let mut known = self.lock();
        let Known { accounts, leases } = &mut *known;
        let entry = accounts.entry(lease.account_id).or_default();
        if lease.token < entry.highest || lease.token <= entry.ended {
            return None;
        }
        entry.highest = lease.token;
        let verified = Verified {
            lease_id: lease.id,
            token: lease.token,
            account_id: lease.account_id,
            workspace_id: lease.workspace_id,
            purpose: lease.purpose,
            chat_id: lease.chat_id,
            work: lease.work.clone(),
            user: lease.user_id,
        };
        // Two answers of the store may come in either order.
        let deadline = match &entry.held {
            Some((held, before)) if held.token == lease.token => deadline.max(*before),
            _ => deadline,
        };
        if let Some((before, _)) = entry.held.replace((verified.clone(), deadline)) {
            leases.remove(&before.lease_id);
        }
        leases.insert(lease.id, lease.account_id);
        Some(verified)
    }

    /// Notes that a lease is over.
    pub(super) fn end(&self, account_id: Uuid, token: i64) {
        let mut known = self.lock();
        let Known { accounts, leases } = &mut *known;
        let entry = accounts.entry(account_id).or_default();
        entry.ended = entry.ended.max(token);
        entry.highest = entry.highest.max(token);
        if let Some((held, _)) = entry.held.take_if(|(held, _)| held.token <= token) {
            leases.remove(&held.lease_id);
        }
    }

    /// The lease behind a key, if it is known to be held at `now` on the
    /// monotonic clock.
    pub(super) fn find(&self, key: Key, now: Duration) -> Option<Verified> {
        let known = self.lock();
        let (held, deadline) = known.accounts.get(known.leases.get(&key.lease_id)?)?.held.as_ref()?;
        (held.lease_id == key.lease_id && held.token == key.token && now < *deadline).then(|| held.clone())
    }

    /// Whether a lease is still held at `now` on the monotonic clock. If it is, a
    /// request under it is handed over.
    pub(super) fn is_valid(&self, lease: &Verified, now: Duration) -> bool {
        let mut known = self.lock();
        let Some(entry) = known.accounts.get_mut(&lease.account_id) else { return false };
        let valid = lease.token >= entry.highest
            && entry.held.as_ref().is_some_and(|(held, deadline)| {
                held.lease_id == lease.lease_id && held.token == lease.token && now < *deadline
            });
        // Whatever the lines above come to be: nothing is sent under an older token.
        valid
            && LEASE_2.check(lease.token >= entry.on_the_wire, || {
                format!("account {}: token {} after {}", lease.account_id, lease.token, entry.on_the_wire)
            })
            && {
                entry.on_the_wire = lease.token;
                true
            }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use service_kit::Time;

    use super::*;
    use crate::leases::State;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A lease of the one account of these tests; its id follows from its token.
    fn lease(token: i64) -> Lease {
        Lease {
            id: Uuid::from_u128(u128::try_from(token).unwrap()),
            workspace_id: Uuid::nil(),
            account_id: Uuid::nil(),
            user_id: Uuid::nil(),
            token,
            state: State::Active,
            purpose: Purpose::Parse,
            chat_id: 0,
            holder: String::new(),
            work: String::new(),
            acquired_at: Time::ZERO,
            expire_at: Time::ZERO,
            revision: 0,
            budget: Vec::new(),
        }
    }

    #[test]
    fn a_lease_is_valid_until_its_deadline() {
        let registry = Registry::default();
        let held = registry.register(&lease(1), secs(10)).unwrap();
        assert!(registry.is_valid(&held, secs(9)));
        assert!(!registry.is_valid(&held, secs(10)));
        assert!(registry.find(lease(1).key(), secs(9)).is_some());
        assert!(registry.find(lease(1).key(), secs(10)).is_none());
        registry.register(&lease(1), secs(20)).unwrap();
        assert!(registry.is_valid(&held, secs(19)), "renewed");
        registry.register(&lease(1), secs(15)).unwrap();
        assert!(registry.is_valid(&held, secs(19)), "an older answer came late");
    }

    #[test]
    fn a_newer_lease_ends_the_older() {
        let registry = Registry::default();
        let old = registry.register(&lease(1), secs(10)).unwrap();
        let new = registry.register(&lease(2), secs(10)).unwrap();
        assert!(!registry.is_valid(&old, secs(1)));
        assert!(registry.find(lease(1).key(), secs(1)).is_none());
        assert!(registry.register(&lease(1), secs(10)).is_none(), "tokens never decrease");
        assert!(registry.is_valid(&new, secs(1)));
    }

    #[test]
    fn what_has_ended_does_not_come_back() {
        let registry = Registry::default();
        let held = registry.register(&lease(1), secs(10)).unwrap();
        registry.end(held.account_id, 1);
        assert!(!registry.is_valid(&held, secs(1)));
        // The store was asked before the end, and its answer came after it.
        assert!(registry.register(&lease(1), secs(10)).is_none());
        let next = registry.register(&lease(2), secs(10)).unwrap();
        registry.end(held.account_id, 1);
        assert!(registry.is_valid(&next, secs(1)), "the end of an older one");
    }

    #[test]
    fn nothing_is_sent_under_an_older_token_and_it_would_be_noticed() {
        let registry = Registry::default();
        let old = registry.register(&lease(1), secs(10)).unwrap();
        let new = registry.register(&lease(2), secs(10)).unwrap();
        assert!(registry.is_valid(&new, secs(1)) && !registry.is_valid(&old, secs(1)));
        assert_eq!(LEASE_2.count(), 0);
        // As if the check before it had been lost.
        let entry = Entry { on_the_wire: 2, held: Some((old.clone(), secs(10))), ..Entry::default() };
        registry.lock().accounts.insert(old.account_id, entry);
        assert!(!registry.is_valid(&old, secs(1)));
        assert_eq!(LEASE_2.count(), 1);
    }

    #[test]
    fn a_wrong_token_finds_nothing() {
        let registry = Registry::default();
        registry.register(&lease(1), secs(10)).unwrap();
        assert!(registry.find(Key { token: 2, ..lease(1).key() }, secs(1)).is_none());
        assert_eq!(registry.lock().leases.len(), 1);
        registry.end(Uuid::nil(), 1);
        assert!(registry.lock().leases.is_empty(), "nothing is kept of what has ended but its token");
    }
}
