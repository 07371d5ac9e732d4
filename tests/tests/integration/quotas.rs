//! Limits over the wire: what they say, what is used of them, who sets them.

use anyhow::Context as _;
use prost_types::FieldMask;
use service_kit::client::UserChannel;
use tgmesh_proto::lease::v1::{Lease, Purpose};
use tgmesh_proto::quota::v1 as pb;
use tgmesh_proto::quota::v1::limits_level::Level;
use tgmesh_proto::quota::v1::quota_service_client::QuotaServiceClient;
use tgmesh_proto::quota::v1::usage_entry::State;
use tgmesh_proto::quota::v1::{Action, LimitName};
use tgmesh_proto::telegram::v1 as telegram;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::{Caller, ErrorReason};
use tonic::Status;

use crate::common::World;
use crate::common::play::{CHAT, key};
use crate::reason;

/// Limits of messages to strangers that a test can use up.
const FEW: &str = "[integration.limits.message]\nper_day = 3\nper_hour = 'off'\n";

fn client(world: &World, caller: Caller) -> QuotaServiceClient<UserChannel> {
    QuotaServiceClient::new(world.channel("integration", caller, world.owner))
}

/// Writes to people who are strangers.
async fn write(world: &World, lease: &Lease, people: &[&str]) -> Result<(), Status> {
    let mut client = TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    for person in people {
        let address = telegram::user_address::Address::Username((*person).to_owned());
        let user = telegram::UserAddress { address: Some(address) };
        let send = telegram::SendMessageRequest {
            request_id: world.id(),
            lease: key(lease),
            text: "hello".to_owned(),
            peer: Some(telegram::send_message_request::Peer::User(user)),
        };
        client.send_message(send).await?;
    }
    Ok(())
}

async fn usage(world: &World, account: &str, limit: LimitName) -> anyhow::Result<pb::LimitUsage> {
    let request = pb::GetUsageRequest { account_id: account.to_owned(), chat_id: None };
    let usage = client(world, Caller::User).get_usage(request).await?.into_inner().usage;
    usage.into_iter().find(|usage| usage.limit() == limit).context("the limit is not shown")
}

fn check(account: &str, action: Action) -> pb::CheckActionRequest {
    pb::CheckActionRequest { account_id: account.to_owned(), action: action.into(), chat_id: None }
}

