//! A stand-in for the integration service: a chat with members and history, and
//! failures on demand that the real one cannot be told to bring about at a
//! given page.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use service_kit::Time;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_server::LeaseService;
use tgmesh_proto::telegram::v1 as telegram;
use tgmesh_proto::telegram::v1::telegram_service_server::TelegramService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the stand-in shows and does.
#[derive(Debug, Default)]
pub struct Script {
    /// The chat.
    pub chat: telegram::Chat,
    /// Its members, in pages of `page`.
    pub members: Vec<telegram::Person>,
    /// Its history, newest first.
    pub messages: Vec<telegram::Message>,
    /// Entries of a page.
    pub page: usize,
    /// What Telegram reports; the number of entries when `None`.
    pub reported: Option<i32>,
    /// Reported with the last page.
    pub cap: i32,
    /// Errors that the next pages answer with, one each; `None` is a page.
    pub page_faults: VecDeque<Option<Status>>,
    /// Errors that the next leases are refused with.
    pub lease_faults: VecDeque<Status>,
    /// Errors of the next looks at the chat.
    pub chat_faults: VecDeque<Status>,
    /// Leases held now, by id.
    pub held: HashMap<String, i64>,
    /// Fencing tokens given.
    pub tokens: i64,
    /// Where each reading began.
    pub readings: Vec<usize>,
    /// Pages sent.
    pub pages: usize,
}

/// The stand-in; clones are one.
#[derive(Debug, Clone)]
pub struct Integration {
    script: Arc<Mutex<Script>>,
    /// A page takes a permit.
    gate: Arc<Semaphore>,
}

impl Integration {
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(Mutex::new(script)), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// Holds every page back until it is let through.
    pub fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets so many pages through.
    pub fn let_through(&self, pages: usize) {
        self.gate.add_permits(pages);
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, key: Option<&lease::LeaseKey>) -> Result<(), Status> {
        let key = key.expect("the contract demands it");
        if self.script().held.get(&key.lease_id) == Some(&key.fencing_token) {
            return Ok(());
        }
        Err(stale(&key.lease_id))
    }

    /// Pages from `from` on; each shows how many entries follow it.
    fn pages<T: Send + 'static>(
        &self,
        key: Option<lease::LeaseKey>,
        from: usize,
        page: impl Fn(&Script, std::ops::Range<usize>) -> (T, bool) + Send + 'static,
        length: impl Fn(&Script) -> usize + Send + 'static,
    ) -> Answers<T> {
        self.script().readings.push(from);
        let this = self.clone();
        Box::pin(futures_util::stream::try_unfold((Some(from), page, length), move |(from, page, length)| {
            let (this, key) = (this.clone(), key.clone());
            async move {
                let Some(from) = from else { return Ok(None) };
                this.gate.acquire().await.expect("the gate is never closed").forget();
                this.check(key.as_ref())?;
                let mut script = this.script();
                if let Some(Some(fault)) = script.page_faults.pop_front() {
                    return Err(fault);
                }
                let to = (from + script.page).min(length(&script));
                script.pages += 1;
                let (answer, done) = page(&script, from..to);
                Ok(Some((answer, ((!done).then_some(to), page, length))))
            }
        }))
    }
}

pub fn stale(lease_id: &str) -> Status {
    tgmesh_proto::status::status(ErrorReason::StaleLease, "the lease is over").with("lease_id", lease_id).build()
}

fn position(cursor: &[u8]) -> usize {
    cursor.try_into().map(u64::from_be_bytes).map_or(0, |at| at as usize)
}

fn cursor(at: usize) -> Vec<u8> {
    (at as u64).to_be_bytes().to_vec()
}

fn not_here<T>(method: &str) -> Result<T, Status> {
    Err(tgmesh_proto::status::status(ErrorReason::NotImplemented, "not here").with("method", method).build())
}

#[tonic::async_trait]
impl LeaseService for Integration {
    type WatchLeasesStream = Answers<lease::WatchLeasesResponse>;

