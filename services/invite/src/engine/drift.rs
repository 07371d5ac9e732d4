//! Compares a campaign's counters with the rows that they count.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use tgmesh_proto::invite::v1::target::State;
use uuid::Uuid;

use crate::app::sql;

const DONE: i32 = State::Done as i32;

/// Says so when counters and rows differ.
///
/// # Errors
/// When the database fails.
pub async fn check(conn: &impl ConnectionTrait, campaign_id: Uuid) -> Result<(), DbErr> {
    let drift = drift(conn, campaign_id).await?;
    service_kit::invariants::COUNT_1
        .check(drift.is_empty(), || format!("counters of campaign {campaign_id} differ from the rows: {drift:?}"));
    Ok(())
}

/// Compares the counters with the rows; answers the outcomes that differ, with
/// the counter and the rows. Those without an outcome stand under 0, all of them
/// as the campaign's own row has it.
///
/// # Errors
/// When the database fails.
pub async fn drift(conn: &impl ConnectionTrait, campaign_id: Uuid) -> Result<Vec<(i32, i64, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        outcome: i32,
        counted: i64,
        found: i64,
    }
    // One statement, so that PostgreSQL answers from one snapshot.
    let text = format!(
        "SELECT outcome, CAST(SUM(counted) AS BIGINT) AS counted, CAST(SUM(found) AS BIGINT) AS found FROM (\
         SELECT outcome, targets AS counted, 0 AS found FROM campaign_counters WHERE campaign_id = $1 \
         UNION ALL SELECT 0 AS outcome, targets - done AS counted, 0 AS found FROM campaigns WHERE id = $1 \
         UNION ALL SELECT CASE WHEN state = {DONE} THEN outcome ELSE 0 END AS outcome, 0 AS counted, \
         COUNT(*) AS found FROM targets WHERE campaign_id = $1 GROUP BY 1\
         ) AS both_sides GROUP BY outcome HAVING SUM(counted) <> SUM(found)"
    );
    let values: [Value; 1] = [campaign_id.into()];
    let rows = Row::find_by_statement(sql(conn, text, values)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.outcome, row.counted, row.found)).collect())
}
