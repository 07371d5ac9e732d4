//! The engine's door to `parse_tasks`. It serves all workspaces; what it writes
//! is fenced: only the engine that holds the newest claim on a running task gets
//! through, so a runner that was taken over, paused or cancelled changes nothing.

use std::time::Duration;

use prost::Message as _;
use sea_orm::sea_query::{Expr, LockBehavior, LockType, Query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, ExprTrait as _, QueryFilter as _, QuerySelect as _,
    UpdateMany,
};
use service_kit::Time;
use service_kit::db::Db;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::waiting;
use tgmesh_proto::telegram::v1::Chat;
use uuid::Uuid;

use crate::person::clean;
use crate::tasks::entity::{Column, Entity, Model};
use crate::tasks::state::Event;

/// Why a runner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The task is not this runner's any more.
    #[error("the task was paused, cancelled, or taken over")]
    Fenced,
    /// The database failed.
    #[error("the database failed: {0}")]
    Db(#[from] DbErr),
}

/// Takes up to `limit` tasks by priority, then age. Those of an engine that died
/// are taken once its claim has run out.
pub async fn claim(
    db: &Db,
    owner: Uuid,
    here: &[Uuid],
    now: Time,
    ttl: Duration,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let free = || {
        Query::select()
            .column(Column::Id)
            .from(Entity)
            .and_where(Column::State.is_in(Event::Start.from().iter().map(|state| *state as i32)))
            .and_where(Column::RunAfter.lte(now.millis()))
            .and_where(Column::ClaimOwner.is_null().or(Column::ClaimUntil.lt(now.millis())))
            // A claim of ours may have run out while the database was away.
            .and_where(Column::Id.is_not_in(here.iter().copied()))
            .order_by(Column::Priority, sea_orm::Order::Asc)
            .order_by(Column::CreatedAt, sea_orm::Order::Asc)
            .order_by(Column::Id, sea_orm::Order::Asc)
            .limit(limit)
            .to_owned()
    };
    // A look costs no write lock; most find nothing.
    if db.conn().query_all(&free()).await?.is_empty() {
        return Ok(Vec::new());
    }
    let tx = db.begin().await?;
    let mut locked = free();
    locked.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let pending = Expr::col(Column::State).eq(State::Pending as i32);
    let mut tasks = Entity::update_many()
        .col_expr(
            Column::Version,
            Expr::case(pending.clone(), Expr::col(Column::Version).add(1)).finally(Expr::col(Column::Version)).into(),
        )
        .col_expr(Column::UpdatedAt, Expr::case(pending, now.millis()).finally(Expr::col(Column::UpdatedAt)).into())
        .col_expr(Column::State, Expr::value(State::Running as i32))
        .col_expr(Column::ClaimOwner, Expr::value(Some(owner)))
        .col_expr(Column::ClaimEpoch, Expr::col(Column::ClaimEpoch).add(1))
        .col_expr(Column::ClaimUntil, Expr::value(Some((now + ttl).millis())))
        .col_expr(
            Column::StartedAt,
            Expr::case(Expr::col(Column::StartedAt).is_null(), now.millis())
                .finally(Expr::col(Column::StartedAt))
                .into(),
        )
        .filter(Column::Id.in_subquery(locked))
        .exec_with_returning(&*tx)
        .await?;
    tx.commit().await?;
    tasks.sort_by_key(|task| (task.priority, task.created_at, task.id));
    Ok(tasks)
}

/// The tasks that this engine may go on with.
pub async fn held(db: &Db, owner: Uuid) -> Result<Vec<Uuid>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ClaimOwner.eq(owner))
        .filter(Column::State.eq(State::Running as i32))
        .into_tuple()
        .all(db.conn())
        .await
}

/// Keeps this engine's claims.
pub async fn renew(db: &Db, owner: Uuid, until: Time) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    Entity::update_many()
        .col_expr(Column::ClaimUntil, Expr::value(Some(until.millis())))
        .filter(Column::ClaimOwner.eq(owner))
        .filter(Column::State.eq(State::Running as i32))
        .exec(&*tx)
        .await?;
    tx.commit().await
}

