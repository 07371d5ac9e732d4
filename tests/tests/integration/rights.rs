//! Rights that nobody knows yet: asked for before an account is taken, and never found out by a refused invite. Judged
//! by what the emulator recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use telegram_emulator::{CallFilter, Fault, FaultFilter, FaultKind, Release, RpcError};
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::lease::v1::{ChatRight, Purpose};
use tgmesh_proto::status::Failure;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::{Caller, ErrorReason, invite as campaigns};
use tonic::Status;

use crate::common::World;
use crate::common::play::key;
use crate::reason;

/// A group whose administrators alone may invite: 64 and 65. A private one, in which 63 may.
const SCENARIO: &str = "
[[chat]]
id = 602
kind = 'supergroup'
title = 'Some may invite'
username = 'some_may'
creator = 40
default_banned = ['invite_users']
members = [61, 62, 63]
admins = [{ user = 64, rights = ['invite_users'] }, { user = 65, rights = ['invite_users'] }]
kicked = [66]

[[chat]]
id = 603
kind = 'supergroup'
title = 'Ours alone'
creator = 40
members = [63, 67]
links = [{ hash = 'OursAlone' }]

[[population]]
users = 8
first_id = 30001
usernames = 100.0
";
const SOME_MAY: &str = "@some_may";

const RESOLVE: &str = "contacts.resolveUsername";
const INVITE: &str = "channels.inviteToChannel";
const RIGHTS: &str = "channels.getChannels";

/// Accounts of these users, in this order; their ids.
async fn connect(world: &World, users: &[i64]) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for user in users {
        ids.push(world.connect(world.owner, *user).await?);
    }
    Ok(ids)
}

/// Asks for an account that may invite into a chat, and not to be kept waiting.
async fn ask(world: &World, chat: &str) -> Result<lease::Lease, Status> {
    let request = lease::AcquireLeaseRequest {
        request_id: world.id(),
        purpose: Purpose::Invite.into(),
        chat: chat.to_owned(),
        rights: vec![ChatRight::Invite.into()],
        ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        holder: "the tests".to_owned(),
        ..Default::default()
    };
    let mut client = LeaseServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    Ok(client.acquire_lease(request).await?.into_inner().lease.unwrap_or_default())
}

async fn refused(world: &World, chat: &str) -> anyhow::Result<Failure> {
    let status = ask(world, chat).await.err().context("an account was given")?;
    tgmesh_proto::status::read(&status).context("no details")
}

fn counted(failure: &Failure, key: &str) -> i32 {
    tgmesh_proto::shortage::accounts(&failure.metadata, key)
}

async fn invite(world: &World, lease: &lease::Lease, chat: &str, user: &str) -> anyhow::Result<pb::Outcome> {
    let address = Some(Address::Username(user.to_owned()));
    let request = pb::InviteToChatRequest {
        request_id: world.id(),
        lease: key(lease),
        chat: chat.to_owned(),
        user: Some(pb::UserAddress { address }),
    };
    let mut client = TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    Ok(client.invite_to_chat(request).await?.into_inner().outcome())
}

/// Who made a call, once for each time.
fn callers(world: &World, method: &str) -> Vec<i64> {
    let filter = CallFilter { method: Some(method.to_owned()), ..Default::default() };
    world.handle().calls(&filter, 0, 10_000).iter().filter_map(|call| call.account).collect()
}

