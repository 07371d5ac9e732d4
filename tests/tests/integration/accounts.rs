//! Accounts: pause, check, delete, journal, watch, imports.

use anyhow::Context as _;
use telegram_emulator::{Fault, FaultFilter, FaultKind, RpcError};
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::account::{SessionState, State};
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::integration::v1::import_result::Status;
use tgmesh_proto::lease::v1::Purpose;
use tgmesh_proto::{Caller, ErrorReason};

use crate::common::play::{key, telethon};
use crate::common::{PATIENCE, World};
use crate::reason;

async fn show(world: &World, id: &str) -> anyhow::Result<pb::Account> {
    let request = pb::GetAccountRequest { account_id: id.to_owned() };
    world.integration(world.owner).get_account(request).await?.into_inner().account.context("no account")
}

async fn kinds(world: &World, id: &str) -> anyhow::Result<Vec<Kind>> {
    let request = pb::ListAccountEventsRequest { account_id: id.to_owned(), ..Default::default() };
    let events = world.integration(world.owner).list_account_events(request).await?.into_inner().events;
    Ok(events.iter().map(pb::AccountEvent::kind).collect())
}

#[tokio::test]
async fn sessions_are_imported_line_by_line() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (good, unknown) = ([7; 256], [8; 256]);
    world.handle().add_key(good, 2, Some(61));
    let sessions =
        format!("# ours\n{}\n\nnot a session\n{}\n{}\n", telethon(&good), telethon(&good), telethon(&unknown));
    let request = pb::ImportSessionsRequest { request_id: world.id(), sessions: sessions.clone() };
    let results = world.integration(world.owner).import_sessions(request).await?.into_inner().results;
    let found: Vec<(i32, Status)> = results.iter().map(|result| (result.line, result.status())).collect();
    assert_eq!(found, [(2, Status::Connected), (4, Status::Unreadable), (5, Status::Duplicate), (6, Status::Rejected)]);
    assert!(results.iter().all(|result| !result.detail.contains("Bwc")), "a session is shown");
    let theirs = pb::ImportSessionsRequest { request_id: world.id(), sessions: telethon(&good) };
    let results = world.integration(world.stranger).import_sessions(theirs).await?.into_inner().results;
    assert_eq!(results[0].status(), Status::AlreadyConnected);
    // The owner's session was only tried: it works on.
    let account = results_account(&world).await?;
    let check = pb::CheckAccountRequest { request_id: world.id(), account_id: account };
    let checked = world.integration(world.owner).check_account(check).await?.into_inner();
    assert_eq!(checked.issues, Vec::<String>::new());
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_says_nothing_of_a_session_that_is_imported() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.handle().add_key([7; 256], 2, Some(61));
    let filter = FaultFilter { method: Some("users.getUsers".to_owned()), ..FaultFilter::default() };
    let flood = FaultKind::Error(RpcError::by_name("FLOOD_WAIT_20"));
    world.handle().inject_fault(Fault::once(filter, flood));
    let mut client = world.integration(world.owner);
    let import = || pb::ImportSessionsRequest { request_id: world.id(), sessions: telethon(&[7; 256]) };
    let first = client.import_sessions(import()).await?.into_inner().results;
    assert_eq!(first[0].status(), Status::Unreachable, "{}", first[0].detail);
    assert!(first[0].detail.contains("FLOOD_WAIT_20"), "{}", first[0].detail);
    let again = client.import_sessions(import()).await?.into_inner().results;
    assert_eq!(again[0].status(), Status::Connected, "{}", again[0].detail);
    world.stop().await?;
    Ok(())
}

async fn results_account(world: &World) -> anyhow::Result<String> {
    let list = world.integration(world.owner).list_accounts(pb::ListAccountsRequest::default()).await?.into_inner();
    Ok(list.accounts.first().context("no account")?.id.clone())
}

