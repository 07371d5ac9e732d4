//! A layer as one async function around the rest of the stack.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tower::{Layer, Service};

/// The rest of the stack.
pub trait Inner:
    Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// What a layer does around a call. Failures are answers, not errors.
pub trait Middleware: Clone + Send + Sync + 'static {
    /// Serves a call, with `inner` as the rest of the stack.
    fn run<S: Inner>(self, request: http::Request<Body>, inner: S)
    -> impl Future<Output = http::Response<Body>> + Send;
}

/// Calls the rest of the stack.
pub async fn call<S: Inner>(mut inner: S, request: http::Request<Body>) -> http::Response<Body> {
    match inner.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The layer of a middleware.
#[derive(Debug, Clone)]
pub struct Apply<M>(pub M);

impl<M: Clone, S> Layer<S> for Apply<M> {
    type Service = Applied<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Applied { middleware: self.0.clone(), inner }
    }
}

/// A middleware around a service.
#[derive(Debug, Clone)]
pub struct Applied<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S: Inner> Service<http::Request<Body>> for Applied<M, S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let middleware = self.middleware.clone();
        Box::pin(async move { Ok(middleware.run(request, ready).await) })
    }
}
