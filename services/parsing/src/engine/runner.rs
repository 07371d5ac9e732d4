//! Runs one task, from where it was to where it must stop.

use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::duration_to_proto;
use service_kit::identity::Acting;
use service_kit::invariants::PARSE_1;
use service_kit::lease::LeaseGuard;
use service_kit::shutdown::Shutdown;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, Purpose};
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::{ParseFilter, ParseKind, waiting};
use tgmesh_proto::telegram::v1::{
    ChatKind, GetChatRequest, StreamMembersRequest, StreamMembersResponse, StreamMessagesRequest,
    StreamMessagesResponse,
};
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::batch::{self, Batch};
use super::running::Place;
use super::store::{self, Lost, Wait};
use super::verdict::{Verdict, backoff, verdict};
use super::{Engine, commit};
use crate::results;
use crate::tasks::entity::Model;

/// A wait for an account is shown when it is longer.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// Longest time for giving a lease back; it ends by itself otherwise.
const RELEASE: Duration = Duration::from_secs(2);
/// What an answer may take beyond what it was asked to wait.
const GRACE: Duration = Duration::from_secs(15);
/// Refusals of the database in a row after which a task is given up.
const MOST_REFUSALS: i32 = 8;

/// Why a runner stops reading.
#[derive(Debug)]
enum Trouble {
    /// The task is paused, cancelled, or taken over.
    Stopped,
    /// The process shuts down.
    ShuttingDown,
    /// The integration service refused, or cannot be reached.
    Integration(Status),
    /// The database failed.
    Db(sea_orm::DbErr),
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Fenced => Self::Stopped,
            Lost::Db(error) => Self::Db(error),
        }
    }
}

/// A reading under way.
enum Reading {
    Members(Streaming<StreamMembersResponse>),
    Messages(Streaming<StreamMessagesResponse>),
}

/// Runs a task that this engine has claimed.
pub struct Runner {
    engine: Arc<Engine>,
    task: Model,
    filter: ParseFilter,
    place: Place,
    shutdown: Shutdown,
}

impl Runner {
    pub fn new(engine: Arc<Engine>, task: Model, place: Place, shutdown: Shutdown) -> Self {
        let filter = task.parse_filter();
        Self { engine, task, filter, place, shutdown }
    }

    /// Runs until the task ends, waits, or must stop.
    pub async fn run(mut self) {
        let span = tracing::info_span!("task", task_id = %self.task.id, workspace_id = %self.task.workspace_id);
        async {
            if let Err(trouble) = self.work().await {
                self.stop(trouble).await;
            }
            self.engine.running.poke();
        }
        .instrument(span)
        .await;
    }

    async fn work(&mut self) -> Result<(), Trouble> {
        while !self.task.read_to_end {
            match self.read().await {
                // A stream that ends early begins anew at its cursor.
                Ok(()) if !self.task.read_to_end => self.task.strikes += 1,
                Ok(()) => {}
                Err(Trouble::Integration(status)) => {
                    let status = self.engine.channel.name_failure(status);
                    match verdict(&status, self.task.strikes) {
                        Verdict::Again => self.task.strikes += 1,
                        Verdict::Wait { reason, foretold, retry, detail } => {
                            tracing::info!(?reason, ?retry, detail, "task waits");
                            let until = foretold.map(|foretold| self.engine.clock.now() + foretold);
                            return self.defer(&Wait { reason, until, detail }, retry).await;
                        }
                        Verdict::Fail { reason, detail } => return self.fail(reason, &detail).await,
                    }
                }
                Err(other) => return Err(other),
            }
            // Streams that end at once, again and again, are no way to go on.
            if self.task.strikes > 2 {
                let detail = "the reading was cut, and begins anew at its cursor".to_owned();
                let wait = Wait { reason: waiting::Reason::Dependency, until: None, detail };
                return self.defer(&wait, backoff(self.task.strikes)).await;
            }
        }
        while self.task.task_state() == State::Running {
            if self.shutdown.has_begun() {
                return Err(Trouble::ShuttingDown);
            }
            commit::settle(&self.engine.db, &self.engine.clock, &mut self.task, &self.filter).await?;
            self.engine.running.poke();
        }
        tracing::info!(results = self.task.result_count, read = self.task.read_count, "task completed");
        self.compare().await;
        Ok(())
    }

    /// Compares the counters with the rows: a difference is a bug, and is told.
    async fn compare(&self) {
        let task = &self.task;
        let rows = results::store::count(self.engine.db.conn(), task.workspace_id, task.id).await;
        let counted = (task.result_count, task.unique_count - task.result_count);
        match rows {
            Ok((kept, left_out))
                if (i64::try_from(kept), i64::try_from(left_out)) == (Ok(counted.0), Ok(counted.1)) => {}
            Ok(rows) => {
                PARSE_1.broken(format_args!("task {}: {counted:?} are counted, and {rows:?} are rows", task.id));
            }
            // Only a look: the next task will tell.
            Err(error) => tracing::warn!(%error, "counters were not compared with the rows"),
        }
    }

