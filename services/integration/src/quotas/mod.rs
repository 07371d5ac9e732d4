//! Quotas: every limit in one place.
//!
//! An action is reserved in the ledger before its request is handed over, and
//! settled after the answer. Everything that reached Telegram counts; only what
//! surely was not sent is given back. Reads are not reserved: [`pacing`] spaces
//! them out.

pub mod history;
pub(crate) mod ledger;
pub mod levels;
pub mod limits;
pub mod pacing;
pub mod rules;
pub mod sql;
pub mod store;
pub mod zone;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use sea_orm::{ColumnTrait as _, EntityTrait, QueryFilter};
use service_kit::clock::SharedClock;
use service_kit::db::{Db, Tx};
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::{Identity, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::{Action, LimitName};
use tonic::Status;
use uuid::Uuid;

pub use limits::{InviteLimits, Limits, MessageLimits, Range};
pub use pacing::{Pacing, SpeedConfig};
pub use rules::{LimitUse, Next, Tally};
pub use sql::SqlQuotaStore;
pub use store::{Ask, QuotaStore, Reservation, Settlement};
pub use zone::{Day, Zone};

use crate::availability;
use crate::entity::account;
use crate::error::{Error, Result};
use crate::leases::Wake;

/// A reservation that is older than this is of a process that died: it is
/// settled as counted. Longer than any request to Telegram is waited for.
pub const LOST_AFTER: Duration = Duration::from_secs(5 * 60);

/// Accounts whose slots are recomputed in one transaction.
const REFRESH_BATCH: u64 = 50;

/// Whose accounts a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Scope {
    /// Those of one workspace.
    Workspace(Uuid),
    /// Those of all: an operator's.
    All,
}

impl Scope {
    /// What a caller may look at.
    pub fn of(who: &Identity) -> Self {
        if who.operator && who.service.is_none() { Self::All } else { Self::Workspace(who.workspace_id) }
    }

    /// The only workspace, if it is one.
    pub fn workspace(self) -> Option<Uuid> {
        match self {
            Self::Workspace(id) => Some(id),
            Self::All => None,
        }
    }
}

/// A limit that forbids an action.
#[derive(Debug, Clone)]
pub struct Exceeded {
    /// Which.
    pub limit: LimitName,
    /// The chat, for limits that are per chat; 0 otherwise.
    pub chat_id: i64,
    /// How many are used, reserved ones included.
    pub used: u32,
    /// How many are allowed.
    pub allowed: u32,
    /// When the counting period ends.
    pub end: Option<Time>,
    /// When all limits allow the action.
    pub next_possible: Next,
    /// How long until then.
    pub retry_after: Option<Duration>,
}

impl Exceeded {
    /// From the limits of an action, unless none forbids it.
    pub fn of(uses: &[LimitUse], now: Time) -> Option<Self> {
        let limit = rules::binding(uses)?;
        Some(Self {
            limit: limit.limit,
            chat_id: limit.chat_id,
            used: limit.tally.sum(),
            // One action is allowed per interval.
            allowed: limit.allowed.unwrap_or_else(|| limit.tally.sum()),
            end: limit.end,
            next_possible: limit.next,
            retry_after: limit.next.time().map(|time| time.since(now)),
        })
    }

    /// Its name without prefix, such as `INVITE_PER_DAY`.
    pub fn name(&self) -> &'static str {
        self.limit.as_str_name().trim_start_matches("LIMIT_NAME_")
    }

    /// As the caller learns it.
    pub fn to_status(&self) -> Status {
        let message = format!("the limit {} is used up: {} of {}", self.name(), self.used, self.allowed);
        let mut status = tgmesh_proto::status::status(ErrorReason::QuotaExceeded, message)
            .with("limit", self.name())
            .with("used", self.used)
            .with("allowed", self.allowed)
            .retry_after(self.retry_after);
        if let Some(end) = self.end {
            status = status.with("end_time", end.to_proto());
        }
        if self.chat_id != 0 {
            status = status.with("chat_id", self.chat_id);
        }
        status.build()
    }
}