    async fn acquire_lease(
        &self,
        request: Request<lease::AcquireLeaseRequest>,
    ) -> Result<Response<lease::AcquireLeaseResponse>, Status> {
        let request = request.into_inner();
        let mut script = self.script();
        if let Some(fault) = script.lease_faults.pop_front() {
            return Err(fault);
        }
        assert_eq!(request.purpose(), lease::Purpose::Parse);
        assert_eq!(request.rights, [lease::ChatRight::Read as i32]);
        script.tokens += 1;
        let token = script.tokens;
        let id = Uuid::from_u128(token as u128).to_string();
        script.held.insert(id.clone(), token);
        let lease = lease::Lease {
            id,
            account_id: Uuid::from_u128(1_000 + token as u128).to_string(),
            fencing_token: token,
            acquire_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            expire_time: Some(prost_types::Timestamp { seconds: 30, nanos: 0 }),
            ..Default::default()
        };
        Ok(Response::new(lease::AcquireLeaseResponse { lease: Some(lease) }))
    }

    async fn renew_lease(
        &self,
        request: Request<lease::RenewLeaseRequest>,
    ) -> Result<Response<lease::RenewLeaseResponse>, Status> {
        self.check(request.get_ref().key.as_ref())?;
        Ok(Response::new(lease::RenewLeaseResponse::default()))
    }

    async fn release_lease(
        &self,
        request: Request<lease::ReleaseLeaseRequest>,
    ) -> Result<Response<lease::ReleaseLeaseResponse>, Status> {
        let key = request.into_inner().key.expect("the contract demands it");
        self.check(Some(&key))?;
        self.script().held.remove(&key.lease_id);
        Ok(Response::new(lease::ReleaseLeaseResponse {}))
    }

    async fn revoke_lease(
        &self,
        _: Request<lease::RevokeLeaseRequest>,
    ) -> Result<Response<lease::RevokeLeaseResponse>, Status> {
        not_here("RevokeLease")
    }

    async fn get_lease(&self, _: Request<lease::GetLeaseRequest>) -> Result<Response<lease::GetLeaseResponse>, Status> {
        not_here("GetLease")
    }

    async fn list_leases(
        &self,
        _: Request<lease::ListLeasesRequest>,
    ) -> Result<Response<lease::ListLeasesResponse>, Status> {
        not_here("ListLeases")
    }

    async fn watch_leases(
        &self,
        _: Request<lease::WatchLeasesRequest>,
    ) -> Result<Response<Self::WatchLeasesStream>, Status> {
        not_here("WatchLeases")
    }
}

