//! The door to the table `campaigns`.

use std::collections::HashMap;

use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, QueryFilter as _, Value};
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use super::progress::Counts;
use super::state::{Change, To, sql_list, transition};
use crate::app::{execute, sql};
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

/// The counters of some campaigns.
///
/// # Errors
/// When the database fails.
pub async fn counts(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, Counts>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        campaign_id: Uuid,
        bucket: i32,
        targets: i64,
    }
    let mut found: HashMap<Uuid, Vec<(i32, i64)>> = HashMap::new();
    if !ids.is_empty() {
        let places: Vec<String> = (1..=ids.len()).map(|at| format!("${at}")).collect();
        let text = format!(
            "SELECT campaign_id, bucket, targets FROM campaign_counters WHERE campaign_id IN ({})",
            places.join(", ")
        );
        let values = ids.iter().map(|id| Value::from(*id));
        for row in Row::find_by_statement(sql(conn, text, values)).all(conn).await? {
            found.entry(row.campaign_id).or_default().push((row.bucket, row.targets));
        }
    }
    Ok(found.into_iter().map(|(id, pairs)| (id, pairs.into_iter().collect())).collect())
}

/// Moves targets between buckets, in the transaction that moves the rows.
/// Waiting targets come first, then those under way, then outcomes: two
/// transactions that lock the same counters lock them in the same order.
///
/// # Errors
/// When the database fails.
pub async fn shift(
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    from: i32,
    to: i32,
    targets: i64,
) -> Result<(), DbErr> {
    let mut moves = [(from, -targets), (to, targets)];
    moves.sort_by_key(|(bucket, _)| if *bucket < 0 { i64::from(*bucket).abs() } else { i64::from(*bucket) + 10 });
    let [(first, first_by), (second, second_by)] = moves;
    let values: [Value; 5] = [campaign_id.into(), first.into(), first_by.into(), second.into(), second_by.into()];
    execute(
        conn,
        "INSERT INTO campaign_counters (campaign_id, bucket, targets) VALUES ($1, $2, $3), ($1, $4, $5) \
         ON CONFLICT (campaign_id, bucket) DO UPDATE SET targets = campaign_counters.targets + excluded.targets",
        values,
    )
    .await?;
    Ok(())
}

/// Adds targets to a bucket.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &impl ConnectionTrait, campaign_id: Uuid, bucket: i32, by: i64) -> Result<(), DbErr> {
    let values: [Value; 3] = [campaign_id.into(), bucket.into(), by.into()];
    execute(
        conn,
        "INSERT INTO campaign_counters (campaign_id, bucket, targets) VALUES ($1, $2, $3) \
         ON CONFLICT (campaign_id, bucket) DO UPDATE SET targets = campaign_counters.targets + excluded.targets",
        values,
    )
    .await?;
    Ok(())
}

/// Marks the campaign as changed, with its progress computed from the counters
/// that the transaction has changed before. Answers version and progress.
///
/// # Errors
/// When the database fails.
pub async fn touch(conn: &impl ConnectionTrait, id: Uuid, now: i64) -> Result<Option<(i64, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        version: i64,
        progress: i64,
    }
    let values: [Value; 2] = [id.into(), now.into()];
    let text = "UPDATE campaigns SET version = version + 1, updated_at = $2, progress = COALESCE((\
                SELECT CAST(SUM(CASE WHEN bucket >= 0 THEN targets ELSE 0 END) * 1000000 / NULLIF(SUM(targets), 0) AS BIGINT) \
                FROM campaign_counters WHERE campaign_id = $1), 0) \
                WHERE id = $1 RETURNING version, progress";
    let row = Row::find_by_statement(sql(conn, text, values)).one(conn).await?;
    Ok(row.map(|row| (row.version, row.progress)))
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
         WHERE id = $1 AND state IN ({}) AND NOT EXISTS (\
         SELECT 1 FROM campaign_counters WHERE campaign_id = $1 AND bucket < 0 AND targets > 0)",
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

/// Notes that a person was asked into the campaign's chat, under every key he
/// is known by. A campaign that was deleted meanwhile leaves no history.
///
/// # Errors
/// When the database fails.
pub async fn contacted(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    keys: &[String],
) -> Result<(), DbErr> {
    let values: [Value; 2] = [campaign_id.into(), workspace_id.into()];
    let text = "SELECT * FROM campaigns WHERE id = $1 AND workspace_id = $2";
    match Entity::find().from_raw_sql(sql(conn, text, values)).one(conn).await? {
        Some(campaign) => contacted_in(conn, workspace_id, campaign.chat_id, campaign_id, keys).await,
        None => Ok(()),
    }
}

/// The same of a chat, in the name of a campaign, or of a single call.
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
    for key in keys {
        let values: [Value; 4] = [workspace_id.into(), chat_id.into(), key.as_str().into(), by.into()];
        let text = "INSERT INTO contacted (workspace_id, chat_id, person_key, campaign_id) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (workspace_id, chat_id, person_key) DO NOTHING";
        execute(conn, text, values).await?;
    }
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
         SELECT 1 FROM campaign_counters WHERE campaign_id = $1 AND bucket = {} AND targets > 0)",
        sql_list(transition(Change::Delete).from),
        super::progress::UNDER_WAY
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
