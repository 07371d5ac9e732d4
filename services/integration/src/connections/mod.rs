//! Connections to Telegram: one per account, each driven by an actor of its own.
//!
//! Telegram destroys for ever a key that it sees from two places, so nothing
//! else in this process opens a connection, and each opens it only with the
//! [claim](Claims) of its key. Each actor drives grammers' low
//! level sender and sends one request at a time: what it hands over is known to
//! be leaving on a connection that is up, and what it has not handed over was
//! surely not sent. The stock sender pool promises neither.

mod actor;
mod claims;
pub mod config;
mod dial;
pub mod handshake;
mod pushed;
mod session;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use grammers_tl_types::{Deserializable, RemoteCall};
use service_kit::SharedClock;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use claims::{Claim, Claims};
pub use config::{TelegramConfig, TelegramNetwork};
pub use dial::Dialer;
pub use pushed::Pushed;
pub use session::SessionKey;

use crate::error::Error;
use actor::Job;

/// Requests that may wait for one account's connection.
const MAILBOX: usize = 256;
/// Pushes kept for whoever is slow to hear of them; he learns that he missed some.
const PUSHED: usize = 64;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineId {
    /// An account's.
    Account(Uuid),
    /// A login's, until it is an account.
    Login(Uuid),
    /// A session's that is only to be logged out or tried.
    Session(Uuid),
}

/// Whom a session must belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// This Telegram user; verified after each connect, before any call.
    User(i64),
    /// Nobody yet: a login.
    Nobody,
}

/// What a connection is opened with.
#[derive(Clone)]
pub struct LineSession {
    /// Where the key is good, and the key.
    pub key: SessionKey,
    /// Whom it must belong to.
    pub expect: Expect,
}

/// Where an actor gets the session from when it opens the connection.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// The session of a line.
    ///
    /// # Errors
    /// When there is none any more, or it cannot be read.
    async fn session(&self, line: LineId) -> Result<LineSession, Error>;

    /// The right to have a connection with a key. Waits while another has it.
    ///
    /// # Errors
    /// When it cannot be asked for.
    async fn claim(&self, key: &SessionKey) -> Result<Claim, Error>;
}

/// An error that Telegram answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// The code, such as 420.
    pub code: i32,
    /// The name without its number, such as `FLOOD_WAIT`.
    pub name: String,
    /// The number in the name.
    pub value: Option<u32>,
}

