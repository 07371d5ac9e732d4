//! Calls to Telegram under a lease: what each answer becomes.

use anyhow::Context as _;
use service_kit::client::UserChannel;
use telegram_emulator::{Fault, FaultFilter, FaultKind, Post, RpcError};
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::lease::v1::{Lease, Purpose};
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::telegram::v1::{ChatKind, Outcome};
use tgmesh_proto::{Caller, ErrorReason};

use crate::common::play::{CHAT, key};
use crate::common::{PATIENCE, World};
use crate::reason;

fn client(world: &World) -> TelegramServiceClient<UserChannel> {
    TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner))
}

fn named(username: &str) -> Option<pb::UserAddress> {
    Some(pb::UserAddress { address: Some(Address::Username(username.to_owned())) })
}

fn invite(world: &World, lease: &Lease, username: &str) -> pb::InviteToChatRequest {
    pb::InviteToChatRequest { request_id: world.id(), lease: key(lease), chat: CHAT.to_owned(), user: named(username) }
}

/// A connected account with a lease to invite.
async fn leased(world: &World, user: i64) -> anyhow::Result<(String, Lease)> {
    let id = world.connect(world.owner, user).await?;
    let lease = world.lease(Caller::Invite, world.owner, &id, Purpose::Invite).await?;
    Ok((id, lease))
}

