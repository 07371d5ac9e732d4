//! The door to the table `campaigns`.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, QueryFilter as _, Value};
use tgmesh_proto::invite::v1::target::State as Target;
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use super::progress::Counts;
use super::state::{Change, To, sql_list, transition};
use crate::app::{execute, rows, sql};
use crate::error::Error;

/// The workspace's campaign of this id.
///
/// # Errors
/// `CampaignNotFound`, also for what belongs to another workspace.
pub async fn find(conn: &impl ConnectionTrait, workspace_id: Uuid, id: Uuid) -> Result<Model, Error> {
    let found = Entity::find_by_id(id).filter(Column::WorkspaceId.eq(workspace_id)).one(conn).await?;
    found.ok_or(Error::CampaignNotFound)
}

/// Makes a change of state: one conditional UPDATE by the table of transitions.
///
/// # Errors
/// `CampaignState` when the state does not allow it, `CampaignNotFound`.
pub async fn change(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    id: Uuid,
    change: Change,
    now: i64,
) -> Result<Model, Error> {
    let row = transition(change);
    let To::State(to) = row.to else {
        return Err(Error::Internal("a change without a state to go to"));
    };
    let stamp = match change {
        Change::Start => ", started_at = COALESCE(started_at, $4)",
        Change::Cancel | Change::Complete | Change::Fail => ", ended_at = $4",
        _ => "",
    };
    let text = format!(
        "UPDATE campaigns SET state = $3, waiting = NULL, version = version + 1, updated_at = $4{stamp} \
         WHERE id = $1 AND workspace_id = $2 AND state IN ({}) RETURNING *",
        sql_list(row.from)
    );
    let values: [Value; 4] = [id.into(), workspace_id.into(), (to as i32).into(), now.into()];
    match Entity::find().from_raw_sql(sql(conn, text, values)).one(conn).await? {
        Some(model) => Ok(model),
        None => Err(Error::CampaignState(find(conn, workspace_id, id).await?.state())),
    }
}

/// The numbers of some campaigns.
///
/// # Errors
/// When the database fails.
pub async fn counts(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, Counts>, DbErr> {
    const TOTAL: i32 = -1;
    const UNDER_WAY: i32 = -2;
    #[derive(FromQueryResult)]
    struct Row {
        campaign_id: Uuid,
        part: i32,
        targets: i64,
    }
    let mut found: HashMap<Uuid, Counts> = HashMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let places: Vec<String> = (1..=ids.len()).map(|at| format!("${at}")).collect();
    let places = places.join(", ");
    // One statement, so that the parts are of one moment.
    let text = format!(
        "SELECT id AS campaign_id, {TOTAL} AS part, targets FROM campaigns WHERE id IN ({places}) \
         UNION ALL SELECT campaign_id, {UNDER_WAY}, COUNT(*) FROM targets WHERE campaign_id IN ({places}) \
         AND state IN ({}, {}) GROUP BY campaign_id \
         UNION ALL SELECT campaign_id, outcome, targets FROM campaign_counters WHERE campaign_id IN ({places})",
        Target::Claimed as i32,
        Target::Sending as i32,
    );
    let values = ids.iter().map(|id| Value::from(*id));
    for row in Row::find_by_statement(sql(conn, text, values)).all(conn).await? {
        let counts = found.entry(row.campaign_id).or_default();
        match row.part {
            TOTAL => counts.total = row.targets,
            UNDER_WAY => counts.under_way = row.targets,
            outcome => {
                counts.outcomes.insert(outcome, row.targets);
            }
        }
    }
    Ok(found)
}

/// Marks the campaign as changed. Answers its version.
///
/// # Errors
/// When the database fails.
pub async fn touch(conn: &impl ConnectionTrait, id: Uuid, now: i64) -> Result<i64, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        version: i64,
    }
    let values: [Value; 2] = [id.into(), now.into()];
    let text = "UPDATE campaigns SET version = version + 1, updated_at = $2 WHERE id = $1 RETURNING version";
    let row = Row::find_by_statement(sql(conn, text, values)).one(conn).await?;
    Ok(row.map_or(0, |row| row.version))
}

