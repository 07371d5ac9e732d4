//! The connections that are open, and which of them are live with which key.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::session::Outgoing;
use crate::recorder::ConnectionEnd;

/// Messages that may wait for a connection; a client that reads so slowly is cut off.
pub(super) const OUTBOX: usize = 16_384;

/// A message for one session of a connection.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) session: i64,
    pub(crate) message: Outgoing,
}

/// An open connection as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) id: u64,
    pub(crate) dc: i32,
    pub(crate) stream: Arc<TcpStream>,
    outbox: mpsc::Sender<Parcel>,
    close: CancellationToken,
    end: Arc<Mutex<Option<ConnectionEnd>>>,
    /// Key and session of the last valid packet.
    pub(crate) key: Option<i64>,
    pub(crate) session: Option<i64>,
}

impl Handle {
    /// Queues a message. A connection whose queue is full is closed: it could never catch up.
    pub(crate) fn send(&self, session: i64, message: Outgoing) -> bool {
        let sent = self.outbox.try_send(Parcel { session, message }).is_ok();
        if !sent {
            self.close(ConnectionEnd::ByProtocolError);
        }
        sent
    }

    /// Closes the connection; the first reason counts.
    pub(crate) fn close(&self, end: ConnectionEnd) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.close.cancel();
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.close
    }

    pub(crate) fn end(&self) -> Option<ConnectionEnd> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client's end is still open, asked of the kernel and not of the runtime, which may not have
    /// looked yet. `None` when unread bytes hide the answer.
    fn peer_is_there(&self) -> Option<bool> {
        let mut byte = [MaybeUninit::<u8>::uninit()];
        match SockRef::from(&*self.stream).peek(&mut byte) {
            Ok(0) => Some(false),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(true),
            Err(_) => Some(false),
        }
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<BTreeMap<u64, Handle>>,
    last: AtomicU64,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Handle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, dc: i32, stream: Arc<TcpStream>) -> (Handle, mpsc::Receiver<Parcel>) {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let handle = Handle {
            id: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            dc,
            stream,
            outbox,
            close: CancellationToken::new(),
            end: Arc::default(),
            key: None,
            session: None,
        };
        self.lock().insert(handle.id, handle.clone());
        (handle, inbox)
    }

    pub(crate) fn forget(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// Notes key and session of a valid packet; answers the other connections that were live with the key when
    /// this one was not yet.
    pub(crate) fn packet(&self, id: u64, key: i64, session: i64) -> Vec<Handle> {
        let mut open = self.lock();
        let Some(handle) = open.get_mut(&id) else { return Vec::new() };
        handle.session = Some(session);
        if handle.key.replace(key) == Some(key) {
            return Vec::new();
        }
        open.values().filter(|other| other.id != id && other.key == Some(key)).cloned().collect()
    }

    /// Live connections of a key.
    pub(crate) fn of_key(&self, key: i64) -> Vec<Handle> {
        self.lock().values().filter(|handle| handle.key == Some(key)).cloned().collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Handle> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Handle> {
        self.lock().values().cloned().collect()
    }
}

/// Whether a connection is still live, its client having every chance to have closed it before.
///
/// A client that closes one connection and opens the next leaves the order of both events to the kernel: the old
/// socket then reads as ended, whatever the runtime has noticed. Unread bytes before that end are waited for, up to
/// a second, while the connection's own task takes them.
pub(crate) async fn is_live(handle: &Handle) -> bool {
    for _ in 0..1000 {
        if handle.close.is_cancelled() {
            return false;
        }
        match handle.peer_is_there() {
            Some(there) => return there,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    true
}
