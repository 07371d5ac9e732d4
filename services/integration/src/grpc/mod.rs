//! The wire: requests in, answers out, nothing else.

mod integration;
mod lease;
mod quota;
mod telegram;

pub use integration::IntegrationGrpc;
pub use lease::LeaseGrpc;
pub use quota::QuotaGrpc;
pub use telegram::TelegramGrpc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::Error;

/// A stream of answers.
pub type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Turns errors of a stream into statuses. Holds one answer: whoever makes them
/// waits for the reader.
fn answers<T: Send + 'static>(mut source: mpsc::Receiver<Result<T, Error>>) -> Answers<T> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(answer) = source.recv().await {
            if sender.send(answer.map_err(Status::from)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