/// What the limits leave an account for an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Actions left for today; `None` when not limited.
    pub today: Option<u32>,
    /// Actions that a full day allows; `None` when not limited.
    pub per_day: Option<u32>,
    /// When the limits allow the next one.
    pub next_possible: Next,
}

impl Capacity {
    fn of(uses: &[LimitUse]) -> Self {
        let daily = |limit: &&LimitUse| {
            !matches!(limit.limit, LimitName::InvitePerHour | LimitName::MessagePerHour) && limit.allowed.is_some()
        };
        Self {
            today: uses.iter().filter(daily).filter_map(LimitUse::left).min(),
            per_day: uses.iter().filter(daily).filter_map(|limit| limit.allowed).min(),
            next_possible: rules::next_possible(uses),
        }
    }
}

/// Whether an account may do something now.
#[derive(Debug, Clone)]
pub struct Check {
    /// The limits that forbid it.
    pub exceeded: Vec<LimitUse>,
    /// When nothing forbids it: limits, restrictions, pause and session counted.
    pub next_possible: Next,
}

/// The room of quotas.
#[derive(Debug, Clone)]
pub struct Quotas {
    store: Arc<dyn QuotaStore>,
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) defaults: Arc<Limits>,
    pub(crate) requests: Requests,
    pub(crate) tokens: Tokens,
    pub(crate) wake: Arc<Wake>,
}

/// What [`Quotas`] is made of.
#[derive(Debug)]
pub struct QuotaParts {
    /// The service's database.
    pub db: Db,
    /// Tells the time.
    pub clock: SharedClock,
    /// The store of `request_id`s.
    pub requests: Requests,
    /// Makes page tokens.
    pub tokens: Tokens,
    /// Tells waiters that something changed.
    pub wake: Arc<Wake>,
    /// The deployment's limits until an operator sets others.
    pub defaults: Arc<Limits>,
    /// Draws intervals; seeded by whoever starts the process.
    pub rng: StdRng,
}

impl Quotas {
    /// With the ledger and the counts in the service's database.
    pub fn sql(parts: QuotaParts) -> Self {
        let QuotaParts { db, clock, requests, tokens, wake, defaults, rng } = parts;
        let store = Arc::new(SqlQuotaStore::new(db.clone(), clock.clone(), defaults.clone(), rng));
        Self { store, db, clock, defaults, requests, tokens, wake }
    }

