//! Connects to a service's database: SQLite or PostgreSQL.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long SQLite waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A service's database.
#[derive(Debug, Clone)]
pub struct Db {
    conn: DatabaseConnection,
    /// SQLite has one writer: waiting for it here is fair, waiting in SQLite is not.
    writer: Option<Arc<Mutex<()>>>,
    name: Arc<str>,
}

impl Db {
    /// Opens the pool; the first connection is made at once.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(url: &SecretString, max_connections: u32) -> Result<Self, DbErr> {
        let name = describe(url.expose_secret());
        if let Some(file) = sqlite_file(url.expose_secret(), &name) {
            // SQLite gives its journals the mode of the file. What cannot be made here it cannot make either.
            let _ = crate::files::private_file(file);
        }
        let mut options = ConnectOptions::new(url.expose_secret());
        options
            .max_connections(max_connections)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|options| {
                use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
                options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A committed reservation must survive a power cut too.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(BUSY_TIMEOUT)
            });
        let conn = Database::connect(options).await?;
        let writer = (conn.get_database_backend() == DbBackend::Sqlite).then(|| Arc::new(Mutex::new(())));
        Ok(Self { conn, writer, name: name.into() })
    }

    /// The pool, for reads and single statements.
    pub fn conn(&self) -> &DatabaseConnection {
        &self.conn
    }

    /// Whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        self.writer.is_some()
    }

    /// Host and port, or the file: what an error may say of it. No password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn begin(&self) -> Result<Tx, DbErr> {
        let guard = self.turn().await;
        let options = TransactionOptions {
            sqlite_transaction_mode: guard.is_some().then_some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(Tx { tx: self.conn.begin_with_options(options).await?, _guard: guard })
    }

    /// The pool, for a single statement that writes: waits for its turn as a
    /// transaction does.
    pub async fn writing(&self) -> Writing<'_> {
        Writing { conn: &self.conn, _guard: self.turn().await }
    }

    /// Waits until no other writer is at work, where there can be only one.
    async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.writer {
            Some(writer) => Some(writer.clone().lock_owned().await),
            None => None,
        }
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.conn.execute_unprepared("SELECT 1").await.map(|_| ())
    }
}

/// The turn of a single statement that writes.
#[derive(Debug)]
pub struct Writing<'a> {
    conn: &'a DatabaseConnection,
    _guard: Option<OwnedMutexGuard<()>>,
}

impl Deref for Writing<'_> {
    type Target = DatabaseConnection;

    fn deref(&self) -> &Self::Target {
        self.conn
    }
}

/// A transaction; rolled back unless committed.
#[derive(Debug)]
pub struct Tx {
    tx: DatabaseTransaction,
    _guard: Option<OwnedMutexGuard<()>>,
}

impl Tx {
    /// Commits.
    ///
    /// # Errors
    /// When the database refuses, or cannot be reached.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.tx.commit().await
    }

    /// Takes everything back, now: a dropped transaction is rolled back when its
    /// connection is next used, and holds its locks until then.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.tx.rollback().await
    }
}

impl Deref for Tx {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

/// Whether the database could not be reached, as opposed to refusing.
pub fn is_unavailable(error: &DbErr) -> bool {
    use sea_orm::sqlx::Error as Sqlx;
    match error {
        DbErr::ConnectionAcquire(_) => true,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            Sqlx::Io(_) | Sqlx::PoolTimedOut | Sqlx::PoolClosed | Sqlx::Tls(_) => true,
            // 57P01…57P03: the server is shutting down or starting up.
            Sqlx::Database(error) => error.code().is_some_and(|code| code.starts_with("57P") || code == "53300"),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a row with the same key exists already.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// The file of a SQLite database that may be made.
fn sqlite_file<'a>(url: &str, name: &'a str) -> Option<&'a Path> {
    (url.starts_with("sqlite") && url.contains("mode=rwc") && !name.contains(":memory:")).then(|| Path::new(name))
}

/// The place a URL names, without user and password.
pub fn describe(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if url.starts_with("sqlite") {
        return rest.to_owned();
    }
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    host.split('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_no_password() {
        assert_eq!(describe("postgres://user:p%40ss@db.example:5432/tgmesh?sslmode=require"), "db.example:5432");
        assert_eq!(describe("sqlite:///var/lib/tgmesh/invite.db?mode=rwc"), "/var/lib/tgmesh/invite.db");
    }

    #[tokio::test]
    async fn a_database_is_its_owners_alone_with_its_journals() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db?mode=rwc", dir.path().display());
        let db = Db::connect(&url.into(), 2).await.unwrap();
        db.conn().execute_unprepared("CREATE TABLE t (x INTEGER)").await.unwrap();
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
        assert!(files.len() > 1, "{files:?}");
        for file in files {
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.path());
        }
    }

    #[tokio::test]
    async fn a_dropped_transaction_is_rolled_back() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db?mode=rwc", dir.path().display());
        let db = Db::connect(&url.into(), 4).await.unwrap();
        db.conn().execute_unprepared("CREATE TABLE t (x INTEGER)").await.unwrap();
        let tx = db.begin().await.unwrap();
        tx.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap();
        drop(tx);
        let tx = db.begin().await.unwrap();
        let done = tx.execute_unprepared("UPDATE t SET x = 2").await.unwrap();
        assert_eq!(done.rows_affected(), 0);
        tx.commit().await.unwrap();
    }
}
