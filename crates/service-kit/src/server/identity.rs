//! Admits callers that the contract admits.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use tgmesh_proto::{ErrorReason, METHODS, MethodInfo};
use tonic::Status;
use tonic::body::Body;

use super::middleware::{Inner, Middleware, call};
use crate::identity::{Identity, Verifier};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct CheckIdentity {
    verifier: Arc<Verifier>,
    /// Full names of what is served here.
    services: Arc<[&'static str]>,
}

impl CheckIdentity {
    pub(crate) fn new(verifier: Arc<Verifier>, services: Arc<[&'static str]>) -> Self {
        Self { verifier, services }
    }

    fn check(&self, request: &http::Request<Body>) -> Result<(Identity, &'static MethodInfo), Status> {
        let token = request
            .headers()
            .get(http::header::AUTHORIZATION)
            .and_then(|header| header.to_str().ok())
            .and_then(|header| header.strip_prefix("Bearer "));
        let Some(token) = token else {
            return Err(unauthenticated("the call carries no access token"));
        };
        let identity = self.verifier.verify(token).map_err(|error| {
            tracing::info!(%error, "token refused");
            unauthenticated("the access token is not valid, or has expired")
        })?;
        let span = tracing::Span::current();
        span.record("caller", identity.service_name());
        span.record("user_id", tracing::field::display(identity.user_id));
        span.record("workspace_id", tracing::field::display(identity.workspace_id));
        let path = request.uri().path();
        let method = methods().get(path).copied().filter(|method| self.services.contains(&method.service));
        let Some(method) = method else {
            let name = path.trim_start_matches('/');
            return Err(tgmesh_proto::status::status(
                ErrorReason::NotImplemented,
                format!("{name} is not served here: this is {}", self.services.join(", ")),
            )
            .with("method", name)
            .build());
        };
        if !identity.may_call(method) {
            return Err(tgmesh_proto::status::status(
                ErrorReason::CallerNotAllowed,
                format!("{} may not be called by a {}", method.name, identity.service_name()),
            )
            .with("method", method.name)
            .build());
        }
        Ok((identity, method))
    }
}

fn unauthenticated(message: &str) -> Status {
    tgmesh_proto::status::status(ErrorReason::TokenInvalid, message).build()
}

fn methods() -> &'static HashMap<&'static str, &'static MethodInfo> {
    static TABLE: OnceLock<HashMap<&'static str, &'static MethodInfo>> = OnceLock::new();
    TABLE.get_or_init(|| METHODS.iter().map(|method| (method.path, method)).collect())
}

impl Middleware for CheckIdentity {
    async fn run<S: Inner>(self, mut request: http::Request<Body>, inner: S) -> http::Response<Body> {
        // What is not ours is health, reflection, or unknown to the router.
        if request.uri().path().starts_with("/tgmesh.") {
            match self.check(&request) {
                Ok((identity, method)) => {
                    request.extensions_mut().insert(identity);
                    request.extensions_mut().insert(method);
                }
                Err(status) => return status.into_http(),
            }
        }
        call(inner, request).await
    }
}
