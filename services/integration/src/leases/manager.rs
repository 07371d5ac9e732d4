//! The room of leases: gives them, keeps them, ends them, checks them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use service_kit::address::parse_chat;
use service_kit::clock::{SharedClock, duration_from_proto};
use service_kit::paging::{Page, Tokens};
use service_kit::shutdown::Shutdown;
use service_kit::watch::Poke;
use service_kit::{Identity, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{
    AcquireLeaseRequest, ListLeasesRequest, ReleaseLeaseRequest, RenewLeaseRequest, RevokeLeaseRequest,
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::pump::{Attempt, Handed, Waiters, Wish, shutting_down};
use super::registry::{Registry, Verified};
use super::sql::not_found;
use super::store::{Acquired, Ask, Changes, Filter, LeaseStore, Needs};
use super::{Chats, Key, Lease, LeaseConfig, Looked, Wake};
use crate::error::{Error, Result};
use crate::quotas::Scope;

/// How long a call that would be granted but for rights that are being asked for
/// waits for the answers, whatever its own wait.
const CHECKS: Duration = Duration::from_secs(5);

/// Why an account's lease ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeCause {
    /// The account was paused.
    Paused,
    /// The account is being deleted.
    Deleting,
    /// The account lost its session.
    SessionLost,
    /// Telegram restricts the account.
    Restricted,
}

/// What a [`LeaseManager`] is made of.
#[derive(Debug)]
pub struct LeaseParts {
    /// Where leases are kept.
    pub store: Arc<dyn LeaseStore>,
    /// What is to be known of chats.
    pub chats: Arc<dyn Chats>,
    /// Wakes waiters; shared with the quotas.
    pub wake: Arc<Wake>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Makes page and resume tokens.
    pub tokens: Tokens,
    /// No leases are given once it has begun.
    pub shutdown: Shutdown,
    /// How leases are given.
    pub config: LeaseConfig,
}

/// The room of leases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LeaseManager {
    store: Arc<dyn LeaseStore>,
    chats: Arc<dyn Chats>,
    registry: Arc<Registry>,
    changed: Arc<Poke>,
    tokens: Tokens,
    pub(super) waiters: Arc<Waiters>,
    pub(super) wake: Arc<Wake>,
    pub(super) clock: SharedClock,
    pub(super) shutdown: Shutdown,
    pub(super) config: LeaseConfig,
}

impl LeaseManager {
    /// With nothing held that it knows of.
    pub fn new(parts: LeaseParts) -> Self {
        let LeaseParts { store, chats, wake, clock, tokens, shutdown, config } = parts;
        Self {
            store,
            chats,
            registry: Arc::default(),
            changed: Arc::default(),
            tokens,
            waiters: Arc::default(),
            wake,
            clock,
            shutdown,
            config,
        }
    }

    /// Takes an account; waits for one as long as the request says, at most
    /// `deadline`.
    ///
    /// # Errors
    /// `NO_ACCOUNT_AVAILABLE` with counts per reason and the earliest time.
    pub async fn acquire(
        &self,
        who: &Identity,
        request: AcquireLeaseRequest,
        deadline: Option<Duration>,
    ) -> Result<Lease> {
        if self.shutdown.has_begun() {
            return Err(shutting_down());
        }
        let ask = self.ask(who, &request).await?;
        let wait = request.wait.as_ref().map_or(Duration::ZERO, duration_from_proto);
        let now = self.clock.now();
        let end = |wait: Duration| now + deadline.map_or(wait, |deadline| wait.min(deadline));
        let (until, checks_until) = (end(wait), end(wait.max(CHECKS)));
        let wish = Arc::new(Wish { who: who.clone(), request, ask, until, checks_until });
        // Who comes while others wait gets in line: he must not overtake them.
        if self.waiters.is_empty(who.workspace_id) {
            match self.attempt_detached(&wish).await.map_err(our_own)? {
                Attempt::Taken(handed) => return Ok(handed.accept()),
                Attempt::Denied(unavailable) if until <= now && !unavailable.awaits_rights() => {
                    return Err(Error::NoAccount(Box::new(unavailable)));
                }
                Attempt::Denied(_) => {}
            }
        }
        self.wait_in_line(wish).await.map(Handed::accept).map_err(our_own)
    }

    /// Tries once, in a task of its own: cut off between commit and answer, the
    /// account would be held by nobody.
    async fn attempt_detached(&self, wish: &Arc<Wish>) -> Result<Attempt> {
        let (manager, wish) = (self.clone(), wish.clone());
        let attempt = async move { manager.attempt(&wish).await };
        let attempt = tokio::spawn(attempt.in_current_span()).await;
        attempt.unwrap_or_else(|error| Err(Error::internal(format!("an attempt ended early: {error}"))))
    }

