//! The schemas: one module per service, dated files, never edited once shipped.
//!
//! Times are milliseconds since the epoch in BIGINT columns named `…_at`; see
//! `docs/adr`. Every row that belongs to somebody has a `workspace_id`.

pub mod columns;
pub mod integration;
pub mod invite;
pub mod parsing;

use std::collections::HashSet;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait;

/// Key of the lock under which one process migrates a database at a time.
const ADVISORY_LOCK: i64 = 0x7467_6d65_7368;

/// Whose schema it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Accounts, logins, leases, quotas.
    Integration,
    /// Campaigns.
    Invite,
    /// Parse tasks.
    Parsing,
}

/// Why a service cannot work on a database.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Migrations are missing.
    #[error("the schema of {schema:?} is {missing} migrations behind: run `tgmesh migrate`")]
    Old {
        /// Whose.
        schema: Schema,
        /// How many migrations.
        missing: usize,
    },
    /// The database failed.
    #[error("the schema cannot be read or changed")]
    Db(#[from] DbErr),
}

/// Brings a schema up to date, or leaves it as it was, however this ends. Safe to run in several processes at once.
///
/// # Errors
/// When the database fails.
pub async fn migrate(db: &DatabaseConnection, schema: Schema) -> Result<(), DbErr> {
    match schema {
        Schema::Integration => up::<integration::Migrator>(db).await,
        Schema::Invite => up::<invite::Migrator>(db).await,
        Schema::Parsing => up::<parsing::Migrator>(db).await,
    }
}

/// Refuses a schema that is older than this build; a newer one is tolerated,
/// so that a rolling upgrade can migrate first.
///
/// # Errors
/// When migrations are missing, or the database fails.
pub async fn check(db: &DatabaseConnection, schema: Schema) -> Result<(), SchemaError> {
    let missing = match schema {
        Schema::Integration => pending::<integration::Migrator>(db).await?,
        Schema::Invite => pending::<invite::Migrator>(db).await?,
        Schema::Parsing => pending::<parsing::Migrator>(db).await?,
    };
    if missing == 0 { Ok(()) } else { Err(SchemaError::Old { schema, missing }) }
}

/// In one transaction for all that is missing: the migrator by itself opens one only on PostgreSQL, and what a killed
/// process left of a migration on SQLite would make every later start fail.
async fn up<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), DbErr> {
    let sqlite = db.get_database_backend() == DbBackend::Sqlite;
    let options = TransactionOptions {
        // Locks the file from the beginning, so that of two processes one waits.
        sqlite_transaction_mode: sqlite.then_some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let tx = db.begin_with_options(options).await?;
    if !sqlite {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
    }
    // The migrator refuses a database that has migrations of a newer build, also when there is nothing to do.
    if pending::<M>(&tx).await? > 0 {
        M::up(&tx, None).await?;
    }
    tx.commit().await
}

/// How many migrations of this build a database lacks. What it has besides is of a newer build, and none of ours. Reads
/// alone: the table of migrations may be being made in a transaction that is not over.
async fn pending<M: MigratorTrait>(conn: &impl ConnectionTrait) -> Result<usize, DbErr> {
    let known = M::migrations();
    let there = match conn.get_database_backend() {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'",
        _ => "SELECT to_regclass('seaql_migrations')::text AS name WHERE to_regclass('seaql_migrations') IS NOT NULL",
    };
    if conn.query_one_raw(Statement::from_string(conn.get_database_backend(), there)).await?.is_none() {
        return Ok(known.len());
    }
    let text = "SELECT version FROM seaql_migrations";
    let rows = conn.query_all_raw(Statement::from_string(conn.get_database_backend(), text)).await?;
    let applied: HashSet<String> = rows.iter().map(|row| row.try_get("", "version")).collect::<Result<_, _>>()?;
    Ok(known.iter().filter(|migration| !applied.contains(migration.name())).count())
}