impl RpcError {
    /// The name as Telegram wrote it, such as `FLOOD_WAIT_31`.
    pub fn full_name(&self) -> String {
        match self.value {
            Some(value) if !self.name.ends_with(char::is_numeric) => format!("{}_{value}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// How a call failed.
#[derive(Debug, Clone)]
pub enum CallError {
    /// Telegram answered with an error.
    Rpc(RpcError),
    /// It surely was not sent.
    NotSent(String),
    /// The gate forbade it in the last moment; it was not sent.
    Forbidden(Error),
    /// It was handed over, and no answer came: it may have happened.
    Unanswered(String),
    /// Telegram does not know the key any more (transport error -404).
    KeyUnknown,
    /// The session is another Telegram user's than expected.
    WrongUser(i64),
}

/// Decides in the very step that hands a request over whether it may go.
pub type Gate = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// A gate that is always open.
pub fn open() -> Gate {
    Box::new(|| Ok(()))
}

/// Whether a line is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineState {
    /// No connection; one opens on first use.
    #[default]
    Idle,
    /// Being opened.
    Connecting,
    /// Open and verified.
    Connected,
    /// The last attempt failed.
    Failing,
}

/// What an actor tells the world.
#[derive(Debug)]
pub struct LineEvents {
    /// Whether it is connected.
    pub state: watch::Receiver<LineState>,
    /// What Telegram pushed; its content is fetched by whoever needs it. Ends
    /// with the actor.
    pub pushed: broadcast::Receiver<Pushed>,
}

#[derive(Debug, Clone)]
struct Line {
    jobs: mpsc::Sender<Job>,
    state: watch::Receiver<LineState>,
    pushed: broadcast::WeakSender<Pushed>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// Told when a line changes its state, for watches and the summary.
pub type OnChange = Arc<dyn Fn(LineId, LineState) + Send + Sync>;

/// The lines that there are.
#[derive(Default)]
struct Lines {
    open: HashMap<LineId, Line>,
    /// Whether the process ends: no line is made any more.
    closed: bool,
}

/// All connections of this process.
#[derive(Clone)]
pub struct Connections {
    lines: Arc<Mutex<Lines>>,
    dialer: Arc<Dialer>,
    sessions: Arc<dyn Sessions>,
    clock: SharedClock,
    on_change: OnChange,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    /// None yet.
    pub fn new(dialer: Dialer, sessions: Arc<dyn Sessions>, clock: SharedClock, on_change: OnChange) -> Self {
        Self { lines: Arc::default(), dialer: Arc::new(dialer), sessions, clock, on_change }
    }

    /// Exchanges keys with a data centre, for a new login.
    ///
    /// # Errors
    /// When the data centre is not known, cannot be reached, or fails a check.
    pub async fn new_session(&self, dc_id: i32) -> Result<SessionKey, CallError> {
        self.dialer.exchange(dc_id).await
    }

    /// The data centre where logins begin.
    pub fn default_dc(&self) -> i32 {
        self.dialer.default_dc()
    }

    /// Makes a call. Calls of one line are made one after another. The gate is
    /// asked in the step that hands the request over.
    ///
    /// # Errors
    /// As [`CallError`] tells.
    pub async fn call<R: RemoteCall>(&self, line: LineId, request: &R, gate: Gate) -> Result<R::Return, CallError> {
        let body = request.to_bytes();
        let answer = self.call_raw(line, body, gate).await?;
        R::Return::from_bytes(&answer)
            .map_err(|error| CallError::Unanswered(format!("the answer cannot be read: {error}")))
    }

    async fn call_raw(&self, line: LineId, body: Vec<u8>, gate: Gate) -> Result<Vec<u8>, CallError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { body, gate, reply };
        let jobs = self.line(line).jobs;
        // A line that ended between the two steps gives the job back unsent.
        let unsent = match jobs.send(job).await {
            Ok(()) => None,
            Err(mpsc::error::SendError(job)) => Some(job),
        };
        if let Some(job) = unsent {
            let jobs = self.line(line).jobs;
            if jobs.send(job).await.is_err() {
                return Err(CallError::NotSent("the connection is being closed".to_owned()));
            }
        }
        match answer.await {
            Ok(answer) => answer,
            // The actor died with the job in hand: it may have been handed over.
            Err(_) => Err(CallError::Unanswered("the connection's task ended".to_owned())),
        }
    }

    /// What a line tells from now on; opens nothing.
    pub fn events(&self, line: LineId) -> LineEvents {
        let line = self.line(line);
        // A line that has ended meanwhile pushes nothing any more.
        let pushed = line.pushed.upgrade().map_or_else(|| broadcast::channel(1).1, |pushed| pushed.subscribe());
        LineEvents { state: line.state, pushed }
    }

    /// Whether a line is connected.
    pub fn state(&self, line: LineId) -> LineState {
        let lines = self.lines();
        // An actor that died said nothing any more; its socket is closed.
        let line = lines.open.get(&line).filter(|line| !line.ended.is_cancelled());
        line.map(|line| *line.state.borrow()).unwrap_or_default()
    }

    /// Closes a line and waits until its socket is closed. Jobs that wait are
    /// answered as not sent.
    pub async fn close(&self, line: LineId) {
        let found = self.lines().open.get(&line).cloned();
        if let Some(found) = found {
            found.stop.cancel();
            found.ended.cancelled().await;
            let mut lines = self.lines();
            if lines.open.get(&line).is_some_and(|line| line.ended.is_cancelled()) {
                lines.open.remove(&line);
            }
        }
    }

    /// Closes every line, and waits until their sockets are closed, at most
    /// `patience`. Who calls after that is answered that nothing was sent: a new
    /// connection could overlap one that is still closing.
    pub async fn close_all(&self, patience: Duration) {
        let lines: Vec<Line> = {
            let mut lines = self.lines();
            lines.closed = true;
            lines.open.drain().map(|(_, line)| line).collect()
        };
        for line in &lines {
            line.stop.cancel();
        }
        let ended = async {
            for line in &lines {
                line.ended.cancelled().await;
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!(lines = lines.len(), "not every connection closed in time");
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("no panic holds the lock")
    }

    fn line(&self, id: LineId) -> Line {
        let mut lines = self.lines();
        if let Some(line) = lines.open.get(&id)
            && !line.ended.is_cancelled()
            && !line.stop.is_cancelled()
        {
            return line.clone();
        }
        // A line that is closing still holds its socket: the new actor waits for its end.
        let before = lines.open.get(&id).map(|line| line.ended.clone());
        let (jobs, inbox) = mpsc::channel(MAILBOX);
        let (state, state_seen) = watch::channel(LineState::Idle);
        let pushed = broadcast::Sender::new(PUSHED);
        let stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let line =
            Line { jobs, state: state_seen, pushed: pushed.downgrade(), stop: stop.clone(), ended: ended.clone() };
        if lines.closed {
            // Nobody reads its inbox: each job comes back unsent.
            ended.cancel();
            return line;
        }
        let actor = actor::Actor {
            id,
            inbox,
            dialer: self.dialer.clone(),
            sessions: self.sessions.clone(),
            clock: self.clock.clone(),
            state,
            pushed,
            stop,
            on_change: self.on_change.clone(),
        };
        let guard = ended.drop_guard();
        tokio::spawn(async move {
            // Dropped last, also by a panic: whoever waits for the end sees it.
            let _guard = guard;
            if let Some(before) = before {
                before.cancelled().await;
            }
            actor.run().await;
        });
        lines.open.insert(id, line.clone());
        line
    }
}
