//! The one door to `parse_results`: nothing passes without its owner.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, LikeExpr, Query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbBackend, DbErr, EntityTrait as _, ExprTrait as _, FromQueryResult,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
};
use service_kit::bulk;
use service_kit::clock::new_id;
use service_kit::{SharedClock, Time};
use tgmesh_proto::parsing::v1::skip_count::Reason;
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use crate::person::{Person, search_pattern};
use crate::rows::filled;

/// A person met in a source, once a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The person.
    pub person: Person,
    /// His messages in the batch; 0 for members.
    pub activity: i32,
    /// When he was last active, by the batch.
    pub last_active_at: Option<Time>,
    /// Why he is left out.
    pub skip: Option<Reason>,
}

/// Whose rows are written, and how.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The owner.
    pub workspace_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// People found before: the next one's place follows.
    pub found: i64,
    /// Whether it is decided at the end who is kept.
    pub undecided: bool,
}

/// What a batch added.
#[derive(Debug, Default)]
pub struct Recorded {
    /// People not found by this task before.
    pub new: Vec<Person>,
    /// Of these, left out, by reason.
    pub skipped: Vec<Reason>,
    /// People found before whom another account sees now.
    pub seen_anew: Vec<Person>,
}

/// Stores people met in one batch, each at most once in it. Those met before
/// keep their row; their activity grows.
pub async fn record(
    conn: &impl ConnectionTrait,
    place: Place,
    sightings: &[Sighting],
    clock: &SharedClock,
) -> Result<Recorded, DbErr> {
    let known = known(conn, place, sightings).await?;
    let now = clock.now().millis();
    let (mut recorded, mut rows, mut next) = (Recorded::default(), Vec::new(), place.found);
    for sighting in sightings {
        let person = &sighting.person;
        let before = known.get(&person.user_id);
        let mut seq = None;
        match before {
            Some(before) => {
                let account = person.reference.as_ref().map(|(account, _)| *account);
                if before.skip_reason == 0 && account.is_some() && account != before.account_id {
                    recorded.seen_anew.push(person.clone());
                }
                // Members are met again only by chance, and have nothing that grows.
                if sighting.activity == 0 {
                    continue;
                }
            }
            None => {
                next += 1;
                match sighting.skip {
                    None => {
                        seq = Some(if place.undecided { -next } else { next });
                        recorded.new.push(person.clone());
                    }
                    Some(reason) => recorded.skipped.push(reason),
                }
            }
        }
        rows.push(row(place, sighting, seq, new_id(&**clock), now));
    }
    bulk::insert::<Entity>(conn, &rows, GROW).await?;
    Ok(recorded)
}

/// A row that is there already takes the activity of the one that was to be
/// added, and what addresses the person if it has nothing: Telegram first shows
/// some without an access hash that is good for anything.
const GROW: &str = "\
ON CONFLICT (task_id, user_id) DO UPDATE SET
  activity = parse_results.activity + excluded.activity,
  last_active_at = CASE
    WHEN parse_results.last_active_at IS NULL OR excluded.last_active_at > parse_results.last_active_at
    THEN excluded.last_active_at ELSE parse_results.last_active_at END,
  account_id = CASE WHEN parse_results.skip_reason = 0 AND parse_results.account_id IS NULL
    THEN excluded.account_id ELSE parse_results.account_id END,
  sealed = CASE WHEN parse_results.skip_reason = 0 AND parse_results.account_id IS NULL
    THEN excluded.sealed ELSE parse_results.sealed END";

fn row(place: Place, sighting: &Sighting, seq: Option<i64>, id: Uuid, now: i64) -> Model {
    let person = &sighting.person;
    // Of those left out only what counts is kept, not who they are.
    let blank = Person { user_id: person.user_id, ..Person::default() };
    let shown = if sighting.skip.is_some() { &blank } else { person };
    let (account_id, sealed) = shown.reference.clone().unzip();
    Model {
        task_id: place.task_id,
        user_id: person.user_id,
        workspace_id: place.workspace_id,
        id,
        seq,
        skip_reason: sighting.skip.map_or(0, |reason| reason as i32),
        activity: sighting.activity,
        last_active_at: sighting.last_active_at.map(Time::millis),
        found_at: now,
        account_id,
        sealed,
        username: shown.username.clone(),
        first_name: shown.first_name.clone(),
        last_name: shown.last_name.clone(),
        phone: shown.phone.clone(),
        bot: shown.bot,
        deleted: shown.deleted,
        premium: shown.premium,
        admin: shown.admin,
        last_seen: shown.last_seen,
        last_seen_at: shown.last_seen_at.map(Time::millis),
        search_text: shown.search_text(),
    }
}