    async fn ask(&self, who: &Identity, request: &AcquireLeaseRequest) -> Result<Ask> {
        let chat = match request.chat.as_str() {
            "" if request.rights.is_empty() => None,
            "" => return Err(Error::field("rights", "needs a chat")),
            chat => Some(parse_chat(chat).map_err(|error| Error::field("chat", error.to_string()))?.chat),
        };
        let chat_id = match &chat {
            Some(chat) => self.chats.chat_id(who.workspace_id, chat).await?,
            None => None,
        };
        let ids = |ids: &[String]| -> Vec<Uuid> {
            // The contract's rules have shown that they are UUIDs.
            let mut ids: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let needs = Needs {
            purpose: request.purpose(),
            chat_id: chat_id.unwrap_or(0),
            chat: chat.filter(|_| !request.rights.is_empty()),
            rights: request.rights.iter().fold(0, |mask, right| mask | 1 << right),
            any_of: ids(&request.any_of_account_ids),
            none_of: ids(&request.none_of_account_ids),
        };
        let ttl = self.ttl(request.ttl.as_ref());
        let (holder, work) = (request.holder.clone(), request.work.clone());
        Ok(Ask { needs, ttl, holder, work, obstacles: HashMap::new() })
    }

    /// What is asked for, with what was learnt of the chat meanwhile.
    async fn informed<'a>(&self, wish: &'a Wish) -> Result<Cow<'a, Ask>> {
        let Some(chat) = &wish.ask.needs.chat else { return Ok(Cow::Borrowed(&wish.ask)) };
        let workspace_id = wish.who.workspace_id;
        let mut ask = wish.ask.clone();
        if ask.needs.chat_id == 0 {
            ask.needs.chat_id = self.chats.chat_id(workspace_id, chat).await?.unwrap_or(0);
        }
        let Looked { nobody, obstacles } = self.chats.looked(workspace_id, chat);
        if nobody && ask.needs.chat_id == 0 {
            return Err(Error::plain(ErrorReason::ChatNotFound, "the name stands for no chat"));
        }
        ask.obstacles = obstacles;
        Ok(Cow::Owned(ask))
    }

    fn ttl(&self, asked: Option<&prost_types::Duration>) -> Duration {
        asked.map_or(Duration::from_millis(self.config.default_ttl_ms), duration_from_proto)
    }

    /// Tries once, and notes what was found.
    pub(super) async fn attempt(&self, wish: &Arc<Wish>) -> Result<Attempt> {
        let before = self.moment();
        let ask = self.informed(wish).await?;
        let (attempt, unknown) = match self.store.acquire(&wish.who, &wish.request, &ask).await? {
            Acquired::Taken { lease, unknown_rights, fresh } => {
                if fresh {
                    self.note(&lease, before);
                    self.changed.poke();
                }
                let back = fresh.then(|| (self.clone(), wish.clone()));
                (Attempt::Taken(Handed::new(lease, back)), unknown_rights)
            }
            Acquired::Denied { unavailable, unknown_rights } => (Attempt::Denied(unavailable), unknown_rights),
        };
        if let Some(chat) = &ask.needs.chat
            && !unknown.is_empty()
        {
            let chat_id = Some(ask.needs.chat_id).filter(|id| *id != 0);
            self.chats.check_rights(wish.who.workspace_id, chat, chat_id, &unknown);
        }
        Ok(attempt)
    }

    /// Takes a lease back whose caller went away.
    pub(super) async fn take_back(&self, wish: &Wish, lease: &Lease) {
        match self.store.take_back(&wish.who, &wish.request, lease).await {
            Ok(()) => self.ended(lease),
            Err(error) => {
                tracing::warn!(lease_id = %lease.id, %error, "lease of a caller that left ends at its deadline");
            }
        }
    }

    /// Moves the deadline of a lease that is still held.
    ///
    /// # Errors
    /// `STALE_LEASE`, `LEASE_NOT_FOUND`.
    pub async fn renew(&self, who: &Identity, request: &RenewLeaseRequest) -> Result<Lease> {
        let key = Key::from_wire(&request.key.clone().unwrap_or_default());
        let before = self.moment();
        let lease = self.store.renew(who, request, key, self.ttl(request.ttl.as_ref())).await?;
        self.note(&lease, before);
        self.changed.poke();
        Ok(lease)
    }

    /// Gives an account back.
    ///
    /// # Errors
    /// `STALE_LEASE`, `LEASE_NOT_FOUND`.
    pub async fn release(&self, who: &Identity, request: &ReleaseLeaseRequest) -> Result<Lease> {
        let key = Key::from_wire(&request.key.clone().unwrap_or_default());
        let lease = self.store.release(who, request, key).await?;
        self.ended(&lease);
        Ok(lease)
    }

    /// Ends somebody's lease at once.
    ///
    /// # Errors
    /// `LEASE_NOT_FOUND`.
    pub async fn revoke(&self, who: &Identity, request: &RevokeLeaseRequest) -> Result<Lease> {
        let id = Uuid::parse_str(&request.lease_id).unwrap_or_default();
        let lease = self.store.revoke(who, Scope::of(who), request, id).await?;
        tracing::info!(lease_id = %lease.id, account_id = %lease.account_id, actor = who.actor(), "lease revoked");
        self.ended(&lease);
        Ok(lease)
    }

    /// Ends whatever lease an account has; its holder's next call is refused.
    /// Call it after the change that keeps the account from being leased again
    /// was committed, or somebody takes it in between.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_account(&self, account_id: Uuid, cause: RevokeCause) -> Result<()> {
        if let Some(lease) = self.store.revoke_account(account_id).await? {
            tracing::info!(lease_id = %lease.id, %account_id, ?cause, "lease revoked");
            self.ended(&lease);
        }
        Ok(())
    }

    /// A lease.
    ///
    /// # Errors
    /// `LEASE_NOT_FOUND`.
    pub async fn get(&self, scope: Scope, id: Uuid) -> Result<Lease> {
        self.store.get(scope, id).await?.ok_or_else(|| not_found(id))
    }

    /// The lease an account is held under now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn live_of(&self, account_id: Uuid) -> Result<Option<Lease>> {
        self.store.live_of(account_id).await
    }

    /// A page of leases, newest first, and the token of the next one.
    ///
    /// # Errors
    /// `PAGE_TOKEN_INVALID`.
    pub async fn list(&self, who: &Identity, request: &ListLeasesRequest) -> Result<(Vec<Lease>, String)> {
        let scope = Scope::of(who);
        let bound = (scope, &request.account_id, &request.states);
        let page: Page<Uuid> =
            self.tokens.page("leases", &bound, request.page_size, &request.page_token).map_err(Error::from)?;
        let filter =
            Filter { account_id: Uuid::parse_str(&request.account_id).ok(), states: request.states().collect() };
        let leases = self.store.list(scope, &filter, page.after, page.size + 1).await?;
        Ok(self.tokens.finish(&page, leases, |lease| lease.id))
    }

    /// The position behind a resume token of a watch.
    ///
    /// # Errors
    /// `RESUME_TOKEN_INVALID`.
    pub fn position(&self, scope: Scope, token: &str) -> Result<Option<i64>> {
        Ok(self.tokens.position("leases", &scope, token)?)
    }

    /// What changed since a position, and the token to go on from.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn changes(&self, scope: Scope, since: Option<i64>) -> Result<(Changes, String)> {
        let changes = self.store.changes(scope, since).await?;
        let token = self.tokens.resume("leases", &scope, &changes.position);
        Ok((changes, token))
    }

    /// Wakes the watches of this process.
    pub fn changed(&self) -> Arc<Poke> {
        self.changed.clone()
    }

    /// Tells those who wait for an account of the workspace to look again. Call
    /// it after whatever can make one available was committed.
    pub fn poke(&self, workspace_id: Uuid) {
        self.wake.poke(workspace_id);
    }

    /// How many calls wait for an account of the workspace.
    pub fn waiting(&self, workspace_id: Uuid) -> usize {
        self.waiters.count(workspace_id)
    }

    /// Finds that a lease is held, by the caller's workspace. Local, unless the
    /// lease is not known here: after a restart, or past the deadline known.
    ///
    /// # Errors
    /// `STALE_LEASE`; `LEASE_NOT_FOUND` when the workspace never had it.
    pub async fn verify(&self, workspace_id: Uuid, key: &Key) -> Result<Verified> {
        if let Some(found) = self.registry.find(*key, self.clock.monotonic()) {
            return if found.workspace_id == workspace_id { Ok(found) } else { Err(not_found(key.lease_id)) };
        }
        let before = self.moment();
        let lease = self.get(Scope::Workspace(workspace_id), key.lease_id).await?;
        if lease.token != key.token || !lease.is_live(self.clock.now()) {
            return Err(Error::stale_lease(key.lease_id));
        }
        self.note(&lease, before).ok_or_else(|| Error::stale_lease(key.lease_id))
    }

    /// Whether a lease is still held. Call it in the very step that hands a
    /// request over: a lease that was held a moment ago may be somebody else's.
    pub fn still_valid(&self, lease: &Verified) -> bool {
        self.registry.is_valid(lease, self.clock.monotonic())
    }

    /// Marks what expired, until shutdown.
    pub async fn run(&self) {
        let stop = self.shutdown.token();
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "expired leases could not be marked");
            }
            tokio::select! {
                () = self.clock.sleep(Duration::from_millis(self.config.sweep_ms)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Marks leases past their deadline as expired, once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<usize> {
        let expired = self.store.expire().await?;
        for lease in &expired {
            tracing::info!(lease_id = %lease.id, account_id = %lease.account_id, holder = lease.holder, "lease expired");
            self.ended(lease);
        }
        Ok(expired.len())
    }

    /// Both clocks, read before the store is asked: what it answers is then
    /// never believed for longer than it holds.
    fn moment(&self) -> (Time, Duration) {
        let monotonic = self.clock.monotonic();
        (self.clock.now(), monotonic)
    }

    fn note(&self, lease: &Lease, before: (Time, Duration)) -> Option<Verified> {
        let (now, monotonic) = before;
        self.registry.register(lease, monotonic + lease.expire_at.since(now))
    }

    fn ended(&self, lease: &Lease) {
        self.registry.end(lease.account_id, lease.token);
        self.changed.poke();
        self.wake.poke(lease.workspace_id);
    }
}

/// A fault of ours that another task met, told under this call's id.
fn our_own(error: Error) -> Error {
    if error.reason() == ErrorReason::Internal { Error::Internal } else { error }
}