#[tokio::test]
async fn answers_about_users_are_outcomes() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61).await?;
    for (username, outcome) in [
        ("target_willing", Outcome::Invited),
        ("user_62", Outcome::AlreadyMember),
        ("target_private", Outcome::PrivacyRestricted),
        ("target_refusing", Outcome::PrivacyRestricted),
        ("target_full", Outcome::UserChannelsTooMuch),
        ("nobody_has_this_name", Outcome::NotFound),
    ] {
        let answer = client(&world).invite_to_chat(invite(&world, &lease, username)).await?.into_inner();
        assert_eq!(answer.outcome(), outcome, "{username}");
    }
    let premium = client(&world).invite_to_chat(invite(&world, &lease, "target_premium")).await?.into_inner();
    assert_eq!(premium.outcome(), Outcome::PrivacyRestricted);
    assert!(premium.premium_would_allow_invite);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_repeat_never_sends_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61).await?;
    let request = invite(&world, &lease, "target_willing");
    let first = client(&world).invite_to_chat(request.clone()).await?.into_inner();
    let again = client(&world).invite_to_chat(request).await?.into_inner();
    assert_eq!(first, again);
    assert_eq!(world.handle().summary().calls_by_method.get("channels.inviteToChannel"), Some(&1));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn answers_about_the_account_restrict_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (user, name, expected) in [
        (61, "FLOOD_WAIT_31", ErrorReason::FloodWait),
        (62, "PEER_FLOOD", ErrorReason::PeerFlood),
        (63, "FROZEN_METHOD_INVALID", ErrorReason::AccountFrozen),
        (64, "CHAT_ADMIN_REQUIRED", ErrorReason::NoRights),
        (65, "CHANNEL_PRIVATE", ErrorReason::ChatUnavailable),
        (66, "USERS_TOO_MUCH", ErrorReason::ChatFull),
        (67, "SESSION_REVOKED", ErrorReason::SessionLost),
    ] {
        let (id, lease) = leased(&world, user).await?;
        let filter = FaultFilter {
            account: Some(user),
            method: Some("channels.inviteToChannel".to_owned()),
            ..Default::default()
        };
        world.handle().inject_fault(Fault::once(filter, FaultKind::Error(RpcError::by_name(name))));
        let refused = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await;
        let status = refused.expect_err("it is refused");
        let failure = tgmesh_proto::status::read(&status).context("no details")?;
        assert_eq!(failure.reason, expected, "{name}");
        assert_eq!(failure.metadata.get("telegram_error").map(String::as_str), Some(name));
        let get = integration::GetAccountRequest { account_id: id };
        let account =
            world.integration(world.owner).get_account(get).await?.into_inner().account.context("no account")?;
        match name {
            "FLOOD_WAIT_31" => {
                // The wait, and a minute on top.
                let retry = failure.retry_after.context("no time")?;
                assert_eq!(retry.as_secs(), 91);
                assert_eq!(account.restrictions.len(), 1);
            }
            "PEER_FLOOD" | "FROZEN_METHOD_INVALID" => assert_eq!(account.restrictions.len(), 1, "{name}"),
            _ => assert_eq!(account.restrictions.len(), 0, "{name}"),
        }
    }
    assert_eq!(world.handle().summary().effects.get("invited"), None);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_unknown_until_it_is_looked_into() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61).await?;
    let filter = |kind| {
        let filter = FaultFilter { method: Some("channels.inviteToChannel".to_owned()), ..Default::default() };
        Fault::once(filter, kind)
    };
    for (fault, username, finding) in [
        (FaultKind::DropAfterEffect, "target_willing", pb::reconcile_invite_response::Finding::InChat),
        (FaultKind::DropBeforeEffect, "target_friend", pb::reconcile_invite_response::Finding::NotInChat),
    ] {
        world.handle().inject_fault(filter(fault));
        let request = invite(&world, &lease, username);
        let refused = client(&world).invite_to_chat(request.clone()).await;
        assert_eq!(reason(refused), Some(ErrorReason::OutcomeUnknown), "{username}");
        // Nobody repeats what may have happened.
        let again = client(&world).invite_to_chat(request.clone()).await;
        assert_eq!(reason(again), Some(ErrorReason::OutcomeUnknown), "{username}");
        let look = pb::ReconcileInviteRequest {
            lease: key(&lease),
            invite_request_id: request.request_id.clone(),
            chat: CHAT.to_owned(),
            user: request.user.clone(),
        };
        let found = client(&world).reconcile_invite(look).await?.into_inner();
        assert_eq!(found.finding(), finding, "{username}");
    }
    // One that never began, never will.
    let never = invite(&world, &lease, "target_friend");
    let look = pb::ReconcileInviteRequest {
        lease: key(&lease),
        invite_request_id: never.request_id.clone(),
        chat: CHAT.to_owned(),
        user: never.user.clone(),
    };
    let found = client(&world).reconcile_invite(look).await?.into_inner();
    assert_eq!(found.finding(), pb::reconcile_invite_response::Finding::NotSent);
    let late = client(&world).invite_to_chat(never).await;
    assert_eq!(reason(late), Some(ErrorReason::RequestIdReused));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn chats_and_people_are_looked_up() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61).await?;
    let get = pb::GetChatRequest { lease: key(&lease), chat: "https://t.me/our_group".to_owned() };
    let chat = client(&world).get_chat(get).await?.into_inner().chat.context("no chat")?;
    assert_eq!((chat.kind(), chat.title.as_str(), chat.member), (ChatKind::Supergroup, "Ours", true));
    assert!(chat.chat_id < -1_000_000_000_000);
    let by_id = pb::GetChatRequest { lease: key(&lease), chat: chat.chat_id.to_string() };
    assert_eq!(client(&world).get_chat(by_id).await?.into_inner().chat.context("no chat")?.title, "Ours");
    let missing = pb::GetChatRequest { lease: key(&lease), chat: "@there_is_no_such_chat".to_owned() };
    assert_eq!(reason(client(&world).get_chat(missing).await), Some(ErrorReason::ChatNotFound));
    let person = pb::ResolvePeerRequest { lease: key(&lease), peer: "@target_friend".to_owned() };
    let found = client(&world).resolve_peer(person).await?.into_inner().peer.context("no peer")?;
    let pb::resolve_peer_response::Peer::Person(person) = found else { anyhow::bail!("no person") };
    assert_eq!(person.user_id, 21);
    // What the account saw addresses him without his name.
    let mut request = invite(&world, &lease, "unused");
    request.user = Some(pb::UserAddress { address: person.peer_reference.map(Address::PeerReference) });
    assert_eq!(client(&world).invite_to_chat(request).await?.into_inner().outcome(), Outcome::Invited);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn rights_are_told_account_by_account() -> anyhow::Result<()> {
    let world = World::start().await?;
    let able = world.connect(world.owner, 61).await?;
    let outside = world.connect(world.owner, 12).await?;
    let request =
        pb::GetChatRightsRequest { chat: CHAT.to_owned(), purpose: Purpose::Invite.into(), account_ids: Vec::new() };
    let answer = client(&world).get_chat_rights(request).await?.into_inner();
    assert_eq!(answer.chat.context("no chat")?.title, "Ours");
    let found: Vec<(&str, bool)> =
        answer.accounts.iter().map(|account| (account.account_id.as_str(), account.ready)).collect();
    assert_eq!(found, [(able.as_str(), true), (outside.as_str(), false)]);
    assert_eq!(answer.accounts[1].problem(), pb::account_readiness::Problem::NotAMember);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn messages_are_sent_once_and_contacts_added() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Invite, world.owner, &id, Purpose::Message).await?;
    let send = pb::SendMessageRequest {
        request_id: world.id(),
        lease: key(&lease),
        text: "hello".to_owned(),
        peer: Some(pb::send_message_request::Peer::User(named("target_willing").context("no name")?)),
    };
    let first = client(&world).send_message(send.clone()).await?.into_inner();
    assert_eq!(first.outcome(), Outcome::MessageSent);
    assert_eq!(client(&world).send_message(send).await?.into_inner(), first);
    assert_eq!(world.handle().private_messages(31, 61), ["hello"]);
    let add = pb::AddContactRequest {
        request_id: world.id(),
        lease: key(&lease),
        user: Some(pb::UserAddress { address: Some(Address::Phone("+49 30 8000 0031".to_owned())) }),
        first_name: "Willing".to_owned(),
        last_name: String::new(),
    };
    let added = client(&world).add_contact(add).await?.into_inner();
    assert_eq!(added.person.context("nobody")?.user_id, 31);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn messages_that_arrive_are_shown_also_after_a_cut() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let lease = world.lease(Caller::Parsing, world.owner, &id, Purpose::Parse).await?;
    let mut client = TelegramServiceClient::new(world.channel("integration", Caller::Parsing, world.owner));
    let watch = pb::WatchMessagesRequest { lease: key(&lease), chat: CHAT.to_owned() };
    let mut events = client.watch_messages(watch).await?.into_inner();
    for text in ["first", "second"] {
        world.handle().post_message(&Post {
            author: 62,
            chat: Some(601),
            text: text.to_owned(),
            reply_to: 0,
            user: None,
            media: telegram_emulator::MediaKind::None,
        })?;
        let event = tokio::time::timeout(PATIENCE, events.message()).await??.context("the watch ended")?;
        assert_eq!(event.message.context("no message")?.text, text);
        world.handle().drop_connections(Some(61), None);
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_served_says_so() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61).await?;
    let join = pb::JoinChatRequest { request_id: world.id(), lease: key(&lease), chat: CHAT.to_owned() };
    assert_eq!(reason(client(&world).join_chat(join).await), Some(ErrorReason::NotImplemented));
    world.stop().await?;
    Ok(())
}
