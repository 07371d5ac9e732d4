//! Request id, trace context, and the one wide span and log line of a call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use http_body::Frame;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use super::middleware::{Inner, Middleware, call};
use crate::clock::SharedClock;
use crate::trace::{TraceContext, in_call};

/// Metadata key of a call's id in answers.
const REQUEST_ID: &str = "x-request-id";

/// The id of a call, in its extensions: what an INTERNAL error may say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallId(pub(crate) Uuid);

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    clock: SharedClock,
}

impl CallContext {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock }
    }
}

impl Middleware for CallContext {
    async fn run<S: Inner>(self, mut request: http::Request<Body>, inner: S) -> http::Response<Body> {
        let id = crate::clock::new_id(&*self.clock);
        let parent = request.headers().get("traceparent").and_then(|header| header.to_str().ok());
        let trace = parent.and_then(TraceContext::parse).map_or_else(TraceContext::root, TraceContext::child);
        let path = request.uri().path().to_owned();
        request.extensions_mut().insert(CallId(id));
        request.extensions_mut().insert(trace);
        let span = tracing::info_span!(
            "call",
            rpc = path.trim_start_matches('/'),
            request_id = %id,
            trace_id = trace.trace_id_hex(),
            caller = tracing::field::Empty,
            user_id = tracing::field::Empty,
            workspace_id = tracing::field::Empty,
            account_id = tracing::field::Empty,
        );
        // Health is asked every few seconds by everybody: worth no line.
        let quiet = path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.");
        let mut line =
            Line { span: span.clone(), clock: self.clock.clone(), begin: self.clock.monotonic(), quiet, status: None };
        let mut response = in_call(id, trace.scope(call(inner, request))).instrument(span).await;
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        if let Some(status) = Status::from_header_map(response.headers()) {
            line.status = Some(status);
            return response;
        }
        response.map(|body| Body::new(Observed { body, line }))
    }
}

/// Writes the call's line when it is dropped.
struct Line {
    span: tracing::Span,
    clock: SharedClock,
    begin: Duration,
    quiet: bool,
    status: Option<Status>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.quiet {
            return;
        }
        let _entered = self.span.enter();
        let took = self.clock.monotonic().saturating_sub(self.begin);
        // To the microsecond: three decimals.
        let ms = (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0;
        // Without a status the client went away before the end.
        let code = self.status.as_ref().map_or(Code::Cancelled, Status::code);
        let reason = self.status.as_ref().and_then(tgmesh_proto::status::reason).map(|reason| reason.as_reason());
        match code {
            Code::Internal | Code::DataLoss | Code::Unknown => tracing::error!(?code, reason, ms, "call failed"),
            Code::Unavailable | Code::DeadlineExceeded => tracing::warn!(?code, reason, ms, "call failed"),
            Code::Ok => tracing::info!(?code, ms, "call"),
            _ => tracing::info!(?code, reason, ms, "call refused"),
        }
    }
}

/// A body whose trailers tell how the call ended.
struct Observed {
    body: Body,
    line: Line,
}

impl http_body::Body for Observed {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.line.status = Some(Status::from_header_map(trailers).unwrap_or_else(|| Status::ok("")));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
