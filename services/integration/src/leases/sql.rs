//! Leases in the service's database.
//!
//! LEASE-1 is held by the unique index over the account of live leases: whatever
//! two transactions believe, only one of them can insert.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder as _, QuerySelect as _};
use service_kit::clock::SharedClock;
use service_kit::db::{Db, Tx};
use service_kit::requests::{Claim, Requests};
use service_kit::{Identity, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{
    AcquireLeaseRequest, Purpose, ReleaseLeaseRequest, ReleaseLeaseResponse, RenewLeaseRequest, RenewLeaseResponse,
    RevokeLeaseRequest, RevokeLeaseResponse,
};
use uuid::Uuid;

use super::store::{Acquired, Ask, Changes, Filter, LeaseStore};
use super::{Key, Lease, RIGHTS_FRESH, State, revision};
use crate::availability::{self, action_of};
use crate::entity::{account, lease, slot};
use crate::error::{Error, Result};
use crate::quotas::{LimitUse, Limits, Scope, sql::uses};

pub(super) const TABLE: &str = "leases";

/// The store.
#[derive(Debug)]
pub struct SqlLeaseStore {
    pub(super) db: Db,
    pub(super) clock: SharedClock,
    pub(super) requests: Requests,
    pub(super) defaults: Arc<Limits>,
    /// How long what Telegram said of rights is believed.
    pub(super) rights_life: Duration,
}

impl SqlLeaseStore {
    /// Over the service's database.
    pub fn new(db: Db, clock: SharedClock, requests: Requests, defaults: Arc<Limits>) -> Self {
        Self { db, clock, requests, defaults, rights_life: RIGHTS_FRESH }
    }

    /// The same with another time for which rights are believed.
    #[must_use]
    pub fn with_rights_life(mut self, rights_life: Duration) -> Self {
        self.rights_life = rights_life;
        self
    }

    pub(super) fn failed(&self, error: &DbErr) -> Error {
        Error::database(&self.db, error)
    }

    pub(super) async fn begin(&self) -> Result<Tx> {
        self.db.begin().await.map_err(|error| self.failed(&error))
    }

    pub(super) async fn commit(&self, tx: Tx) -> Result<()> {
        tx.commit().await.map_err(|error| self.failed(&error))
    }

    /// The lease behind an id, for a change.
    async fn locked(&self, tx: &Tx, scope: Scope, id: Uuid) -> Result<lease::Model> {
        let select = scoped(lease::Entity::find_by_id(id), scope).lock_exclusive();
        let row = select.one(&**tx).await.map_err(|error| self.failed(&error))?;
        row.ok_or_else(|| not_found(id))
    }

    /// The account of the lease behind a key, which never changes.
    async fn account_of(&self, tx: &Tx, who: &Identity, key: Key) -> Result<Uuid> {
        let select = scoped(lease::Entity::find_by_id(key.lease_id), Scope::Workspace(who.workspace_id));
        let row = select.one(&**tx).await.map_err(|error| self.failed(&error))?;
        row.map(|row| row.account_id).ok_or_else(|| not_found(key.lease_id))
    }

    /// The lease behind a key, if it is held now.
    async fn held(&self, tx: &Tx, who: &Identity, key: Key) -> Result<(lease::Model, Time)> {
        let row = self.locked(tx, Scope::Workspace(who.workspace_id), key.lease_id).await?;
        let now = self.clock.now();
        if row.live_account_id.is_none() || row.fencing_token != key.token || row.expire_at <= now.millis() {
            return Err(Error::stale_lease(key.lease_id));
        }
        Ok((row, now))
    }

    async fn renew_in(
        &self,
        tx: &Tx,
        who: &Identity,
        request: &RenewLeaseRequest,
        key: Key,
        ttl: Duration,
    ) -> Result<Lease> {
        let claim = self.requests.claim(&**tx, who, "RenewLease", request).await;
        let slot = match claim.map_err(|error| Error::request(&self.db, error))? {
            Claim::Repeat(RenewLeaseResponse { lease }) => return from_answer(who, lease),
            Claim::New(slot) => slot,
        };
        let (mut row, now) = self.held(tx, who, key).await?;
        // Never nearer than it was: a renewal that was overtaken by a longer one
        // must not end the lease under its holder.
        row.expire_at = Ord::max(row.expire_at, (now + ttl).millis());
        let work = async {
            row.revision = revision::next(&**tx, TABLE).await?;
            lease::Entity::update_many()
                .col_expr(lease::Column::ExpireAt, Expr::value(row.expire_at))
                .col_expr(lease::Column::Revision, Expr::value(row.revision))
                .filter(lease::Column::Id.eq(row.id))
                .exec(&**tx)
                .await?;
            let lease = self.budgeted(&**tx, now, vec![row]).await?.remove(0);
            slot.answer(&**tx, &RenewLeaseResponse { lease: Some(lease.to_wire()) }).await?;
            Ok(lease)
        };
        work.await.map_err(|error: DbErr| self.failed(&error))
    }

    async fn release_in(&self, tx: &Tx, who: &Identity, request: &ReleaseLeaseRequest, key: Key) -> Result<Lease> {
        let claim = self.requests.claim(&**tx, who, "ReleaseLease", request).await;
        let slot = match claim.map_err(|error| Error::request(&self.db, error))? {
            Claim::Repeat(ReleaseLeaseResponse {}) => {
                let row = self.locked(tx, Scope::Workspace(who.workspace_id), key.lease_id).await?;
                return Ok(from_row(row, self.clock.now()));
            }
            Claim::New(slot) => slot,
        };
        // The account first, as everybody who writes its slots: who locks in another order waits for ever.
        let account_id = self.account_of(tx, who, key).await?;
        availability::lock(&**tx, account_id).await.map_err(|error| self.failed(&error))?;
        let (row, now) = self.held(tx, who, key).await?;
        let work = async {
            let ended = end(&**tx, row, State::Released, now).await?;
            use_slots(&**tx, ended.account_id, now).await?;
            slot.answer(&**tx, &ReleaseLeaseResponse {}).await?;
            Ok(from_row(ended, now))
        };
        work.await.map_err(|error: DbErr| self.failed(&error))
    }

    async fn revoke_in(
        &self,
        tx: &Tx,
        who: &Identity,
        scope: Scope,
        request: &RevokeLeaseRequest,
        id: Uuid,
    ) -> Result<Lease> {
        let claim = self.requests.claim(&**tx, who, "RevokeLease", request).await;
        let slot = match claim.map_err(|error| Error::request(&self.db, error))? {
            Claim::Repeat(RevokeLeaseResponse { lease: _ }) => None,
            Claim::New(slot) => Some(slot),
        };
        let mut row = self.locked(tx, scope, id).await?;
        let now = self.clock.now();
        let Some(slot) = slot else { return Ok(from_row(row, now)) };
        let work = async {
            if row.live_account_id.is_some() {
                let expired = row.expire_at <= now.millis();
                row = end(&**tx, row, if expired { State::Expired } else { State::Revoked }, now).await?;
            }
            let lease = from_row(row, now);
            slot.answer(&**tx, &RevokeLeaseResponse { lease: Some(lease.to_wire()) }).await?;
            Ok(lease)
        };
        work.await.map_err(|error: DbErr| self.failed(&error))
    }

    /// Leases with what the limits leave those that are held.
    pub(super) async fn budgeted(
        &self,
        conn: &impl ConnectionTrait,
        now: Time,
        rows: Vec<lease::Model>,
    ) -> Result<Vec<Lease>, DbErr> {
        let mut leases: Vec<Lease> = rows.into_iter().map(|row| from_row(row, now)).collect();
        let mut groups: HashMap<(Purpose, i64), Vec<usize>> = HashMap::new();
        for (index, lease) in leases.iter().enumerate().filter(|(_, lease)| lease.is_live(now)) {
            groups.entry((lease.purpose, lease.chat_id)).or_default().push(index);
        }
        if groups.is_empty() {
            return Ok(leases);
        }
        let ids: Vec<Uuid> = leases.iter().map(|lease| lease.account_id).collect();
        let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(conn).await?;
        let accounts: HashMap<Uuid, account::Model> =
            accounts.into_iter().map(|account| (account.id, account)).collect();
        for ((purpose, chat_id), members) in groups {
            let (members, held): (Vec<usize>, Vec<account::Model>) = members
                .into_iter()
                .filter_map(|index| Some((index, accounts.get(&leases[index].account_id)?.clone())))
                .unzip();
            let chat_id = (chat_id != 0).then_some(chat_id);
            let budgets: Vec<Vec<LimitUse>> =
                uses(conn, now, &self.defaults, &held, action_of(purpose), chat_id).await?;
            for (index, budget) in members.into_iter().zip(budgets) {
                leases[index].budget = budget;
            }
        }
        Ok(leases)
    }
}

#[async_trait]
impl LeaseStore for SqlLeaseStore {
    async fn acquire(&self, who: &Identity, request: &AcquireLeaseRequest, ask: &Ask) -> Result<Acquired> {
        self.acquire_any(who, request, ask).await
    }

    async fn take_back(&self, who: &Identity, request: &AcquireLeaseRequest, lease: &Lease) -> Result<()> {
        let tx = self.begin().await?;
        let row = self.locked(&tx, Scope::Workspace(lease.workspace_id), lease.id).await;
        let work = async {
            let row = row?;
            let request_id = Uuid::parse_str(&request.request_id).unwrap_or_default();
            let forgotten = self.requests.forget(&*tx, who, "AcquireLease", request_id).await;
            forgotten.map_err(|error| self.failed(&error))?;
            if row.live_account_id.is_some() {
                let ended = end(&*tx, row, State::Released, self.clock.now()).await;
                ended.map_err(|error| self.failed(&error))?;
            }
            Ok(())
        };
        let done = work.await;
        self.close(tx, done).await
    }

    async fn renew(&self, who: &Identity, request: &RenewLeaseRequest, key: Key, ttl: Duration) -> Result<Lease> {
        let tx = self.begin().await?;
        let done = self.renew_in(&tx, who, request, key, ttl).await;
        self.close(tx, done).await
    }

    async fn release(&self, who: &Identity, request: &ReleaseLeaseRequest, key: Key) -> Result<Lease> {
        let tx = self.begin().await?;
        let done = self.release_in(&tx, who, request, key).await;
        self.close(tx, done).await
    }

    async fn revoke(&self, who: &Identity, scope: Scope, request: &RevokeLeaseRequest, id: Uuid) -> Result<Lease> {
        let tx = self.begin().await?;
        let done = self.revoke_in(&tx, who, scope, request, id).await;
        self.close(tx, done).await
    }

    async fn revoke_account(&self, account_id: Uuid) -> Result<Option<Lease>> {
        let tx = self.begin().await?;
        let work = async {
            let held = lease::Entity::find().filter(lease::Column::LiveAccountId.eq(account_id)).lock_exclusive();
            let Some(row) = held.one(&*tx).await? else { return Ok(None) };
            let now = self.clock.now();
            let state = if row.expire_at <= now.millis() { State::Expired } else { State::Revoked };
            end(&*tx, row, state, now).await.map(|row| Some(from_row(row, now)))
        };
        let done = work.await.map_err(|error: DbErr| self.failed(&error));
        self.close(tx, done).await
    }

    async fn get(&self, scope: Scope, id: Uuid) -> Result<Option<Lease>> {
        let row = scoped(lease::Entity::find_by_id(id), scope).one(self.db.conn()).await;
        let Some(row) = row.map_err(|error| self.failed(&error))? else { return Ok(None) };
        let leases = self.budgeted(self.db.conn(), self.clock.now(), vec![row]).await;
        Ok(leases.map_err(|error| self.failed(&error))?.pop())
    }

    async fn list(&self, scope: Scope, filter: &Filter, after: Option<Uuid>, limit: u64) -> Result<Vec<Lease>> {
        use lease::Column;
        let now = self.clock.now();
        let mut select = scoped(lease::Entity::find(), scope);
        if let Some(account_id) = filter.account_id {
            select = select.filter(Column::AccountId.eq(account_id));
        }
        if let Some(after) = after {
            select = select.filter(Column::Id.lt(after));
        }
        let states = if filter.states.is_empty() { &[State::Active][..] } else { &filter.states };
        // A lease past its deadline is over, whether or not anybody wrote that down.
        let past = Column::State.eq(i32::from(State::Active)).and(Column::ExpireAt.lte(now.millis()));
        let any = states.iter().fold(sea_orm::Condition::any(), |any, state| match state {
            State::Active => any.add(Column::LiveAccountId.is_not_null().and(Column::ExpireAt.gt(now.millis()))),
            State::Expired => any.add(Column::State.eq(i32::from(State::Expired)).or(past.clone())),
            state => any.add(Column::State.eq(i32::from(*state))),
        });
        let rows = select.filter(any).order_by_desc(Column::Id).limit(limit).all(self.db.conn()).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        self.budgeted(self.db.conn(), now, rows).await.map_err(|error| self.failed(&error))
    }

    async fn live_of(&self, account_id: Uuid) -> Result<Option<Lease>> {
        let now = self.clock.now();
        let row = lease::Entity::find()
            .filter(lease::Column::LiveAccountId.eq(account_id))
            .filter(lease::Column::ExpireAt.gt(now.millis()))
            .one(self.db.conn())
            .await;
        Ok(row.map_err(|error| self.failed(&error))?.map(|row| from_row(row, now)))
    }

    async fn expire(&self) -> Result<Vec<Lease>> {
        use lease::Column;
        let now = self.clock.now();
        let past = || Column::LiveAccountId.is_not_null().and(Column::ExpireAt.lte(now.millis()));
        let any = lease::Entity::find().filter(past()).limit(1).one(self.db.conn()).await;
        if any.map_err(|error| self.failed(&error))?.is_none() {
            // The usual case costs one look, and takes no writer's turn.
            return Ok(Vec::new());
        }
        let tx = self.begin().await?;
        let work = async {
            let rows = lease::Entity::find()
                .filter(past())
                .limit(500)
                .lock_with_behavior(sea_orm::sea_query::LockType::Update, sea_orm::sea_query::LockBehavior::SkipLocked)
                .all(&*tx)
                .await?;
            let mut ended = Vec::with_capacity(rows.len());
            for row in rows {
                ended.push(from_row(end(&*tx, row, State::Expired, now).await?, now));
            }
            Ok(ended)
        };
        let done = work.await.map_err(|error: DbErr| self.failed(&error));
        self.close(tx, done).await
    }

    async fn changes(&self, scope: Scope, since: Option<i64>) -> Result<Changes> {
        use lease::Column;
        let work = async {
            let conn = self.db.conn();
            let position = revision::settled(conn, TABLE).await?;
            let now = self.clock.now();
            // A position beyond all is of a database that was put back since.
            let since = since.filter(|since| *since <= position);
            let select = scoped(lease::Entity::find(), scope);
            let select = match since {
                Some(since) if since == position => {
                    return Ok(Changes { leases: Vec::new(), snapshot: false, position });
                }
                Some(since) => select.filter(Column::Revision.gt(since).and(Column::Revision.lte(position))),
                None => select.filter(Column::LiveAccountId.is_not_null().and(Column::ExpireAt.gt(now.millis()))),
            };
            let rows = select.order_by_asc(Column::Id).all(conn).await?;
            let leases = self.budgeted(conn, now, rows).await?;
            Ok(Changes { leases, snapshot: since.is_none(), position })
        };
        work.await.map_err(|error: DbErr| self.failed(&error))
    }
}

impl SqlLeaseStore {
    /// Commits what succeeded, takes back what did not.
    async fn close<T>(&self, tx: Tx, done: Result<T>) -> Result<T> {
        match done {
            Ok(value) => {
                self.commit(tx).await?;
                Ok(value)
            }
            Err(error) => {
                tx.rollback().await.map_err(|error| self.failed(&error))?;
                Err(error)
            }
        }
    }
}

/// Ends a lease that is locked.
pub(super) async fn end(
    tx: &impl ConnectionTrait,
    mut row: lease::Model,
    state: State,
    now: Time,
) -> Result<lease::Model, DbErr> {
    use lease::Column;
    row.revision = revision::next(tx, TABLE).await?;
    row.state = state.into();
    row.live_account_id = None;
    row.ended_at = Some(if state == State::Expired { row.expire_at } else { now.millis() });
    lease::Entity::update_many()
        .col_expr(Column::State, Expr::value(row.state))
        .col_expr(Column::LiveAccountId, Expr::value(Option::<Uuid>::None))
        .col_expr(Column::EndedAt, Expr::value(row.ended_at))
        .col_expr(Column::Revision, Expr::value(row.revision))
        .filter(Column::Id.eq(row.id))
        .exec(tx)
        .await?;
    Ok(row)
}

/// Notes that an account was in use until now, whatever for. The account is locked.
pub(super) async fn use_slots(tx: &impl ConnectionTrait, account_id: Uuid, now: Time) -> Result<(), DbErr> {
    slot::Entity::update_many()
        .col_expr(slot::Column::LastUsedAt, Expr::value(now.millis()))
        .filter(slot::Column::AccountId.eq(account_id))
        .exec(tx)
        .await
        .map(|_| ())
}

/// The owner filter.
fn scoped(select: sea_orm::Select<lease::Entity>, scope: Scope) -> sea_orm::Select<lease::Entity> {
    match scope.workspace() {
        Some(workspace_id) => select.filter(lease::Column::WorkspaceId.eq(workspace_id)),
        None => select,
    }
}

pub(super) fn not_found(id: Uuid) -> Error {
    Error::plain(ErrorReason::LeaseNotFound, format!("there is no lease {id}"))
}

/// A lease as it is at `now`; without budget.
pub(super) fn from_row(row: lease::Model, now: Time) -> Lease {
    let state = State::try_from(row.state).unwrap_or_default();
    let past = state == State::Active && row.expire_at <= now.millis();
    Lease {
        id: row.id,
        workspace_id: row.workspace_id,
        account_id: row.account_id,
        user_id: row.user_id,
        token: row.fencing_token,
        state: if past { State::Expired } else { state },
        purpose: Purpose::try_from(row.purpose).unwrap_or_default(),
        chat_id: row.chat_id,
        holder: row.holder,
        work: row.work,
        acquired_at: Time::from_millis(row.acquired_at),
        expire_at: Time::from_millis(row.expire_at),
        revision: row.revision,
        budget: Vec::new(),
    }
}

/// A lease as a stored answer tells it.
pub(super) fn from_answer(who: &Identity, lease: Option<tgmesh_proto::lease::v1::Lease>) -> Result<Lease> {
    let lease = lease.ok_or_else(|| Error::internal("a stored answer has no lease"))?;
    let id = |id: &str| Uuid::parse_str(id).map_err(|error| Error::internal(format!("a stored answer: {error}")));
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().map_or(Time::ZERO, Time::from_proto);
    Ok(Lease {
        id: id(&lease.id)?,
        workspace_id: who.workspace_id,
        account_id: id(&lease.account_id)?,
        user_id: who.user_id,
        token: lease.fencing_token,
        state: lease.state(),
        purpose: lease.purpose(),
        chat_id: lease.chat_id,
        acquired_at: time(&lease.acquire_time),
        expire_at: time(&lease.expire_time),
        revision: 0,
        budget: lease.budget.iter().map(LimitUse::from_wire).collect(),
        holder: lease.holder,
        work: lease.work,
    })
}
