//! Ends answers: a call keeps its place until its answer has gone out, and a
//! stream of answers ends with the caller's token and with the process. One of
//! requests does not: its call's deadline bounds it, and an upload cannot be
//! taken up again where it ended.
//!
//! A reader that does not read is not asked: its stream's source is dropped at
//! once, with all that it holds, and the reason waits for the reader.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tgmesh_proto::{ErrorReason, MethodInfo};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::limit::Place;
use super::middleware::{Inner, Middleware, call};
use crate::clock::{SharedClock, Time};
use crate::identity::Identity;
use crate::shutdown::Shutdown;

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    clock: SharedClock,
    shutdown: Shutdown,
}

impl Ending {
    pub(crate) fn new(clock: SharedClock, shutdown: Shutdown) -> Self {
        Self { clock, shutdown }
    }

    /// Waits until a stream must end, and tells why.
    async fn reason(self, expires_at: Option<Time>) -> Status {
        let expired = async {
            let Some(expires_at) = expires_at else { return std::future::pending().await };
            // Again, should the wall clock have been put back.
            while self.clock.now() < expires_at {
                self.clock.sleep(expires_at.since(self.clock.now())).await;
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.begun() => tgmesh_proto::status::status(
                ErrorReason::ShuttingDown,
                "this replica is shutting down: open the stream again",
            )
            .retry_after(Some(Duration::ZERO))
            .build(),
            () = expired => tgmesh_proto::status::status(
                ErrorReason::TokenInvalid,
                "the access token has expired: renew it and open the stream again",
            )
            .build(),
        }
    }
}

impl Middleware for Ending {
    async fn run<S: Inner>(self, request: http::Request<Body>, inner: S) -> http::Response<Body> {
        // Watches of health live longer than what they watch.
        if request.uri().path().starts_with("/grpc.health.") {
            return call(inner, request).await;
        }
        let extensions = request.extensions();
        let place = extensions.get::<Place>().cloned();
        let expires_at = extensions.get::<Identity>().map(|who| who.expires_at);
        // Reflection, which is no method of ours, is a stream too.
        let streams = extensions.get::<&'static MethodInfo>().is_none_or(|method| method.server_streaming);
        call(inner, request).await.map(|body| {
            let open = Open { body, _place: place, reader: None };
            let state = Arc::new(Mutex::new(State::Open(open)));
            let ending = streams.then(|| {
                let state = state.clone();
                AbortOnDropHandle::new(tokio::spawn(async move { end(&state, self.reason(expires_at).await) }))
            });
            Body::new(Answer { state, _ending: ending })
        })
    }
}

/// Where an answer is.
enum State {
    /// It goes on.
    Open(Open),
    /// It was cut; its reader does not know why yet.
    Cut(Status),
    /// It is over.
    Over,
}

struct Open {
    body: Body,
    _place: Option<Place>,
    reader: Option<Waker>,
}

/// Drops the source of an answer that goes on, and leaves the reason.
fn end(state: &Mutex<State>, reason: Status) {
    let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    if !matches!(*guard, State::Open(_)) {
        return;
    }
    let ended = std::mem::replace(&mut *guard, State::Cut(reason));
    drop(guard);
    // Outside of the lock: dropping a source may take a while.
    if let State::Open(Open { reader: Some(reader), .. }) = ended {
        reader.wake();
    }
}

/// An answer that holds its call's place, and can be ended from outside.
struct Answer {
    state: Arc<Mutex<State>>,
    _ending: Option<AbortOnDropHandle<()>>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = match &mut *state {
            State::Open(open) => match Pin::new(&mut open.body).poll_frame(cx) {
                Poll::Pending => {
                    open.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(frame @ Some(Ok(_))) => return Poll::Ready(frame),
                Poll::Ready(last) => last,
            },
            State::Cut(reason) => {
                let mut trailers = HeaderMap::new();
                // Statuses of ours are valid headers.
                let written = reason.add_header(&mut trailers);
                Some(written.map(|()| Frame::trailers(trailers)))
            }
            State::Over => None,
        };
        let ended = std::mem::replace(&mut *state, State::Over);
        drop(state);
        drop(ended);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(open) => open.body.is_end_stream(),
            State::Cut(_) => false,
            State::Over => true,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(open) => open.body.size_hint(),
            State::Cut(_) | State::Over => http_body::SizeHint::default(),
        }
    }
}
