//! Leases, limits, and what Telegram answers.

use std::time::Duration;

use anyhow::Context as _;
use service_kit::client::UserChannel;
use telegram_emulator::{Fault, FaultFilter, FaultKind};
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::quota::v1 as quota;
use tgmesh_proto::quota::v1::quota_service_client::QuotaServiceClient;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::{Caller, ErrorReason};
use tonic::{Request, Response, Status};

use super::{Rows, spoil};
use crate::common::World;
use crate::common::play::{CHAT, key};

/// An account under a lease.
struct Held<'a> {
    world: &'a World,
    client: TelegramServiceClient<UserChannel>,
    account: String,
    lease: lease::Lease,
}

impl<'a> Held<'a> {
    async fn new(world: &'a World, user: i64) -> anyhow::Result<Self> {
        let account = world.connect(world.owner, user).await?;
        let lease = world.lease(Caller::Invite, world.owner, &account, lease::Purpose::Invite).await?;
        let client = TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
        Ok(Self { world, client, account, lease })
    }

    async fn chat(&mut self, chat: &str) -> Result<Response<pb::GetChatResponse>, Status> {
        let request = pb::GetChatRequest { lease: key(&self.lease), chat: chat.to_owned() };
        self.client.get_chat(request).await
    }

    async fn invite(&mut self, chat: &str, user: &str) -> Result<Response<pb::InviteToChatResponse>, Status> {
        let address = pb::user_address::Address::Username(user.to_owned());
        self.invite_by(chat, address).await
    }

    async fn invite_by(
        &mut self,
        chat: &str,
        address: pb::user_address::Address,
    ) -> Result<Response<pb::InviteToChatResponse>, Status> {
        let request = pb::InviteToChatRequest {
            request_id: self.world.id(),
            lease: key(&self.lease),
            chat: chat.to_owned(),
            user: Some(pb::UserAddress { address: Some(address) }),
        };
        self.client.invite_to_chat(request).await
    }
}

pub async fn provoke(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    leases(world, rows).await?;
    reading(world, rows).await?;
    inviting(world, rows).await?;
    restrictions(world, rows).await
}

async fn leases(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut users = LeaseServiceClient::new(world.channel("integration", Caller::User, world.owner));
    rows.row(ErrorReason::LeaseNotFound, users.get_lease(lease::GetLeaseRequest { lease_id: world.id() }).await);
    let request = lease::AcquireLeaseRequest {
        request_id: world.id(),
        purpose: lease::Purpose::Parse.into(),
        holder: "the tests".to_owned(),
        ..Default::default()
    };
    let mut strangers = LeaseServiceClient::new(world.channel("integration", Caller::Invite, world.stranger));
    rows.row(ErrorReason::NoAccountAvailable, strangers.acquire_lease(request).await);

    let mut held = Held::new(world, 63).await?;
    let request = lease::RevokeLeaseRequest { request_id: world.id(), lease_id: held.lease.id.clone() };
    users.revoke_lease(request).await?;
    rows.row(ErrorReason::StaleLease, held.chat(CHAT).await);
    Ok(())
}

async fn reading(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut held = Held::new(world, 64).await?;
    rows.row(ErrorReason::ChatNotFound, held.chat("@no_such_chat_here").await);
    let request = pb::ResolvePeerRequest { lease: key(&held.lease), peer: "@nobody_at_all".to_owned() };
    rows.row(ErrorReason::PeerNotFound, held.client.resolve_peer(request).await);
    world.handle().set_standing(513, 64, telegram_emulator::Standing::Member)?;
    let request =
        pb::StreamMembersRequest { lease: key(&held.lease), chat: "@hidden_members".to_owned(), ..Default::default() };
    let mut parsing = TelegramServiceClient::new(world.channel("integration", Caller::Parsing, world.owner));
    let answer = match parsing.stream_members(request).await {
        Ok(stream) => stream.into_inner().message().await.map(|_| ()),
        Err(status) => Err(status),
    };
    rows.row(ErrorReason::MembersHidden, answer);

    spoil(world, Some(64), "contacts.resolveUsername", "SOMETHING_WRONG");
    rows.row(ErrorReason::TelegramRefused, held.chat("@slow_group").await);
    let filter =
        |method: &str| FaultFilter { account: Some(64), method: Some(method.to_owned()), ..Default::default() };
    let cut =
        world.handle().inject_fault(Fault::always(filter("contacts.resolveUsername"), FaultKind::DropBeforeEffect));
    rows.row(ErrorReason::TelegramUnavailable, held.chat("@strangers_group").await);
    world.handle().clear_faults(Some(cut));

    let slow = FaultKind::SlowAnswer(Duration::from_secs(5));
    world.handle().inject_fault(Fault::once(filter("contacts.resolveUsername"), slow));
    let mut request = Request::new(pb::GetChatRequest { lease: key(&held.lease), chat: "@by_request".to_owned() });
    request.metadata_mut().insert("grpc-timeout", "700m".parse()?);
    rows.row(ErrorReason::DeadlineExceeded, held.client.get_chat(request).await);
    Ok(())
}