#[tokio::test]
async fn what_is_used_is_shown_and_refused_beyond() -> anyhow::Result<()> {
    let world = World::start_with(FEW, "").await?;
    let account = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Invite, world.owner, &account, Purpose::Message).await?;
    write(&world, &lease, &["target_willing"]).await?;
    let used = usage(&world, &account, LimitName::MessagePerDay).await?;
    assert_eq!((used.used, used.reserved, used.allowed), (1, 0, Some(3)));
    assert!(used.end_time.is_some() && used.next_possible_time.is_none(), "{used:?}");

    // Asking reserves nothing, however often.
    for _ in 0..5 {
        let answer = client(&world, Caller::Invite).check_action(check(&account, Action::Message)).await?.into_inner();
        assert!(answer.allowed && answer.exceeded.is_empty(), "{answer:?}");
    }
    write(&world, &lease, &["user_62", "user_63"]).await?;
    let answer = client(&world, Caller::Invite).check_action(check(&account, Action::Message)).await?.into_inner();
    assert!(!answer.allowed && answer.next_possible_time.is_some(), "{answer:?}");
    let exceeded: Vec<(LimitName, i32, Option<i32>)> =
        answer.exceeded.iter().map(|usage| (usage.limit(), usage.used, usage.allowed)).collect();
    assert_eq!(exceeded, [(LimitName::MessagePerDay, 3, Some(3))]);
    let refused = write(&world, &lease, &["user_64"]).await.expect_err("the limit is used up");
    let failure = tgmesh_proto::status::read(&refused).context("no details")?;
    assert_eq!(failure.reason, ErrorReason::QuotaExceeded);
    assert_eq!(failure.metadata.get("limit").map(String::as_str), Some("MESSAGE_PER_DAY"), "{failure:?}");
    // Other actions are not concerned.
    assert!(client(&world, Caller::Invite).check_action(check(&account, Action::Invite)).await?.into_inner().allowed);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn history_is_paged_newest_first_and_is_the_workspaces_own() -> anyhow::Result<()> {
    let world = World::start().await?;
    let account = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Invite, world.owner, &account, Purpose::Message).await?;
    write(&world, &lease, &["target_willing", "user_62", "user_63"]).await?;
    let request = |page_size, page_token| pb::ListUsageHistoryRequest {
        account_id: account.clone(),
        actions: vec![Action::Message.into()],
        page_size,
        page_token,
    };
    let mut user = client(&world, Caller::User);
    let first = user.list_usage_history(request(2, String::new())).await?.into_inner();
    let second = user.list_usage_history(request(2, first.next_page_token.clone())).await?.into_inner();
    let entries: Vec<&pb::UsageEntry> = first.entries.iter().chain(&second.entries).collect();
    assert_eq!((first.entries.len(), second.entries.len(), second.next_page_token.as_str()), (2, 1, ""));
    assert!(entries.iter().all(|entry| entry.action() == Action::Message && entry.state() == State::Counted));
    let times: Vec<_> = entries.iter().map(|entry| entry.reserve_time.map(|time| (time.seconds, time.nanos))).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier >= later), "{times:?}");
    // A page belongs to its question.
    let other = pb::ListUsageHistoryRequest { actions: Vec::new(), ..request(2, first.next_page_token) };
    assert_eq!(reason(user.list_usage_history(other).await), Some(ErrorReason::PageTokenInvalid));
    let mut stranger = QuotaServiceClient::new(world.channel("integration", Caller::User, world.stranger));
    let refused = stranger.list_usage_history(request(2, String::new())).await;
    assert_eq!(reason(refused), Some(ErrorReason::AccountNotFound));
    world.stop().await?;
    Ok(())
}

fn level(level: Level) -> Option<pb::LimitsLevel> {
    Some(pb::LimitsLevel { level: Some(level) })
}

fn per_day(world: &World, at: Level, per_day: Option<i32>, etag: &str) -> pb::UpdateLimitsRequest {
    let message = Some(pb::MessageLimits { per_day, per_hour: None });
    pb::UpdateLimitsRequest {
        request_id: world.id(),
        level: level(at),
        limits: Some(pb::Limits { message, etag: etag.to_owned(), ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["message.per_day".to_owned()] }),
    }
}

fn of_day(limits: Option<&pb::Limits>) -> Option<i32> {
    limits?.message.as_ref()?.per_day
}