/// An update that only the holder of the claim gets through.
pub fn fenced(task: &Model) -> UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::Id.eq(task.id))
        .filter(Column::ClaimOwner.eq(task.claim_owner))
        .filter(Column::ClaimEpoch.eq(task.claim_epoch))
        .filter(Column::State.eq(State::Running as i32))
}

/// Runs a fenced update.
pub async fn apply(conn: &impl ConnectionTrait, update: UpdateMany<Entity>) -> Result<(), Lost> {
    let done = update.exec(conn).await?;
    if done.rows_affected == 1 { Ok(()) } else { Err(Lost::Fenced) }
}

async fn apply_alone(db: &Db, update: UpdateMany<Entity>) -> Result<(), Lost> {
    let tx = db.begin().await?;
    apply(&*tx, update).await?;
    tx.commit().await?;
    Ok(())
}

/// Marks the row as changed, for watches and etags.
pub fn changed(update: UpdateMany<Entity>, now: Time) -> UpdateMany<Entity> {
    update
        .col_expr(Column::UpdatedAt, Expr::value(now.millis()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
}

/// Ends the claim with this update.
pub fn released(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::ClaimOwner, Expr::value(Option::<Uuid>::None))
        .col_expr(Column::ClaimUntil, Expr::value(Option::<i64>::None))
}

/// Why a task waits.
#[derive(Debug, Clone)]
pub struct Wait {
    /// Why.
    pub reason: waiting::Reason,
    /// Until when, if anybody can tell.
    pub until: Option<Time>,
    /// In one line.
    pub detail: String,
}

/// Says why a task waits, or that it does not.
pub fn waiting_columns(update: UpdateMany<Entity>, wait: Option<&Wait>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::WaitingReason, Expr::value(wait.map_or(0, |wait| wait.reason as i32)))
        .col_expr(Column::WaitingUntil, Expr::value(wait.and_then(|wait| wait.until).map(Time::millis)))
        .col_expr(Column::WaitingDetail, Expr::value(wait.map_or_else(String::new, |wait| clean(wait.detail.clone()))))
}

/// Says that the running task waits, or does not any more.
pub async fn set_waiting(db: &Db, task: &Model, wait: Option<&Wait>, now: Time) -> Result<(), Lost> {
    apply_alone(db, waiting_columns(changed(fenced(task), now), wait)).await
}

/// Keeps what the chat behind the source looks like.
pub async fn set_chat(db: &Db, task: &Model, chat: &Chat, now: Time) -> Result<(), Lost> {
    let update = fenced(task).col_expr(Column::Chat, Expr::value(Some(chat.encode_to_vec())));
    apply_alone(db, waiting_columns(changed(update, now), None)).await
}

/// Lets go of a task until later; any engine may take it then.
pub async fn defer(db: &Db, task: &Model, wait: &Wait, run_after: Time, now: Time) -> Result<(), Lost> {
    let update = fenced(task)
        .col_expr(Column::RunAfter, Expr::value(run_after.millis()))
        .col_expr(Column::Strikes, Expr::col(Column::Strikes).add(1));
    apply_alone(db, released(waiting_columns(changed(update, now), Some(wait)))).await
}

/// Lets go of a task; any engine may take it at once.
pub async fn release(db: &Db, task: &Model) -> Result<(), Lost> {
    let update = fenced(task).col_expr(Column::RunAfter, Expr::value(0_i64));
    apply_alone(db, released(update)).await
}

/// The columns of an end.
pub fn ended(update: UpdateMany<Entity>, event: Event, now: Time) -> UpdateMany<Entity> {
    let to = event.to().map_or(0, |state| state as i32);
    let update = update
        .col_expr(Column::State, Expr::value(to))
        .col_expr(Column::EndedAt, Expr::value(Some(now.millis())))
        .filter(Column::State.is_in(event.from().iter().map(|state| *state as i32)));
    released(waiting_columns(update, None))
}

/// Ends a task that cannot go on.
pub async fn fail(db: &Db, task: &Model, reason: &str, detail: &str, now: Time) -> Result<(), Lost> {
    let update = changed(fenced(task), now)
        .col_expr(Column::FailureReason, Expr::value(reason.to_owned()))
        .col_expr(Column::FailureDetail, Expr::value(clean(detail.to_owned())));
    apply_alone(db, ended(update, Event::Fail, now)).await
}