    /// What is left to do when work cannot go on.
    async fn stop(&mut self, trouble: Trouble) {
        let left = match trouble {
            Trouble::Stopped => {
                tracing::info!("task stopped");
                return;
            }
            Trouble::ShuttingDown => store::release(&self.engine.db, &self.task).await,
            Trouble::Integration(_) => return,
            Trouble::Db(error) => {
                let unreachable = service_kit::db::is_unavailable(&error);
                tracing::error!(database = self.engine.db.name(), %error, unreachable, "batch was not stored");
                if !unreachable && self.task.strikes >= MOST_REFUSALS {
                    let (reason, now) = (ErrorReason::Internal.as_reason(), self.engine.clock.now());
                    store::fail(&self.engine.db, &self.task, reason, "what was read cannot be stored", now).await
                } else {
                    let detail = "what was read could not be stored; trying again".to_owned();
                    let wait = Wait { reason: waiting::Reason::Dependency, until: None, detail };
                    let now = self.engine.clock.now();
                    let again = now + backoff(self.task.strikes);
                    store::defer(&self.engine.db, &self.task, &wait, again, now).await
                }
            }
        };
        match left {
            Ok(()) | Err(Lost::Fenced) => {}
            // The claim runs out by itself.
            Err(Lost::Db(error)) => tracing::warn!(%error, "claim could not be given up"),
        }
    }

    async fn defer(&mut self, wait: &Wait, retry: Duration) -> Result<(), Trouble> {
        let now = self.engine.clock.now();
        Ok(store::defer(&self.engine.db, &self.task, wait, now + retry, now).await?)
    }

    async fn fail(&mut self, reason: &str, detail: &str) -> Result<(), Trouble> {
        tracing::info!(reason, detail, "task failed");
        Ok(store::fail(&self.engine.db, &self.task, reason, detail, self.engine.clock.now()).await?)
    }

