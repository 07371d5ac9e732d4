//! A migration that is interrupted leaves nothing, and the next one succeeds.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::ensure;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};
use tgmesh_migrations::{Schema, SchemaError, check, migrate};
use tgmesh_tests::database::{self, TestDatabase};

/// The schemas, and of each a name that one of its later statements takes.
const LATE: [(Schema, &str); 3] =
    [(Schema::Integration, "key_claims"), (Schema::Invite, "processes"), (Schema::Parsing, "contact_accounts")];

/// As the processes open it: a pool, with the waiting for locks that they have.
async fn open(database: &TestDatabase) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(2).map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::from_secs(10)));
    Ok(Database::connect(options).await?)
}

/// Everything that has a name in it.
async fn names(db: &DatabaseConnection) -> anyhow::Result<Vec<String>> {
    let text = match db.get_database_backend() {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master ORDER BY name",
        _ => "SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname",
    };
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), text)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "name")).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn a_migration_that_fails_in_the_middle_leaves_nothing() -> anyhow::Result<()> {
    for (schema, late) in LATE {
        for database in database::each().await? {
            let db = open(&database).await?;
            db.execute_unprepared(&format!("CREATE TABLE {late} (x INTEGER)")).await?;
            ensure!(migrate(&db, schema).await.is_err(), "{schema:?}: {late} is not made by it");
            ensure!(names(&db).await? == [late], "{schema:?}: {:?}", names(&db).await?);
            ensure!(matches!(check(&db, schema).await, Err(SchemaError::Old { .. })));
            db.execute_unprepared(&format!("DROP TABLE {late}")).await?;
            migrate(&db, schema).await?;
            check(&db, schema).await?;
        }
    }
    Ok(())
}

/// Wherever it is dropped, between two statements or in one, it is all or nothing.
#[tokio::test]
async fn a_migration_that_is_aborted_is_all_or_nothing() -> anyhow::Result<()> {
    for sqlite in [true, false] {
        let (mut none, mut whole) = (0, false);
        for step in 0_u32.. {
            let database = if sqlite { database::sqlite()? } else { database::postgres().await? };
            let db = open(&database).await?;
            let mut left = step * step;
            let done = {
                let mut migrating = pin!(migrate(&db, Schema::Integration));
                poll_fn(|cx| match migrating.as_mut().poll(cx) {
                    Poll::Ready(done) => Poll::Ready(Some(done)),
                    Poll::Pending if left == 0 => Poll::Ready(None),
                    Poll::Pending => {
                        left -= 1;
                        Poll::Pending
                    }
                })
                .await
            };
            let other = open(&database).await?;
            if let Some(done) = done {
                done?;
                whole = true;
                check(&other, Schema::Integration).await?;
                break;
            }
            match check(&other, Schema::Integration).await {
                // Dropped while it was being committed.
                Ok(()) => {}
                Err(SchemaError::Old { .. }) => {
                    none += 1;
                    ensure!(names(&other).await?.is_empty(), "aborted at {}: {:?}", step * step, names(&other).await?);
                }
                Err(error) => return Err(error.into()),
            }
            migrate(&other, Schema::Integration).await?;
            check(&other, Schema::Integration).await?;
        }
        ensure!(none > 0 && whole, "it was never aborted in the middle");
    }
    Ok(())
}
