//! The wire: requests in, answers out, nothing else.

mod integration;
mod lease;
mod quota;
mod telegram;

pub use integration::IntegrationGrpc;
pub use lease::LeaseGrpc;
pub use quota::QuotaGrpc;
pub use telegram::TelegramGrpc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::Error;

/// A stream of answers.
pub type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Turns errors of a stream into statuses. When a stream must end is the
/// server's affair: whoever fills it learns that nobody listens any more.
fn answers<T: Send + 'static>(source: mpsc::Receiver<Result<T, Error>>) -> Answers<T> {
    ReceiverStream::new(source).map(|answer| answer.map_err(Status::from)).boxed()
}
