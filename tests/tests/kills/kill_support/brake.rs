//! A brake in a process's database: the next statement of a kind stops inside
//! its transaction, until the process is killed.
//!
//! A trigger does it, so that the process itself is the one that ships. SQLite
//! counts for a while; PostgreSQL waits for a lock that the test holds.

use std::collections::HashSet;

use anyhow::Context as _;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use tgmesh_tests::wait;

use super::PATIENCE;

/// The lock that PostgreSQL's brake waits for.
const LOCK: i64 = 4_711;
/// So far SQLite's brake counts: many seconds.
const FAR: u64 = 100_000_000;

/// Which statement is stopped.
#[derive(Debug, Clone, Copy)]
pub struct Where {
    pub table: &'static str,
    /// `INSERT`, or `UPDATE`.
    pub event: &'static str,
    /// A condition on `NEW`.
    pub when: &'static str,
}

/// A database of a process under test, and its brake.
#[derive(Debug)]
pub struct Brake {
    /// One connection: PostgreSQL's lock belongs to it.
    conn: DatabaseConnection,
    /// For looks beside a lock that is held.
    pub look: DatabaseConnection,
    sqlite: bool,
    armed: Option<Where>,
}

impl Brake {
    /// For the database at `url`, which exists and has its schema.
    pub async fn new(url: &str) -> anyhow::Result<Self> {
        let connect = async || {
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).sqlx_logging(false);
            Database::connect(options).await.context("no connection to the database of a process under test")
        };
        let (conn, look) = (connect().await?, connect().await?);
        let sqlite = conn.get_database_backend() == DbBackend::Sqlite;
        if sqlite {
            conn.execute_unprepared("PRAGMA busy_timeout = 5000").await?;
            look.execute_unprepared("PRAGMA busy_timeout = 0").await?;
            let view = format!(
                "CREATE VIEW IF NOT EXISTS kill_brake AS WITH RECURSIVE c(x) AS \
                 (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {FAR}) SELECT count(*) AS n FROM c"
            );
            conn.execute_unprepared(&view).await?;
        } else {
            let function = format!(
                "CREATE OR REPLACE FUNCTION kill_brake() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_advisory_xact_lock({LOCK}); RETURN NEW; END'"
            );
            conn.execute_unprepared(&function).await?;
        }
        Ok(Self { conn, look, sqlite, armed: None })
    }

    /// From now on such a statement stops.
    pub async fn arm(&mut self, at: Where) -> anyhow::Result<()> {
        let Where { table, event, when } = at;
        if self.sqlite {
            let trigger = format!(
                "CREATE TRIGGER kill_brake_trigger AFTER {event} ON {table} WHEN {when} \
                 BEGIN SELECT n FROM kill_brake; END"
            );
            self.conn.execute_unprepared(&trigger).await?;
        } else {
            self.conn.execute_unprepared(&format!("SELECT pg_advisory_lock({LOCK})")).await?;
            let trigger = format!(
                "CREATE TRIGGER kill_brake_trigger AFTER {event} ON {table} FOR EACH ROW WHEN ({when}) \
                 EXECUTE FUNCTION kill_brake()"
            );
            self.conn.execute_unprepared(&trigger).await?;
        }
        self.armed = Some(at);
        Ok(())
    }

    /// Whether a statement stands at the brake.
    pub async fn engaged(&self) -> bool {
        if !self.sqlite {
            let waiting = format!(
                "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted"
            );
            return number(&self.look, &waiting).await.is_ok_and(|waiting| waiting > 0);
        }
        // Whoever writes holds the lock of the whole file. Two looks: most
        // transactions are over between them.
        for _ in 0..2 {
            match self.look.begin_with_options(immediate()).await {
                Ok(tx) => {
                    let _ = tx.rollback().await;
                    return false;
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
        true
    }

    /// Takes the brake away. Only once its process is dead: it would go on.
    pub async fn release(&mut self) -> anyhow::Result<()> {
        let Some(at) = self.armed.take() else { return Ok(()) };
        if self.sqlite {
            self.conn.execute_unprepared("DROP TRIGGER kill_brake_trigger").await?;
            return Ok(());
        }
        self.conn.execute_unprepared(&format!("SELECT pg_advisory_unlock({LOCK})")).await?;
        // The server sees that its client is gone, and takes the transaction back.
        let drop = format!("DROP TRIGGER kill_brake_trigger ON {}", at.table);
        self.conn.execute_unprepared(&drop).await?;
        Ok(())
    }

    /// One number from the database.
    pub async fn number(&self, query: &str) -> anyhow::Result<i64> {
        number(&self.look, query).await
    }

    /// A column of the database.
    pub async fn texts(&self, query: &str) -> anyhow::Result<HashSet<String>> {
        let statement = Statement::from_string(self.look.get_database_backend(), query);
        let rows = self.look.query_all_raw(statement).await?;
        Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
    }

    /// Waits until a number has this value.
    pub async fn until(&self, query: &str, value: i64) -> anyhow::Result<()> {
        wait::until(&format!("{query} = {value}"), PATIENCE, async || {
            (self.number(query).await.ok() == Some(value)).then_some(())
        })
        .await
    }
}

fn immediate() -> sea_orm::TransactionOptions {
    sea_orm::TransactionOptions {
        sqlite_transaction_mode: Some(sea_orm::SqliteTransactionMode::Immediate),
        ..Default::default()
    }
}

async fn number(conn: &DatabaseConnection, query: &str) -> anyhow::Result<i64> {
    let statement = Statement::from_string(conn.get_database_backend(), query);
    let row = conn.query_one_raw(statement).await?.context("no row")?;
    Ok(row.try_get_by_index(0)?)
}
