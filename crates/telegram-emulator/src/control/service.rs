//! The service itself.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream;
use tgmesh_proto::emulator::v1 as pb;
use tgmesh_proto::emulator::v1::emulator_service_server::EmulatorService;
use tonic::{Request, Response, Status};

use super::convert::{
    admin_rights, call_filter, fault, inside, invite_privacy, media, message_privacy, session_format, some,
};
use crate::emulator::Info;
use crate::error::RpcError;
use crate::faults::Release;
use crate::handle::{ChatRules, ControlError, Handle, NewUser, Post};
use crate::world::Standing;

/// Items of one message of a stream.
const CHUNK: usize = 500;
/// Calls of one page when none are asked for.
const CALLS: u32 = 1000;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug)]
pub(super) struct Service {
    handle: Handle,
    info: Info,
}

impl Service {
    pub(super) fn new(handle: Handle, info: Info) -> Self {
        Self { handle, info }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl EmulatorService for Service {
    type ListUsersStream = Answers<pb::ListUsersResponse>;
    type ListMembersStream = Answers<pb::ListMembersResponse>;
    type WatchHoldsStream = Answers<pb::WatchHoldsResponse>;
    type StreamCallsStream = Answers<pb::StreamCallsResponse>;

    async fn get_info(&self, _: Request<pb::GetInfoRequest>) -> Answer<pb::GetInfoResponse> {
        let dcs = self.info.dcs.iter().map(|dc| pb::DataCentre { id: dc.id, address: dc.address.to_string() });
        Ok(Response::new(pb::GetInfoResponse {
            dcs: dcs.collect(),
            rsa_modulus: self.info.rsa_modulus.clone(),
            rsa_exponent: self.info.rsa_exponent,
            rsa_fingerprint: self.info.rsa_fingerprint,
            layer_min: self.info.layer_min,
            layer_max: self.info.layer_max,
            time: Some(self.handle.now().into()),
            strict: self.handle.kernel().strict,
        }))
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Answer<pb::GetUserResponse> {
        let user = self.handle.user(request.get_ref().user_id)?;
        Ok(Response::new(pb::GetUserResponse { user: Some(user.into()) }))
    }

    async fn list_users(&self, _: Request<pb::ListUsersRequest>) -> Answer<Self::ListUsersStream> {
        let handle = self.handle.clone();
        let users = stream::unfold(0, move |from| {
            let users = handle.users(from, CHUNK);
            let next = from + users.len();
            let users: Vec<_> = users.into_iter().map(pb::User::from).collect();
            async move { (!users.is_empty()).then(|| (Ok(pb::ListUsersResponse { users }), next)) }
        });
        Ok(Response::new(Box::pin(users)))
    }

    async fn list_chats(&self, _: Request<pb::ListChatsRequest>) -> Answer<pb::ListChatsResponse> {
        let chats = self.handle.chats().into_iter().map(pb::Chat::from).collect();
        Ok(Response::new(pb::ListChatsResponse { chats }))
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Answer<Self::ListMembersStream> {
        let (handle, chat) = (self.handle.clone(), request.get_ref().chat_id);
        handle.members(chat, 0, 0)?;
        let members = stream::unfold(0, move |from| {
            let members = handle.members(chat, from, CHUNK).unwrap_or_default();
            let next = from + members.len();
            let members: Vec<_> = members.into_iter().map(pb::Member::from).collect();
            async move { (!members.is_empty()).then(|| (Ok(pb::ListMembersResponse { members }), next)) }
        });
        Ok(Response::new(Box::pin(members)))
    }

    async fn list_private_messages(
        &self,
        request: Request<pb::ListPrivateMessagesRequest>,
    ) -> Answer<pb::ListPrivateMessagesResponse> {
        let request = request.get_ref();
        let texts = self.handle.private_messages(request.owner_id, request.author_id);
        Ok(Response::new(pb::ListPrivateMessagesResponse { texts }))
    }

    async fn create_user(&self, request: Request<pb::CreateUserRequest>) -> Answer<pb::CreateUserResponse> {
        let request = request.into_inner();
        let (invites, messages) = (request.invites(), request.messages());
        let id = self.handle.create_user(&NewUser {
            id: request.user_id,
            phone: request.phone,
            first_name: request.first_name,
            last_name: request.last_name,
            username: request.username,
            dc: request.dc,
            password: request.password,
            bot: request.bot,
            premium: request.premium,
            invites: invite_privacy(invites).unwrap_or_default(),
            messages: message_privacy(messages).unwrap_or_default(),
        })?;
        let user = self.handle.user(id)?;
        Ok(Response::new(pb::CreateUserResponse { user: Some(user.into()) }))
    }

    async fn delete_user(&self, request: Request<pb::DeleteUserRequest>) -> Answer<pb::DeleteUserResponse> {
        self.handle.delete_user(request.get_ref().user_id)?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn set_privacy(&self, request: Request<pb::SetPrivacyRequest>) -> Answer<pb::SetPrivacyResponse> {
        let request = request.get_ref();
        let (invites, messages) = (invite_privacy(request.invites()), message_privacy(request.messages()));
        self.handle.set_privacy(request.user_id, invites, messages)?;
        Ok(Response::new(pb::SetPrivacyResponse {}))
    }

    async fn set_restrictions(
        &self,
        request: Request<pb::SetRestrictionsRequest>,
    ) -> Answer<pb::SetRestrictionsResponse> {
        let request = request.get_ref();
        self.handle.set_restrictions(
            request.user_id,
            request.frozen,
            request.spam_limited,
            request.banned_in_channels,
        )?;
        Ok(Response::new(pb::SetRestrictionsResponse {}))
    }

    async fn add_contact(&self, request: Request<pb::AddContactRequest>) -> Answer<pb::AddContactResponse> {
        let request = request.get_ref();
        self.handle.add_contact(request.owner_id, request.contact_id)?;
        Ok(Response::new(pb::AddContactResponse {}))
    }

    async fn set_blocked(&self, request: Request<pb::SetBlockedRequest>) -> Answer<pb::SetBlockedResponse> {
        let request = request.get_ref();
        self.handle.set_blocked(request.owner_id, request.blocked_id, request.blocked)?;
        Ok(Response::new(pb::SetBlockedResponse {}))
    }

    async fn add_member(&self, request: Request<pb::AddMemberRequest>) -> Answer<pb::AddMemberResponse> {
        let request = request.get_ref();
        match inside(request.standing())? {
            Standing::Admin => {
                let rights = admin_rights(request.admin_rights())?;
                self.handle.set_admin(request.chat_id, request.user_id, rights)?;
            }
            standing => self.handle.set_standing(request.chat_id, request.user_id, standing)?,
        }
        Ok(Response::new(pb::AddMemberResponse {}))
    }

    async fn set_chat_rules(&self, request: Request<pb::SetChatRulesRequest>) -> Answer<pb::SetChatRulesResponse> {
        let request = request.get_ref();
        let rules = ChatRules {
            members_may_invite: request.members_may_invite,
            members_may_write: request.members_may_write,
            restricted: request.restricted,
            members_hidden: request.members_hidden,
            join_by_request: request.join_by_request,
            slow_mode: request.slow_mode_seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX)),
            member_limit: request.member_limit,
        };
        self.handle.set_chat_rules(request.chat_id, &rules)?;
        Ok(Response::new(pb::SetChatRulesResponse {}))
    }

    async fn remove_member(&self, request: Request<pb::RemoveMemberRequest>) -> Answer<pb::RemoveMemberResponse> {
        let request = request.get_ref();
        let standing = if request.kicked { Standing::Kicked } else { Standing::Left };
        self.handle.set_standing(request.chat_id, request.user_id, standing)?;
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn post_message(&self, request: Request<pb::PostMessageRequest>) -> Answer<pb::PostMessageResponse> {
        use pb::post_message_request::Target;

        let request = request.into_inner();
        let media = media(request.media());
        let (chat, user) = match request.target {
            Some(Target::ChatId(chat)) => (Some(chat), None),
            Some(Target::UserId(user)) => (None, Some(user)),
            None => (None, None),
        };
        let (author, reply_to) = (request.author_id, request.reply_to);
        let message_id = self.handle.post_message(&Post { author, chat, user, text: request.text, reply_to, media })?;
        Ok(Response::new(pb::PostMessageResponse { message_id }))
    }

    async fn read_login_code(&self, request: Request<pb::ReadLoginCodeRequest>) -> Answer<pb::ReadLoginCodeResponse> {
        let code = self.handle.login_code(&request.get_ref().phone)?;
        Ok(Response::new(pb::ReadLoginCodeResponse { code }))
    }

    async fn accept_login_token(
        &self,
        request: Request<pb::AcceptLoginTokenRequest>,
    ) -> Answer<pb::AcceptLoginTokenResponse> {
        let request = request.get_ref();
        self.handle.accept_login_token(&request.phone, &request.link)?;
        Ok(Response::new(pb::AcceptLoginTokenResponse {}))
    }

    async fn create_session(&self, request: Request<pb::CreateSessionRequest>) -> Answer<pb::CreateSessionResponse> {
        let format = session_format(request.get_ref().format());
        let user = match request.into_inner().user {
            Some(pb::create_session_request::User::UserId(id)) => id,
            Some(pb::create_session_request::User::Phone(phone)) => self.handle.user_by_phone(&phone)?,
            None => return Err(ControlError::Invalid("a user id or a phone number is needed".into()).into()),
        };
        let session = self.handle.create_session(user, format)?;
        Ok(Response::new(pb::CreateSessionResponse { session }))
    }

    async fn inject_fault(&self, request: Request<pb::InjectFaultRequest>) -> Answer<pb::InjectFaultResponse> {
        let wanted = request.into_inner().fault.unwrap_or_default();
        let fault_id = self.handle.inject_fault(fault(wanted)?);
        Ok(Response::new(pb::InjectFaultResponse { fault_id }))
    }

    async fn list_faults(&self, _: Request<pb::ListFaultsRequest>) -> Answer<pb::ListFaultsResponse> {
        let faults = self.handle.faults().into_iter().map(pb::ActiveFault::from).collect();
        Ok(Response::new(pb::ListFaultsResponse { faults }))
    }

    async fn clear_faults(&self, request: Request<pb::ClearFaultsRequest>) -> Answer<pb::ClearFaultsResponse> {
        let id = request.get_ref().fault_id;
        let cleared = count(self.handle.clear_faults((id != 0).then_some(id)));
        Ok(Response::new(pb::ClearFaultsResponse { cleared }))
    }

    async fn watch_holds(&self, request: Request<pb::WatchHoldsRequest>) -> Answer<Self::WatchHoldsStream> {
        let start = (self.handle.clone(), request.get_ref().after, Vec::new().into_iter());
        let holds = stream::unfold(start, async |(handle, after, mut ready)| {
            if ready.len() == 0 {
                ready = handle.next_holds(after).await.into_iter();
            }
            let hold: crate::faults::Hold = ready.next()?;
            let after = hold.id;
            Some((Ok(pb::WatchHoldsResponse { hold: Some(hold.into()) }), (handle, after, ready)))
        });
        Ok(Response::new(Box::pin(holds)))
    }

    async fn list_holds(&self, _: Request<pb::ListHoldsRequest>) -> Answer<pb::ListHoldsResponse> {
        let holds = self.handle.holds().into_iter().map(pb::Hold::from).collect();
        Ok(Response::new(pb::ListHoldsResponse { holds }))
    }

    async fn release_hold(&self, request: Request<pb::ReleaseHoldRequest>) -> Answer<pb::ReleaseHoldResponse> {
        let request = request.get_ref();
        let release = if request.drop { Release::Drop } else { Release::Continue };
        self.handle.release_hold(request.hold_id, release)?;
        Ok(Response::new(pb::ReleaseHoldResponse {}))
    }

    async fn drop_connections(
        &self,
        request: Request<pb::DropConnectionsRequest>,
    ) -> Answer<pb::DropConnectionsResponse> {
        let request = request.get_ref();
        let dc = (request.dc != 0).then_some(request.dc);
        let dropped = count(self.handle.drop_connections(some(request.account_id), dc));
        Ok(Response::new(pb::DropConnectionsResponse { dropped }))
    }

    async fn revoke_keys(&self, request: Request<pb::RevokeKeysRequest>) -> Answer<pb::RevokeKeysResponse> {
        let request = request.get_ref();
        let error = (!request.error.is_empty()).then(|| RpcError::by_name(&request.error));
        let revoked = count(self.handle.revoke_keys(request.account_id, error));
        Ok(Response::new(pb::RevokeKeysResponse { revoked }))
    }

    async fn list_calls(&self, request: Request<pb::ListCallsRequest>) -> Answer<pb::ListCallsResponse> {
        let request = request.into_inner();
        let limit = if request.limit == 0 { CALLS } else { request.limit } as usize;
        let calls = self.handle.calls(&call_filter(request.filter), request.after, limit);
        Ok(Response::new(pb::ListCallsResponse { calls: calls.into_iter().map(pb::Call::from).collect() }))
    }

    async fn stream_calls(&self, request: Request<pb::StreamCallsRequest>) -> Answer<Self::StreamCallsStream> {
        let request = request.into_inner();
        let start = (self.handle.clone(), call_filter(request.filter), request.after_position);
        let calls = stream::unfold(start, async |(handle, filter, after)| {
            let (calls, position) = handle.next_calls(&filter, after, CHUNK).await;
            if calls.is_empty() {
                return None; // the emulator shuts down
            }
            let calls = calls.into_iter().map(pb::Call::from).collect();
            Some((Ok(pb::StreamCallsResponse { calls, position }), (handle, filter, position)))
        });
        Ok(Response::new(Box::pin(calls)))
    }

    async fn list_connections(
        &self,
        request: Request<pb::ListConnectionsRequest>,
    ) -> Answer<pb::ListConnectionsResponse> {
        let request = request.get_ref();
        let account = some(request.account_id);
        let connections = self.handle.connections().into_iter().filter(|connection| {
            account.is_none_or(|account| connection.account == Some(account))
                && !(request.open_only && connection.closed.is_some())
        });
        let connections = connections.map(pb::Connection::from).collect();
        Ok(Response::new(pb::ListConnectionsResponse { connections }))
    }

    async fn list_overlaps(&self, _: Request<pb::ListOverlapsRequest>) -> Answer<pb::ListOverlapsResponse> {
        let overlaps = self.handle.overlaps().into_iter().map(pb::Overlap::from).collect();
        Ok(Response::new(pb::ListOverlapsResponse { overlaps }))
    }

    async fn get_summary(&self, _: Request<pb::GetSummaryRequest>) -> Answer<pb::GetSummaryResponse> {
        let summary = self.handle.summary();
        let repeated = summary.invited_more_than_once.into_iter();
        let repeated = repeated.map(|(chat_id, user_id, times)| pb::RepeatedInvitation { chat_id, user_id, times });
        Ok(Response::new(pb::GetSummaryResponse {
            calls: summary.calls,
            calls_by_account: summary.calls_by_account.into_iter().collect(),
            calls_by_method: summary.calls_by_method.into_iter().collect(),
            effects: summary.effects.into_iter().map(|(kind, times)| (kind.to_owned(), times)).collect(),
            errors: summary.errors.into_iter().collect(),
            repeated_invitations: repeated.collect(),
            overlaps: summary.overlaps,
            dropped_calls: summary.dropped_calls,
            dropped_connections: summary.dropped_connections,
        }))
    }
}
