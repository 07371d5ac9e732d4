//! Stands for the integration and parsing services: accounts, leases, a chat,
//! invites with scripted answers, and a recorder of what had an effect.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use service_kit::clock::duration_from_proto;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::lease_service_server::{LeaseService, LeaseServiceServer};
use tgmesh_proto::lease::v1::*;
use tgmesh_proto::parsing::v1::parsing_service_server::ParsingServiceServer;
use tgmesh_proto::parsing::v1::{ParseResult, ParseTask};
use tgmesh_proto::status::status;
use tgmesh_proto::telegram::v1::reconcile_invite_response::Finding;
use tgmesh_proto::telegram::v1::telegram_service_server::{TelegramService, TelegramServiceServer};
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::telegram::v1::*;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::stub::never;

/// How the world reacts to an invite.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers with this outcome.
    Answer(Outcome),
    /// Refuses with this reason, without effect.
    Refuse(ErrorReason, Option<Duration>),
    /// Has its effect, and never answers.
    EffectThenSilence,
    /// Has its effect, and says that nobody knows.
    EffectThenUnknown,
    /// Never answers, without effect.
    Silence,
    /// Looks the user up until the test ends that, and then checks the lease
    /// before it hands the invite over.
    LookUp,
}

type Script = Box<dyn FnMut(&str, Uuid, usize) -> Reaction + Send>;

#[derive(Default)]
pub struct State {
    pub accounts: Vec<Uuid>,
    /// Lease by account.
    pub leased: HashMap<Uuid, (Uuid, i64)>,
    pub fence: i64,
    /// Users brought into the chat, with the request that did it.
    pub effects: Vec<(String, Uuid)>,
    /// Every call by request, user and account, in order.
    pub calls: Vec<(Uuid, String, Uuid)>,
    pub answers: HashMap<Uuid, InviteToChatResponse>,
    begun: HashSet<Uuid>,
    never: HashSet<Uuid>,
    pub reconciled: Vec<Uuid>,
    /// Accounts that may not be leased, with the key of the reason.
    pub denied: HashMap<Uuid, &'static str>,
    pub lease_requests: Vec<AcquireLeaseRequest>,
    pub most_leased: usize,
    pub chat_visible: bool,
    pub problems: HashMap<Uuid, account_readiness::Problem>,
    pub results: Vec<ParseResult>,
    /// Whether the stream of results stops in the middle without ending.
    pub results_hang: bool,
    script: Option<Script>,
    /// Telegram's ids behind names, when the test knows all names; and the names that were looked up.
    pub user_ids: HashMap<String, i64>,
    pub resolved: Vec<String>,
    /// The parse task of which the results are.
    pub task: Option<ParseTask>,
    /// Users who are being looked up, for as long as the test likes.
    pub looked_up: HashSet<String>,
}

/// The world.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    address: std::net::SocketAddr,
}