#[derive(Debug, FromQueryResult)]
struct Known {
    user_id: i64,
    skip_reason: i32,
    account_id: Option<Uuid>,
}

/// Each of a list is looked up by the primary key. As a condition, PostgreSQL
/// would compare the list with all that the task has found, in each batch anew,
/// as long as it has no statistics of the table.
const KNOWN_POSTGRES: &str = "\
SELECT known.user_id, known.skip_reason, known.account_id
FROM json_array_elements_text($2::json) AS met (user_id)
CROSS JOIN LATERAL (
  SELECT user_id, skip_reason, account_id FROM parse_results
  WHERE task_id = $1 AND user_id = met.user_id::bigint LIMIT 1
) AS known";
/// SQLite joins in the order that is written.
const KNOWN_SQLITE: &str = "\
SELECT known.user_id, known.skip_reason, known.account_id
FROM json_each($2) AS met
CROSS JOIN parse_results AS known ON known.task_id = $1 AND known.user_id = met.value";

/// Which of these the task has found before.
async fn known(
    conn: &impl ConnectionTrait,
    place: Place,
    sightings: &[Sighting],
) -> Result<HashMap<i64, Known>, DbErr> {
    let users: Vec<i64> = sightings.iter().map(|sighting| sighting.person.user_id).collect();
    let users = serde_json::Value::from(users).to_string();
    let backend = conn.get_database_backend();
    let sql = if backend == DbBackend::Sqlite { KNOWN_SQLITE } else { KNOWN_POSTGRES };
    let query = Statement::from_sql_and_values(backend, sql, [place.task_id.into(), users.into()]);
    let rows = Known::find_by_statement(query).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row)).collect())
}

/// Results of a task after a place, in the order they were found.
pub async fn after(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    task_id: Uuid,
    after: i64,
    search: &str,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find()
        .filter(Column::TaskId.eq(task_id))
        .filter(Column::WorkspaceId.eq(owner))
        // Above 0: those undecided and left out are no results.
        .filter(Column::Seq.gt(Ord::max(after, 0)));
    if let Some(pattern) = search_pattern(search) {
        query = query.filter(Expr::col((Entity, Column::SearchText)).like(LikeExpr::new(pattern).escape('\\')));
    }
    query.order_by_asc(Column::Seq).limit(limit).all(conn).await
}

/// The first of those on whom it is not decided yet, in the order they were found.
pub async fn undecided(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    task_id: Uuid,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::TaskId.eq(task_id))
        .filter(Column::WorkspaceId.eq(owner))
        .filter(Column::Seq.lt(0))
        .order_by_desc(Column::Seq)
        .limit(limit)
        .all(conn)
        .await
}

/// Keeps some of those undecided, and leaves others out for their activity.
pub async fn decide(
    conn: &impl ConnectionTrait,
    owner: Uuid,
    task_id: Uuid,
    kept: &[i64],
    left_out: &[i64],
) -> Result<(), DbErr> {
    let whom = |users: &[i64]| {
        Entity::update_many()
            .filter(Column::TaskId.eq(task_id))
            .filter(Column::WorkspaceId.eq(owner))
            .filter(Column::Seq.lt(0))
            .filter(Column::UserId.is_in(users.iter().copied()))
    };
    if !kept.is_empty() {
        let place = Expr::value(0_i64).sub(Expr::col(Column::Seq));
        whom(kept).col_expr(Column::Seq, place).exec(conn).await?;
    }
    if !left_out.is_empty() {
        let mut update = whom(left_out)
            .col_expr(Column::Seq, Expr::value(Option::<i64>::None))
            .col_expr(Column::SkipReason, Expr::value(Reason::Activity as i32))
            .col_expr(Column::AccountId, Expr::value(Option::<Uuid>::None))
            .col_expr(Column::Sealed, Expr::value(Option::<Vec<u8>>::None));
        for column in [Column::Username, Column::FirstName, Column::LastName, Column::Phone, Column::SearchText] {
            update = update.col_expr(column, Expr::value(String::new()));
        }
        update.exec(conn).await?;
    }
    Ok(())
}

