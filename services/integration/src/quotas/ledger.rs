//! Counts in the ledger: range queries on its indexes, keyed by the Telegram
//! user, so that the limits survive delete and re-login.

use std::collections::HashMap;

use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query, SimpleExpr};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, Order, QueryFilter, QueryResult};
use service_kit::Time;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::quota::v1::usage_entry::State;
use uuid::Uuid;

use super::limits::Limits;
use super::rules::{self, ChatCounts, Counts, HOUR, Pace, Tally};
use super::zone::Day;
use crate::entity::{limit, pace, usage_entry};

/// Levels, as the table `limits` numbers them.
pub(crate) const GLOBAL: i32 = 1;
pub(crate) const WORKSPACE: i32 = 2;
pub(crate) const ACCOUNT: i32 = 3;

/// An account whose limits are in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The account.
    pub account_id: Uuid,
    /// Its workspace.
    pub workspace_id: Uuid,
    /// Its Telegram user: what the ledger counts by.
    pub telegram_user_id: i64,
}

/// The limits in force for each account, from all levels.
pub(crate) async fn effective(
    conn: &impl ConnectionTrait,
    defaults: &Limits,
    subjects: &[Subject],
) -> Result<HashMap<Uuid, Limits>, DbErr> {
    let accounts = subjects.iter().map(|subject| subject.account_id);
    let mut workspaces: Vec<Uuid> = subjects.iter().map(|subject| subject.workspace_id).collect();
    workspaces.dedup();
    let rows = limit::Entity::find()
        .filter(
            limit::Column::Level
                .eq(GLOBAL)
                .or(limit::Column::Level.eq(WORKSPACE).and(limit::Column::LevelId.is_in(workspaces)))
                .or(limit::Column::Level.eq(ACCOUNT).and(limit::Column::LevelId.is_in(accounts))),
        )
        .all(conn)
        .await?;
    let mut levels = HashMap::new();
    for row in rows {
        levels.insert((row.level, row.level_id), decode(&row.limits)?);
    }
    let stored = levels.get(&(GLOBAL, Uuid::nil())).cloned();
    let global = stored.map_or_else(|| defaults.clone(), |limits| Limits { zone: defaults.zone.clone(), ..limits });
    Ok(subjects
        .iter()
        .map(|subject| {
            let lower = [(WORKSPACE, subject.workspace_id), (ACCOUNT, subject.account_id)];
            let limits = lower
                .iter()
                .filter_map(|level| levels.get(level))
                .fold(global.clone(), |limits, level| limits.tightened(level));
            (subject.account_id, limits)
        })
        .collect())
}

/// Limits as the table keeps them.
pub(crate) fn decode(bytes: &[u8]) -> Result<Limits, DbErr> {
    Limits::from_bytes(bytes).map_err(|error| DbErr::Type(format!("stored limits cannot be read: {error}")))
}

/// What the ledger says of each account's actions of one kind, in the chat too
/// if one is given. Reads only what the limits ask for. All limits are of one
/// deployment, and count by its days.
pub(crate) async fn counts(
    conn: &impl ConnectionTrait,
    now: Time,
    action: Action,
    chat_id: Option<i64>,
    subjects: &[(Subject, &Limits)],
) -> Result<HashMap<i64, Counts>, DbErr> {
    let mut found: HashMap<i64, Counts> =
        subjects.iter().map(|(subject, _)| (subject.telegram_user_id, Counts::default())).collect();
    let Some(day) = subjects.first().map(|(_, limits)| limits.zone.day(now)) else { return Ok(found) };
    let wanted = |asks: &dyn Fn(&Limits) -> bool| -> Vec<i64> {
        subjects.iter().filter(|(_, limits)| asks(limits)).map(|(subject, _)| subject.telegram_user_id).collect()
    };

    let by_day =
        wanted(&|limits| rules::per_day(limits, action).is_some() || rules::per_hour(limits, action).is_some());
    if !by_day.is_empty() {
        for (user, row) in tallies(conn, day, now, action, by_day).await? {
            let counts = found.entry(user).or_default();
            (counts.day, counts.hour) = (tally(&row, "day")?, tally(&row, "hour")?);
        }
    }
    for (subject, limits) in subjects {
        let Some(counts) = found.get_mut(&subject.telegram_user_id) else { continue };
        match rules::per_hour(limits, action) {
            Some(allowed) if allowed > 0 && counts.hour.sum() >= allowed => {
                counts.hour_frees_at = hour_frees(conn, now, action, subject.telegram_user_id, allowed).await?;
            }
            _ => {}
        }
    }

    let by_chat = wanted(&|limits| rules::is_per_chat(limits, action));
    if let Some(chat_id) = chat_id.filter(|chat_id| *chat_id != 0) {
        for counts in found.values_mut() {
            counts.chat = Some(ChatCounts { chat_id, ..ChatCounts::default() });
        }
        if !by_chat.is_empty() {
            for (user, row) in chat_tallies(conn, day, action, chat_id, by_chat).await? {
                let chat = ChatCounts { chat_id, day: tally(&row, "day")?, total: tally(&row, "total")? };
                found.entry(user).or_default().chat = Some(chat);
            }
        }
    }

    let paced = wanted(&|limits| rules::is_paced(limits, action));
    if !paced.is_empty() {
        let rows = pace::Entity::find()
            .filter(pace::Column::TelegramUserId.is_in(paced))
            .filter(pace::Column::Action.eq(i32::from(action)))
            .all(conn)
            .await?;
        for row in rows {
            found.entry(row.telegram_user_id).or_default().pace = Some(pace_of(&row));
        }
    }
    Ok(found)
}

