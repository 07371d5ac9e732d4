//! The schemas: one module per service, dated files, never edited once shipped.
//!
//! Times are milliseconds since the epoch in BIGINT columns named `…_at`; see
//! `docs/adr`. Every row that belongs to somebody has a `workspace_id`.

pub mod columns;
pub mod integration;
pub mod invite;
pub mod parsing;

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait as _,
};
use sea_orm_migration::{MigrationStatus, MigratorTrait};

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
    M::up(&tx, None).await?;
    tx.commit().await
}

/// Reads alone: the table of migrations may be being made in a transaction that is not over.
async fn pending<M: MigratorTrait>(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let statuses = M::get_migration_with_status_read_only(db).await?;
    Ok(statuses.iter().filter(|migration| migration.status() == MigrationStatus::Pending).count())
}
