//! The questions of reports, each for the owner of the campaign.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use tgmesh_proto::invite::v1::target::State;
use uuid::Uuid;

use super::Cell;
use crate::app::sql;

const MILLIS_A_DAY: i64 = 86_400_000;
/// Attempts have no owner of their own: they belong to whom the campaign does.
const OWNED: &str = "campaign_id = (SELECT id FROM campaigns WHERE id = $1 AND workspace_id = $2)";

/// Targets with an outcome by account, day and outcome.
///
/// # Errors
/// When the database fails.
pub async fn outcomes(conn: &impl ConnectionTrait, workspace_id: Uuid, campaign_id: Uuid) -> Result<Vec<Cell>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        account_id: Option<Uuid>,
        day: i64,
        outcome: i32,
        targets: i64,
    }
    let text = format!(
        "SELECT account_id, CAST(done_at / {MILLIS_A_DAY} AS BIGINT) AS day, outcome, COUNT(*) AS targets FROM targets \
         WHERE {OWNED} AND state = {} AND done_at IS NOT NULL GROUP BY 1, 2, 3",
        State::Done as i32
    );
    let values: [Value; 2] = [campaign_id.into(), workspace_id.into()];
    let rows = Row::find_by_statement(sql(conn, text, values)).all(conn).await?;
    let cell = |row: Row| Cell { account_id: row.account_id, day: row.day, outcome: row.outcome, targets: row.targets };
    Ok(rows.into_iter().map(cell).collect())
}

/// Attempts by account.
///
/// # Errors
/// When the database fails.
pub async fn attempts(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
) -> Result<Vec<(Uuid, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        account_id: Uuid,
        attempts: i64,
    }
    let values: [Value; 2] = [campaign_id.into(), workspace_id.into()];
    let text = format!("SELECT account_id, COUNT(*) AS attempts FROM executions WHERE {OWNED} GROUP BY 1");
    let rows = Row::find_by_statement(sql(conn, text, values)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.account_id, row.attempts)).collect())
}

/// Telegram's errors, most frequent first.
///
/// # Errors
/// When the database fails.
pub async fn errors(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    most: u64,
) -> Result<Vec<(String, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        telegram_error: String,
        met: i64,
    }
    let values: [Value; 2] = [campaign_id.into(), workspace_id.into()];
    let text = format!(
        "SELECT telegram_error, COUNT(*) AS met FROM executions WHERE {OWNED} AND telegram_error <> '' \
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}"
    );
    let rows = Row::find_by_statement(sql(conn, text, values)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.telegram_error, row.met)).collect())
}

/// When the first and the last attempt began.
///
/// # Errors
/// When the database fails.
pub async fn span(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
) -> Result<Option<(i64, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        first: Option<i64>,
        last: Option<i64>,
    }
    let values: [Value; 2] = [campaign_id.into(), workspace_id.into()];
    let text = format!("SELECT MIN(began_at) AS first, MAX(began_at) AS last FROM executions WHERE {OWNED}");
    let row = Row::find_by_statement(sql(conn, text, values)).one(conn).await?;
    Ok(row.and_then(|row| Some((row.first?, row.last?))))
}
