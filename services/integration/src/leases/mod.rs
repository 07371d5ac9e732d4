//! Leases: one holder per account, until a deadline.

mod manager;
mod pump;
mod registry;
pub mod revision;
pub mod sql;
mod sql_acquire;
mod sql_denial;
pub mod store;
pub mod wake;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;
use service_kit::Time;
use service_kit::address::ChatAddress;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1 as wire;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::lease::v1::{Purpose, Unavailability};
use tonic::Status;
use uuid::Uuid;

pub use manager::{LeaseManager, LeaseParts, RevokeCause};
pub use registry::{Registry, Verified};
pub use sql::SqlLeaseStore;
pub use store::{Acquired, Ask, Changes, Filter, LeaseStore};
pub use wake::Wake;
pub use wire::lease::State;

use crate::availability::Slot;
use crate::error::Result;
use crate::quotas::{LimitUse, Next};

/// How long what Telegram said of an account's rights in a chat is believed.
pub const RIGHTS_FRESH: Duration = Duration::from_secs(10 * 60);

/// How leases are given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseConfig {
    /// How long a lease lasts when the request does not say, in milliseconds.
    pub default_ttl_ms: u64,
    /// How often leases past their deadline are marked as expired, in
    /// milliseconds. They are over at their deadline anyway.
    pub sweep_ms: u64,
    /// How often waiters look for what another replica freed, in milliseconds.
    /// What this process frees wakes them at once.
    pub look_ms: u64,
    /// Most callers that wait at once, per workspace.
    pub max_waiters: usize,
}

/// What a holder shows: the lease, and its fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The lease.
    pub lease_id: Uuid,
    /// Its fencing token.
    pub token: i64,
}

impl Key {
    /// From what the wire says. The contract's rules have shown that it is a UUID.
    pub fn from_wire(key: &wire::LeaseKey) -> Self {
        Self { lease_id: Uuid::parse_str(&key.lease_id).unwrap_or_default(), token: key.fencing_token }
    }
}

/// One account, held by one holder for one purpose until a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Identifier.
    pub id: Uuid,
    /// Whose account.
    pub workspace_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// The user whom the holder acts for.
    pub user_id: Uuid,
    /// The fencing token: strictly increasing per account, never repeated.
    pub token: i64,
    /// What became of it.
    pub state: State,
    /// What the account is held for.
    pub purpose: Purpose,
    /// The chat it is held for; 0 when for none.
    pub chat_id: i64,
    /// Who holds it.
    pub holder: String,
    /// What the holder works on.
    pub work: String,
    /// When it was taken.
    pub acquired_at: Time,
    /// Its deadline.
    pub expire_at: Time,
    /// Position among all changes of leases.
    pub revision: i64,
    /// What the limits leave for the purpose; empty once it has ended.
    pub budget: Vec<LimitUse>,
}

impl Lease {
    /// What its holder shows.
    pub fn key(&self) -> Key {
        Key { lease_id: self.id, token: self.token }
    }

    /// Whether it is held at `now`.
    pub fn is_live(&self, now: Time) -> bool {
        self.state == State::Active && self.expire_at > now
    }

    /// As the wire writes it.
    pub fn to_wire(&self) -> wire::Lease {
        wire::Lease {
            id: self.id.to_string(),
            account_id: self.account_id.to_string(),
            fencing_token: self.token,
            state: self.state.into(),
            purpose: self.purpose.into(),
            chat_id: self.chat_id,
            holder: self.holder.clone(),
            work: self.work.clone(),
            acquire_time: Some(self.acquired_at.to_proto()),
            expire_time: Some(self.expire_at.to_proto()),
            budget: self.budget.iter().map(|limit| limit.to_wire()).collect(),
        }
    }
}