async fn inviting(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut held = Held::new(world, 11).await?;
    rows.row(ErrorReason::NoRights, held.invite("@weak_admins", "target_willing").await);
    rows.row(ErrorReason::ChatFull, held.invite("@full_group", "target_willing").await);
    spoil(world, Some(11), "channels.inviteToChannel", "CHANNEL_PRIVATE");
    rows.row(ErrorReason::ChatUnavailable, held.invite(CHAT, "target_willing").await);
    let filter =
        FaultFilter { account: Some(11), method: Some("channels.inviteToChannel".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::once(filter, FaultKind::DropAfterEffect));
    rows.row(ErrorReason::OutcomeUnknown, held.invite(CHAT, "target_left").await);

    // A reference that another account has seen.
    let mut other = Held::new(world, 65).await?;
    let request = pb::ResolvePeerRequest { lease: key(&other.lease), peer: "@target_member".to_owned() };
    let peer = other.client.resolve_peer(request).await?.into_inner().peer.context("no peer")?;
    let pb::resolve_peer_response::Peer::Person(person) = peer else { anyhow::bail!("no person") };
    let reference = person.peer_reference.context("no reference")?;
    let address = pb::user_address::Address::PeerReference(reference);
    rows.row(ErrorReason::PeerNotAddressable, held.invite_by(CHAT, address).await);

    let mut quotas = QuotaServiceClient::new(world.channel("integration", Caller::User, world.owner));
    let invite = Some(quota::InviteLimits { per_day: Some(0), ..Default::default() });
    let request = quota::UpdateLimitsRequest {
        request_id: world.id(),
        level: Some(quota::LimitsLevel { level: Some(quota::limits_level::Level::AccountId(other.account.clone())) }),
        limits: Some(quota::Limits { invite, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["invite.per_day".to_owned()] }),
    };
    quotas.update_limits(request).await?;
    rows.row(ErrorReason::QuotaExceeded, other.invite(CHAT, "target_friend").await);
    Ok(())
}

/// Each of these ends the account's work, so each has an account of its own.
async fn restrictions(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    for (user, error, reason) in [
        (66, "FLOOD_WAIT_31", ErrorReason::FloodWait),
        (67, "PEER_FLOOD", ErrorReason::PeerFlood),
        (68, "FROZEN_METHOD_INVALID", ErrorReason::AccountFrozen),
        (69, "SESSION_REVOKED", ErrorReason::SessionLost),
        (12, "406", ErrorReason::AccountNotReady),
    ] {
        let mut held = Held::new(world, user).await.with_context(|| error.to_owned())?;
        let kind = if error == "406" {
            FaultKind::Error(telegram_emulator::RpcError::new(406, "NOT_FOR_THIS_ACCOUNT"))
        } else {
            FaultKind::Error(telegram_emulator::RpcError::by_name(error))
        };
        let method = Some("channels.inviteToChannel".to_owned());
        world
            .handle()
            .inject_fault(Fault::once(FaultFilter { account: Some(user), method, ..Default::default() }, kind));
        let chat = if user == 12 { "@destination_group" } else { CHAT };
        rows.row(reason, held.invite(chat, "target_premium").await);
    }
    Ok(())
}
