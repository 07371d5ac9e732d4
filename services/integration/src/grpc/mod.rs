//! The wire: requests in, answers out, nothing else.

mod integration;
mod lease;
mod quota;
mod telegram;

pub use integration::IntegrationGrpc;
pub use lease::LeaseGrpc;
pub use quota::QuotaGrpc;
pub use telegram::TelegramGrpc;

use std::time::Duration;

use service_kit::shutdown::Shutdown;
use tgmesh_proto::ErrorReason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::Error;

/// A stream of answers.
pub type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Turns errors of a stream into statuses. Holds one answer: whoever makes them
/// waits for the reader. Ends when the process shuts down, with a reason that
/// clients follow: every stream can be resumed.
fn answers<T: Send + 'static>(mut source: mpsc::Receiver<Result<T, Error>>, shutdown: &Shutdown) -> Answers<T> {
    let (sender, receiver) = mpsc::channel(1);
    let stop = shutdown.token();
    tokio::spawn(async move {
        loop {
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let leaving = Error::plain(ErrorReason::ShuttingDown, "this replica is shutting down: resume the stream")
                        .retry_after(Some(Duration::ZERO));
                    // The reader may be gone already.
                    sender.send(Err(leaving.into())).await.ok();
                    return;
                }
                answer = source.recv() => match answer {
                    Some(answer) => answer,
                    None => return,
                },
            };
            if sender.send(answer.map_err(Status::from)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