/// The same for one account.
pub(crate) async fn counts_of(
    conn: &impl ConnectionTrait,
    now: Time,
    action: Action,
    chat_id: Option<i64>,
    subject: Subject,
    limits: &Limits,
) -> Result<Counts, DbErr> {
    let mut found = counts(conn, now, action, chat_id, &[(subject, limits)]).await?;
    Ok(found.remove(&subject.telegram_user_id).unwrap_or_default())
}

pub(crate) fn pace_of(row: &pace::Model) -> Pace {
    Pace {
        last_at: Time::from_millis(row.last_at),
        next_at: Time::from_millis(row.next_at),
        since_pause: u32::try_from(row.since_pause).unwrap_or(0),
    }
}

/// Counts of the day and the hour, by user.
async fn tallies(
    conn: &impl ConnectionTrait,
    day: Day,
    now: Time,
    action: Action,
    users: Vec<i64>,
) -> Result<Vec<(i64, QueryResult)>, DbErr> {
    use usage_entry::Column;
    // An entry is in the hour until the moment a full hour has passed.
    let (day, hour) = (day.start.millis(), (now - HOUR).millis() + 1);
    let select = Query::select()
        .from(usage_entry::Entity)
        .column(Column::TelegramUserId)
        .expr_as(count_if(Column::ReservedAt.gte(day), State::Counted), Alias::new("day_counted"))
        .expr_as(count_if(Column::ReservedAt.gte(day), State::Reserved), Alias::new("day_reserved"))
        .expr_as(count_if(Column::ReservedAt.gte(hour), State::Counted), Alias::new("hour_counted"))
        .expr_as(count_if(Column::ReservedAt.gte(hour), State::Reserved), Alias::new("hour_reserved"))
        .and_where(Column::TelegramUserId.is_in(users))
        .and_where(Column::Action.eq(i32::from(action)))
        .and_where(Column::ReservedAt.gte(Ord::min(day, hour)))
        .group_by_col(Column::TelegramUserId)
        .to_owned();
    keyed(conn.query_all(&select).await?)
}

/// Counts of the day and for ever in one chat, by user.
async fn chat_tallies(
    conn: &impl ConnectionTrait,
    day: Day,
    action: Action,
    chat_id: i64,
    users: Vec<i64>,
) -> Result<Vec<(i64, QueryResult)>, DbErr> {
    use usage_entry::Column;
    let day = day.start.millis();
    let select = Query::select()
        .from(usage_entry::Entity)
        .column(Column::TelegramUserId)
        .expr_as(count_if(Column::ReservedAt.gte(day), State::Counted), Alias::new("day_counted"))
        .expr_as(count_if(Column::ReservedAt.gte(day), State::Reserved), Alias::new("day_reserved"))
        .expr_as(count_if(Column::Success.eq(true), State::Counted), Alias::new("total_counted"))
        .expr_as(count_if(Column::ReservedAt.gte(0), State::Reserved), Alias::new("total_reserved"))
        .and_where(Column::TelegramUserId.is_in(users))
        .and_where(Column::Action.eq(i32::from(action)))
        .and_where(Column::ChatId.eq(chat_id))
        .group_by_col(Column::TelegramUserId)
        .to_owned();
    keyed(conn.query_all(&select).await?)
}

/// When fewer than `allowed` entries are left in the hour: an hour after the
/// newest but `allowed - 1`.
async fn hour_frees(
    conn: &impl ConnectionTrait,
    now: Time,
    action: Action,
    user: i64,
    allowed: u32,
) -> Result<Option<Time>, DbErr> {
    use usage_entry::Column;
    let select = Query::select()
        .from(usage_entry::Entity)
        .column(Column::ReservedAt)
        .and_where(Column::TelegramUserId.eq(user))
        .and_where(Column::Action.eq(i32::from(action)))
        .and_where(Column::ReservedAt.gt((now - HOUR).millis()))
        .and_where(Column::State.ne(i32::from(State::GivenBack)))
        .order_by(Column::ReservedAt, Order::Desc)
        .offset(u64::from(allowed) - 1)
        .limit(1)
        .to_owned();
    let row = conn.query_one(&select).await?;
    row.map(|row| row.try_get::<i64>("", "reserved_at").map(|at| Time::from_millis(at) + HOUR)).transpose()
}

fn count_if(condition: SimpleExpr, state: State) -> SimpleExpr {
    let condition = condition.and(usage_entry::Column::State.eq(i32::from(state)));
    SimpleExpr::Case(Box::new(Expr::case(condition, 1).finally(0))).sum()
}

fn keyed(rows: Vec<QueryResult>) -> Result<Vec<(i64, QueryResult)>, DbErr> {
    rows.into_iter().map(|row| Ok((row.try_get("", "telegram_user_id")?, row))).collect()
}

fn tally(row: &QueryResult, what: &str) -> Result<Tally, DbErr> {
    let count = |kind: &str| -> Result<u32, DbErr> {
        let count: i64 = row.try_get("", &format!("{what}_{kind}"))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(Tally { counted: count("counted")?, reserved: count("reserved")? })
}