impl World {
    pub async fn start(accounts: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accounts = (0..accounts).map(|number| Uuid::from_u128(100 + number as u128)).collect();
        let state = State { accounts, chat_visible: true, ..State::default() };
        let world = Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), address };
        let server = tonic::transport::Server::builder()
            .add_service(LeaseServiceServer::new(world.clone()))
            .add_service(TelegramServiceServer::new(world.clone()))
            .add_service(ParsingServiceServer::new(world.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        world
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What invites bring: by user, account, and how often the user was asked before.
    pub fn script(&self, script: impl FnMut(&str, Uuid, usize) -> Reaction + Send + 'static) {
        self.state().script = Some(Box::new(script));
    }

    /// Lets an account be leased again.
    pub fn allow(&self, account: Uuid) {
        self.state().denied.remove(&account);
        self.changed.notify_waiters();
    }

    /// WORK-1: nobody was brought into the chat twice.
    pub fn nobody_twice(&self) {
        let state = self.state();
        let mut seen = HashSet::new();
        for (user, _) in &state.effects {
            assert!(seen.insert(user), "{user} was invited twice");
        }
    }

    /// Waits until something in the world is as wanted.
    pub async fn until(&self, what: impl Fn(&State) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if what(&self.state()) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("waited in vain for the world");
    }

    fn key(&self, key: Option<&LeaseKey>) -> Result<Uuid, Status> {
        let key = key.cloned().unwrap_or_default();
        let state = self.state();
        let held =
            state.leased.iter().find(|(_, (id, fence))| id.to_string() == key.lease_id && *fence == key.fencing_token);
        held.map(|(account, _)| *account)
            .ok_or_else(|| status(ErrorReason::StaleLease, "stale").with("lease_id", key.lease_id).build())
    }
}

/// A person as the recorder names him.
fn name(address: Option<&UserAddress>) -> String {
    match address.and_then(|address| address.address.clone()) {
        Some(Address::Username(name)) => name,
        Some(Address::Phone(phone)) => phone,
        Some(Address::PeerReference(peer)) => String::from_utf8(peer.sealed).unwrap(),
        None => String::new(),
    }
}

#[tonic::async_trait]
impl LeaseService for World {
    type WatchLeasesStream = tokio_stream::Empty<Result<WatchLeasesResponse, Status>>;

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let request = request.into_inner();
        self.state().lease_requests.push(request.clone());
        let wait = request.wait.as_ref().map_or(Duration::ZERO, duration_from_proto);
        let take = || {
            let mut state = self.state();
            let allowed = |account: &&Uuid| {
                let any = &request.any_of_account_ids;
                !state.leased.contains_key(*account)
                    && !state.denied.contains_key(*account)
                    && (any.is_empty() || any.contains(&account.to_string()))
            };
            let account = *state.accounts.iter().find(allowed)?;
            state.fence += 1;
            let (id, fence) = (Uuid::new_v4(), state.fence);
            state.leased.insert(account, (id, fence));
            state.most_leased = state.most_leased.max(state.leased.len());
            Some(Lease {
                id: id.to_string(),
                account_id: account.to_string(),
                fencing_token: fence,
                ..Default::default()
            })
        };
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(lease) = take() {
                    return lease;
                }
                changed.await;
            }
        };
        if let Some(lease) = take() {
            return Ok(Response::new(AcquireLeaseResponse { lease: Some(lease) }));
        }
        if let Ok(lease) = tokio::time::timeout(wait, waiting).await {
            return Ok(Response::new(AcquireLeaseResponse { lease: Some(lease) }));
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let state = self.state();
        for account in &state.accounts {
            *counts.entry(state.denied.get(account).copied().unwrap_or("leased")).or_default() += 1;
        }
        let refused = status(ErrorReason::NoAccountAvailable, "no account is free");
        let refused = counts.into_iter().fold(refused, |refused, (key, count)| refused.with(key, count));
        Err(refused.retry_after(Some(Duration::from_secs(60))).build())
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        self.key(request.get_ref().key.as_ref())?;
        Ok(Response::new(RenewLeaseResponse::default()))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let account = self.key(request.get_ref().key.as_ref())?;
        self.state().leased.remove(&account);
        self.changed.notify_waiters();
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn revoke_lease(&self, _: Request<RevokeLeaseRequest>) -> Result<Response<RevokeLeaseResponse>, Status> {
        never()
    }
    async fn get_lease(&self, _: Request<GetLeaseRequest>) -> Result<Response<GetLeaseResponse>, Status> {
        never()
    }
    async fn list_leases(&self, _: Request<ListLeasesRequest>) -> Result<Response<ListLeasesResponse>, Status> {
        never()
    }
    async fn watch_leases(&self, _: Request<WatchLeasesRequest>) -> Result<Response<Self::WatchLeasesStream>, Status> {
        never()
    }
}

