//! Keeps a panic inside its call.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tonic::body::Body;

use super::failure::internal;
use super::middleware::{Inner, Middleware, call};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct CatchPanic;

impl Middleware for CatchPanic {
    async fn run<S: Inner>(self, request: http::Request<Body>, inner: S) -> http::Response<Body> {
        match AssertUnwindSafe(call(inner, request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                let what = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                tracing::error!(what, "handler panicked");
                internal().into_http()
            }
        }
    }
}
