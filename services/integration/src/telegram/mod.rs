//! Calls to Telegram, made by accounts.

pub mod auth;
pub mod caller;
pub mod chats;
pub mod contacts;
pub mod history;
pub mod invite;
pub mod known;
pub mod members;
pub mod messages;
pub mod outcome;
pub mod peers;
pub mod people;
pub mod rights;
pub mod watching;

use service_kit::identity::Identity;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::LeaseKey;
use tgmesh_proto::telegram::v1 as pb;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::{Key, Verified};
use caller::Caller;

/// The lease that a call shows.
///
/// # Errors
/// `STALE_LEASE` when it is over.
pub async fn lease(core: &Core, who: &Identity, key: Option<&LeaseKey>) -> Result<Verified> {
    let key = key.ok_or_else(|| Error::field("lease", "is required"))?;
    core.leases.verify(who.workspace_id, &Key::from_wire(key)).await
}

/// Looks a user or chat up.
///
/// # Errors
/// As the contract says.
pub async fn resolve_peer(
    core: &Core,
    who: &Identity,
    request: &pb::ResolvePeerRequest,
) -> Result<pb::ResolvePeerResponse> {
    use pb::resolve_peer_response::Peer;
    use service_kit::address::{ChatAddress, parse_chat};
    let caller = Caller::under(core, lease(core, who, request.lease.as_ref()).await?);
    let link = parse_chat(&request.peer).map_err(|error| Error::field("peer", error.to_string()))?;
    let peer = match link.chat {
        ChatAddress::Username(name) => match caller.resolve(&name).await? {
            Some(peers::Resolved::User(user)) => {
                Peer::Person(people::person(&core.sealer, caller.account_id, &user, false))
            }
            Some(peers::Resolved::Chat(peer, seen)) => Peer::Chat(chats::show(peer, &seen)),
            Some(peers::Resolved::Hidden) => {
                return Err(Error::plain(ErrorReason::PeerNotFound, "the account cannot see the chat of this name"));
            }
            None => return Err(Error::plain(ErrorReason::PeerNotFound, "telegram knows no such name")),
        },
        other => Peer::Chat(caller.full_chat(&other.to_string()).await?.chat),
    };
    Ok(pb::ResolvePeerResponse { peer: Some(peer) })
}

/// Shows a chat in full.
///
/// # Errors
/// As the contract says.
pub async fn get_chat(core: &Core, who: &Identity, request: &pb::GetChatRequest) -> Result<pb::GetChatResponse> {
    let caller = Caller::under(core, lease(core, who, request.lease.as_ref()).await?);
    let full = caller.full_chat(&request.chat).await?;
    Ok(pb::GetChatResponse { chat: Some(full.chat), read_paces: core.pacing.paces() })
}
