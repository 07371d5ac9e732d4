//! TelegramService on the wire.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use service_kit::identity::Identity;
use service_kit::server::detached;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::telegram_service_server::TelegramService;
use tonic::{Request, Response, Status};

use super::{Answers, answers};
use crate::core::Core;
use crate::error::Error;
use crate::telegram;

/// Serves TelegramService.
#[derive(Debug, Clone)]
pub struct TelegramGrpc {
    /// What the rooms share.
    pub core: Arc<Core>,
}

type Reply<T> = Result<Response<T>, Status>;

impl TelegramGrpc {
    /// Runs work in a task of its own: what was begun at Telegram is not cut in
    /// half when the caller goes away.
    async fn detach<Q, A>(
        &self,
        request: Request<Q>,
        work: impl for<'a> FnOnce(&'a Core, &'a Identity, &'a Q) -> BoxFuture<'a, Result<A, Error>> + Send + 'static,
    ) -> Reply<A>
    where
        Q: Send + Sync + 'static,
        A: Send + 'static,
    {
        let who = Identity::of(&request)?;
        let (_, extensions, message) = request.into_parts();
        let core = self.core.clone();
        let work = async move { work(&core, &who, &message).await.map_err(Status::from) };
        detached(&extensions, work).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl TelegramService for TelegramGrpc {
    async fn resolve_peer(&self, request: Request<pb::ResolvePeerRequest>) -> Reply<pb::ResolvePeerResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::resolve_peer(core, who, message))).await
    }

    async fn get_chat(&self, request: Request<pb::GetChatRequest>) -> Reply<pb::GetChatResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::get_chat(core, who, message))).await
    }

    async fn get_chat_rights(&self, request: Request<pb::GetChatRightsRequest>) -> Reply<pb::GetChatRightsResponse> {
        self.detach(request, |core, who, message| {
            Box::pin(telegram::rights::readiness(core, who.workspace_id, message))
        })
        .await
    }

    async fn invite_to_chat(&self, request: Request<pb::InviteToChatRequest>) -> Reply<pb::InviteToChatResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::invite::invite(core, who, message))).await
    }

    async fn reconcile_invite(
        &self,
        request: Request<pb::ReconcileInviteRequest>,
    ) -> Reply<pb::ReconcileInviteResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::invite::reconcile(core, who, message))).await
    }

    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Reply<pb::SendMessageResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::messages::send(core, who, message))).await
    }

    async fn add_contact(&self, request: Request<pb::AddContactRequest>) -> Reply<pb::AddContactResponse> {
        self.detach(request, |core, who, message| Box::pin(telegram::contacts::add(core, who, message))).await
    }

    async fn join_chat(&self, _request: Request<pb::JoinChatRequest>) -> Reply<pb::JoinChatResponse> {
        Err(Error::not_implemented("JoinChat").into())
    }

    async fn search_public_chats(
        &self,
        _request: Request<pb::SearchPublicChatsRequest>,
    ) -> Reply<pb::SearchPublicChatsResponse> {
        Err(Error::not_implemented("SearchPublicChats").into())
    }

    type StreamMembersStream = Answers<pb::StreamMembersResponse>;

    async fn stream_members(&self, request: Request<pb::StreamMembersRequest>) -> Reply<Self::StreamMembersStream> {
        let who = Identity::of(&request)?;
        let message = request.into_inner();
        let lease = telegram::lease(&self.core, &who, message.lease.as_ref()).await?;
        let batches = telegram::members::stream(self.core.clone(), lease, message).await?;
        Ok(Response::new(answers(batches)))
    }

    type StreamMessagesStream = Answers<pb::StreamMessagesResponse>;

    async fn stream_messages(&self, request: Request<pb::StreamMessagesRequest>) -> Reply<Self::StreamMessagesStream> {
        let who = Identity::of(&request)?;
        let message = request.into_inner();
        let lease = telegram::lease(&self.core, &who, message.lease.as_ref()).await?;
        let batches = telegram::history::stream(self.core.clone(), lease, message).await?;
        Ok(Response::new(answers(batches)))
    }

    type StreamRepliesStream = Answers<pb::StreamRepliesResponse>;

    async fn stream_replies(&self, _request: Request<pb::StreamRepliesRequest>) -> Reply<Self::StreamRepliesStream> {
        Err(Error::not_implemented("StreamReplies").into())
    }

    type StreamReactionsStream = Answers<pb::StreamReactionsResponse>;

    async fn stream_reactions(
        &self,
        _request: Request<pb::StreamReactionsRequest>,
    ) -> Reply<Self::StreamReactionsStream> {
        Err(Error::not_implemented("StreamReactions").into())
    }

    async fn search_messages(&self, _request: Request<pb::SearchMessagesRequest>) -> Reply<pb::SearchMessagesResponse> {
        Err(Error::not_implemented("SearchMessages").into())
    }

    type WatchMessagesStream = Answers<pb::WatchMessagesResponse>;

    async fn watch_messages(&self, request: Request<pb::WatchMessagesRequest>) -> Reply<Self::WatchMessagesStream> {
        let who = Identity::of(&request)?;
        let message = request.into_inner();
        let lease = telegram::lease(&self.core, &who, message.lease.as_ref()).await?;
        let batches = telegram::watching::watch(self.core.clone(), lease, message).await?;
        Ok(Response::new(answers(batches)))
    }
}
