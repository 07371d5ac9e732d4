//! The admin port: health over HTTP, for probes and people.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::health::Health;
use crate::invariants;
use crate::shutdown::Shutdown;

/// Serves `/livez`, `/readyz`, `/version` and `/invariants` until shutdown
/// begins; what was asked before is answered, unless shutdown is forced.
/// `build` is the process's version and commit, such as `0.1.0+3f2a9c1`, so that
/// a fix that was never deployed can be seen; `services` are its services.
///
/// # Errors
/// When the listener fails.
pub async fn serve_admin(
    listener: TcpListener,
    build: &'static str,
    services: Vec<(&'static str, watch::Receiver<Health>)>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let readiness = move || {
        let mut ready = !services.is_empty();
        let mut lines = String::new();
        for (name, health) in &services {
            let health = health.borrow();
            ready &= health.ready;
            lines.push_str(&format!("{name}: {}\n", if health.ready { "ready" } else { "not ready" }));
            for (dependency, reason) in &health.failing {
                lines.push_str(&format!("  {dependency}: {reason}\n"));
            }
        }
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        std::future::ready((code, lines))
    };
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/invariants", get(|| async { invariants::counts() }))
        .route("/version", get(move || std::future::ready(format!("tgmesh {build}\n"))));
    let stopping = shutdown.clone();
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stopping.begun().await });
    tokio::select! {
        served = served => Ok(served?),
        () = shutdown.forced() => Ok(()),
    }
}

/// Takes the admin address.
///
/// # Errors
/// When it is taken.
pub async fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context as _;
    TcpListener::bind(address).await.with_context(|| format!("the admin port cannot listen on {address}"))
}
