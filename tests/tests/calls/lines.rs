//! Connections, and what comes over them.

use std::time::Duration;

use anyhow::Context as _;
use telegram_emulator::{FaultKind, MediaKind, Post};
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::integration::v1::account::ConnectionState;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::lease::v1::{Purpose, ReleaseLeaseRequest};
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::{Caller, ErrorReason};
use tgmesh_tests::wait::until;

use crate::common::play::{CHAT, key};
use crate::common::{PATIENCE, UNLIMITED, World};
use crate::{calls, client, fault, invite, leased, reason};

/// Another group that the account is in.
const OTHER: &str = "\n[[chat]]\nid = 602\nkind = 'supergroup'\ntitle = 'Other'\nusername = 'other_group'\ncreator = 40\nmembers = [61, 62]\n";

/// Nobody is held up by the pace of reads.
const QUICK_READS: &str = "[integration.speeds]\nmedium = { interval_ms = 0, per_minute = 'off' }\n";

fn post(world: &World, chat: i64, text: &str) -> anyhow::Result<()> {
    world.handle().post_message(&Post {
        author: 62,
        chat: Some(chat),
        text: text.to_owned(),
        reply_to: 0,
        user: None,
        media: MediaKind::None,
    })?;
    Ok(())
}

async fn watch(world: &World) -> anyhow::Result<tonic::Streaming<pb::WatchMessagesResponse>> {
    let (_, lease) = leased(world, 61, Purpose::Parse).await?;
    let request = pb::WatchMessagesRequest { lease: key(&lease), chat: CHAT.to_owned() };
    Ok(client(world).watch_messages(request).await?.into_inner())
}

#[tokio::test]
async fn none_of_many_messages_is_lost() -> anyhow::Result<()> {
    let world = World::start_with(&format!("{UNLIMITED}{QUICK_READS}"), OTHER).await?;
    let mut events = watch(&world).await?;
    // While the account cannot look, more arrive than stand on two pages.
    world.handle().inject_fault(fault("messages.getHistory", FaultKind::HoldBeforeEffect));
    post(&world, 601, "0")?;
    world.handle().wait_until(|handle| !handle.holds().is_empty()).await;
    for number in 1..=250 {
        post(&world, 601, &number.to_string())?;
    }
    for hold in world.handle().holds() {
        world.handle().release_hold(hold.id, telegram_emulator::Release::Continue)?;
    }
    for number in 0..=250 {
        let event = tokio::time::timeout(PATIENCE, events.message()).await??.context("the watch ended")?;
        assert_eq!((event.message.context("no message")?.text, event.skipped), (number.to_string(), 0));
    }
    drop(events);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_happens_in_other_chats_is_not_read() -> anyhow::Result<()> {
    let world = World::start_with(&format!("{UNLIMITED}{QUICK_READS}"), OTHER).await?;
    let mut events = watch(&world).await?;
    let before = calls(&world, "messages.getHistory");
    for _ in 0..100 {
        post(&world, 602, "elsewhere")?;
    }
    post(&world, 601, "here")?;
    let event = tokio::time::timeout(PATIENCE, events.message()).await??.context("the watch ended")?;
    assert_eq!(event.message.context("no message")?.text, "here");
    // One look found it; another may be on its way because many pushes were missed.
    let looks = calls(&world, "messages.getHistory") - before;
    assert!(looks <= 2, "{looks} looks");
    drop(events);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_that_only_hears_of_chats_is_closed() -> anyhow::Result<()> {
    let world = World::start_with(&format!("{UNLIMITED}[integration.connections]\nidle_close_s = 1\n"), OTHER).await?;
    let id = world.connect(world.owner, 61).await?;
    let check = integration::CheckAccountRequest { request_id: world.id(), account_id: id.clone() };
    let connected = |account: Option<integration::Account>| account.map(|account| account.connection_state());
    let checked = world.integration(world.owner).check_account(check).await?.into_inner();
    assert_eq!(connected(checked.account), Some(ConnectionState::Connected));
    until("the end of the connection", PATIENCE, async || {
        post(&world, 602, "chatter").ok()?;
        let get = integration::GetAccountRequest { account_id: id.clone() };
        let shown = world.integration(world.owner).get_account(get).await.ok()?.into_inner();
        (connected(shown.account)? == ConnectionState::Idle).then_some(())
    })
    .await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_look_up_without_an_answer_counts() -> anyhow::Result<()> {
    let world =
        World::start_with(&format!("{UNLIMITED}[integration.limits]\nresolve_username_per_day = 2\n"), "").await?;
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;
    // The chat is the first, a person of whom nobody hears is the second.
    world.handle().inject_fault(telegram_emulator::Fault {
        skip: 1,
        ..fault("contacts.resolveUsername", FaultKind::DropBeforeEffect)
    });
    let first = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await;
    assert_eq!(reason(first), Some(ErrorReason::TelegramUnavailable));
    let second = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await;
    assert_eq!(reason(second), Some(ErrorReason::QuotaExceeded));
    assert_eq!(calls(&world, "contacts.resolveUsername"), 2);
    world.stop().await?;
    Ok(())
}

/// What a pause does to an invite that is still being prepared: the lease is the gate.
#[tokio::test]
async fn a_lease_that_is_given_back_stops_an_invite_before_the_wire() -> anyhow::Result<()> {
    let world = World::start_with(&format!("{UNLIMITED}{QUICK_READS}"), OTHER).await?;
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;
    world.handle().inject_fault(fault("contacts.resolveUsername", FaultKind::HoldBeforeEffect));
    let (request, mut telegram) = (invite(&world, &lease, "user_62"), client(&world));
    let call = tokio::spawn(async move { telegram.invite_to_chat(request).await });
    world.handle().wait_until(|handle| !handle.holds().is_empty()).await;
    let mut leases = LeaseServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    let give_back = ReleaseLeaseRequest { request_id: world.id(), key: key(&lease) };
    tokio::time::timeout(Duration::from_secs(1), leases.release_lease(give_back)).await??;
    for hold in world.handle().holds() {
        world.handle().release_hold(hold.id, telegram_emulator::Release::Continue)?;
    }
    assert_eq!(reason(call.await?), Some(ErrorReason::StaleLease));
    assert_eq!(calls(&world, "channels.inviteToChannel"), 0);
    world.stop().await?;
    Ok(())
}
