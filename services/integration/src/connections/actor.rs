//! The actor that drives one connection.

use std::sync::Arc;
use std::time::Duration;

use grammers_tl_types::functions;
use service_kit::SharedClock;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::dial::{Dialer, Raw, Wire, classify};
use super::pushed::{self, Pushed};
use super::{CallError, Gate, LineId, LineState, OnChange, Sessions};

/// Time between two signs of life. Each also moves the moment at which the server
/// closes the connection by itself, however much it is used.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longest wait for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Longest wait for the server to see that a connection is closed.
const CLOSE: Duration = Duration::from_secs(2);
/// First and longest pause after a failed attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A request, and where its answer goes.
pub(super) struct Job {
    pub(super) body: Vec<u8>,
    pub(super) gate: Gate,
    pub(super) reply: oneshot::Sender<Result<Vec<u8>, CallError>>,
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
        let mut wire: Option<Wire> = None;
        let mut backoff = BACKOFF.0;
        let mut not_before = Duration::ZERO;
        let mut last_used = self.clock.monotonic();
        let mut ping_at = last_used;
        let idle_close = self.dialer.config().idle_close();
        let stop = self.stop.clone();
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                job = self.inbox.recv() => match job {
                    Some(job) => job,
                    None => break,
                },
                // Before what is pushed: an account in lively chats is never silent, and may be idle all the same.
                () = self.clock.sleep(ping_at.min(last_used + idle_close).saturating_sub(self.clock.monotonic())),
                    if wire.is_some() =>
                {
                    let now = self.clock.monotonic();
                    if now >= last_used + idle_close {
                        close(wire.take()).await;
                        self.set(LineState::Idle);
                    } else if now >= ping_at {
                        ping_at = now + KEEP_ALIVE;
                        if !alive(&mut wire).await {
                            tracing::info!(line = ?self.id, "connection is silent: closing it");
                            wire = None;
                            self.set(LineState::Idle);
                        }
                    }
                    continue;
                }
                pushed = step(&mut wire) => {
                    match pushed {
                        // Nobody may listen.
                        Ok(pushed) => pushed.into_iter().for_each(|pushed| drop(self.pushed.send(pushed))),
                        Err(error) => {
                            tracing::info!(line = ?self.id, error, "connection lost");
                            wire = None;
                            self.set(LineState::Idle);
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
            if wire.is_none() {
                if self.clock.monotonic() < not_before {
                    job.reply.send(Err(CallError::NotSent("the connection failed just now".to_owned()))).ok();
                    continue;
                }
                match self.connect().await {
                    Ok(opened) => {
                        wire = Some(opened);
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
            let usable = self.send(&mut wire, job).await;
            last_used = self.clock.monotonic();
            if !usable {
                wire = None;
                self.set(LineState::Idle);
            }
        }
        // What still waits was not sent.
        self.inbox.close();
        while let Ok(job) = self.inbox.try_recv() {
            job.reply.send(Err(CallError::NotSent("the connection is being closed".to_owned()))).ok();
        }
        close(wire).await;
        self.set(LineState::Idle);
    }

    async fn connect(&self) -> Result<Wire, CallError> {
        self.set(LineState::Connecting);
        let opened = tokio::select! {
            () = self.stop.cancelled() => Err(CallError::NotSent("the connection is being closed".to_owned())),
            opened = async {
                let session = self.sessions.session(self.id).await.map_err(CallError::Forbidden)?;
                self.dialer.dial(&session).await
            } => opened,
        };
        match &opened {
            Ok(_) => self.set(LineState::Connected),
            Err(error) => {
                tracing::info!(line = ?self.id, ?error, "no connection");
                self.set(LineState::Failing);
            }
        }
        opened
    }

    /// Asks the gate and hands the request over, in one step; then waits for
    /// the answer. False when the connection cannot be used any more.
    async fn send(&self, wire: &mut Option<Wire>, job: Job) -> bool {
        let Some(sender) = wire else {
            return false;
        };
        let Job { body, gate, reply } = job;
        if let Err(error) = gate() {
            reply.send(Err(CallError::Forbidden(error))).ok();
            return true;
        }
        // From here on it counts as sent.
        let request = Raw(body);
        let limit = self.dialer.config().call_timeout();
        let answer = match tokio::time::timeout(limit, sender.invoke(&request)).await {
            Ok(Ok(answer)) => Ok(answer.0),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(CallError::Unanswered(format!("no answer within {} s", limit.as_secs()))),
        };
        let usable = matches!(answer, Ok(_) | Err(CallError::Rpc(_)));
        reply.send(answer).ok();
        usable
    }

    fn set(&self, state: LineState) {
        if self.state.send_replace(state) != state {
            (self.on_change)(self.id, state);
        }
    }
}

/// Reads what the server pushes. Never ends without a connection.
async fn step(wire: &mut Option<Wire>) -> Result<Vec<Pushed>, String> {
    match wire {
        Some(wire) => match wire.step().await {
            Ok(updates) => Ok(pushed::read(&updates)),
            Err(error) => Err(error.to_string()),
        },
        None => std::future::pending().await,
    }
}

/// Whether the server answers a ping.
async fn alive(wire: &mut Option<Wire>) -> bool {
    let Some(sender) = wire else {
        return false;
    };
    let ping = functions::PingDelayDisconnect { ping_id: 1, disconnect_delay: 75 };
    matches!(tokio::time::timeout(SIGN_OF_LIFE, sender.invoke(&ping)).await, Ok(Ok(_)))
}

/// Closes a connection and waits until the server has seen it, so that the
/// next one with the same key cannot overlap it.
async fn close(wire: Option<Wire>) {
    let Some(mut wire) = wire else {
        return;
    };
    if wire.disconnect().await.is_err() {
        return;
    }
    let seen = async { while wire.step().await.is_ok() {} };
    // A server that does not close its side is not waited for.
    tokio::time::timeout(CLOSE, seen).await.ok();
}
