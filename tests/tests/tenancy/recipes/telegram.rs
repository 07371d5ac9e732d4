//! Quotas, and calls to Telegram under a lease.

use tgmesh_proto::Caller;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::quota::v1 as quota;
use tgmesh_proto::telegram::v1 as telegram;

use super::{Recipe, Stage, about, everything};
use crate::common::play::{CHAT, key};
use crate::common::wire::Read;

pub(super) fn quotas(stage: &Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    let id = stage.account.as_str();
    let account_id = stage.account.clone();
    let level =
        || Some(quota::LimitsLevel { level: Some(quota::limits_level::Level::AccountId(stage.account.clone())) });
    Ok(Some(match name {
        "GetUsage" => about(id, "", &quota::GetUsageRequest { account_id, chat_id: None }),
        "ListUsageHistory" => about(id, "", &quota::ListUsageHistoryRequest { account_id, ..Default::default() }),
        "CheckAction" => {
            let action = quota::Action::Invite.into();
            about(id, "", &quota::CheckActionRequest { account_id, action, chat_id: None })
        }
        "GetLimits" => about(id, "", &quota::GetLimitsRequest { level: level() }),
        "UpdateLimits" => {
            let invite = Some(quota::InviteLimits { per_day: Some(20), ..Default::default() });
            let request = quota::UpdateLimitsRequest {
                request_id: stage.world.id(),
                level: level(),
                limits: Some(quota::Limits { invite, ..Default::default() }),
                update_mask: Some(prost_types::FieldMask { paths: vec!["invite.per_day".to_owned()] }),
            };
            about(id, &request.request_id, &request)
        }
        _ => return Ok(None),
    }))
}

pub(super) fn user(name: &str) -> Option<telegram::UserAddress> {
    Some(telegram::UserAddress { address: Some(telegram::user_address::Address::Username(name.to_owned())) })
}

pub(super) fn calls(stage: &mut Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    let request_id = stage.world.id();
    let repeat = request_id.clone();
    let held = key(&stage.lease);
    let id = stage.lease.id.as_str();
    let chat = CHAT.to_owned();
    Ok(Some(match name {
        "ResolvePeer" => {
            let request = telegram::ResolvePeerRequest { lease: held, peer: "@target_member".to_owned() };
            about(id, "", &request).by(Caller::Invite)
        }
        "GetChat" => about(id, "", &telegram::GetChatRequest { lease: held, chat }).by(Caller::Parsing),
        "GetChatRights" => {
            let purpose = lease::Purpose::Invite.into();
            let account_ids = Vec::new();
            everything(true, &telegram::GetChatRightsRequest { chat, purpose, account_ids }).by(Caller::Invite)
        }
        "InviteToChat" => {
            stage.invited.clone_from(&request_id);
            let request = telegram::InviteToChatRequest { request_id, lease: held, chat, user: user("target_left") };
            about(&stage.lease.id, &repeat, &request).by(Caller::Invite)
        }
        "ReconcileInvite" => {
            let request = telegram::ReconcileInviteRequest {
                lease: held,
                invite_request_id: stage.invited.clone(),
                chat,
                user: user("target_left"),
            };
            about(id, "", &request).by(Caller::Invite)
        }
        "SendMessage" => {
            let peer = telegram::send_message_request::Peer::SavedMessages(Default::default());
            let text = "a note".to_owned();
            let request = telegram::SendMessageRequest { request_id, lease: held, text, peer: Some(peer) };
            about(id, &repeat, &request).by(Caller::Invite)
        }
        "AddContact" => {
            let request = telegram::AddContactRequest {
                request_id,
                lease: held,
                user: user("target_friend"),
                first_name: "Friend".to_owned(),
                last_name: String::new(),
            };
            about(id, &repeat, &request).by(Caller::Invite)
        }
        "StreamMembers" => {
            let request = telegram::StreamMembersRequest { lease: held, chat, ..Default::default() };
            about(id, "", &request).by(Caller::Parsing)
        }
        "StreamMessages" => {
            let chat = "@thousand_members".to_owned();
            let request = telegram::StreamMessagesRequest { lease: held, chat, ..Default::default() };
            about(id, "", &request).by(Caller::Parsing)
        }
        "WatchMessages" => {
            let request = telegram::WatchMessagesRequest { lease: held, chat };
            about(id, "", &request).by(Caller::Parsing).read(Read::Begin)
        }
        _ => return Ok(None),
    }))
}