/// Results by when people were last online.
#[derive(Debug, FromQueryResult)]
pub struct Stats {
    /// `LastSeen`.
    pub last_seen: i32,
    /// Results.
    pub total: i64,
    /// With a username.
    pub with_username: i64,
    /// With a phone number.
    pub with_phone: i64,
    /// With Premium.
    pub premium: i64,
}

/// Counts the results of a task.
pub async fn stats(conn: &impl ConnectionTrait, owner: Uuid, task_id: Uuid) -> Result<Vec<Stats>, DbErr> {
    let count = |condition: Expr| {
        Expr::expr(Expr::case(condition, 1).finally(0)).sum().cast_as(sea_orm::sea_query::Alias::new("BIGINT"))
    };
    let query = Query::select()
        .from(Entity)
        .column(Column::LastSeen)
        .expr_as(Expr::col(Column::UserId).count(), "total")
        .expr_as(count(Expr::col(Column::Username).ne("")), "with_username")
        .expr_as(count(Expr::col(Column::Phone).ne("")), "with_phone")
        .expr_as(count(Expr::col(Column::Premium).eq(true)), "premium")
        .and_where(Expr::col(Column::TaskId).eq(task_id))
        .and_where(Expr::col(Column::WorkspaceId).eq(owner))
        .and_where(Expr::col(Column::Seq).gt(0))
        .group_by_col(Column::LastSeen)
        .order_by(Column::LastSeen, sea_orm::Order::Asc)
        .to_owned();
    conn.query_all(&query).await?.iter().map(|row| Stats::from_query_result(row, "")).collect()
}

/// Which tasks have these people among their results: user and task, oldest task first.
pub async fn tasks_with(conn: &impl ConnectionTrait, owner: Uuid, users: &[i64]) -> Result<Vec<(i64, Uuid)>, DbErr> {
    use crate::tasks::entity as tasks;
    let mut all = Vec::new();
    for users in filled(users) {
        // From the owner's tasks, so that each look is one by the primary key.
        let query = Query::select()
            .column((Entity, Column::UserId))
            .column((tasks::Entity, tasks::Column::Id))
            .from(tasks::Entity)
            .inner_join(
                Entity,
                Expr::col((Entity, Column::TaskId))
                    .equals((tasks::Entity, tasks::Column::Id))
                    .and(Expr::col((Entity, Column::UserId)).is_in(users)),
            )
            .and_where(Expr::col((tasks::Entity, tasks::Column::WorkspaceId)).eq(owner))
            .and_where(Expr::col((Entity, Column::Seq)).gt(0))
            .order_by((tasks::Entity, tasks::Column::Id), sea_orm::Order::Asc)
            .to_owned();
        for row in conn.query_all(&query).await? {
            all.push((row.try_get("", "user_id")?, row.try_get("", "id")?));
        }
    }
    Ok(all)
}

/// How many results a task has, by its rows, and how many it has left out.
pub async fn count(conn: &impl ConnectionTrait, owner: Uuid, task_id: Uuid) -> Result<(u64, u64), DbErr> {
    let rows = || Entity::find().filter(Column::TaskId.eq(task_id)).filter(Column::WorkspaceId.eq(owner));
    let kept = rows().filter(Column::Seq.gt(0)).count(conn).await?;
    Ok((kept, rows().filter(Column::Seq.is_null()).count(conn).await?))
}

/// Deletes everything a task found.
pub async fn delete(conn: &impl ConnectionTrait, owner: Uuid, task_id: Uuid) -> Result<u64, DbErr> {
    let done = Entity::delete_many()
        .filter(Column::TaskId.eq(task_id))
        .filter(Column::WorkspaceId.eq(owner))
        .exec(conn)
        .await?;
    Ok(done.rows_affected)
}
