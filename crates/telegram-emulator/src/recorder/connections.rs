//! Connections and their overlaps.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client closed it, or its process died.
    ByClient,
    /// A fault or the control API closed it.
    ByFault,
    /// No `ping_delay_disconnect` came within the delay that the last one asked for.
    BySilence,
    /// The client broke the protocol.
    ByProtocolError,
    /// The emulator shut down.
    ByShutdown,
}

/// One TCP connection.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Number in order of arrival, from 1.
    pub id: u64,
    /// Data centre that accepted it.
    pub dc: i32,
    /// When it was accepted.
    pub opened: SystemTime,
    /// When the first valid packet encrypted with the key arrived; from here on it is live.
    pub live: Option<SystemTime>,
    /// When its socket was closed.
    pub closed: Option<SystemTime>,
    /// Why it ended.
    pub end: Option<ConnectionEnd>,
    /// The key it used last, by the low 64 bits of the key's hash.
    pub auth_key_id: Option<i64>,
    /// The account of that key.
    pub account: Option<i64>,
    /// `full`, `abridged` and so on.
    pub transport: &'static str,
}

/// Two live connections of one key at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The low 64 bits of the key's hash.
    pub auth_key_id: i64,
    /// The account of the key.
    pub account: Option<i64>,
    /// The connection that was live before.
    pub earlier: u64,
    /// The connection that became live beside it.
    pub later: u64,
    /// When the later one became live.
    pub at: SystemTime,
}

#[derive(Debug)]
pub(super) struct ConnectionLog {
    limit: usize,
    open: BTreeMap<u64, ConnectionRecord>,
    closed: VecDeque<ConnectionRecord>,
    dropped: u64,
    overlaps: Vec<Overlap>,
}

impl ConnectionLog {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, open: BTreeMap::new(), closed: VecDeque::new(), dropped: 0, overlaps: Vec::new() }
    }

    pub(super) fn opened(&mut self, id: u64, dc: i32, at: SystemTime) {
        let record = ConnectionRecord {
            id,
            dc,
            opened: at,
            live: None,
            closed: None,
            end: None,
            auth_key_id: None,
            account: None,
            transport: "undecided",
        };
        self.open.insert(id, record);
    }

    pub(super) fn live(&mut self, id: u64, key: i64, transport: &'static str, at: SystemTime) {
        if let Some(record) = self.open.get_mut(&id) {
            record.live = Some(at);
            record.auth_key_id = Some(key);
            record.transport = transport;
        }
    }

    pub(super) fn account(&mut self, id: u64, account: i64) {
        if let Some(record) = self.open.get_mut(&id) {
            record.account = Some(account);
        }
    }

    pub(super) fn closed(&mut self, id: u64, end: ConnectionEnd, at: SystemTime) {
        let Some(mut record) = self.open.remove(&id) else { return };
        record.closed = Some(at);
        record.end = Some(end);
        self.closed.push_back(record);
        while self.closed.len() > self.limit {
            self.closed.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn overlap(&mut self, overlap: Overlap) {
        self.overlaps.push(overlap);
    }

    pub(super) fn list(&self) -> Vec<ConnectionRecord> {
        let mut all: Vec<_> = self.closed.iter().chain(self.open.values()).cloned().collect();
        all.sort_by_key(|record| record.id);
        all
    }

    pub(super) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_connections_are_bounded_and_open_ones_kept() {
        let mut log = ConnectionLog::new(3);
        let at = SystemTime::UNIX_EPOCH;
        for id in 1..=10 {
            log.opened(id, 2, at);
            if id != 5 {
                log.closed(id, ConnectionEnd::ByClient, at);
            }
        }
        assert_eq!(log.list().iter().map(|record| record.id).collect::<Vec<_>>(), [5, 8, 9, 10]);
        assert_eq!(log.dropped(), 6);
    }
}
