//! Bounds the calls that the process serves at once.

use std::sync::Arc;
use std::time::Duration;

use tgmesh_proto::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::{Extensions, Status};
use tracing::Instrument as _;

use super::context::CallId;
use super::failure::internal;
use super::middleware::{Inner, Middleware, call};
use crate::trace::{TraceContext, in_call};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    calls: Arc<Semaphore>,
    max: usize,
}

/// The place that a call takes, in its extensions. Held by its answer until
/// that has gone out, and by what goes on after the caller went away.
#[derive(Debug, Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl Limit {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { calls: Arc::new(Semaphore::new(max)), max }
    }

    /// Whether no call is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.available_permits() == self.max
    }
}

impl Middleware for Limit {
    async fn run<S: Inner>(self, mut request: http::Request<Body>, inner: S) -> http::Response<Body> {
        // Health answers under any load: an overloaded process is alive.
        if request.uri().path().starts_with("/grpc.health.") {
            return call(inner, request).await;
        }
        let Ok(permit) = self.calls.try_acquire_owned() else {
            return tgmesh_proto::status::status(
                ErrorReason::Overloaded,
                "the process has more calls than it can serve",
            )
            .retry_after(Some(Duration::from_secs(1)))
            .build()
            .into_http();
        };
        request.extensions_mut().insert(Place(Arc::new(permit)));
        call(inner, request).await
    }
}

/// Runs the work of a call in a task of its own, so that it is not cut in half
/// when the caller goes away. The span, the trace and the call's place among
/// the process's calls go with it.
///
/// # Errors
/// What the work answers; INTERNAL when it panics.
pub async fn detached<T, F>(extensions: &Extensions, work: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let place = extensions.get::<Place>().cloned();
    let id = extensions.get::<CallId>().map(|id| id.0).unwrap_or_default();
    let trace = extensions.get::<TraceContext>().copied().unwrap_or_else(TraceContext::root);
    let work = async move {
        let answer = in_call(id, trace.scope(work)).await;
        drop(place);
        answer
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "the work of a call ended early");
            Err(internal())
        }
    }
}