#[tokio::test]
async fn a_pause_ends_the_lease_and_keeps_new_ones_away() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Parsing, world.owner, &id, Purpose::Parse).await?;
    let mut client = world.integration(world.owner);
    let pause = pb::PauseAccountRequest { request_id: world.id(), account_id: id.clone() };
    let paused = client.pause_account(pause).await?.into_inner().account.context("no account")?;
    assert_eq!(paused.state(), State::Paused);
    let get = tgmesh_proto::telegram::v1::GetChatRequest { lease: key(&lease), chat: "@our_group".to_owned() };
    let mut telegram = tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient::new(world.channel(
        "integration",
        Caller::Parsing,
        world.owner,
    ));
    assert_eq!(reason(telegram.get_chat(get).await), Some(ErrorReason::StaleLease));
    let resume = pb::ResumeAccountRequest { request_id: world.id(), account_id: id.clone() };
    assert_eq!(client.resume_account(resume).await?.into_inner().account.context("no account")?.state(), State::Ready);
    world.lease(Caller::Parsing, world.owner, &id, Purpose::Parse).await?;
    assert_eq!(kinds(&world, &id).await?, [Kind::Resumed, Kind::Paused, Kind::Connected]);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn updates_need_the_current_etag_and_known_fields() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let etag = show(&world, &id).await?.etag;
    let update = |paths: &[&str], etag: &str| pb::UpdateAccountRequest {
        request_id: world.id(),
        account_id: id.clone(),
        label: "front desk".to_owned(),
        purposes: vec![Purpose::Parse.into()],
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        etag: etag.to_owned(),
    };
    let mut client = world.integration(world.owner);
    let changed = client.update_account(update(&["label"], &etag)).await?.into_inner().account.context("no account")?;
    assert_eq!((changed.label.as_str(), changed.purposes.len()), ("front desk", 3));
    assert_eq!(reason(client.update_account(update(&["label"], &etag)).await), Some(ErrorReason::EtagMismatch));
    assert_eq!(reason(client.update_account(update(&["phone"], "")).await), Some(ErrorReason::FieldInvalid));
    let changed = client.update_account(update(&["purposes"], "")).await?.into_inner().account.context("no account")?;
    assert_eq!(changed.purposes, [i32::from(Purpose::Parse)]);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_deleted_account_is_logged_out_and_gone() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let delete = pb::DeleteAccountRequest { request_id: world.id(), account_id: id.clone() };
    let answer = world.integration(world.owner).delete_account(delete.clone()).await?.into_inner();
    assert_eq!(answer.account, None);
    assert_eq!(world.handle().keys_of(61), Vec::<i64>::new());
    let get = pb::GetAccountRequest { account_id: id.clone() };
    assert_eq!(reason(world.integration(world.owner).get_account(get).await), Some(ErrorReason::AccountNotFound));
    assert_eq!(world.integration(world.owner).delete_account(delete).await?.into_inner(), answer);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_account_whose_telegram_is_away_waits_to_be_erased() -> anyhow::Result<()> {
    let world = World::start_with("[integration.connections]\nconnect_timeout_s = 1\ncall_timeout_s = 1\n", "").await?;
    let id = world.connect(world.owner, 61).await?;
    let silence = world.handle().inject_fault(Fault::always(FaultFilter::default(), FaultKind::Silence));
    let delete = pb::DeleteAccountRequest { request_id: world.id(), account_id: id.clone() };
    let answer = world.integration(world.owner).delete_account(delete).await?.into_inner();
    assert_eq!(answer.account.context("no account")?.state(), State::Deleting);
    world.handle().clear_faults(Some(silence));
    let erased = tgmesh_tests::wait::until("the account to be erased", PATIENCE, async || {
        let get = pb::GetAccountRequest { account_id: id.clone() };
        world.integration(world.owner).get_account(get).await.is_err().then_some(())
    });
    erased.await?;
    assert_eq!(world.handle().keys_of(61), Vec::<i64>::new());
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_lost_session_is_told_with_its_cause() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (user, name, state) in [
        (61, "SESSION_REVOKED", SessionState::Revoked),
        (62, "USER_DEACTIVATED_BAN", SessionState::Banned),
        (63, "AUTH_KEY_DUPLICATED", SessionState::KeyDuplicated),
    ] {
        let id = world.connect(world.owner, user).await?;
        world.handle().revoke_keys(user, Some(RpcError::by_name(name)));
        world.handle().drop_connections(Some(user), None);
        let check = pb::CheckAccountRequest { request_id: world.id(), account_id: id.clone() };
        let checked = world.integration(world.owner).check_account(check).await?.into_inner();
        assert!(!checked.issues.is_empty(), "{name}");
        let account = show(&world, &id).await?;
        assert_eq!((account.state(), account.session_state()), (State::SessionLost, state), "{name}");
        assert!(account.state_detail.contains(name), "{}", account.state_detail);
        assert_eq!(kinds(&world, &id).await?.first(), Some(&Kind::SessionLost));
    }
    let summary =
        world.integration(world.owner).get_fleet_summary(pb::GetFleetSummaryRequest::default()).await?.into_inner();
    let states: Vec<(State, i32)> = summary.states.iter().map(|count| (count.state(), count.accounts)).collect();
    assert_eq!(states, [(State::SessionLost, 3)]);
    assert_eq!(summary.errors.len(), 3);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_forgotten_key_ends_the_session() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    world.handle().revoke_keys(61, None);
    world.handle().drop_connections(Some(61), None);
    let check = pb::CheckAccountRequest { request_id: world.id(), account_id: id.clone() };
    world.integration(world.owner).check_account(check).await?;
    assert_eq!(show(&world, &id).await?.session_state(), SessionState::Revoked);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_shows_all_then_what_changes() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = world.connect(world.owner, 61).await?;
    let watch = pb::WatchAccountsRequest::default();
    let mut events = world.integration(world.owner).watch_accounts(watch).await?.into_inner();
    let snapshot = events.message().await?.context("no snapshot")?;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.accounts.len(), 1);
    let pause = pb::PauseAccountRequest { request_id: world.id(), account_id: first.clone() };
    world.integration(world.owner).pause_account(pause).await?;
    let paused = async {
        while let Some(event) = events.message().await? {
            assert!(!event.snapshot);
            if event.accounts.iter().any(|account| account.state() == State::Paused) {
                return Ok(event.resume_token);
            }
        }
        anyhow::bail!("the watch ended")
    };
    let token = tokio::time::timeout(PATIENCE, paused).await??;
    drop(events);
    let delete = pb::DeleteAccountRequest { request_id: world.id(), account_id: first };
    world.integration(world.owner).delete_account(delete).await?;
    // Something changed since: the watch begins with all there is, which is nothing.
    let watch = pb::WatchAccountsRequest { resume_token: token };
    let mut events = world.integration(world.owner).watch_accounts(watch).await?.into_inner();
    let snapshot = events.message().await?.context("no snapshot")?;
    assert!(snapshot.snapshot && snapshot.accounts.is_empty());
    world.stop().await?;
    Ok(())
}
