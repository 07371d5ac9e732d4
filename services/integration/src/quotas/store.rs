//! Where quotas are kept.
//!
//! The ledger is always in the service's database; what differs between stores
//! is where the counts are taken from. So a reservation is one step of the store,
//! while settling joins the caller's transaction.

use async_trait::async_trait;
use service_kit::Time;
use service_kit::db::Tx;
use tgmesh_proto::quota::v1::Action;
use uuid::Uuid;

use super::rules::{LimitUse, Pace};
use crate::entity::account;
use crate::error::Result;

/// What is to be reserved.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The ledger's entry, when the caller must find it again; a new id otherwise.
    pub id: Option<Uuid>,
    /// Whose account.
    pub workspace_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// The action.
    pub action: Action,
    /// The chat it is done in; 0 when it has none.
    pub chat_id: i64,
    /// The Telegram method, such as `channels.inviteToChannel`.
    pub method: &'static str,
    /// The lease it is done under, and its fencing token; `None` for
    /// integration's own duties.
    pub lease: Option<(Uuid, i64)>,
}

/// An action that is reserved. Settle it, whatever happens.
#[derive(Debug, Clone)]
#[must_use]
pub struct Reservation {
    /// The ledger's entry.
    pub id: Uuid,
    /// Whose account.
    pub workspace_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// Its Telegram user.
    pub telegram_user_id: i64,
    /// The action.
    pub action: Action,
    /// When it was reserved.
    pub reserved_at: Time,
    /// Whether an earlier call under the same id reserved it, and may have
    /// handed its request over.
    pub begun: bool,
    /// The pace it found and the pace it left, when it moved it.
    pub(crate) pace: Option<(Option<Pace>, Pace)>,
}

/// What became of a reserved action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It reached Telegram.
    Counted {
        /// Telegram's error name; empty when it succeeded.
        telegram_error: String,
        /// Whether it was the success that limits "for ever" count.
        success: bool,
    },
    /// It was handed over and not answered. Counts as a success until
    /// `reconciled` says otherwise.
    Unknown,
    /// It surely was not sent.
    GivenBack,
}

/// Where quotas are kept.
#[async_trait]
pub trait QuotaStore: std::fmt::Debug + Send + Sync + 'static {
    /// Checks restrictions and every limit, and commits a RESERVED entry, in one
    /// step. An entry that has the id already, and of which nobody knows what
    /// became, is answered as it is.
    async fn reserve(&self, ask: &Ask) -> Result<Reservation>;

    /// Settles an entry in the caller's transaction. Settling twice changes
    /// nothing, except that a late answer replaces an unknown outcome.
    async fn settle(&self, tx: &Tx, reservation: &Reservation, settlement: &Settlement) -> Result<()>;

    /// Counts a request that Telegram answered with a fault of its own and that
    /// is made once more under the same reservation: an entry of its own. Limits
    /// are not asked, the pace neither: the answer is worth less than the wait.
    async fn count_again(&self, reservation: &Reservation, telegram_error: &str) -> Result<()>;

    /// Notes what became of an action whose outcome was unknown.
    async fn reconciled(&self, tx: &Tx, entry_id: Uuid, success: bool) -> Result<()>;

    /// The limits of an action and their use, per account, in their order.
    async fn uses(
        &self,
        accounts: &[account::Model],
        action: Action,
        chat_id: Option<i64>,
    ) -> Result<Vec<Vec<LimitUse>>>;

    /// Settles as counted what was reserved before then; answers how many.
    async fn settle_lost(&self, before: Time) -> Result<u64>;
}
