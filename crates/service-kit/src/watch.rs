//! Streams that show a resource now and at each change.
//!
//! A watch reads its resource again whenever it is poked, and at least every
//! half second, so that it sees what another replica wrote. It sends only what
//! changed, and never queues: a slow reader gets the latest state next.

use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::clock::SharedClock;

/// Longest time between two looks at the resource.
const LOOK: Duration = Duration::from_millis(500);

/// What a watch answers with.
pub type WatchStream<T> = ReceiverStream<Result<T, Status>>;

/// Wakes the watches of this process.
#[derive(Debug, Default)]
pub struct Poke(Notify);

impl Poke {
    /// Something changed.
    pub fn poke(&self) {
        self.0.notify_waiters();
    }
}

/// Runs `look` now, whenever it is poked, and every half second. `look` answers
/// what to send, if anything changed. The stream ends with the error that `look`
/// answers, and, as every stream of a server, with the caller's token and with
/// the process.
pub fn watch<T, F, R>(clock: SharedClock, poke: std::sync::Arc<Poke>, mut look: F) -> WatchStream<T>
where
    T: Send + 'static,
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<Option<T>, Status>> + Send,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            // Taken before the look: a change during it must wake us.
            let poked = poke.0.notified();
            let answer = look().await;
            let ended = answer.is_err();
            // Waits for the reader; what changes meanwhile is seen by the next look.
            if let Some(answer) = answer.transpose()
                && sender.send(answer).await.is_err()
            {
                return;
            }
            if ended {
                return;
            }
            tokio::select! {
                () = poked => {}
                () = clock.sleep(LOOK) => {}
                () = sender.closed() => return,
            }
        }
    });
    ReceiverStream::new(receiver)
}
