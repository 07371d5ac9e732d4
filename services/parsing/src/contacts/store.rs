//! The one door to contacts: nothing passes without its owner.

use std::collections::HashSet;

use sea_orm::sea_query::{Expr, LikeExpr, Query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use service_kit::SharedClock;
use service_kit::bulk;
use service_kit::clock::new_id;
use uuid::Uuid;

use super::entity::{Column, Entity, Model, accounts};
use crate::error::Error;
use crate::person::{Person, search_pattern};
use crate::results;
use crate::rows::filled;

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
    let mut rows: Vec<Model> = people.iter().map(|person| row(owner, person, new_id(&**clock), now)).collect();
    let added = insert_new(conn, &rows).await?;
    rows.retain(|row| !added.contains(&row.user_id));
    bulk::insert::<Entity>(conn, &rows, REFRESH).await?;
    references(conn, owner, &people, now).await?;
    Ok(i64::try_from(added.len()).unwrap_or(i64::MAX))
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

/// Those that are there are seen anew.
const REFRESH: &str = "\
ON CONFLICT (workspace_id, user_id) DO UPDATE SET
  last_found_at = excluded.last_found_at,
  username = excluded.username, first_name = excluded.first_name, last_name = excluded.last_name,
  phone = excluded.phone, bot = excluded.bot, deleted = excluded.deleted, premium = excluded.premium,
  admin = excluded.admin, last_seen = excluded.last_seen, last_seen_at = excluded.last_seen_at,
  search_text = excluded.search_text";

/// Inserts those that are not there, and answers whom.
async fn insert_new(conn: &impl ConnectionTrait, rows: &[Model]) -> Result<HashSet<i64>, DbErr> {
    let nothing = "ON CONFLICT (workspace_id, user_id) DO NOTHING RETURNING user_id";
    let added = bulk::insert_returning::<Entity>(conn, rows, nothing).await?;
    added.iter().map(|row| row.try_get("", "user_id")).collect()
}

async fn references(conn: &impl ConnectionTrait, owner: Uuid, people: &[&Person], now: i64) -> Result<(), DbErr> {
    use accounts::{Entity, Model};
    let rows: Vec<Model> = people
        .iter()
        .filter_map(|person| {
            let (account_id, sealed) = person.reference.clone()?;
            Some(Model { workspace_id: owner, user_id: person.user_id, account_id, sealed, seen_at: now })
        })
        .collect();
    let seen = "ON CONFLICT (workspace_id, user_id, account_id) DO UPDATE \
                SET sealed = excluded.sealed, seen_at = excluded.seen_at";
    bulk::insert::<Entity>(conn, &rows, seen).await
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
