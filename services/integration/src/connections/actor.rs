//! The actor that drives one connection.

use std::sync::Arc;
use std::time::Duration;

use grammers_tl_types::functions;
use service_kit::SharedClock;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::dial::{Dialer, Raw, Wire, classify};
use super::pushed::{self, Pushed};
use super::{CallError, Claim, Gate, LineId, LineSession, LineState, OnChange, Sessions};

/// Time between two signs of life. Each also moves the moment at which the server
/// closes the connection by itself, however much it is used.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longest wait for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Longest wait for the server to see that a connection is closed.
const CLOSE: Duration = Duration::from_secs(2);
/// Longest wait for the key, while another connection has it: a dead process is waited for in vain.
const CLAIM: Duration = Duration::from_secs(15);
/// Pause after the key was given to whoever waited for it, so that he is the next to have it.
const YIELD: Duration = Duration::from_millis(300);
/// First and longest pause after a failed attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A request, and where its answer goes.
pub(super) struct Job {
    pub(super) body: Vec<u8>,
    pub(super) gate: Gate,
    pub(super) reply: oneshot::Sender<Result<Vec<u8>, CallError>>,
}

/// An open connection, and the right to have it.
struct Open {
    wire: Wire,
    claim: Claim,
}

impl Open {
    /// Closes it at once.
    async fn drop(self) {
        let Self { wire, claim } = self;
        // Its socket is closed with it: only then may the key be another's.
        drop(wire);
        claim.release().await;
    }

    /// Closes it and waits until the server has seen it, so that the next one with
    /// the same key cannot overlap it.
    async fn close(mut self) {
        if self.claim.holds() && self.wire.disconnect().await.is_ok() {
            let seen = async { while self.wire.step().await.is_ok() {} };
            tokio::select! {
                () = seen => {}
                // A server that does not close its side is not waited for.
                () = tokio::time::sleep(CLOSE) => {}
                () = self.claim.lost() => {}
            }
        }
        self.drop().await;
    }
}

/// Drives one connection: opens it on first use, sends one request at a time,
/// closes it when it is not used.
pub(super) struct Actor {
    pub(super) id: LineId,
    pub(super) inbox: mpsc::Receiver<Job>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) clock: SharedClock,
    pub(super) state: watch::Sender<LineState>,
    pub(super) pushed: broadcast::Sender<Pushed>,
    pub(super) stop: CancellationToken,
    pub(super) on_change: OnChange,
}

