//! What the tests lean on holds.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use tgmesh_tests::process::{Launch, Process};
use tgmesh_tests::{database, wait};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn each_database_is_a_test_s_own() -> anyhow::Result<()> {
    for (one, other) in database::each().await?.into_iter().zip(database::each().await?) {
        for database in [&one, &other] {
            let connection = database.connect().await?;
            connection.execute_unprepared("CREATE TABLE thing (id BIGINT PRIMARY KEY)").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_database_is_gone_afterwards() -> anyhow::Result<()> {
    let database = database::postgres().await?;
    let url = database.url().to_owned();
    // A connection that is still open must not keep it.
    let connection = database.connect().await?;
    drop(database);
    assert!(connection.execute_unprepared("SELECT 1").await.is_err());
    assert!(sea_orm::Database::connect(url).await.is_err());
    Ok(())
}

/// A shell script in the place of a server: says how often it was started, and waits.
fn script(folder: &std::path::Path, script: &str) -> anyhow::Result<Process> {
    let ready = folder.join("ready.json");
    let launch = Launch::new("script", "sh", folder).arguments(["-c", script]).variable("WORD", "hello");
    launch.ready_file(ready).start()
}

#[tokio::test]
async fn a_process_is_killed_and_started_again() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let text = r#"echo "$WORD"; echo "{\"pid\": $$}" > ready.json; exec sleep 1000"#;
    let mut process = script(folder.path(), text)?;
    let first = process.ready(SOON).await?;
    assert_eq!(first["pid"], process.id());

    process.kill()?;
    assert!(process.signal("CONT").is_err(), "it is gone");
    process.restart()?;
    let second = process.ready(SOON).await?;
    assert_ne!(first["pid"], second["pid"], "the ready file of the first start was taken for the second's");
    assert_eq!(process.output(), "hello\nhello\n");

    assert!(!process.stop(SOON).await?.success(), "TERM ended it");
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_too_early_shows_its_last_words() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut process = script(folder.path(), "echo no database >&2; exit 7")?;
    let error = process.ready(SOON).await.expect_err("it ended").to_string();
    assert!(error.contains("exit status: 7") && error.contains("no database"), "{error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_says_for_what() {
    let result = wait::until("the impossible", SOON, async || None::<()>).await;
    assert_eq!(result.expect_err("it never comes").to_string(), "waited 20 s in vain for the impossible");
}
