//! Calls to Telegram that something comes in the way of: the database, Telegram's own limits, a connection that breaks.

#[path = "../common/mod.rs"]
mod common;

mod lines;
mod outcomes;

use service_kit::client::UserChannel;
use telegram_emulator::{Fault, FaultFilter, FaultKind, RpcError};
use tgmesh_proto::lease::v1::{Lease, Purpose};
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::{Caller, ErrorReason};
use tonic::Status;

use common::World;
use common::play::{CHAT, key};

/// The reason of a refused call.
fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Option<ErrorReason> {
    tgmesh_proto::status::reason(&answer.expect_err("it is refused"))
}

fn client(world: &World) -> TelegramServiceClient<UserChannel> {
    TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner))
}

fn named(username: &str) -> Option<pb::UserAddress> {
    Some(pb::UserAddress { address: Some(Address::Username(username.to_owned())) })
}

fn invite(world: &World, lease: &Lease, username: &str) -> pb::InviteToChatRequest {
    pb::InviteToChatRequest { request_id: world.id(), lease: key(lease), chat: CHAT.to_owned(), user: named(username) }
}

/// A connected account with a lease.
async fn leased(world: &World, user: i64, purpose: Purpose) -> anyhow::Result<(String, Lease)> {
    let id = world.connect(world.owner, user).await?;
    let lease = world.lease(Caller::Invite, world.owner, &id, purpose).await?;
    Ok((id, lease))
}

/// A fault of the next call of a method.
fn fault(method: &str, kind: FaultKind) -> Fault {
    Fault::once(FaultFilter { method: Some(method.to_owned()), ..Default::default() }, kind)
}

/// The next call of a method is refused.
fn refusal(method: &str, error: &str) -> Fault {
    fault(method, FaultKind::Error(RpcError::by_name(error)))
}

/// How often Telegram was asked for a method.
fn calls(world: &World, method: &str) -> u64 {
    world.handle().summary().calls_by_method.get(method).copied().unwrap_or_default()
}