impl Actor {
    pub(super) async fn run(mut self) {
        let mut open: Option<Open> = None;
        let mut backoff = BACKOFF.0;
        let mut not_before = Duration::ZERO;
        let mut last_used = self.clock.monotonic();
        let mut ping_at = last_used;
        let idle_close = self.dialer.config().idle_close();
        let stop = self.stop.clone();
        loop {
            let over = open.as_ref().map(|open| open.claim.over());
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = or_never(over) => {
                    tracing::info!(line = ?self.id, "the key is wanted elsewhere: closing the connection");
                    self.close(open.take()).await;
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.clock.sleep(YIELD) => continue,
                    }
                }
                job = self.inbox.recv() => match job {
                    Some(job) => job,
                    None => break,
                },
                // Before what is pushed: an account in lively chats is never silent, and may be idle all the same.
                () = self.clock.sleep(ping_at.min(last_used + idle_close).saturating_sub(self.clock.monotonic())),
                    if open.is_some() =>
                {
                    let now = self.clock.monotonic();
                    if now >= last_used + idle_close {
                        self.close(open.take()).await;
                    } else if now >= ping_at {
                        ping_at = now + KEEP_ALIVE;
                        if !alive(&mut open).await {
                            tracing::info!(line = ?self.id, "connection is silent: closing it");
                            self.drop(open.take()).await;
                        }
                    }
                    continue;
                }
                pushed = step(&mut open) => {
                    match pushed {
                        // Nobody may listen.
                        Ok(pushed) => pushed.into_iter().for_each(|pushed| drop(self.pushed.send(pushed))),
                        Err(error) => {
                            tracing::info!(line = ?self.id, error, "connection lost");
                            self.drop(open.take()).await;
                        }
                    }
                    continue;
                }
            };
            // Whoever asked is gone: nothing needs to be sent.
            if job.reply.is_closed() {
                continue;
            }
            last_used = self.clock.monotonic();
            if open.is_none() {
                if self.clock.monotonic() < not_before {
                    job.reply.send(Err(CallError::NotSent("the connection failed just now".to_owned()))).ok();
                    continue;
                }
                match self.connect().await {
                    Ok(opened) => {
                        open = Some(opened);
                        ping_at = self.clock.monotonic() + KEEP_ALIVE;
                        backoff = BACKOFF.0;
                    }
                    Err(error) => {
                        not_before = self.clock.monotonic() + backoff;
                        backoff = (backoff * 2).min(BACKOFF.1);
                        job.reply.send(Err(error)).ok();
                        continue;
                    }
                }
            }
            let usable = self.send(&mut open, job).await;
            last_used = self.clock.monotonic();
            if !usable {
                self.drop(open.take()).await;
            }
        }
        // What still waits was not sent.
        self.inbox.close();
        while let Ok(job) = self.inbox.try_recv() {
            job.reply.send(Err(CallError::NotSent("the connection is being closed".to_owned()))).ok();
        }
        self.close(open).await;
    }

    async fn connect(&self) -> Result<Open, CallError> {
        self.set(LineState::Connecting);
        let opened = self.open().await;
        match &opened {
            Ok(_) => self.set(LineState::Connected),
            Err(error) => {
                tracing::info!(line = ?self.id, ?error, "no connection");
                self.set(LineState::Failing);
            }
        }
        opened
    }

    async fn open(&self) -> Result<Open, CallError> {
        let stopped = || CallError::NotSent("the connection is being closed".to_owned());
        let (session, claim) = tokio::select! {
            () = self.stop.cancelled() => return Err(stopped()),
            claimed = tokio::time::timeout(CLAIM, self.claim()) => claimed.unwrap_or_else(|_| {
                Err(CallError::NotSent("another connection has the session's key".to_owned()))
            })?,
        };
        let dialed = tokio::select! {
            () = self.stop.cancelled() => Err(stopped()),
            () = claim.lost() => Err(claim_lost(CallError::NotSent)),
            dialed = self.dialer.dial(&session) => dialed,
        };
        match dialed {
            Ok(wire) => Ok(Open { wire, claim }),
            Err(error) => {
                claim.release().await;
                Err(error)
            }
        }
    }

    /// The session, and the right to have a connection with its key.
    async fn claim(&self) -> Result<(LineSession, Claim), CallError> {
        loop {
            let before = self.sessions.session(self.id).await.map_err(CallError::Forbidden)?;
            let claim = self.sessions.claim(&before.key).await.map_err(CallError::Forbidden)?;
            // While the key was waited for, the line may have been given another one.
            match self.sessions.session(self.id).await {
                Ok(session) if session.key.expose() == before.key.expose() => return Ok((session, claim)),
                Ok(_) => claim.release().await,
                Err(error) => {
                    claim.release().await;
                    return Err(CallError::Forbidden(error));
                }
            }
        }
    }

    /// Asks the gate and hands the request over, in one step; then waits for
    /// the answer. False when the connection cannot be used any more.
    async fn send(&self, open: &mut Option<Open>, job: Job) -> bool {
        let Some(Open { wire, claim }) = open else {
            return false;
        };
        let Job { body, gate, reply } = job;
        if !claim.holds() {
            reply.send(Err(claim_lost(CallError::NotSent))).ok();
            return false;
        }
        if let Err(error) = gate() {
            reply.send(Err(CallError::Forbidden(error))).ok();
            return true;
        }
        // From here on it counts as sent.
        let request = Raw(body);
        let limit = self.dialer.config().call_timeout();
        let answer = tokio::select! {
            answer = tokio::time::timeout(limit, wire.invoke(&request)) => match answer {
                Ok(Ok(answer)) => Ok(answer.0),
                Ok(Err(error)) => Err(classify(&error)),
                Err(_) => Err(CallError::Unanswered(format!("no answer within {} s", limit.as_secs()))),
            },
            () = claim.lost() => Err(claim_lost(CallError::Unanswered)),
        };
        let usable = matches!(answer, Ok(_) | Err(CallError::Rpc(_)));
        reply.send(answer).ok();
        usable
    }

    async fn close(&self, open: Option<Open>) {
        if let Some(open) = open {
            open.close().await;
        }
        self.set(LineState::Idle);
    }

    async fn drop(&self, open: Option<Open>) {
        if let Some(open) = open {
            open.drop().await;
        }
        self.set(LineState::Idle);
    }

    fn set(&self, state: LineState) {
        if self.state.send_replace(state) != state {
            (self.on_change)(self.id, state);
        }
    }
}

fn claim_lost(kind: impl FnOnce(String) -> CallError) -> CallError {
    kind("the claim of the session's key was lost".to_owned())
}

async fn or_never(wait: Option<impl Future<Output = ()>>) {
    match wait {
        Some(wait) => wait.await,
        None => std::future::pending().await,
    }
}

/// Reads what the server pushes. Never ends without a connection.
async fn step(open: &mut Option<Open>) -> Result<Vec<Pushed>, String> {
    match open {
        Some(open) => match open.wire.step().await {
            Ok(updates) => Ok(pushed::read(&updates)),
            Err(error) => Err(error.to_string()),
        },
        None => std::future::pending().await,
    }
}

/// Whether the server answers a ping, while the key is ours.
async fn alive(open: &mut Option<Open>) -> bool {
    let Some(Open { wire, claim }) = open else {
        return false;
    };
    let ping = functions::PingDelayDisconnect { ping_id: 1, disconnect_delay: 75 };
    tokio::select! {
        answer = tokio::time::timeout(SIGN_OF_LIFE, wire.invoke(&ping)) => matches!(answer, Ok(Ok(_))),
        () = claim.lost() => false,
    }
}