/// A campaign after more of its targets were done.
#[derive(Debug, FromQueryResult)]
pub struct Counted {
    /// Its version.
    pub version: i64,
    /// Whether these were the last ones.
    pub all_done: bool,
}

/// Counts outcomes, in the transaction that gives them to targets, and as late
/// in it as can be: both rows are the whole campaign's, and who holds them holds
/// up all its other outcomes. The campaign's version grows by one for each.
///
/// # Errors
/// When the database fails.
pub async fn count(
    conn: &impl ConnectionTrait,
    id: Uuid,
    outcomes: &BTreeMap<i32, i64>,
    now: i64,
) -> Result<Counted, DbErr> {
    let all: i64 = outcomes.values().sum();
    let values: [Value; 3] = [id.into(), now.into(), all.into()];
    let text = "UPDATE campaigns SET version = version + $3, updated_at = $2, done = done + $3, \
                progress = (done + $3) * 1000000 / targets WHERE id = $1 RETURNING version, done >= targets AS all_done";
    let counted = Counted::find_by_statement(sql(conn, text, values)).one(conn).await?;
    let mut values = Vec::new();
    let counters = outcomes.iter().map(|(outcome, targets)| [id.into(), (*outcome).into(), (*targets).into()]);
    let counters = rows(&mut values, counters);
    let text = format!(
        "INSERT INTO campaign_counters (campaign_id, outcome, targets) VALUES {counters} \
         ON CONFLICT (campaign_id, outcome) DO UPDATE SET targets = campaign_counters.targets + excluded.targets"
    );
    execute(conn, text, values).await?;
    Ok(counted.unwrap_or(Counted { version: 0, all_done: false }))
}

/// Completes the campaign when every target has an outcome: one conditional
/// UPDATE, which finds nothing once the campaign was cancelled.
///
/// # Errors
/// When the database fails.
pub async fn complete(conn: &impl ConnectionTrait, id: Uuid, now: i64) -> Result<bool, DbErr> {
    let row = transition(Change::Complete);
    let To::State(to) = row.to else { return Ok(false) };
    let text = format!(
        "UPDATE campaigns SET state = $2, waiting = NULL, version = version + 1, updated_at = $3, ended_at = $3 \
         WHERE id = $1 AND state IN ({}) AND done >= targets",
        sql_list(row.from)
    );
    let values: [Value; 3] = [id.into(), (to as i32).into(), now.into()];
    Ok(execute(conn, text, values).await? > 0)
}

/// Ends the campaign because of its chat.
///
/// # Errors
/// When the database fails.
pub async fn fail(conn: &impl ConnectionTrait, id: Uuid, reason: &str, detail: &str, now: i64) -> Result<bool, DbErr> {
    let row = transition(Change::Fail);
    let To::State(to) = row.to else { return Ok(false) };
    let text = format!(
        "UPDATE campaigns SET state = $2, failure_reason = $3, failure_detail = $4, waiting = NULL, \
         version = version + 1, updated_at = $5, ended_at = $5 WHERE id = $1 AND state IN ({})",
        sql_list(row.from)
    );
    let values: [Value; 5] = [id.into(), (to as i32).into(), reason.into(), detail.into(), now.into()];
    Ok(execute(conn, text, values).await? > 0)
}

/// Whether a campaign has a target that may be contacted, as far as is known.
///
/// # Errors
/// When the database fails.
pub async fn has_anybody(conn: &impl ConnectionTrait, campaign: &Model) -> Result<bool, DbErr> {
    let values: [Value; 2] = [campaign.id.into(), campaign.workspace_id.into()];
    let text = "SELECT t.id FROM targets t WHERE t.campaign_id = $1 AND t.workspace_id = $2 AND NOT EXISTS (\
                SELECT 1 FROM person_keys k JOIN do_not_contact d ON d.person_key = k.person_key \
                WHERE k.list_id = t.campaign_id AND k.member_id = t.id AND d.workspace_id = t.workspace_id) LIMIT 1";
    Ok(conn.query_one_raw(sql(conn, text, values)).await?.is_some())
}

