//! Databases of a test's own. Every test of a store runs on both kinds.

use anyhow::Context as _;
use sea_orm::{ConnectionTrait as _, Database as SeaOrm, DatabaseConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Names a superuser's URL of a PostgreSQL server, on which each test makes a database of its own.
pub const POSTGRES_URL: &str = "TGMESH_TEST_POSTGRES_URL";

/// A database that nobody else uses. It is gone when this is dropped, connections or not.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// The folder with the file.
    Sqlite { _folder: TempDir },
    /// The server's URL, and the database's name there.
    Postgres { server: String, name: String },
}

/// A fresh SQLite file.
///
/// # Errors
/// When no temporary folder can be made.
pub fn sqlite() -> anyhow::Result<TestDatabase> {
    let folder = tempfile::tempdir().context("cannot make a folder for a test's database")?;
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display());
    Ok(TestDatabase { url, kept: Kept::Sqlite { _folder: folder } })
}

/// A fresh PostgreSQL database.
///
/// # Errors
/// When there is no server, or it makes no database.
pub async fn postgres() -> anyhow::Result<TestDatabase> {
    let server = std::env::var(POSTGRES_URL).with_context(|| {
        format!("{POSTGRES_URL} is not set: run the tests through `cargo xtask test`, which brings a server up")
    })?;
    let name = format!("test_{}", Uuid::new_v4().simple());
    let (base, _) = server.rsplit_once('/').with_context(|| format!("{POSTGRES_URL} names no database"))?;
    let url = format!("{base}/{name}");
    execute(&server, &format!("CREATE DATABASE {name}")).await.context("cannot make a test's database")?;
    Ok(TestDatabase { url, kept: Kept::Postgres { server, name } })
}

/// One database of each kind, for a test that runs on both.
///
/// # Errors
/// Those of [`sqlite`] and [`postgres`].
pub async fn each() -> anyhow::Result<Vec<TestDatabase>> {
    Ok(vec![sqlite()?, postgres().await?])
}

impl TestDatabase {
    /// Where it is: `sqlite://…` or `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A plain connection to it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        SeaOrm::connect(&self.url).await.context("cannot connect to a test's database")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Kept::Postgres { server, name } = &self.kept else { return };
        let (server, statement) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // The test's runtime may be gone or busy, and a drop cannot await: a runtime of its own, on a thread of its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&server, &statement))
        });
        // The server is thrown away after the run anyway; what is left there does no harm.
        let _ = dropping.join();
    }
}

async fn execute(server: &str, statement: &str) -> anyhow::Result<()> {
    let connection = SeaOrm::connect(server).await.context("cannot reach the PostgreSQL server of the tests")?;
    connection.execute_unprepared(statement).await?;
    connection.close().await?;
    Ok(())
}