#[tokio::test]
async fn a_level_tightens_and_never_loosens() -> anyhow::Result<()> {
    let world = World::start_with(FEW, "").await?;
    let account = world.connect(world.owner, 61).await?;
    let workspace = Level::Workspace(pb::limits_level::Workspace {});
    let mut user = client(&world, Caller::User);
    let tightened = user.update_limits(per_day(&world, workspace, Some(2), "")).await?.into_inner();
    assert_eq!((of_day(tightened.limits.as_ref()), of_day(tightened.effective.as_ref())), (Some(2), Some(2)));
    assert_eq!(usage(&world, &account, LimitName::MessagePerDay).await?.allowed, Some(2));
    let of_account = Level::AccountId(account.clone());
    let looser = user.update_limits(per_day(&world, of_account.clone(), Some(50), "")).await?.into_inner();
    assert_eq!((of_day(looser.limits.as_ref()), of_day(looser.effective.as_ref())), (Some(50), Some(2)));
    let shown = user.get_limits(pb::GetLimitsRequest { level: level(of_account.clone()) }).await?.into_inner();
    assert_eq!((shown.limits, shown.effective), (looser.limits.clone(), looser.effective));

    // An update names what it has seen, and a repeat is answered as before.
    let etag = looser.limits.context("no limits")?.etag;
    let request = per_day(&world, of_account.clone(), Some(1), &etag);
    let changed = user.update_limits(request.clone()).await?.into_inner();
    assert_eq!(of_day(changed.effective.as_ref()), Some(1));
    assert_eq!(user.update_limits(request).await?.into_inner(), changed);
    let late = user.update_limits(per_day(&world, of_account, Some(9), &etag)).await;
    assert_eq!(reason(late), Some(ErrorReason::EtagMismatch));
    assert_eq!(usage(&world, &account, LimitName::MessagePerDay).await?.allowed, Some(1));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_deployments_level_is_the_operators() -> anyhow::Result<()> {
    let world = World::start_with(FEW, "").await?;
    let account = world.connect(world.owner, 61).await?;
    let global = Level::Global(pb::limits_level::Global {});
    let (mut user, mut operator) = (client(&world, Caller::User), client(&world, Caller::Operator));
    let read = pb::GetLimitsRequest { level: level(global.clone()) };
    assert_eq!(reason(user.get_limits(read.clone()).await), Some(ErrorReason::CallerNotAllowed));
    let set = per_day(&world, global.clone(), Some(30), "");
    assert_eq!(reason(user.update_limits(set).await), Some(ErrorReason::CallerNotAllowed));
    assert_eq!(of_day(operator.get_limits(read).await?.into_inner().limits.as_ref()), Some(3));
    let set = operator.update_limits(per_day(&world, global.clone(), Some(30), "")).await?.into_inner();
    assert_eq!(of_day(set.effective.as_ref()), Some(30));
    assert_eq!(usage(&world, &account, LimitName::MessagePerDay).await?.allowed, Some(30));
    let unknown = pb::UpdateLimitsRequest {
        update_mask: Some(FieldMask { paths: vec!["message.per_week".to_owned()] }),
        ..per_day(&world, global, Some(1), "")
    };
    assert_eq!(reason(operator.update_limits(unknown).await), Some(ErrorReason::FieldInvalid));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn limits_of_a_chat_are_shown_for_the_chat() -> anyhow::Result<()> {
    let settings = "[integration.limits.invite]\nper_day_and_chat = 7\nper_day = 'off'\ntotal_per_chat = 'off'\n\
                    pause_after = 'off'\ninterval = { shortest_ms = 0, longest_ms = 0 }\n";
    let world = World::start_with(settings, "").await?;
    let account = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Invite, world.owner, &account, Purpose::Invite).await?;
    let mut telegram = TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    let chat = telegram.get_chat(telegram::GetChatRequest { lease: key(&lease), chat: CHAT.to_owned() }).await?;
    let chat_id = chat.into_inner().chat.context("no chat")?.chat_id;
    let address = telegram::user_address::Address::Username("target_willing".to_owned());
    let invite = telegram::InviteToChatRequest {
        request_id: world.id(),
        lease: key(&lease),
        chat: CHAT.to_owned(),
        user: Some(telegram::UserAddress { address: Some(address) }),
    };
    telegram.invite_to_chat(invite).await?;
    for (asked, expected) in [(Some(chat_id), Some((1, Some(7)))), (Some(-1_001), Some((0, Some(7)))), (None, None)] {
        let request = pb::GetUsageRequest { account_id: account.clone(), chat_id: asked };
        let usage = client(&world, Caller::Invite).get_usage(request).await?.into_inner().usage;
        let found = usage.iter().find(|usage| usage.limit() == LimitName::InvitePerDayAndChat);
        assert_eq!(found.map(|usage| (usage.used, usage.allowed)), expected, "{asked:?}");
    }
    world.stop().await?;
    Ok(())
}
