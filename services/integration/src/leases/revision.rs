//! Positions among all changes of a table, in the order in which others see them.
//!
//! A watch asks for what lies beyond a position. A counter would not do: on
//! PostgreSQL a transaction that drew a lower number may commit later, and the
//! watch has passed it by then. SQLite has one writer, so a counter is exact
//! there. On PostgreSQL the number is the transaction's own id, and a watch
//! reads only below the oldest transaction still under way.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

/// The position of what this transaction changes in `table`.
pub(crate) async fn next(tx: &impl ConnectionTrait, table: &'static str) -> Result<i64, DbErr> {
    let sql = match tx.get_database_backend() {
        DbBackend::Postgres => "SELECT pg_current_xact_id()::text::bigint AS position".to_owned(),
        _ => format!("SELECT COALESCE(MAX(revision), 0) + 1 AS position FROM {table}"),
    };
    read(tx, sql).await
}

/// The highest position up to which every change can be seen. Read it before
/// the rows.
pub(crate) async fn settled(conn: &impl ConnectionTrait, table: &'static str) -> Result<i64, DbErr> {
    let sql = match conn.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS position".to_owned()
        }
        _ => format!("SELECT COALESCE(MAX(revision), 0) AS position FROM {table}"),
    };
    read(conn, sql).await
}

async fn read(conn: &impl ConnectionTrait, sql: String) -> Result<i64, DbErr> {
    let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("no position".to_owned()))?.try_get("", "position")
}
