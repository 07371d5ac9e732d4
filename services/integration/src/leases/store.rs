//! Where leases are kept.
//!
//! A call that changes something comes with its caller and its request, because
//! its answer has to be stored with its effect, in one step, under the caller's
//! `request_id`; and only the store knows what one step is. The SQL store claims
//! the id in the transaction of the effect. A store without transactions of ours
//! keeps the answer in the same script that makes the effect.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::Identity;
use service_kit::address::ChatAddress;
use tgmesh_proto::lease::v1::{
    AcquireLeaseRequest, Purpose, ReleaseLeaseRequest, RenewLeaseRequest, RevokeLeaseRequest,
};
use uuid::Uuid;

use super::{Key, Lease, State, Unavailable};
use crate::availability::Slot;
use crate::error::Result;
use crate::quotas::Scope;

/// What kind of account is wanted, and for whom.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What decides which accounts will do.
    pub needs: Needs,
    /// How long the lease lasts without renewal.
    pub ttl: Duration,
    /// Who is to hold it.
    pub holder: String,
    /// What the holder works on.
    pub work: String,
    /// What kept accounts from learning their rights in the chat lately.
    pub obstacles: HashMap<Uuid, Slot>,
}

/// What decides which accounts will do. Waiters with equal needs are served in
/// turn: when the first is denied, so are the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Needs {
    /// What the account is wanted for.
    pub purpose: Purpose,
    /// The chat it is wanted for; 0 for none, or one whose id nobody knows.
    pub chat_id: i64,
    /// The chat in which rights are needed.
    pub chat: Option<ChatAddress>,
    /// Rights needed there: bit n is set for the right with number n.
    pub rights: i32,
    /// Only these accounts; empty for any.
    pub any_of: Vec<Uuid>,
    /// None of these accounts.
    pub none_of: Vec<Uuid>,
}

/// What became of an attempt to take an account.
#[derive(Debug)]
pub enum Acquired {
    /// One was taken.
    Taken {
        /// The lease, with its budget.
        lease: Box<Lease>,
        /// Accounts whose turn it was, but for rights that nobody knows.
        unknown_rights: Vec<Uuid>,
        /// Whether it was taken now, and not by an earlier call with this id.
        fresh: bool,
    },
    /// None can be had.
    Denied {
        /// Why.
        unavailable: Unavailable,
        /// Accounts that could be had, but for rights that nobody knows, or not
        /// any more; longest unused first.
        unknown_rights: Vec<Uuid>,
    },
}

/// Which leases to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only leases of this account.
    pub account_id: Option<Uuid>,
    /// Only leases in these states; empty for those held now.
    pub states: Vec<State>,
}

/// Leases that changed.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Those held now when it is a snapshot, otherwise those that changed.
    pub leases: Vec<Lease>,
    /// Whether `leases` is all there is.
    pub snapshot: bool,
    /// What to go on from.
    pub position: i64,
}

/// Where leases are kept. Time is the store's.
#[async_trait]
pub trait LeaseStore: std::fmt::Debug + Send + Sync + 'static {
    /// Selects the longest unused of the accounts that will do, and takes it, in
    /// one atomic step. One whose rights in the chat are not known is never taken
    /// for a lease that needs some. Never waits for an account to become free.
    async fn acquire(&self, who: &Identity, request: &AcquireLeaseRequest, ask: &Ask) -> Result<Acquired>;

    /// Ends a lease that could not be handed to its caller, and forgets the call:
    /// a repeat is a new one.
    async fn take_back(&self, who: &Identity, request: &AcquireLeaseRequest, lease: &Lease) -> Result<()>;

    /// Moves the deadline to `ttl` from now. `STALE_LEASE` unless id and token
    /// are those of a lease held now; `LEASE_NOT_FOUND` when there never was one.
    async fn renew(&self, who: &Identity, request: &RenewLeaseRequest, key: Key, ttl: Duration) -> Result<Lease>;

    /// Gives an account back; the ended lease. Errors as `renew`.
    async fn release(&self, who: &Identity, request: &ReleaseLeaseRequest, key: Key) -> Result<Lease>;

    /// Ends a lease at once. Answers the lease as it is when it has ended already.
    async fn revoke(&self, who: &Identity, scope: Scope, request: &RevokeLeaseRequest, id: Uuid) -> Result<Lease>;

    /// Ends whatever lease an account has.
    async fn revoke_account(&self, account_id: Uuid) -> Result<Option<Lease>>;

    /// A lease, with its budget while it is held.
    async fn get(&self, scope: Scope, id: Uuid) -> Result<Option<Lease>>;

    /// Leases, newest first, after the one with this id.
    async fn list(&self, scope: Scope, filter: &Filter, after: Option<Uuid>, limit: u64) -> Result<Vec<Lease>>;

    /// The lease an account is held under now.
    async fn live_of(&self, account_id: Uuid) -> Result<Option<Lease>>;

    /// Marks leases past their deadline as expired; answers those it marked.
    async fn expire(&self) -> Result<Vec<Lease>>;

    /// What changed since a position; all that are held when there is none, or
    /// it is not of this store.
    async fn changes(&self, scope: Scope, since: Option<i64>) -> Result<Changes>;
}
