//! The one door of users to `parse_tasks`: nothing passes without its owner.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, ExprTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use serde::Serialize;
use service_kit::Time;
use tgmesh_proto::parsing::v1::parse_task::State;
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use super::state::{Event, has_ended};
use crate::error::Error;
use crate::results;

/// Which tasks a list shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListFilter {
    /// In these states; all when empty.
    pub states: Vec<i32>,
    /// Of these kinds; all when empty.
    pub kinds: Vec<i32>,
    /// With results.
    pub with_results: bool,
}

/// Stores new tasks.
pub async fn insert(conn: &impl ConnectionTrait, tasks: &[Model]) -> Result<(), DbErr> {
    let rows = tasks.iter().cloned().map(Model::into_active_model);
    Entity::insert_many(rows).exec_without_returning(conn).await.map(|_| ())
}

/// A task of this owner.
pub async fn find(conn: &impl ConnectionTrait, owner: Uuid, id: Uuid) -> Result<Model, Error> {
    let found = Entity::find_by_id(id).filter(Column::WorkspaceId.eq(owner)).one(conn).await?;
    found.ok_or(Error::TaskNotFound)
}

/// Tasks of this owner, newest first.
pub async fn list(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    filter: &ListFilter,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find().filter(Column::WorkspaceId.eq(owner));
    if !filter.states.is_empty() {
        query = query.filter(Column::State.is_in(filter.states.iter().copied()));
    }
    if !filter.kinds.is_empty() {
        query = query.filter(Column::Kind.is_in(filter.kinds.iter().copied()));
    }
    if filter.with_results {
        query = query.filter(Column::ResultCount.gt(0));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after));
    }
    query.order_by_desc(Column::Id).limit(limit).all(conn).await
}

/// Makes an event happen, if the state allows it: one conditional update.
pub async fn transition(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    id: Uuid,
    event: Event,
    now: Time,
) -> Result<Model, Error> {
    let to = event.to().ok_or(Error::Stored("state"))?;
    let mut update = Entity::update_many()
        .col_expr(Column::State, Expr::value(to as i32))
        .col_expr(Column::ClaimOwner, Expr::value(Option::<Uuid>::None))
        .col_expr(Column::ClaimUntil, Expr::value(Option::<i64>::None))
        .col_expr(Column::RunAfter, Expr::value(0_i64))
        .col_expr(Column::Strikes, Expr::value(0))
        .col_expr(Column::WaitingReason, Expr::value(0))
        .col_expr(Column::WaitingUntil, Expr::value(Option::<i64>::None))
        .col_expr(Column::WaitingDetail, Expr::value(String::new()))
        .col_expr(Column::UpdatedAt, Expr::value(now.millis()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1));
    if has_ended(to) {
        update = update.col_expr(Column::EndedAt, Expr::value(Some(now.millis())));
    }
    let changed = update
        .filter(Column::WorkspaceId.eq(owner))
        .filter(Column::Id.eq(id))
        .filter(Column::State.is_in(event.from().iter().map(|state| *state as i32)))
        .exec_with_returning(conn)
        .await?;
    match changed.into_iter().next() {
        Some(task) => Ok(task),
        None => Err(refusal(find(conn, owner, id).await?)),
    }
}

/// Deletes a task that has ended, with its results.
pub async fn delete(conn: &impl ConnectionTrait, owner: Uuid, id: Uuid) -> Result<(), Error> {
    let deleted = Entity::delete_many()
        .filter(Column::WorkspaceId.eq(owner))
        .filter(Column::Id.eq(id))
        .filter(Column::State.is_in(Event::Delete.from().iter().map(|state| *state as i32)))
        .exec(conn)
        .await?;
    if deleted.rows_affected == 0 {
        return Err(refusal(find(conn, owner, id).await?));
    }
    results::store::delete(conn, owner, id).await?;
    Ok(())
}

fn refusal(task: Model) -> Error {
    State::try_from(task.state).map_or(Error::Stored("state"), Error::StateWrong)
}
