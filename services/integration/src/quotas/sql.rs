//! Quotas with their counts in the service's database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt as _;
use rand::rngs::StdRng;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel as _, QueryFilter,
};
use service_kit::Time;
use service_kit::clock::{SharedClock, new_id};
use service_kit::db::{Db, Tx};
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::quota::v1::usage_entry::State;
use uuid::Uuid;

use super::Exceeded;
use super::ledger;
use super::limits::{Limits, Range};
use super::rules::{self, LimitUse, Pace};
use super::store::{Ask, QuotaStore, Reservation, Settlement};
use crate::accounts::state::usable;
use crate::availability::{self, LEASABLE, subject};
use crate::entity::{account, pace, usage_entry};
use crate::error::{Error, Result};

/// Stands in an entry whose outcome nobody knows.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// The store.
#[derive(Debug)]
pub struct SqlQuotaStore {
    db: Db,
    clock: SharedClock,
    defaults: Arc<Limits>,
    rng: Mutex<StdRng>,
}

impl SqlQuotaStore {
    /// Over the service's database.
    pub fn new(db: Db, clock: SharedClock, defaults: Arc<Limits>, rng: StdRng) -> Self {
        Self { db, clock, defaults, rng: Mutex::new(rng) }
    }

    fn failed(&self, error: &DbErr) -> Error {
        Error::database(&self.db, error)
    }

    fn draw(&self, range: Option<Range>) -> Duration {
        let Some(range) = range else { return Duration::ZERO };
        let mut rng = self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rng.random_range(range.shortest..=range.longest.max(range.shortest))
    }

    async fn reserve_in(&self, tx: &Tx, ask: &Ask) -> Result<Result<Reservation>, DbErr> {
        let account = availability::lock(&**tx, ask.account_id).await?;
        let Some(account) = account.filter(|account| account.workspace_id == ask.workspace_id) else {
            return Ok(Err(Error::account_not_found(ask.account_id)));
        };
        // Read once the account is ours: while it was not, time passed.
        let now = self.clock.now();
        let held = availability::restrictions(&**tx, now, vec![account.id]).await?;
        if ask.lease.is_some()
            && let Err(error) = usable(&account, &held, now, false)
        {
            return Ok(Err(error));
        }
        if let Some(held) = availability::forbidding(&held, ask.action, now) {
            return Ok(Err(Error::restricted_by(held, now)));
        }
        let subject = subject(&account);
        let mut limits = ledger::effective(&**tx, &self.defaults, &[subject]).await?;
        let limits = limits.remove(&account.id).unwrap_or_default();
        let chat_id = (ask.chat_id != 0).then_some(ask.chat_id);
        let counts = ledger::counts_of(&**tx, now, ask.action, chat_id, subject, &limits).await?;
        if let Some(exceeded) = Exceeded::of(&rules::uses(&limits, ask.action, &counts, now), now) {
            // What an earlier call began is not forbidden, whatever is left now.
            return match self.begun(tx, ask, &account).await? {
                Some(begun) => Ok(Ok(begun)),
                None => Ok(Err(Error::Quota(Box::new(exceeded)))),
            };
        }

        let id = ask.id.unwrap_or_else(|| new_id(&*self.clock));
        let entry = usage_entry::ActiveModel {
            id: Set(id),
            telegram_user_id: Set(account.telegram_user_id),
            account_id: Set(account.id),
            workspace_id: Set(account.workspace_id),
            action: Set(i32::from(ask.action)),
            chat_id: Set(ask.chat_id),
            state: Set(i32::from(State::Reserved)),
            success: Set(false),
            method: Set(ask.method.to_owned()),
            telegram_error: Set(String::new()),
            lease_id: Set(ask.lease.map(|(id, _)| id)),
            fencing_token: Set(ask.lease.map_or(0, |(_, token)| token)),
            reserved_at: Set(now.millis()),
            settled_at: Set(None),
        };
        if insert(tx, entry.clone()).await? == 0 {
            if let Some(begun) = self.begun(tx, ask, &account).await? {
                return Ok(Ok(begun));
            }
            insert(tx, entry).await?;
        }
        let mut moved = None;
        if rules::is_paced(&limits, ask.action) {
            let after = rules::next_pace(&limits.invite, counts.pace, now, self.draw(limits.invite.interval));
            set_pace(&**tx, account.telegram_user_id, ask.action, after).await?;
            moved = Some((counts.pace, after));
        }
        self.refresh(tx, now, &account, ask.action, &limits).await?;
        Ok(Ok(Reservation {
            id,
            workspace_id: account.workspace_id,
            account_id: account.id,
            telegram_user_id: account.telegram_user_id,
            action: ask.action,
            reserved_at: now,
            begun: false,
            pace: moved,
        }))
    }