/// Nobody has looked at the chat. Whose turn it is may not invite, one of the others takes long to answer.
#[tokio::test]
async fn nobody_invites_without_the_right() -> anyhow::Result<()> {
    let world = World::start_with(crate::common::UNLIMITED, SCENARIO).await?;
    let ids = connect(&world, &[61, 62, 66, 63, 64, 65]).await?;
    let slow = FaultFilter { account: Some(62), method: Some(RESOLVE.to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::always(slow, FaultKind::HoldBeforeEffect));
    let begin = world.clock.monotonic();
    let (one, other) = tokio::try_join!(ask(&world, SOME_MAY), ask(&world, "https://t.me/some_may"))?;
    let took = world.clock.monotonic().saturating_sub(begin);
    ensure!(took < Duration::from_secs(5), "the leases were given after {took:?}");
    let held: BTreeSet<&String> = [&one.account_id, &other.account_id].into();
    assert_eq!(held, [&ids[4], &ids[5]].into());
    assert_eq!((one.chat_id, other.chat_id), (-1_000_000_000_602, -1_000_000_000_602));

    // Each was asked once, whoever waited; and the one that does not answer is told.
    let told = refused(&world, SOME_MAY).await?;
    assert_eq!(told.reason, ErrorReason::NoAccountAvailable);
    assert_eq!((counted(&told, "no_rights"), counted(&told, "leased")), (3, 2), "{told:?}");
    assert_eq!(counted(&told, "rights_unknown"), 1, "{told:?}");
    let mut asked = callers(&world, RESOLVE);
    asked.sort_unstable();
    assert_eq!(asked, [61, 62, 63, 64, 65, 66]);
    let mut checked = callers(&world, RIGHTS);
    checked.sort_unstable();
    assert_eq!(checked, [61, 63, 64, 65], "who does not see the chat has nothing to ask");

    for (lease, user) in [(&one, "user_30001"), (&other, "user_30002")] {
        assert_eq!(invite(&world, lease, SOME_MAY, user).await?, pb::Outcome::Invited);
    }
    let mut inviters = callers(&world, INVITE);
    inviters.sort_unstable();
    assert_eq!(inviters, [64, 65]);
    for hold in world.handle().holds() {
        world.handle().release_hold(hold.id, Release::Continue)?;
    }
    world.stop().await?;
    Ok(())
}

/// What is known is forgotten while the campaign runs, and asked for again: the one that lacks the right has its turn
/// all the time.
#[tokio::test]
async fn a_campaign_outlives_what_is_known_of_rights() -> anyhow::Result<()> {
    let pace = "
[integration.rules]
rights_life_s = 1
[integration.limits.invite]
per_day_and_chat = 'off'
interval = { shortest_ms = 600, longest_ms = 600 }
pause_after = 'off'
";
    let world = World::start_with(pace, SCENARIO).await?;
    connect(&world, &[61, 64, 62, 65]).await?;
    let people: Vec<String> = (30_001..=30_008).map(|user| format!("@user_{user}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let request = campaigns::v1::CreateCampaignRequest { chat: SOME_MAY.to_owned(), ..world.campaign_of(&people) };
    let created = world.invite(world.owner).create_campaign(request).await?.into_inner();
    let id = created.campaign.context("no campaign")?.id;
    world.start_campaign(world.owner, &id).await?;
    world.until_done(world.owner, &id).await?;
    let inviters = callers(&world, INVITE);
    assert_eq!(inviters.len(), people.len());
    assert_eq!(inviters.into_iter().collect::<BTreeSet<i64>>(), [64, 65].into());
    let checks = callers(&world, RIGHTS);
    ensure!(checks.len() > 4, "nothing was forgotten: {checks:?}");
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_private_chat_is_found_by_those_who_are_in_it() -> anyhow::Result<()> {
    let world = World::start_with(crate::common::UNLIMITED, SCENARIO).await?;
    let ids = connect(&world, &[61, 62, 63]).await?;
    let link = "https://t.me/+OursAlone";
    let given = ask(&world, link).await?;
    assert_eq!((&given.account_id, given.chat_id), (&ids[2], -1_000_000_000_603));
    assert_eq!(invite(&world, &given, link, "user_30001").await?, pb::Outcome::Invited);
    let told = refused(&world, link).await?;
    assert_eq!((counted(&told, "no_rights"), counted(&told, "leased")), (2, 1), "{told:?}");
    assert_eq!(callers(&world, INVITE), [63]);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_name_that_nobody_has_costs_one_look() -> anyhow::Result<()> {
    let world = World::start_with(crate::common::UNLIMITED, SCENARIO).await?;
    connect(&world, &[61, 62, 63]).await?;
    for _ in 0..3 {
        assert_eq!(reason(ask(&world, "@no_such_chat_here").await), Some(ErrorReason::ChatNotFound));
    }
    assert_eq!(callers(&world, RESOLVE).len(), 1);
    // A user's name is no chat's either.
    assert_eq!(reason(ask(&world, "@target_willing").await), Some(ErrorReason::ChatNotFound));
    world.stop().await?;
    Ok(())
}

/// Telegram demands a wait, or is not there: that is what the refusal says.
#[tokio::test]
async fn what_keeps_an_account_from_being_asked_is_told() -> anyhow::Result<()> {
    let world = World::start_with(crate::common::UNLIMITED, SCENARIO).await?;
    connect(&world, &[64, 65]).await?;
    let flood = RpcError::by_name("FLOOD_WAIT_100");
    for (user, kind) in [(64, FaultKind::Error(flood)), (65, FaultKind::DropBeforeEffect)] {
        let filter = FaultFilter { account: Some(user), method: Some(RESOLVE.to_owned()), ..Default::default() };
        world.handle().inject_fault(Fault::always(filter, kind));
    }
    let told = refused(&world, SOME_MAY).await?;
    assert_eq!((counted(&told, "flood_wait"), counted(&told, "offline")), (1, 1), "{told:?}");
    ensure!(told.retry_after.is_some_and(|wait| wait <= Duration::from_secs(10)), "{told:?}");
    assert!(callers(&world, INVITE).is_empty());
    world.stop().await?;
    Ok(())
}
