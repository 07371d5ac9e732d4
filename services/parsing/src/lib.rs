//! The parsing service: collects audiences from Telegram through the
//! integration service, keeps them, and hands them on.
//!
//! `grpc/` (wire in, wire out) → `tasks/`, `results/`, `contacts/`, `export/`
//! (rules, and a store each) ← `engine/` (takes tasks, reads, commits batches).

mod config;
mod contacts;
mod engine;
mod error;
mod export;
mod grpc;
mod person;
mod results;
mod rows;
mod tasks;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use anyhow::Context as _;
use service_kit::client::ServiceChannel;
use service_kit::health::Dependency;
use service_kit::identity::Verifier;
use service_kit::requests::Requests;
use service_kit::server::Server;
use service_kit::service::{Dependencies, Ready};
use service_kit::shutdown::Shutdown;
use tgmesh_migrations::Schema;
use tgmesh_proto::parsing::v1::parsing_service_server::ParsingServiceServer;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use config::{Config, EngineConfig};

use crate::engine::{Engine, Running};
use crate::grpc::Parsing;

/// How often answers of repeatable calls that are too old are swept.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// Serves until shutdown.
///
/// `integration_address` is `http://HOST:PORT`. `ready` is told once calls are
/// served; when it is gone nobody wanted to know.
///
/// # Errors
/// When the schema is old, the address is taken, or a part of the service dies.
pub async fn run(
    config: Config,
    integration_address: String,
    deps: Dependencies,
    shutdown: Shutdown,
    ready: oneshot::Sender<Ready>,
) -> anyhow::Result<()> {
    config.check()?;
    tgmesh_migrations::check(deps.db.conn(), Schema::Parsing).await?;
    let channel = ServiceChannel::new(&integration_address, "integration", deps.issuer.clone())?;
    let running = Arc::new(Running::default());
    let requests = Requests::new(deps.db.clone(), deps.clock.clone(), deps.sealer.clone());
    let engine = Engine::new(config.engine, deps.db.clone(), channel.clone(), deps.clock.clone(), running.clone());
    let service = Parsing::new(&deps, requests.clone(), channel, running);
    let service = ParsingServiceServer::new(service).max_decoding_message_size(config.server.max_message_bytes);
    let verifier = Verifier::new("parsing", deps.trusted.clone(), deps.clock.clone());
    let server = Server::new("parsing", config.server, verifier, deps.clock.clone())
        .mount(service)
        .depends_on(Dependency::database(&deps.db))
        .depends_on(Dependency::service("integration", &integration_address)?)
        .bind()
        .await?;
    // Nobody may want to know.
    let _ = ready.send(Ready { address: server.address(), health: server.health() });

    let mut parts = JoinSet::new();
    parts.spawn(server.serve(shutdown.clone()));
    parts.spawn(engine.run(shutdown.clone()));
    parts.spawn(sweep(requests, deps.clock.clone(), shutdown.clone()));
    while let Some(part) = parts.join_next().await {
        // Whatever ends before it was asked to leaves a service that only looks alive.
        part.context("a part of the parsing service died")??;
        anyhow::ensure!(shutdown.has_begun(), "a part of the parsing service ended by itself");
    }
    Ok(())
}

async fn sweep(requests: Requests, clock: service_kit::SharedClock, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = clock.sleep(SWEEP) => {}
            () = shutdown.begun() => return Ok(()),
        }
        if let Err(error) = requests.sweep().await {
            tracing::warn!(%error, "old requests could not be swept");
        }
    }
}
