//! The schemas: one module per service, dated files, never edited once shipped.
//!
//! Times are milliseconds since the epoch in BIGINT columns named `…_at`; see
//! `docs/adr`. Every row that belongs to somebody has a `workspace_id`.

pub mod columns;
pub mod integration;
pub mod invite;
pub mod parsing;

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, TransactionTrait as _};
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

/// Brings a schema up to date. Safe to run in several processes at once.
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

async fn up<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        // SQLite locks the file for each migration; two processes that race see
        // the second fail on a table that exists, and the embedded profile has one.
        return M::up(db, None).await;
    }
    // Held by the transaction's connection while the migrations run on others.
    let lock = db.begin().await?;
    lock.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
    M::up(db, None).await?;
    lock.commit().await
}

async fn pending<M: MigratorTrait>(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let statuses = M::get_migration_with_status(db).await?;
    Ok(statuses.iter().filter(|migration| migration.status() == MigrationStatus::Pending).count())
}