/// A stream that nobody reads.
pub type None_<T> = tokio_stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl TelegramService for World {
    type StreamMembersStream = None_<StreamMembersResponse>;
    type StreamMessagesStream = None_<StreamMessagesResponse>;
    type StreamRepliesStream = None_<StreamRepliesResponse>;
    type StreamReactionsStream = None_<StreamReactionsResponse>;
    type WatchMessagesStream = None_<WatchMessagesResponse>;

    async fn get_chat_rights(
        &self,
        request: Request<GetChatRightsRequest>,
    ) -> Result<Response<GetChatRightsResponse>, Status> {
        let only = request.into_inner().account_ids;
        let state = self.state();
        let accounts = state.accounts.iter().filter(|account| only.is_empty() || only.contains(&account.to_string()));
        let accounts = accounts.map(|account| {
            let problem = state.problems.get(account).copied().unwrap_or_default();
            AccountReadiness {
                account_id: account.to_string(),
                ready: problem == account_readiness::Problem::Unspecified,
                problem: problem as i32,
                right: account_readiness::Right::Held as i32,
                capacity_per_day: Some(15),
                ..Default::default()
            }
        });
        let chat = (state.chat_visible && !state.accounts.is_empty()).then(|| Chat {
            chat_id: -1_001_234,
            kind: ChatKind::Supergroup as i32,
            title: "Rust Berlin".into(),
            ..Default::default()
        });
        Ok(Response::new(GetChatRightsResponse { chat, accounts: accounts.collect() }))
    }

    async fn invite_to_chat(
        &self,
        request: Request<InviteToChatRequest>,
    ) -> Result<Response<InviteToChatResponse>, Status> {
        let request = request.into_inner();
        let account = self.key(request.lease.as_ref())?;
        let id = Uuid::parse_str(&request.request_id).unwrap();
        let user = name(request.user.as_ref());
        if let Some(Address::PeerReference(peer)) = request.user.as_ref().and_then(|user| user.address.as_ref()) {
            assert_eq!(peer.account_id, account.to_string(), "a reference was shown by an account that it is not for");
        }
        let reaction = {
            let mut state = self.state();
            if state.never.contains(&id) {
                return Err(status(ErrorReason::RequestIdReused, "used up").with("request_id", id).build());
            }
            if let Some(answer) = state.answers.get(&id) {
                return Ok(Response::new(answer.clone()));
            }
            assert!(state.begun.insert(id), "an attempt was sent again without asking what became of it");
            let asked = state.calls.iter().filter(|(_, name, _)| *name == user).count();
            state.calls.push((id, user.clone(), account));
            let mut script = state.script.take();
            let reaction =
                script.as_mut().map_or(Reaction::Answer(Outcome::Invited), |script| script(&user, account, asked));
            state.script = state.script.take().or(script);
            let effect = matches!(
                reaction,
                Reaction::Answer(Outcome::Invited) | Reaction::EffectThenSilence | Reaction::EffectThenUnknown
            );
            if effect {
                state.effects.push((user.clone(), id));
            }
            match &reaction {
                Reaction::Refuse(..) => {
                    state.begun.remove(&id);
                }
                Reaction::LookUp => {
                    state.looked_up.insert(user.clone());
                }
                Reaction::Answer(outcome) => {
                    let answer = InviteToChatResponse { outcome: *outcome as i32, ..Default::default() };
                    state.answers.insert(id, answer);
                }
                _ => {}
            }
            reaction
        };
        self.changed.notify_waiters();
        match reaction {
            Reaction::Answer(outcome) => {
                Ok(Response::new(InviteToChatResponse { outcome: outcome as i32, ..Default::default() }))
            }
            Reaction::Refuse(reason, retry) => {
                Err(status(reason, "refused").with("telegram_error", "E_X").retry_after(retry).build())
            }
            Reaction::EffectThenUnknown => Err(status(ErrorReason::OutcomeUnknown, "no answer came").build()),
            Reaction::EffectThenSilence | Reaction::Silence => std::future::pending().await,
            Reaction::LookUp => {
                self.until(|state| !state.looked_up.contains(&user)).await;
                self.state().begun.remove(&id);
                self.key(request.lease.as_ref())?;
                let answer = InviteToChatResponse { outcome: Outcome::Invited as i32, ..Default::default() };
                let mut state = self.state();
                state.begun.insert(id);
                state.effects.push((user, id));
                state.answers.insert(id, answer.clone());
                Ok(Response::new(answer))
            }
        }
    }

    async fn reconcile_invite(
        &self,
        request: Request<ReconcileInviteRequest>,
    ) -> Result<Response<ReconcileInviteResponse>, Status> {
        self.key(request.get_ref().lease.as_ref())?;
        let id = Uuid::parse_str(&request.get_ref().invite_request_id).unwrap();
        let mut state = self.state();
        state.reconciled.push(id);
        let (finding, answer) = if let Some(answer) = state.answers.get(&id) {
            (Finding::Answered, Some(answer.clone()))
        } else if !state.begun.contains(&id) {
            state.never.insert(id);
            (Finding::NotSent, None)
        } else if state.effects.iter().any(|(_, request)| *request == id) {
            (Finding::InChat, None)
        } else {
            (Finding::NotInChat, None)
        };
        Ok(Response::new(ReconcileInviteResponse { finding: finding as i32, answer }))
    }

    async fn resolve_peer(
        &self,
        request: Request<ResolvePeerRequest>,
    ) -> Result<Response<ResolvePeerResponse>, Status> {
        self.key(request.get_ref().lease.as_ref())?;
        let name = request.get_ref().peer.trim_start_matches('@').to_owned();
        let mut state = self.state();
        state.resolved.push(name.clone());
        let Some(user_id) = state.user_ids.get(&name).copied().or(state.user_ids.is_empty().then_some(0)) else {
            return Err(status(ErrorReason::PeerNotFound, "nobody has this name").with("peer", name).build());
        };
        let person = Person { user_id, username: name, ..Default::default() };
        Ok(Response::new(ResolvePeerResponse { peer: Some(resolve_peer_response::Peer::Person(person)) }))
    }
    async fn get_chat(&self, _: Request<GetChatRequest>) -> Result<Response<GetChatResponse>, Status> {
        never()
    }
    async fn send_message(&self, _: Request<SendMessageRequest>) -> Result<Response<SendMessageResponse>, Status> {
        never()
    }
    async fn add_contact(&self, _: Request<AddContactRequest>) -> Result<Response<AddContactResponse>, Status> {
        never()
    }
    async fn join_chat(&self, _: Request<JoinChatRequest>) -> Result<Response<JoinChatResponse>, Status> {
        never()
    }
    async fn search_public_chats(
        &self,
        _: Request<SearchPublicChatsRequest>,
    ) -> Result<Response<SearchPublicChatsResponse>, Status> {
        never()
    }
    async fn stream_members(
        &self,
        _: Request<StreamMembersRequest>,
    ) -> Result<Response<Self::StreamMembersStream>, Status> {
        never()
    }
    async fn stream_messages(
        &self,
        _: Request<StreamMessagesRequest>,
    ) -> Result<Response<Self::StreamMessagesStream>, Status> {
        never()
    }
    async fn stream_replies(
        &self,
        _: Request<StreamRepliesRequest>,
    ) -> Result<Response<Self::StreamRepliesStream>, Status> {
        never()
    }
    async fn stream_reactions(
        &self,
        _: Request<StreamReactionsRequest>,
    ) -> Result<Response<Self::StreamReactionsStream>, Status> {
        never()
    }
    async fn search_messages(
        &self,
        _: Request<SearchMessagesRequest>,
    ) -> Result<Response<SearchMessagesResponse>, Status> {
        never()
    }
    async fn watch_messages(
        &self,
        _: Request<WatchMessagesRequest>,
    ) -> Result<Response<Self::WatchMessagesStream>, Status> {
        never()
    }
}
