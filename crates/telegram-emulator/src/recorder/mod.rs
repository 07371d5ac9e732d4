//! The flight recorder: every API call, every connection, every overlap of two connections of one key.
//!
//! It is the witness that the product is judged by, so it records what the emulator did, not what it was asked.
//! Memory is bounded: calls without an effect are dropped first and counted; calls with an effect and overlaps
//! are kept for ever.

mod calls;
mod connections;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use calls::{Call, CallFilter, CallState, Effect, Subject};
pub use connections::{ConnectionEnd, ConnectionRecord, Overlap};

use calls::Calls;
use connections::ConnectionLog;

/// How much the recorder keeps.
#[derive(Clone, Copy, Debug)]
pub struct RecorderLimits {
    /// Finished calls kept. Above it the oldest call without an effect goes.
    pub calls: usize,
    /// Closed connections kept. Above it the oldest goes.
    pub connections: usize,
}

impl Default for RecorderLimits {
    fn default() -> Self {
        Self { calls: 200_000, connections: 20_000 }
    }
}

/// Counts over everything recorded, including what has been dropped since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls begun.
    pub calls: u64,
    /// Calls begun, by account; key 0 holds those of keys without an account.
    pub calls_by_account: BTreeMap<i64, u64>,
    /// Calls begun, by method.
    pub calls_by_method: BTreeMap<String, u64>,
    /// Effects, by [`Effect::kind`].
    pub effects: BTreeMap<&'static str, u64>,
    /// Errors answered, by name.
    pub errors: BTreeMap<String, u64>,
    /// (chat, user, times) for each user invited into one chat more than once.
    pub invited_more_than_once: Vec<(i64, i64, u64)>,
    /// Overlaps of two live connections of one key.
    pub overlaps: u64,
    /// Finished calls dropped to stay within the limit; none of them had an effect.
    pub dropped_calls: u64,
    /// Closed connections dropped to stay within the limit.
    pub dropped_connections: u64,
}

/// The recorder; cheap to share, safe from any thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    inner: Mutex<Inner>,
    /// Bumped with each change, so that streams wake without polling.
    changed: tokio::sync::watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    calls: Calls,
    connections: ConnectionLog,
}

impl Recorder {
    pub(crate) fn new(limits: RecorderLimits) -> Self {
        Self {
            inner: Mutex::new(Inner {
                calls: Calls::new(limits.calls),
                connections: ConnectionLog::new(limits.connections),
            }),
            changed: tokio::sync::watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Wakes with every change.
    pub(crate) fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Records that a call has arrived; answers its number, from 1.
    pub(crate) fn begin(&self, call: Call) -> u64 {
        let number = self.lock().calls.begin(call);
        self.touch();
        number
    }

    /// Notes what a call did to the world, at the moment it did it.
    pub(crate) fn executed(&self, number: u64, effects: Vec<Effect>, error: Option<String>, account: Option<i64>) {
        self.lock().calls.executed(number, effects, error, account);
        self.touch();
    }

    /// The answer has been handed to the socket.
    pub(crate) fn answered(&self, number: u64, at: SystemTime) {
        self.lock().calls.finish(number, CallState::Answered, Some(at));
        self.touch();
    }

    /// No answer will be sent, for whatever reason.
    pub(crate) fn unanswered(&self, number: u64) {
        self.lock().calls.finish(number, CallState::Unanswered, None);
        self.touch();
    }

    /// Calls in order of arrival, those with a number above `after`, at most `limit`.
    pub(crate) fn calls(&self, filter: &CallFilter, after: u64, limit: usize) -> Vec<Call> {
        self.lock().calls.list(filter, after, limit)
    }

    /// Finished calls in the order in which they finished, from position `after`; answers the next position.
    pub(crate) fn finished(&self, filter: &CallFilter, after: u64, limit: usize) -> (Vec<Call>, u64) {
        self.lock().calls.finished_after(filter, after, limit)
    }

    pub(crate) fn connection_opened(&self, id: u64, dc: i32, at: SystemTime) {
        self.lock().connections.opened(id, dc, at);
        self.touch();
    }

    pub(crate) fn connection_live(&self, id: u64, key: i64, transport: &'static str, at: SystemTime) {
        self.lock().connections.live(id, key, transport, at);
        self.touch();
    }

    pub(crate) fn connection_account(&self, id: u64, account: i64) {
        self.lock().connections.account(id, account);
    }

    pub(crate) fn connection_closed(&self, id: u64, end: ConnectionEnd, at: SystemTime) {
        self.lock().connections.closed(id, end, at);
        self.touch();
    }

    pub(crate) fn overlap(&self, overlap: Overlap) {
        self.lock().connections.overlap(overlap);
        self.touch();
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionRecord> {
        self.lock().connections.list()
    }

    pub(crate) fn overlaps(&self) -> Vec<Overlap> {
        self.lock().connections.overlaps().to_vec()
    }

    pub(crate) fn summary(&self) -> Summary {
        let inner = self.lock();
        let mut summary = inner.calls.summary();
        summary.overlaps = inner.connections.overlaps().len() as u64;
        summary.dropped_connections = inner.connections.dropped();
        summary
    }
}