/// Looks after what leases need to know of chats. Implemented by the room that
/// talks to Telegram.
#[async_trait::async_trait]
pub trait Chats: std::fmt::Debug + Send + Sync + 'static {
    /// The id of a chat, as far as it is known without asking Telegram. When it
    /// is not, and no rights are needed there, limits per chat are checked when
    /// the action is reserved, and not before.
    ///
    /// # Errors
    /// When the database fails.
    async fn chat_id(&self, workspace_id: Uuid, chat: &ChatAddress) -> Result<Option<i64>>;

    /// What checks of rights in a chat came to lately, besides `chat_rights`.
    fn looked(&self, workspace_id: Uuid, chat: &ChatAddress) -> Looked;

    /// Asks Telegram, in the background, what some of these accounts may do in
    /// the chat, the first ones first, because nobody knows or the answer is old.
    /// Must return at once, write `chat_rights` or remember what came in the way,
    /// and then poke the workspace. Asked again while the answer is out: leave
    /// the second one be.
    fn check_rights(&self, workspace_id: Uuid, chat: &ChatAddress, chat_id: Option<i64>, accounts: &[Uuid]);
}

/// What checks of rights in a chat came to, as far as `chat_rights` cannot tell.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// It is a name, and stands for no chat.
    pub nobody: bool,
    /// What kept accounts from learning their rights; they are asked again later.
    pub obstacles: HashMap<Uuid, Slot>,
}

/// Knows no chats: for tests, and while Telegram is not wired up.
#[derive(Debug)]
pub struct NoChats;

#[async_trait::async_trait]
impl Chats for NoChats {
    async fn chat_id(&self, _workspace_id: Uuid, chat: &ChatAddress) -> Result<Option<i64>> {
        Ok(if let ChatAddress::Id(id) = chat { Some(*id) } else { None })
    }

    fn looked(&self, _workspace_id: Uuid, _chat: &ChatAddress) -> Looked {
        Looked::default()
    }

    fn check_rights(&self, _workspace_id: Uuid, _chat: &ChatAddress, _chat_id: Option<i64>, _accounts: &[Uuid]) {}
}

/// Why no account can be leased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unavailable {
    /// Accounts by reason, and when the first of them becomes available.
    pub counts: BTreeMap<Reason, (u32, Next)>,
    /// When it was found out.
    pub at: Time,
}

impl Unavailable {
    /// Counts one more account.
    pub fn add(&mut self, found: Slot) {
        let entry = self.counts.entry(found.reason).or_insert((0, Next::Never));
        entry.0 += 1;
        entry.1 = entry.1.min(found.ready);
    }

    /// When the first account becomes available, as far as anybody can tell.
    pub fn earliest(&self) -> Option<Time> {
        self.counts.values().filter_map(|(_, ready)| ready.time()).min()
    }

    /// How many accounts were counted under the reason.
    pub fn count(&self, reason: Reason) -> u32 {
        self.counts.get(&reason).map_or(0, |(accounts, _)| *accounts)
    }

    /// Whether an account could be had, if only its rights were known.
    pub(crate) fn awaits_rights(&self) -> bool {
        self.count(Reason::RightsUnknown) > 0
    }

    /// As the wire writes it.
    pub fn to_wire(&self) -> Vec<Unavailability> {
        let entry = |(reason, (accounts, ready)): (&Reason, &(u32, Next))| Unavailability {
            reason: (*reason).into(),
            accounts: i32::try_from(*accounts).unwrap_or(i32::MAX),
            earliest_time: ready.time().map(Time::to_proto),
        };
        self.counts.iter().map(entry).collect()
    }

    /// As the caller learns it.
    pub fn to_status(&self) -> Status {
        let counts: Vec<String> =
            self.counts.iter().map(|(reason, (accounts, _))| format!("{accounts} {}", key_of(*reason))).collect();
        let why = if counts.is_empty() { "the workspace has none".to_owned() } else { counts.join(", ") };
        let earliest = self.earliest();
        let mut status =
            tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, format!("no account is available: {why}"))
                .retry_after(earliest.map(|time| time.since(self.at)));
        for (reason, (accounts, _)) in &self.counts {
            status = status.with(&key_of(*reason), accounts);
        }
        if let Some(earliest) = earliest {
            status = status.with("earliest_time", earliest.to_proto());
        }
        status.build()
    }
}

/// A reason as metadata name it, such as `cooling_down`.
fn key_of(reason: Reason) -> String {
    reason.as_str_name().trim_start_matches("REASON_").to_lowercase()
}