    /// The reservation that an earlier call under this id made, if nobody knows
    /// what became of it. One that was settled stands for another try: it keeps
    /// its place in the ledger, under an id of its own.
    async fn begun(&self, tx: &Tx, ask: &Ask, account: &account::Model) -> Result<Option<Reservation>, DbErr> {
        use usage_entry::Column;
        let Some(id) = ask.id else { return Ok(None) };
        let Some(entry) = usage_entry::Entity::find_by_id(id).one(&**tx).await? else { return Ok(None) };
        let open = entry.state == i32::from(State::Reserved) || entry.telegram_error == OUTCOME_UNKNOWN;
        if open && entry.account_id == account.id {
            return Ok(Some(Reservation {
                id,
                workspace_id: account.workspace_id,
                account_id: account.id,
                telegram_user_id: account.telegram_user_id,
                action: ask.action,
                reserved_at: Time::from_millis(entry.reserved_at),
                begun: true,
                pace: None,
            }));
        }
        usage_entry::Entity::update_many()
            .col_expr(Column::Id, Expr::value(new_id(&*self.clock)))
            .filter(Column::Id.eq(id))
            .exec(&**tx)
            .await?;
        Ok(None)
    }

    /// Recomputes the slot that an entry of the ledger changes, if there is one.
    async fn refresh(
        &self,
        tx: &Tx,
        now: Time,
        account: &account::Model,
        action: Action,
        limits: &Limits,
    ) -> Result<(), DbErr> {
        if !LEASABLE.iter().any(|(_, leasable)| *leasable == action) || !rules::is_limited(limits, action) {
            return Ok(());
        }
        let accounts = std::slice::from_ref(account);
        for found in availability::assess(&**tx, now, action, None, accounts, &self.defaults).await? {
            availability::store(&**tx, account, action, found.slot).await?;
        }
        Ok(())
    }

    async fn settle_in(&self, tx: &Tx, reservation: &Reservation, settlement: &Settlement) -> Result<(), DbErr> {
        use usage_entry::Column;
        if reservation.begun && *settlement == Settlement::GivenBack {
            // What the earlier call did with it, nobody knows.
            return Ok(());
        }
        // The account first, as everywhere: two who lock in different orders wait for ever.
        let account = match settlement {
            Settlement::GivenBack => availability::lock(&**tx, reservation.account_id).await?,
            Settlement::Counted { .. } | Settlement::Unknown => None,
        };
        let now = self.clock.now();
        let (state, error, success) = match settlement {
            Settlement::Counted { telegram_error, success } => (State::Counted, telegram_error.as_str(), *success),
            Settlement::Unknown => (State::Counted, OUTCOME_UNKNOWN, true),
            Settlement::GivenBack => (State::GivenBack, "", false),
        };
        let done = usage_entry::Entity::update_many()
            .col_expr(Column::State, Expr::value(i32::from(state)))
            .col_expr(Column::TelegramError, Expr::value(error))
            .col_expr(Column::Success, Expr::value(success))
            .col_expr(Column::SettledAt, Expr::value(now.millis()))
            .filter(Column::Id.eq(reservation.id))
            .filter(Column::State.eq(i32::from(State::Reserved)).or(Column::TelegramError.eq(OUTCOME_UNKNOWN)))
            .exec(&**tx)
            .await?;
        if done.rows_affected == 0 || *settlement != Settlement::GivenBack {
            return Ok(());
        }
        if let Some((before, after)) = reservation.pace {
            restore_pace(&**tx, reservation, before, after).await?;
        }
        match account {
            Some(account) => self.refresh_of(tx, now, &account, reservation.action).await,
            None => Ok(()),
        }
    }

    async fn count_again_in(&self, tx: &Tx, reservation: &Reservation, telegram_error: &str) -> Result<(), DbErr> {
        let account = availability::lock(&**tx, reservation.account_id).await?;
        let now = self.clock.now();
        let Some(entry) = usage_entry::Entity::find_by_id(reservation.id).one(&**tx).await? else { return Ok(()) };
        let again = usage_entry::Model {
            id: new_id(&*self.clock),
            state: i32::from(State::Counted),
            success: false,
            telegram_error: telegram_error.to_owned(),
            settled_at: Some(now.millis()),
            ..entry
        };
        usage_entry::Entity::insert(again.into_active_model().reset_all()).exec_without_returning(&**tx).await?;
        match account {
            Some(account) => self.refresh_of(tx, now, &account, reservation.action).await,
            None => Ok(()),
        }
    }