    /// Waits for something of the integration service's, unless the task must
    /// stop first, the lease is lost, or it takes longer than `limit`. Only here
    /// is a runner cut off: a commit cut in half would leave it with counters
    /// that are not the stored ones.
    async fn wait<T>(
        &self,
        lease: Option<&LeaseGuard>,
        limit: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Trouble> {
        let lost = async {
            match lease {
                Some(lease) => lease.lost().cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.place.stopped().cancelled() => Err(Trouble::Stopped),
            () = self.shutdown.begun() => Err(Trouble::ShuttingDown),
            () = lost => {
                let status = tgmesh_proto::status::status(ErrorReason::StaleLease, "the lease was lost");
                Err(Trouble::Integration(status.build()))
            }
            answer = tokio::time::timeout(limit, answer) => match answer {
                Ok(answer) => answer.map_err(Trouble::Integration),
                Err(_) => Err(Trouble::Integration(late())),
            },
        }
    }

    /// Takes a lease, reads under it as far as it goes, gives it back.
    async fn read(&mut self) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        let read = self.read_under(&lease).await;
        match tokio::time::timeout(RELEASE, lease.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => tracing::warn!(code = ?status.code(), "lease was not released, and ends by itself"),
            Err(_) => tracing::warn!("lease was not released in time, and ends by itself"),
        }
        read
    }

    fn acting(&self) -> Acting {
        Acting { user_id: self.task.user_id, workspace_id: self.task.workspace_id }
    }

    async fn lease(&self) -> Result<LeaseGuard, Trouble> {
        let config = &self.engine.config;
        let request = AcquireLeaseRequest {
            purpose: Purpose::Parse as i32,
            chat: self.task.source.clone(),
            rights: vec![ChatRight::Read as i32],
            wait: Some(duration_to_proto(config.lease_wait())),
            ttl: Some(duration_to_proto(config.lease_ttl())),
            work: self.task.id.to_string(),
            holder: format!("parsing {}", self.engine.owner),
            priority: self.task.priority,
            ..Default::default()
        };
        let lease = self.wait(None, config.lease_wait() + GRACE, self.engine.leases.acquire(self.acting(), request));
        tokio::pin!(lease);
        tokio::select! {
            lease = &mut lease => return lease,
            () = self.engine.clock.sleep(SHOWN_AFTER) => {}
        }
        if self.task.waiting_reason == 0 {
            let detail = "waits for an account that is free".to_owned();
            let wait = Wait { reason: waiting::Reason::Account, until: None, detail };
            store::set_waiting(&self.engine.db, &self.task, Some(&wait), self.engine.clock.now()).await?;
            self.engine.running.poke();
        }
        lease.await
    }

    async fn read_under(&mut self, lease: &LeaseGuard) -> Result<(), Trouble> {
        self.look(lease).await?;
        let mut begun = self.engine.clock.monotonic();
        let mut reading = self.open(lease).await?;
        let mut went_on = false;
        loop {
            let next = match self.next(lease, &mut reading).await {
                // A stream ends with the token that opened it: the next one goes on.
                Err(Trouble::Integration(status)) if went_on && is_expiry(&status) => {
                    reading = self.open(lease).await?;
                    went_on = false;
                    continue;
                }
                next => next?,
            };
            let Some(batch) = next else { return Ok(()) };
            went_on = true;
            let now = self.engine.clock.monotonic();
            self.store(&batch, now.saturating_sub(begun)).await?;
            begun = now;
            if self.task.read_to_end {
                return Ok(());
            }
        }
    }

    /// The next batch; `None` at the end.
    async fn next(&self, lease: &LeaseGuard, reading: &mut Reading) -> Result<Option<Batch>, Trouble> {
        let limit = self.engine.config.batch_timeout();
        Ok(match reading {
            Reading::Members(stream) => {
                let answer = self.wait(Some(lease), limit, stream.message()).await?;
                answer.map(|answer| batch::members(answer, &self.filter))
            }
            Reading::Messages(stream) => {
                let answer = self.wait(Some(lease), limit, stream.message()).await?;
                answer.map(|answer| batch::authors(answer, &self.filter, self.task.read_count))
            }
        })
    }

    async fn store(&mut self, batch: &Batch, took: Duration) -> Result<(), Trouble> {
        let engine = &self.engine;
        commit::batch(&engine.db, &engine.clock, &mut self.task, &self.filter, batch, took).await?;
        engine.running.poke();
        Ok(())
    }

    /// Looks at the chat before it is read for the first time.
    async fn look(&mut self, lease: &LeaseGuard) -> Result<(), Trouble> {
        if self.task.chat.is_some() {
            if self.task.waiting_reason != 0 {
                let now = self.engine.clock.now();
                store::set_waiting(&self.engine.db, &self.task, None, now).await?;
                self.task.waiting_reason = 0;
                self.engine.running.poke();
            }
            return Ok(());
        }
        let request = GetChatRequest { lease: Some(lease.key()), chat: self.task.source.clone() };
        let mut telegram = self.engine.telegram.clone();
        let request = self.acting().request(request);
        let answer = self.wait(Some(lease), self.engine.config.batch_timeout(), telegram.get_chat(request)).await?;
        let chat = answer.into_inner().chat.unwrap_or_default();
        // Posts of a channel are written in its name: they have no authors.
        if self.task.kind == ParseKind::MessageAuthors as i32 && chat.kind == ChatKind::Channel as i32 {
            let status = tgmesh_proto::status::status(ErrorReason::ChatKindUnsuitable, "a channel has no authors");
            return Err(Trouble::Integration(status.with("kind", "CHANNEL").build()));
        }
        store::set_chat(&self.engine.db, &self.task, &chat, self.engine.clock.now()).await?;
        self.task.chat = Some(prost::Message::encode_to_vec(&chat));
        self.task.waiting_reason = 0;
        self.engine.running.poke();
        Ok(())
    }

    /// Opens the stream at the task's cursor.
    async fn open(&self, lease: &LeaseGuard) -> Result<Reading, Trouble> {
        let mut telegram = self.engine.telegram.clone();
        let limit = self.engine.config.batch_timeout();
        let (key, chat) = (Some(lease.key()), self.task.source.clone());
        let cursor = self.task.cursor.clone().unwrap_or_default();
        let speed = self.task.speed;
        if self.task.kind == ParseKind::Members as i32 {
            let request = self.acting().request(StreamMembersRequest { lease: key, chat, speed, cursor });
            let stream = self.wait(Some(lease), limit, telegram.stream_members(request)).await?;
            return Ok(Reading::Members(stream.into_inner()));
        }
        let request = StreamMessagesRequest {
            lease: key,
            chat,
            speed,
            cursor,
            since_time: self.filter.since_time,
            until_time: self.filter.until_time,
            limit: self.filter.last_messages,
            after_message_id: 0,
        };
        let stream = self.wait(Some(lease), limit, telegram.stream_messages(self.acting().request(request))).await?;
        Ok(Reading::Messages(stream.into_inner()))
    }
}

/// Whether a stream ended with the token that opened it.
fn is_expiry(status: &Status) -> bool {
    tgmesh_proto::status::reason(status) == Some(ErrorReason::TokenInvalid)
}

/// The integration service took too long.
fn late() -> Status {
    tgmesh_proto::status::status(ErrorReason::DeadlineExceeded, "the integration service does not answer").build()
}