/// Calls that no task makes.
macro_rules! not_here {
    ($($name:ident($request:ident) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl TelegramService for Integration {
            type StreamMembersStream = Answers<telegram::StreamMembersResponse>;
            type StreamMessagesStream = Answers<telegram::StreamMessagesResponse>;
            type StreamRepliesStream = Answers<telegram::StreamRepliesResponse>;
            type StreamReactionsStream = Answers<telegram::StreamReactionsResponse>;
            type WatchMessagesStream = Answers<telegram::WatchMessagesResponse>;

            async fn get_chat(
                &self,
                request: Request<telegram::GetChatRequest>,
            ) -> Result<Response<telegram::GetChatResponse>, Status> {
                self.chat(request.get_ref()).map(Response::new)
            }

            async fn stream_members(
                &self,
                request: Request<telegram::StreamMembersRequest>,
            ) -> Result<Response<Self::StreamMembersStream>, Status> {
                self.members(request.into_inner()).map(Response::new)
            }

            async fn stream_messages(
                &self,
                request: Request<telegram::StreamMessagesRequest>,
            ) -> Result<Response<Self::StreamMessagesStream>, Status> {
                self.messages(request.into_inner()).map(Response::new)
            }

            $(async fn $name(
                &self,
                _: Request<telegram::$request>,
            ) -> Result<Response<$response>, Status> {
                not_here(stringify!($name))
            })*
        }
    };
}

not_here! {
    resolve_peer(ResolvePeerRequest) -> telegram::ResolvePeerResponse;
    get_chat_rights(GetChatRightsRequest) -> telegram::GetChatRightsResponse;
    invite_to_chat(InviteToChatRequest) -> telegram::InviteToChatResponse;
    reconcile_invite(ReconcileInviteRequest) -> telegram::ReconcileInviteResponse;
    send_message(SendMessageRequest) -> telegram::SendMessageResponse;
    add_contact(AddContactRequest) -> telegram::AddContactResponse;
    join_chat(JoinChatRequest) -> telegram::JoinChatResponse;
    search_public_chats(SearchPublicChatsRequest) -> telegram::SearchPublicChatsResponse;
    stream_replies(StreamRepliesRequest) -> Self::StreamRepliesStream;
    stream_reactions(StreamReactionsRequest) -> Self::StreamReactionsStream;
    search_messages(SearchMessagesRequest) -> telegram::SearchMessagesResponse;
    watch_messages(WatchMessagesRequest) -> Self::WatchMessagesStream;
}

impl Integration {
    fn chat(&self, request: &telegram::GetChatRequest) -> Result<telegram::GetChatResponse, Status> {
        self.check(request.lease.as_ref())?;
        let interval = Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 });
        let pace = telegram::ReadPace { speed: telegram::SpeedProfile::Medium.into(), interval };
        let mut script = self.script();
        match script.chat_faults.pop_front() {
            Some(fault) => Err(fault),
            None => Ok(telegram::GetChatResponse { chat: Some(script.chat.clone()), read_paces: vec![pace] }),
        }
    }

    fn members(
        &self,
        request: telegram::StreamMembersRequest,
    ) -> Result<Answers<telegram::StreamMembersResponse>, Status> {
        self.check(request.lease.as_ref())?;
        let account = request.lease.as_ref().map_or(0, |key| key.fencing_token);
        let page = move |script: &Script, range: std::ops::Range<usize>| {
            let done = range.end == script.members.len();
            let persons = script.members[range.clone()].iter().cloned().map(|mut person| {
                person.peer_reference = Some(telegram::PeerReference {
                    account_id: Uuid::from_u128(1_000 + account as u128).to_string(),
                    sealed: vec![7; 60],
                });
                person
            });
            let answer = telegram::StreamMembersResponse {
                persons: persons.collect(),
                cursor: cursor(range.end),
                reported_total: script.reported.or(i32::try_from(script.members.len()).ok()),
                requests: 1,
                done,
                cap_reached: if done { script.cap } else { 0 },
            };
            (answer, done)
        };
        Ok(self.pages(request.lease, position(&request.cursor), page, |script| script.members.len()))
    }

    fn messages(
        &self,
        request: telegram::StreamMessagesRequest,
    ) -> Result<Answers<telegram::StreamMessagesResponse>, Status> {
        self.check(request.lease.as_ref())?;
        let page = |script: &Script, range: std::ops::Range<usize>| {
            let done = range.end == script.messages.len();
            let answer = telegram::StreamMessagesResponse {
                messages: script.messages[range.clone()].to_vec(),
                cursor: cursor(range.end),
                reported_total: i32::try_from(script.messages.len()).ok(),
                requests: 1,
                done,
            };
            (answer, done)
        };
        Ok(self.pages(request.lease, position(&request.cursor), page, |script| script.messages.len()))
    }
}

/// A chat of so many members, in pages of 50.
pub fn group(members: i64) -> Script {
    Script {
        chat: telegram::Chat {
            chat_id: -1_001_234_567_890,
            kind: telegram::ChatKind::Supergroup as i32,
            title: "Rust Berlin".into(),
            username: "rustberlin".into(),
            member_count: i32::try_from(members).ok(),
            ..Default::default()
        },
        members: (1..=members).map(person).collect(),
        page: 50,
        ..Script::default()
    }
}

/// A person of this id.
pub fn person(user_id: i64) -> telegram::Person {
    telegram::Person {
        user_id,
        username: format!("user_{user_id}"),
        first_name: format!("First {user_id}"),
        last_seen: telegram::LastSeen::Recently as i32,
        ..Default::default()
    }
}

/// A message of this author, so many seconds after some moment.
pub fn message(author: i64, at: i64) -> telegram::Message {
    telegram::Message {
        author: Some(person(author)),
        author_id: author,
        send_time: Some(Time::from_secs(1_700_000_000 + at).to_proto()),
        text: "hello".into(),
        ..Default::default()
    }
}

/// An error of the catalogue.
pub fn fault(reason: ErrorReason, retry_after: Option<Duration>) -> Status {
    tgmesh_proto::status::status(reason, "as the script says").retry_after(retry_after).build()
}
