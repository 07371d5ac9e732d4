//! Selecting an account and taking it.

use sea_orm::sea_query::{Expr, ExprTrait as _, LockBehavior, LockType, Query, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait, Order, QueryFilter, QueryOrder as _,
    RuntimeErr,
};
use service_kit::clock::new_id;
use service_kit::db::{Tx, is_unique_violation};
use service_kit::invariants::LEASE_1;
use service_kit::requests::{Claim, Slot as Answer};
use service_kit::{Identity, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, AcquireLeaseResponse};
use uuid::Uuid;

use super::sql::{SqlLeaseStore, TABLE, end, from_answer, use_slots};
use super::sql_denial::Denial;
use super::store::{Acquired, Ask, Needs};
use super::{State, revision};
use crate::availability::{self, action_of};
use crate::entity::{account, chat_right, lease, slot};
use crate::error::{Error, Result};
use crate::quotas::Next;

/// Accounts looked at together.
const BATCH: u64 = 32;
/// How often an attempt that lost a race is made again. Each loss is another's
/// gain, so this is never reached by bad luck alone.
const ATTEMPTS: usize = 50;

/// An account that may do.
struct Candidate {
    account: account::Model,
    last_used_at: i64,
}

impl SqlLeaseStore {
    pub(super) async fn acquire_any(
        &self,
        who: &Identity,
        request: &AcquireLeaseRequest,
        ask: &Ask,
    ) -> Result<Acquired> {
        let mut looked_again = false;
        for _ in 0..ATTEMPTS {
            let tx = self.begin().await?;
            let claim = self.requests.claim(&*tx, who, "AcquireLease", request).await;
            let answer = match claim.map_err(|error| Error::request(&self.db, error))? {
                Claim::Repeat(AcquireLeaseResponse { lease }) => {
                    let lease = Box::new(from_answer(who, lease)?);
                    return Ok(Acquired::Taken { lease, unknown_rights: Vec::new(), fresh: false });
                }
                Claim::New(answer) => answer,
            };
            match self.take_any(&tx, who, ask, &answer).await {
                Ok(Some(taken)) => {
                    self.commit(tx).await?;
                    return Ok(taken);
                }
                Ok(None) => {
                    // Nothing was done: the request_id is free for the next attempt,
                    // and nobody waits while the reasons are counted.
                    tx.rollback().await.map_err(|error| self.failed(&error))?;
                    let denial = self.denial(self.db.conn(), who.workspace_id, ask).await;
                    let denial = denial.map_err(|error| self.failed(&error))?;
                    if denial.is_outdated && !looked_again {
                        looked_again = true;
                        continue;
                    }
                    let Denial { unavailable, mut unknown_rights, .. } = denial;
                    // Longest unused first.
                    unknown_rights.sort_unstable();
                    let unknown_rights = unknown_rights.into_iter().map(|(_, id)| id).collect();
                    return Ok(Acquired::Denied { unavailable, unknown_rights });
                }
                Err(error) if is_race(&error) => {
                    tx.rollback().await.map_err(|error| self.failed(&error))?;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Err(Error::plain(ErrorReason::Conflict, "others take accounts faster than this call can"))
    }

    async fn take_any(&self, tx: &Tx, who: &Identity, ask: &Ask, answer: &Answer) -> Result<Option<Acquired>, DbErr> {
        let needs = &ask.needs;
        let chat_id = (needs.chat_id != 0).then_some(needs.chat_id);
        if needs.rights != 0 && chat_id.is_none() {
            // What nobody knows, nobody is known to have a right in.
            return Ok(None);
        }
        // Accounts that somebody else's transaction holds for the moment: most
        // likely they are being taken, so they are waited for only at the end.
        let mut contested = Vec::new();
        let mut after = None;
        loop {
            let now = self.clock.now();
            let batch = self.candidates(tx, who.workspace_id, needs, now, after).await?;
            let Some(last) = batch.last() else { break };
            after = Some((last.last_used_at, last.account.id));
            let accounts: Vec<account::Model> = batch.into_iter().map(|candidate| candidate.account).collect();
            // The slots are an index; what decides is the truth.
            let action = action_of(needs.purpose);
            let found = availability::assess(&**tx, now, action, chat_id, &accounts, &self.defaults).await?;
            for found in found.into_iter().filter(|found| found.with_chat().ready == Next::Now) {
                if !self.lock_free(tx, found.account_id, now, true).await? {
                    contested.push(found);
                    continue;
                }
                return self.take(tx, who, ask, found, answer).await.map(Some);
            }
            if accounts.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                break;
            }
        }
        for found in contested {
            if self.lock_free(tx, found.account_id, self.clock.now(), false).await? {
                return self.take(tx, who, ask, found, answer).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Usable accounts that nobody holds, longest unused first, whatever their
    /// rights.
    fn usable(workspace_id: Uuid, needs: &Needs, now: Time) -> SelectStatement {
        use slot::Column;
        let mut select = Query::select();
        select
            .columns([Column::AccountId, Column::LastUsedAt])
            .from(slot::Entity)
            .and_where(Column::WorkspaceId.eq(workspace_id))
            .and_where(Column::Action.eq(i32::from(action_of(needs.purpose))))
            .and_where(Column::ReadyAt.lte(now.millis()))
            .and_where(Expr::not_exists(live(now, Expr::col((slot::Entity, Column::AccountId)))))
            .order_by(Column::LastUsedAt, Order::Asc)
            .order_by(Column::AccountId, Order::Asc);
        if !needs.any_of.is_empty() {
            select.and_where(Column::AccountId.is_in(needs.any_of.iter().copied()));
        }
        if !needs.none_of.is_empty() {
            select.and_where(Column::AccountId.is_not_in(needs.none_of.iter().copied()));
        }
        select
    }

    /// Usable accounts that nobody holds and that are known to have the rights,
    /// longest unused first.
    async fn candidates(
        &self,
        tx: &Tx,
        workspace_id: Uuid,
        needs: &Needs,
        now: Time,
        after: Option<(i64, Uuid)>,
    ) -> Result<Vec<Candidate>, DbErr> {
        use slot::Column;
        let mut select = Self::usable(workspace_id, needs, now);
        select.limit(BATCH);
        if needs.rights != 0 {
            let held = Expr::col((chat_right::Entity, chat_right::Column::Rights)).bit_and(needs.rights);
            let mut holding = self.known_rights(needs.chat_id, now);
            select.and_where(Expr::exists(holding.and_where(held.eq(needs.rights)).to_owned()));
        }
        if let Some((last_used_at, id)) = after {
            select.and_where(
                Column::LastUsedAt
                    .gt(last_used_at)
                    .or(Column::LastUsedAt.eq(last_used_at).and(Column::AccountId.gt(id))),
            );
        }
        let rows = tx.query_all(&select).await?;
        let order: Vec<(Uuid, i64)> = rows
            .iter()
            .map(|row| Ok((row.try_get("", "account_id")?, row.try_get("", "last_used_at")?)))
            .collect::<Result<_, DbErr>>()?;
        let ids = order.iter().map(|(id, _)| *id);
        let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(&**tx).await?;
        let mut accounts: std::collections::HashMap<Uuid, account::Model> =
            accounts.into_iter().map(|account| (account.id, account)).collect();
        Ok(order
            .into_iter()
            .filter_map(|(id, last_used_at)| Some(Candidate { account: accounts.remove(&id)?, last_used_at }))
            .collect())
    }

    /// The account that would go before `taken`, if only its rights were known:
    /// asked for them now, it has its turn the next time.
    async fn passed_over(&self, tx: &Tx, ask: &Ask, taken: Uuid, now: Time) -> Result<Option<Uuid>, DbErr> {
        use slot::Column;
        if ask.needs.rights == 0 {
            return Ok(None);
        }
        let action = i32::from(action_of(ask.needs.purpose));
        let Some(slot) = slot::Entity::find_by_id((taken, action)).one(&**tx).await? else { return Ok(None) };
        let mut select = Self::usable(slot.workspace_id, &ask.needs, now);
        select
            .limit(1)
            .and_where(Expr::not_exists(self.known_rights(ask.needs.chat_id, now)))
            .and_where(Column::AccountId.is_not_in(ask.obstacles.keys().copied()))
            .and_where(
                Column::LastUsedAt
                    .lt(slot.last_used_at)
                    .or(Column::LastUsedAt.eq(slot.last_used_at).and(Column::AccountId.lt(taken))),
            );
        tx.query_one(&select).await?.map(|row| row.try_get("", "account_id")).transpose()
    }

    /// What Telegram said lately of the rights of the slot's account in a chat.
    fn known_rights(&self, chat_id: i64, now: Time) -> SelectStatement {
        use chat_right::Column;
        let account = Expr::col((slot::Entity, slot::Column::AccountId));
        Query::select()
            .expr(Expr::value(1))
            .from(chat_right::Entity)
            .and_where(Expr::col((chat_right::Entity, Column::AccountId)).eq(account))
            .and_where(Column::ChatId.eq(chat_id))
            .and_where(Column::CheckedAt.gt((now - self.rights_life).millis()))
            .to_owned()
    }

    /// Locks an account, if it is free still. Without `skip` waits for whoever
    /// has it locked.
    async fn lock_free(&self, tx: &Tx, account_id: Uuid, now: Time, skip: bool) -> Result<bool, DbErr> {
        let mut select = Query::select();
        select
            .column(account::Column::Id)
            .from(account::Entity)
            .and_where(account::Column::Id.eq(account_id))
            .and_where(Expr::not_exists(live(now, Expr::col((account::Entity, account::Column::Id)))));
        if skip {
            select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        } else {
            select.lock(LockType::Update);
        }
        Ok(tx.query_one(&select).await?.is_some())
    }

    /// Takes an account that is locked. Fails with a unique violation when
    /// somebody took it between the look and the lock.
    async fn take(
        &self,
        tx: &Tx,
        who: &Identity,
        ask: &Ask,
        found: availability::Assessment,
        answer: &Answer,
    ) -> Result<Acquired, DbErr> {
        let (account_id, needs) = (found.account_id, &ask.needs);
        let now = self.clock.now();
        // A lease past its deadline that nobody has marked yet makes way.
        let past = lease::Entity::find()
            .filter(lease::Column::LiveAccountId.eq(account_id))
            .filter(lease::Column::ExpireAt.lte(now.millis()))
            .one(&**tx)
            .await?;
        if let Some(past) = past {
            end(&**tx, past, State::Expired, now).await?;
        }
        let next = Query::update()
            .table(account::Entity)
            .value(account::Column::FencingToken, Expr::col((account::Entity, account::Column::FencingToken)).add(1))
            .and_where(account::Column::Id.eq(account_id))
            .returning_col(account::Column::FencingToken)
            .to_owned();
        let row = tx.query_one(&next).await?;
        let token: i64 = row
            .ok_or_else(|| DbErr::RecordNotFound("the account vanished".to_owned()))?
            .try_get("", "fencing_token")?;
        let row = lease::Model {
            id: new_id(&*self.clock),
            workspace_id: who.workspace_id,
            account_id,
            user_id: who.user_id,
            live_account_id: Some(account_id),
            fencing_token: token,
            state: State::Active.into(),
            purpose: needs.purpose.into(),
            chat_id: needs.chat_id,
            holder: ask.holder.clone(),
            work: ask.work.clone(),
            acquired_at: now.millis(),
            expire_at: (now + ask.ttl).millis(),
            ended_at: None,
            revision: revision::next(&**tx, TABLE).await?,
        };
        lease::Entity::insert(insertable(&row)).exec_without_returning(&**tx).await?;
        // The index forbids it; this is how anybody would learn that it does not.
        let before = lease::Entity::find()
            .filter(lease::Column::AccountId.eq(account_id))
            .filter(lease::Column::Id.ne(row.id))
            .order_by_desc(lease::Column::Id)
            .one(&**tx)
            .await?;
        if let Some(before) = before {
            let over = before.state != i32::from(State::Active) || before.expire_at <= now.millis();
            LEASE_1.check(over, || format!("account {account_id}: lease {} was taken beside {}", row.id, before.id));
        }
        let unknown_rights = self.passed_over(tx, ask, account_id, now).await?.into_iter().collect();
        use_slots(&**tx, account_id, now).await?;
        let mut lease = super::sql::from_row(row, now);
        lease.budget = found.uses;
        answer.answer(&**tx, &AcquireLeaseResponse { lease: Some(lease.to_wire()) }).await?;
        Ok(Acquired::Taken { lease: Box::new(lease), unknown_rights, fresh: true })
    }
}

/// A lease that holds the account at `now`.
fn live(now: Time, account_id: Expr) -> SelectStatement {
    use lease::Column;
    Query::select()
        .expr(Expr::value(1))
        .from(lease::Entity)
        .and_where(Expr::col((lease::Entity, Column::LiveAccountId)).eq(account_id))
        .and_where(Column::ExpireAt.gt(now.millis()))
        .to_owned()
}

fn insertable(row: &lease::Model) -> lease::ActiveModel {
    lease::ActiveModel {
        id: Set(row.id),
        workspace_id: Set(row.workspace_id),
        account_id: Set(row.account_id),
        user_id: Set(row.user_id),
        live_account_id: Set(row.live_account_id),
        fencing_token: Set(row.fencing_token),
        state: Set(row.state),
        purpose: Set(row.purpose),
        chat_id: Set(row.chat_id),
        holder: Set(row.holder.clone()),
        work: Set(row.work.clone()),
        acquired_at: Set(row.acquired_at),
        expire_at: Set(row.expire_at),
        ended_at: Set(row.ended_at),
        revision: Set(row.revision),
    }
}

/// Whether another transaction was faster: it has the account, or the two
/// waited for each other.
fn is_race(error: &DbErr) -> bool {
    if is_unique_violation(error) {
        return true;
    }
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
            // deadlock_detected, serialization_failure
            matches!(code.as_deref(), Some("40P01" | "40001"))
        }
        _ => false,
    }
}
