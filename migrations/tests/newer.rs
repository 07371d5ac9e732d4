//! A schema that a newer build has migrated is tolerated, so that a rolling upgrade can migrate first.

use anyhow::ensure;
use sea_orm::{ConnectionTrait as _, Database};
use tgmesh_migrations::{Schema, SchemaError, check, migrate};
use tgmesh_tests::database;

#[tokio::test]
async fn a_newer_schema_is_tolerated_and_an_older_one_is_not() -> anyhow::Result<()> {
    for schema in [Schema::Integration, Schema::Invite, Schema::Parsing] {
        for database in database::each().await? {
            let db = Database::connect(database.url()).await?;
            ensure!(matches!(check(&db, schema).await, Err(SchemaError::Old { .. })), "{schema:?}: nothing is there");
            migrate(&db, schema).await?;
            check(&db, schema).await?;
            db.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m29991231_000001_of_a_newer_build', 1)")
                .await?;
            check(&db, schema).await?;
            migrate(&db, schema).await?;
            db.execute_unprepared("DELETE FROM seaql_migrations WHERE version LIKE '%_first'").await?;
            let missing = check(&db, schema).await;
            ensure!(matches!(missing, Err(SchemaError::Old { missing: 1, .. })), "{schema:?}: {missing:?}");
        }
    }
    Ok(())
}
