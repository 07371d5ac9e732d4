//! One key, one connection: whoever knows the key, however many want it, in however many processes. The witness is the
//! emulator, which records each moment at which it sees a key on two connections.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use service_kit::client::UserChannel;
use service_kit::identity::Acting;
use telegram_emulator::{Fault, FaultFilter, FaultKind, Release, RpcError};
use tgmesh::launch::Running;
use tgmesh_proto::Caller;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::account::{SessionState, State};
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::integration::v1::import_result::Status;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient;
use tgmesh_tests::{database, wait};

use crate::common::play::telethon;
use crate::common::{PATIENCE, UNLIMITED, World};

type Client = IntegrationServiceClient<UserChannel>;

fn on(user: i64, method: &str) -> FaultFilter {
    FaultFilter { account: Some(user), method: Some(method.to_owned()), ..Default::default() }
}

/// Nobody has seen a key on two connections.
fn innocent(world: &World) -> anyhow::Result<()> {
    let overlaps = world.handle().overlaps();
    ensure!(overlaps.is_empty(), "one key on two connections: {overlaps:?}");
    Ok(())
}

async fn import(world: &World, mut client: Client, key: &[u8; 256]) -> anyhow::Result<String> {
    let request = pb::ImportSessionsRequest { request_id: world.id(), sessions: telethon(key) };
    let results = client.import_sessions(request).await?.into_inner().results;
    let result = results.into_iter().next().context("no result")?;
    ensure!(result.status() == Status::Connected, "{result:?}");
    Ok(result.account.context("no account")?.id)
}

async fn check(world: &World, mut client: Client, account: &str) -> anyhow::Result<Vec<String>> {
    let request = pb::CheckAccountRequest { request_id: world.id(), account_id: account.to_owned() };
    Ok(client.check_account(request).await?.into_inner().issues)
}

async fn last_event(world: &World, account: &str) -> anyhow::Result<Kind> {
    let request = pb::ListAccountEventsRequest { account_id: account.to_owned(), ..Default::default() };
    let events = world.integration(world.owner).list_account_events(request).await?.into_inner().events;
    Ok(events.first().context("no event")?.kind())
}

/// Logs a user in anew: the session that the account had is replaced.
async fn log_in_again(world: &World, user: i64, login: &pb::Login) -> anyhow::Result<()> {
    world.enter_code(world.owner, user, &login.id).await.map(drop)
}

/// Waits until a call is parked at the emulator; its number.
async fn parked(world: &World) -> anyhow::Result<u64> {
    wait::until("the call to be parked", PATIENCE, async || world.handle().holds().first().map(|hold| hold.id)).await
}

