//! Streams that show a resource now and at each change.
//!
//! A watch reads its resource again whenever it is poked, and at least every
//! half second, so that it sees what another replica wrote. It sends only what
//! changed, and never queues: a slow reader gets the latest state next.

use std::time::Duration;

use tgmesh_proto::ErrorReason;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::clock::SharedClock;
use crate::identity::Identity;
use crate::shutdown::Shutdown;

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
/// what to send, if anything changed. The stream ends when the caller's token
/// does, when the process shuts down, or with the error that `look` answers.
pub fn watch<T, F, R>(
    who: &Identity,
    clock: SharedClock,
    shutdown: &Shutdown,
    poke: std::sync::Arc<Poke>,
    mut look: F,
) -> WatchStream<T>
where
    T: Send + 'static,
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<Option<T>, Status>> + Send,
{
    let (sender, receiver) = mpsc::channel(1);
    let (expires_at, stop) = (who.expires_at, shutdown.token());
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
            let left = expires_at.since(clock.now());
            tokio::select! {
                () = poked => {}
                () = clock.sleep(LOOK.min(left)) => {}
                () = sender.closed() => return,
                () = stop.cancelled() => {
                    let status = tgmesh_proto::status::status(ErrorReason::ShuttingDown, "this replica is shutting down: watch again")
                        .retry_after(Some(Duration::ZERO));
                    // The reader may be gone already.
                    let _ = sender.send(Err(status.build())).await;
                    return;
                }
            }
            if clock.now() >= expires_at {
                let status = tgmesh_proto::status::status(
                    ErrorReason::TokenInvalid,
                    "the access token has expired: renew it and watch again",
                );
                let _ = sender.send(Err(status.build())).await;
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