    /// Commits a RESERVED entry in the ledger, before the request is handed over.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` with the limit that forbids it longest; `ACCOUNT_NOT_FOUND`.
    pub async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        self.store.reserve(ask).await
    }

    /// Settles a reservation in the caller's transaction. Poke the workspace
    /// once that is committed: somebody may wait for what was given back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self, tx: &Tx, reservation: &Reservation, settlement: &Settlement) -> Result<()> {
        self.store.settle(tx, reservation, settlement).await
    }

    /// Counts a request that is made once more under its reservation, because
    /// Telegram answered with a fault of its own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_again(&self, reservation: &Reservation, telegram_error: &str) -> Result<()> {
        self.store.count_again(reservation, telegram_error).await
    }

    /// Notes what became of an action whose outcome was unknown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reconciled(&self, tx: &Tx, entry_id: Uuid, success: bool) -> Result<()> {
        self.store.reconciled(tx, entry_id, success).await
    }

    /// Recomputes an account's slots in the transaction that changed the account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, tx: &Tx, account_id: Uuid) -> Result<()> {
        availability::refresh(&**tx, self.clock.now(), account_id, &self.defaults)
            .await
            .map_err(|error| Error::database(&self.db, &error))
    }

    /// Tells those who wait for an account of the workspace to look again.
    pub fn poke(&self, workspace_id: Uuid) {
        self.wake.poke(workspace_id);
    }

    /// What the limits leave an account for an action, in the chat if one is given.
    ///
    /// # Errors
    /// `ACCOUNT_NOT_FOUND`.
    pub async fn capacity(
        &self,
        scope: Scope,
        account_id: Uuid,
        action: Action,
        chat_id: Option<i64>,
    ) -> Result<Capacity> {
        let account = self.account(scope, account_id).await?;
        let all = self.capacities(&[account], action, chat_id).await?;
        all.into_iter().next().ok_or_else(|| Error::account_not_found(account_id))
    }

    /// The same for many accounts, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn capacities(
        &self,
        accounts: &[account::Model],
        action: Action,
        chat_id: Option<i64>,
    ) -> Result<Vec<Capacity>> {
        let found = self.store.uses(accounts, action, chat_id).await?;
        Ok(found.iter().map(|uses| Capacity::of(uses)).collect())
    }

    /// How much of each limit that is set an account has used.
    ///
    /// # Errors
    /// `ACCOUNT_NOT_FOUND`.
    pub async fn usage(&self, scope: Scope, account_id: Uuid, chat_id: Option<i64>) -> Result<Vec<LimitUse>> {
        let account = self.account(scope, account_id).await?;
        let accounts = [account];
        let mut usage = Vec::new();
        for action in [Action::Invite, Action::Message, Action::AddContact, Action::JoinChat, Action::ResolveUsername] {
            usage.extend(self.store.uses(&accounts, action, chat_id).await?.into_iter().flatten());
        }
        Ok(usage)
    }

    /// Whether an account may do something now. Nothing is reserved.
    ///
    /// # Errors
    /// `ACCOUNT_NOT_FOUND`.
    pub async fn check_action(
        &self,
        scope: Scope,
        account_id: Uuid,
        action: Action,
        chat_id: Option<i64>,
    ) -> Result<Check> {
        let account = self.account(scope, account_id).await?;
        let now = self.clock.now();
        let found = availability::assess(self.db.conn(), now, action, chat_id, &[account], &self.defaults)
            .await
            .map_err(|error| Error::database(&self.db, &error))?;
        let found = found.into_iter().next().ok_or_else(|| Error::account_not_found(account_id))?;
        let next_possible = found.with_chat().ready;
        Ok(Check { exceeded: found.uses.into_iter().filter(LimitUse::is_exceeded).collect(), next_possible })
    }

    /// Settles the reservations of processes that died, as counted: what they
    /// reserved may have been sent. Call it at start-up and every minute.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self) -> Result<u64> {
        let settled = self.store.settle_lost(self.clock.now() - LOST_AFTER).await?;
        if settled > 0 {
            tracing::warn!(settled, "reservations of a dead process were settled as counted");
        }
        Ok(settled)
    }

    /// Makes every slot agree with the truth: the configuration may have changed
    /// while the process was down. Call it at start-up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recover(&self) -> Result<()> {
        self.sweep().await?;
        self.refresh_all(Scope::All).await
    }

    /// Recomputes the slots of many accounts, some at a time.
    pub(crate) async fn refresh_all(&self, scope: Scope) -> Result<()> {
        use sea_orm::{QueryOrder as _, QuerySelect as _};
        let failed = |error| Error::database(&self.db, &error);
        let mut after = Uuid::nil();
        loop {
            let mut select = account::Entity::find()
                .select_only()
                .column(account::Column::Id)
                .filter(account::Column::Id.gt(after))
                .order_by_asc(account::Column::Id)
                .limit(REFRESH_BATCH);
            if let Some(workspace_id) = scope.workspace() {
                select = select.filter(account::Column::WorkspaceId.eq(workspace_id));
            }
            let ids: Vec<Uuid> = select.into_tuple().all(self.db.conn()).await.map_err(failed)?;
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            let tx = self.db.begin().await.map_err(failed)?;
            let now = self.clock.now();
            for id in ids {
                availability::refresh(&*tx, now, id, &self.defaults).await.map_err(failed)?;
            }
            tx.commit().await.map_err(failed)?;
        }
    }

    /// An account that the caller may see.
    pub(crate) async fn account(&self, scope: Scope, account_id: Uuid) -> Result<account::Model> {
        let mut select = account::Entity::find_by_id(account_id);
        if let Some(workspace_id) = scope.workspace() {
            select = select.filter(account::Column::WorkspaceId.eq(workspace_id));
        }
        let found = select.one(self.db.conn()).await.map_err(|error| Error::database(&self.db, &error))?;
        found.ok_or_else(|| Error::account_not_found(account_id))
    }
}
