//! The one door to contacts: nothing passes without its owner.

use std::collections::HashSet;

use sea_orm::sea_query::{Expr, LikeExpr, OnConflict, Query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, ExprTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _,
};
use service_kit::SharedClock;
use service_kit::clock::new_id;
use uuid::Uuid;

use super::entity::{Column, Entity, Model, accounts};
use crate::error::Error;
use crate::person::{Person, search_pattern};
use crate::results;
use crate::rows::{filled, pieces};

/// Stores people as contacts, and answers how many of them were not known before.
///
/// Rows are written in the order of their ids, so that two tasks that find the
/// same people wait for each other, and never both at once.
pub async fn record(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    people: &[Person],
    clock: &SharedClock,
) -> Result<i64, DbErr> {
    let now = clock.now().millis();
    let mut people: Vec<&Person> = people.iter().collect();
    people.sort_unstable_by_key(|person| person.user_id);
    let mut new = 0;
    for chunk in pieces(&people) {
        let rows: Vec<Model> = chunk.iter().map(|person| row(owner, person, new_id(&**clock), now)).collect();
        let added = insert_new(conn, &rows).await?;
        new += i64::try_from(added.len()).unwrap_or(i64::MAX);
        let known: Vec<Model> = rows.into_iter().filter(|row| !added.contains(&row.user_id)).collect();
        refresh(conn, known).await?;
    }
    references(conn, owner, &people, now).await?;
    Ok(new)
}

/// Adds to known contacts that another account sees them.
pub async fn record_accounts(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    people: &[Person],
    clock: &SharedClock,
) -> Result<(), DbErr> {
    let mut people: Vec<&Person> = people.iter().collect();
    people.sort_unstable_by_key(|person| person.user_id);
    references(conn, owner, &people, clock.now().millis()).await
}

fn row(owner: Uuid, person: &Person, id: Uuid, now: i64) -> Model {
    Model {
        workspace_id: owner,
        user_id: person.user_id,
        id,
        first_found_at: now,
        last_found_at: now,
        username: person.username.clone(),
        first_name: person.first_name.clone(),
        last_name: person.last_name.clone(),
        phone: person.phone.clone(),
        bot: person.bot,
        deleted: person.deleted,
        premium: person.premium,
        admin: person.admin,
        last_seen: person.last_seen,
        last_seen_at: person.last_seen_at.map(service_kit::Time::millis),
        search_text: person.search_text(),
    }
}

/// Inserts those that are not there, and answers whom.
async fn insert_new(conn: &impl ConnectionTrait, rows: &[Model]) -> Result<HashSet<i64>, DbErr> {
    let statement = Entity::insert_many(rows.iter().cloned().map(Model::into_active_model))
        .into_query()
        .on_conflict(OnConflict::columns([Column::WorkspaceId, Column::UserId]).do_nothing().to_owned())
        .returning(Query::returning().column(Column::UserId))
        .to_owned();
    conn.query_all(&statement).await?.iter().map(|row| row.try_get("", "user_id")).collect()
}

/// Updates those that are there to how they are seen now.
async fn refresh(conn: &impl ConnectionTrait, rows: Vec<Model>) -> Result<(), DbErr> {
    let seen = [
        Column::LastFoundAt,
        Column::Username,
        Column::FirstName,
        Column::LastName,
        Column::Phone,
        Column::Bot,
        Column::Deleted,
        Column::Premium,
        Column::Admin,
        Column::LastSeen,
        Column::LastSeenAt,
        Column::SearchText,
    ];
    let conflict = OnConflict::columns([Column::WorkspaceId, Column::UserId]).update_columns(seen).to_owned();
    for chunk in pieces(&rows) {
        let rows = chunk.iter().cloned().map(Model::into_active_model);
        Entity::insert_many(rows).on_conflict(conflict.clone()).exec_without_returning(conn).await?;
    }
    Ok(())
}

async fn references(conn: &impl ConnectionTrait, owner: Uuid, people: &[&Person], now: i64) -> Result<(), DbErr> {
    use accounts::{Column, Entity, Model};
    let rows: Vec<Model> = people
        .iter()
        .filter_map(|person| {
            let (account_id, sealed) = person.reference.clone()?;
            Some(Model { workspace_id: owner, user_id: person.user_id, account_id, sealed, seen_at: now })
        })
        .collect();
    for chunk in pieces(&rows) {
        let conflict = OnConflict::columns([Column::WorkspaceId, Column::UserId, Column::AccountId])
            .update_columns([Column::Sealed, Column::SeenAt])
            .to_owned();
        let rows = chunk.iter().cloned().map(Model::into_active_model);
        Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(conn).await?;
    }
    Ok(())
}

/// Contacts of this owner, newest first.
pub async fn list(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    search: &str,
    task_id: Option<Uuid>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find().filter(Column::WorkspaceId.eq(owner));
    if let Some(pattern) = search_pattern(search) {
        query = query.filter(Expr::col((Entity, Column::SearchText)).like(LikeExpr::new(pattern).escape('\\')));
    }
    if let Some(task_id) = task_id {
        use results::entity as found;
        let found = Query::select()
            .expr(Expr::value(1))
            .from(found::Entity)
            .and_where(Expr::col((found::Entity, found::Column::TaskId)).eq(task_id))
            .and_where(Expr::col((found::Entity, found::Column::WorkspaceId)).eq(owner))
            .and_where(Expr::col((found::Entity, found::Column::UserId)).equals((Entity, Column::UserId)))
            .and_where(Expr::col((found::Entity, found::Column::Seq)).gt(0))
            .to_owned();
        query = query.filter(Expr::exists(found));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after));
    }
    query.order_by_desc(Column::Id).limit(limit).all(conn).await
}

/// A contact of this owner.
pub async fn find(conn: &impl ConnectionTrait, owner: Uuid, id: Uuid) -> Result<Model, Error> {
    let found = Entity::find().filter(Column::WorkspaceId.eq(owner)).filter(Column::Id.eq(id)).one(conn).await?;
    found.ok_or(Error::ContactNotFound)
}

/// The accounts that can address these people.
pub async fn accounts_of(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    users: &[i64],
) -> Result<Vec<accounts::Model>, DbErr> {
    let mut all = Vec::new();
    for users in filled(users) {
        let found = accounts::Entity::find()
            .filter(accounts::Column::WorkspaceId.eq(owner))
            .filter(accounts::Column::UserId.is_in(users))
            .order_by_asc(accounts::Column::AccountId)
            .all(conn)
            .await?;
        all.extend(found);
    }
    Ok(all)
}