async fn imported_at_once(world: &World, clients: [&dyn Fn(Acting) -> Client; 2]) -> anyhow::Result<()> {
    // Each trial takes long enough for the other to begin.
    let filter = FaultFilter { method: Some("users.getUsers".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::always(filter, FaultKind::SlowAnswer(Duration::from_millis(300))));
    for user in 61..64 {
        let key = [u8::try_from(user)?; 256];
        world.handle().add_key(key, 2, Some(user));
        let [first, second] = clients.map(|client| import(world, client(world.owner), &key));
        let (first, second) = tokio::join!(first, second);
        let account = first?;
        ensure!(second? == account, "two accounts were made of one session");
        for client in clients {
            ensure!(check(world, client(world.owner), &account).await?.is_empty());
        }
    }
    innocent(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_imported_twice_at_once_is_on_one_connection() -> anyhow::Result<()> {
    let world = World::start().await?;
    let client = |who| world.integration(who);
    imported_at_once(&world, [&client, &client]).await?;
    world.stop().await?;
    Ok(())
}

/// A world on a server's database, and a second process of the integration service on the same.
async fn two_processes() -> anyhow::Result<(World, Running, tempfile::TempDir, database::TestDatabase)> {
    let database = database::postgres().await?;
    let settings = format!("{UNLIMITED}[databases.integration]\nurl = '{}'\n", database.url());
    let world = World::start_as_outside(&settings, "", "hash").await?;
    let folder = tempfile::tempdir()?;
    let replica = world.replica(folder.path()).await?;
    Ok((world, replica, folder, database))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_imported_by_two_processes_is_on_one_connection() -> anyhow::Result<()> {
    let (world, replica, _folder, _database) = two_processes().await?;
    let here = |who| world.integration(who);
    let there = |who| Client::new(world.channel_to(&replica, "integration", Caller::User, who));
    imported_at_once(&world, [&here, &there]).await?;
    replica.stop().await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_another_process_replaces_is_logged_out_when_its_connection_is_closed() -> anyhow::Result<()> {
    let (world, replica, _folder, _database) = two_processes().await?;
    let account = world.connect(world.owner, 61).await?;
    let mut there = Client::new(world.channel_to(&replica, "integration", Caller::User, world.owner));
    // The connection stays open here, and nobody here knows that the session was replaced.
    check(&world, world.integration(world.owner), &account).await?;
    let key = [9; 256];
    world.handle().add_key(key, 2, Some(61));
    ensure!(world.handle().keys_of(61).len() == 2);
    ensure!(import(&world, there.clone(), &key).await? == account);
    wait::until("the old session to be logged out", PATIENCE, async || {
        (world.handle().keys_of(61).len() == 1).then_some(())
    })
    .await?;
    ensure!(check(&world, world.integration(world.owner), &account).await?.is_empty());
    let request = pb::GetAccountRequest { account_id: account };
    let shown = there.get_account(request).await?.into_inner().account.context("no account")?;
    ensure!(shown.state() == State::Ready, "{shown:?}");
    innocent(&world)?;
    replica.stop().await?;
    world.stop().await?;
    Ok(())
}

/// The service's own database.
async fn rows(world: &World) -> anyhow::Result<DatabaseConnection> {
    let file = world.config.data_dir.join("integration.db");
    Ok(Database::connect(format!("sqlite://{}", file.display())).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_replaced_during_a_call_is_logged_out_after_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = rows(&world).await?;
    let account = world.connect(world.owner, 61).await?;
    check(&world, world.integration(world.owner), &account).await?;
    let login = world.start_login(world.owner, 61).await?;
    world.handle().inject_fault(Fault::once(on(61, "users.*"), FaultKind::HoldBeforeEffect));
    let calling = check(&world, world.integration(world.owner), &account);
    let replacing = async {
        let hold = parked(&world).await?;
        let released = async {
            // Whoever logs the old session out waits for its key, or has opened a connection with it.
            wait::until("the old session to be due", PATIENCE, async || {
                let wanted = "SELECT holder FROM key_claims WHERE wanted";
                let wanted = Statement::from_string(rows.get_database_backend(), wanted);
                let wanted = rows.query_one_raw(wanted).await.ok()?.is_some();
                (wanted || !world.handle().overlaps().is_empty()).then_some(())
            })
            .await?;
            world.handle().release_hold(hold, Release::Continue)?;
            anyhow::Ok(())
        };
        tokio::try_join!(log_in_again(&world, 61, &login), released)
    };
    let (called, replaced) = tokio::join!(calling, replacing);
    replaced?;
    ensure!(called?.is_empty(), "the call on the old connection failed");
    wait::until("the old session to be logged out", PATIENCE, async || {
        (world.handle().keys_of(61).len() == 1).then_some(())
    })
    .await?;
    ensure!(check(&world, world.integration(world.owner), &account).await?.is_empty());
    innocent(&world)?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_session_that_was_replaced_leaves_the_new_one_alone() -> anyhow::Result<()> {
    let world = World::start().await?;
    let account = world.connect(world.owner, 61).await?;
    check(&world, world.integration(world.owner), &account).await?;
    let login = world.start_login(world.owner, 61).await?;
    // The call is parked, and answered so when it is let go.
    let revoked = FaultKind::Error(RpcError::by_name("SESSION_REVOKED"));
    for kind in [FaultKind::HoldBeforeEffect, revoked] {
        world.handle().inject_fault(Fault::once(on(61, "users.*"), kind));
    }
    let calling = check(&world, world.integration(world.owner), &account);
    let replacing = async {
        let hold = parked(&world).await?;
        let released = async {
            wait::until("the new session", PATIENCE, async || {
                (last_event(&world, &account).await.ok()? == Kind::Reconnected).then_some(())
            })
            .await?;
            world.handle().release_hold(hold, Release::Continue)?;
            anyhow::Ok(())
        };
        tokio::try_join!(log_in_again(&world, 61, &login), released)
    };
    let (called, replaced) = tokio::join!(calling, replacing);
    replaced?;
    let issues = called?;
    ensure!(issues.len() == 1, "the call did not meet the error: {issues:?}");
    let request = pb::GetAccountRequest { account_id: account.clone() };
    let shown =
        world.integration(world.owner).get_account(request).await?.into_inner().account.context("no account")?;
    ensure!((shown.state(), shown.session_state()) == (State::Ready, SessionState::Ok), "{shown:?}");
    ensure!(last_event(&world, &account).await? == Kind::Reconnected, "the new session was taken for lost");
    ensure!(check(&world, world.integration(world.owner), &account).await?.is_empty());
    innocent(&world)?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_out_that_is_not_answered_holds_up_no_other() -> anyhow::Result<()> {
    // Longer than the test is patient.
    let world = World::start_with("[integration.connections]\ncall_timeout_s = 600\n", "").await?;
    for user in [61, 62] {
        world.connect(world.owner, user).await?;
    }
    let silence = world.handle().inject_fault(Fault::always(on(61, "auth.logOut"), FaultKind::Silence));
    let hits = || world.handle().faults().iter().find(|fault| fault.id == silence).map_or(0, |fault| fault.hits);
    let login = world.start_login(world.owner, 61).await?;
    log_in_again(&world, 61, &login).await?;
    wait::until("the log-out", PATIENCE, async || (hits() > 0).then_some(())).await?;
    let login = world.start_login(world.owner, 62).await?;
    log_in_again(&world, 62, &login).await?;
    wait::until("the other log-out", PATIENCE, async || (world.handle().keys_of(62).len() == 1).then_some(())).await?;
    ensure!((hits(), world.handle().keys_of(61).len()) == (1, 2), "the first log-out is over");
    world.stop().await?;
    Ok(())
}