/// Notes that people were asked into the chats of campaigns, each under every
/// key he is known by. A campaign that was deleted meanwhile leaves no history.
///
/// # Errors
/// When the database fails.
pub async fn contacted(conn: &impl ConnectionTrait, mut people: Vec<(Uuid, String)>) -> Result<(), DbErr> {
    if people.is_empty() {
        return Ok(());
    }
    people.sort_unstable();
    people.dedup();
    let mut values = Vec::new();
    let people = rows(&mut values, people.into_iter().map(|(campaign_id, key)| [campaign_id.into(), key.into()]));
    // In the order of the table's key: two who write the same keys in different orders wait for each other for ever.
    let text = format!(
        "INSERT INTO contacted (workspace_id, chat_id, person_key, campaign_id) \
         SELECT c.workspace_id, c.chat_id, people.column2, c.id FROM campaigns c \
         JOIN (VALUES {people}) AS people ON c.id = people.column1 WHERE TRUE \
         ORDER BY c.workspace_id, c.chat_id, people.column2 \
         ON CONFLICT (workspace_id, chat_id, person_key) DO NOTHING"
    );
    execute(conn, text, values).await?;
    Ok(())
}

/// The same of one person and a chat, in the name of a single call.
///
/// # Errors
/// When the database fails.
pub async fn contacted_in(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    chat_id: i64,
    by: Uuid,
    keys: &[String],
) -> Result<(), DbErr> {
    let mut values = Vec::new();
    let mut keys: Vec<&String> = keys.iter().collect();
    keys.sort_unstable();
    let people = keys.into_iter().map(|key| [workspace_id.into(), chat_id.into(), key.as_str().into(), by.into()]);
    let people = rows(&mut values, people);
    let text = format!(
        "INSERT INTO contacted (workspace_id, chat_id, person_key, campaign_id) VALUES {people} \
         ON CONFLICT (workspace_id, chat_id, person_key) DO NOTHING"
    );
    execute(conn, text, values).await?;
    Ok(())
}

/// Deletes the campaign with everything that belongs to it. History of who was
/// contacted is kept: deleting a campaign must not make people fair game again.
///
/// # Errors
/// `CampaignState`, `CampaignBusy`, `CampaignNotFound`.
pub async fn delete(conn: &impl ConnectionTrait, workspace_id: Uuid, id: Uuid) -> Result<(), Error> {
    let text = format!(
        "DELETE FROM campaigns WHERE id = $1 AND workspace_id = $2 AND state IN ({}) AND NOT EXISTS (\
         SELECT 1 FROM targets WHERE campaign_id = $1 AND state IN ({}, {}))",
        sql_list(transition(Change::Delete).from),
        Target::Claimed as i32,
        Target::Sending as i32,
    );
    let values: [Value; 2] = [id.into(), workspace_id.into()];
    if execute(conn, text, values).await? == 0 {
        let model = find(conn, workspace_id, id).await?;
        return Err(if super::state::allows(model.state(), Change::Delete) {
            Error::CampaignBusy
        } else {
            Error::CampaignState(model.state())
        });
    }
    erase_rows(conn, id).await?;
    Ok(())
}

/// Deletes the rows below a campaign, visible or staged.
///
/// # Errors
/// When the database fails.
pub async fn erase_rows(conn: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
    for table in ["target_peers", "target_refusals", "executions", "targets", "campaign_counters"] {
        let values: [Value; 1] = [id.into()];
        execute(conn, format!("DELETE FROM {table} WHERE campaign_id = $1"), values).await?;
    }
    crate::audience::same::forget(conn, id).await?;
    Ok(())
}