    /// [`Self::refresh`] by the limits in force.
    async fn refresh_of(&self, tx: &Tx, now: Time, account: &account::Model, action: Action) -> Result<(), DbErr> {
        let limits = ledger::effective(&**tx, &self.defaults, &[subject(account)]).await?;
        match limits.get(&account.id) {
            Some(limits) => self.refresh(tx, now, account, action, limits).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl QuotaStore for SqlQuotaStore {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        let tx = self.db.begin().await.map_err(|error| self.failed(&error))?;
        match self.reserve_in(&tx, ask).await.map_err(|error| self.failed(&error))? {
            Ok(reservation) => {
                tx.commit().await.map_err(|error| self.failed(&error))?;
                Ok(reservation)
            }
            Err(refusal) => {
                tx.rollback().await.map_err(|error| self.failed(&error))?;
                Err(refusal)
            }
        }
    }

    async fn settle(&self, tx: &Tx, reservation: &Reservation, settlement: &Settlement) -> Result<()> {
        self.settle_in(tx, reservation, settlement).await.map_err(|error| self.failed(&error))
    }

    async fn count_again(&self, reservation: &Reservation, telegram_error: &str) -> Result<()> {
        let tx = self.db.begin().await.map_err(|error| self.failed(&error))?;
        self.count_again_in(&tx, reservation, telegram_error).await.map_err(|error| self.failed(&error))?;
        tx.commit().await.map_err(|error| self.failed(&error))
    }

    async fn reconciled(&self, tx: &Tx, entry_id: Uuid, success: bool) -> Result<()> {
        use usage_entry::Column;
        usage_entry::Entity::update_many()
            .col_expr(Column::TelegramError, Expr::value(""))
            .col_expr(Column::Success, Expr::value(success))
            .filter(Column::Id.eq(entry_id))
            .filter(Column::TelegramError.eq(OUTCOME_UNKNOWN))
            .exec(&**tx)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    async fn uses(
        &self,
        accounts: &[account::Model],
        action: Action,
        chat_id: Option<i64>,
    ) -> Result<Vec<Vec<LimitUse>>> {
        uses(self.db.conn(), self.clock.now(), &self.defaults, accounts, action, chat_id)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn settle_lost(&self, before: Time) -> Result<u64> {
        use usage_entry::Column;
        let done = usage_entry::Entity::update_many()
            .col_expr(Column::State, Expr::value(i32::from(State::Counted)))
            .col_expr(Column::TelegramError, Expr::value(OUTCOME_UNKNOWN))
            .col_expr(Column::Success, Expr::value(true))
            .col_expr(Column::SettledAt, Expr::value(self.clock.now().millis()))
            .filter(Column::State.eq(i32::from(State::Reserved)))
            .filter(Column::ReservedAt.lt(before.millis()))
            .exec(self.db.conn())
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(done.rows_affected)
    }
}

/// The limits of an action and their use, per account, in their order.
pub(crate) async fn uses(
    conn: &impl ConnectionTrait,
    now: Time,
    defaults: &Limits,
    accounts: &[account::Model],
    action: Action,
    chat_id: Option<i64>,
) -> Result<Vec<Vec<LimitUse>>, DbErr> {
    let subjects: Vec<_> = accounts.iter().map(subject).collect();
    let limits = ledger::effective(conn, defaults, &subjects).await?;
    let limited: Vec<_> =
        subjects.iter().filter_map(|subject| Some((*subject, limits.get(&subject.account_id)?))).collect();
    let counts = ledger::counts(conn, now, action, chat_id, &limited).await?;
    Ok(subjects
        .iter()
        .map(|subject| match (limits.get(&subject.account_id), counts.get(&subject.telegram_user_id)) {
            (Some(limits), Some(counts)) => rules::uses(limits, action, counts, now),
            _ => Vec::new(),
        })
        .collect())
}

/// Writes an entry, unless there is one under its id: answers how many.
async fn insert(tx: &Tx, entry: usage_entry::ActiveModel) -> Result<u64, DbErr> {
    let unless_there = OnConflict::column(usage_entry::Column::Id).do_nothing().to_owned();
    match usage_entry::Entity::insert(entry).on_conflict(unless_there).exec_without_returning(&**tx).await {
        Err(DbErr::RecordNotInserted) => Ok(0),
        inserted => inserted,
    }
}

async fn set_pace(conn: &impl ConnectionTrait, user: i64, action: Action, to: Pace) -> Result<(), DbErr> {
    use pace::Column;
    let row = pace::ActiveModel {
        telegram_user_id: Set(user),
        action: Set(i32::from(action)),
        last_at: Set(to.last_at.millis()),
        next_at: Set(to.next_at.millis()),
        since_pause: Set(i32::try_from(to.since_pause).unwrap_or(i32::MAX)),
    };
    pace::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::TelegramUserId, Column::Action])
                .update_columns([Column::LastAt, Column::NextAt, Column::SincePause])
                .to_owned(),
        )
        .exec_without_returning(conn)
        .await
        .map(|_| ())
}

/// Puts the pace back as the reservation found it, unless something newer moved it.
async fn restore_pace(
    conn: &impl ConnectionTrait,
    reservation: &Reservation,
    before: Option<Pace>,
    after: Pace,
) -> Result<(), DbErr> {
    let (user, action) = (reservation.telegram_user_id, reservation.action);
    let row = pace::Entity::find_by_id((user, i32::from(action))).one(conn).await?;
    if row.as_ref().map(ledger::pace_of) != Some(after) {
        return Ok(());
    }
    match before {
        Some(before) => set_pace(conn, user, action, before).await,
        None => pace::Entity::delete_by_id((user, i32::from(action))).exec(conn).await.map(|_| ()),
    }
}
