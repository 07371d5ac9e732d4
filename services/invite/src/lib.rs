//! Campaigns: whom to reach, who reaches them, and what became of it.
//!
//! `grpc` speaks the contract; `campaigns`, `targets`, `audience`, `reports` and
//! `do_not_contact` hold the rules; each has its door to the database in
//! `store`. `engine` works on the campaigns under way.

pub mod app;
pub mod audience;
pub mod campaigns;
mod config;
pub mod do_not_contact;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod reports;
pub mod targets;

use std::sync::Arc;
use std::time::Duration;

use service_kit::client::ServiceChannel;
use service_kit::health::Dependency;
use service_kit::identity::Verifier;
use service_kit::server::Server;
use service_kit::service::{Dependencies, Ready};
use service_kit::shutdown::Shutdown;
use tgmesh_migrations::Schema;
use tgmesh_proto::invite::v1::invite_service_server::InviteServiceServer;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{Config, EngineConfig, ImportConfig};

use crate::app::App;
use crate::engine::{Shared, owner};

/// Between two sweeps of what is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Where the services are that this one calls: `http://HOST:PORT`.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The integration service.
    pub integration: String,
    /// The parsing service.
    pub parsing: String,
}

/// Serves and works until shutdown.
///
/// # Errors
/// When the schema is too old, the address is taken, an address is none, or a
/// task dies.
pub async fn run(
    config: Config,
    addresses: Addresses,
    deps: Dependencies,
    shutdown: Shutdown,
    ready: oneshot::Sender<Ready>,
) -> anyhow::Result<()> {
    config.check()?;
    tgmesh_migrations::check(deps.db.conn(), Schema::Invite).await?;
    let integration = ServiceChannel::new(&addresses.integration, "integration", deps.issuer.clone())?;
    let parsing = ServiceChannel::new(&addresses.parsing, "parsing", deps.issuer.clone())?;
    let server = config.server.clone();
    let max_message_bytes = server.max_message_bytes;
    let sealer = deps.sealer.clone();
    let app = App::new(config, deps.db.clone(), deps.clock.clone(), sealer, shutdown.clone(), integration, parsing);
    let app = Arc::new(app);

    let service = InviteServiceServer::new(grpc::Api::new(app.clone())).max_decoding_message_size(max_message_bytes);
    let verifier = Verifier::new("invite", deps.trusted.clone(), deps.clock.clone());
    let bound = Server::new("invite", server, verifier, deps.clock.clone())
        .mount(service)
        .depends_on(Dependency::database(&deps.db))
        .depends_on(Dependency::service("integration", &addresses.integration)?)
        .bind()
        .await?;

    let shared = Arc::new(Shared::default());
    // Before anything is claimed: what belongs to a process that nobody knows is orphaned.
    owner::sign(&app, &shared).await?;
    let done = CancellationToken::new();
    let mut tasks = JoinSet::new();
    {
        let (app, shared, done) = (app.clone(), shared.clone(), done.clone());
        tasks.spawn(async move {
            owner::run(app, shared, done).await;
            anyhow::Ok(())
        });
    }
    tasks.spawn(sweep(app.clone()));
    let mut work = JoinSet::new();
    work.spawn(engine::run(app.clone(), shared.clone()));
    work.spawn(engine::reconcile::run(app.clone()));

    // Whoever waits for it may have gone away.
    let _ = ready.send(Ready { address: bound.address(), health: bound.health() });
    work.spawn(bound.serve(shutdown.clone()));

    let outcome = watch_over(&mut work, &mut tasks, &shutdown).await;
    done.cancel();
    if let Err(error) = owner::leave(&app).await {
        tracing::warn!(%error, "the process could not say goodbye");
    }
    outcome
}

/// Waits for the end of all work after shutdown began; a task that ends before
/// takes the process down.
async fn watch_over(
    work: &mut JoinSet<anyhow::Result<()>>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    loop {
        let ended = tokio::select! {
            biased;
            () = shutdown.forced() => return Ok(()),
            Some(ended) = tasks.join_next() => ended,
            ended = work.join_next() => match ended {
                Some(ended) => ended,
                None => return Ok(()),
            },
        };
        let result = match ended {
            Ok(result) => result,
            Err(error) => Err(anyhow::anyhow!("a task died: {error}")),
        };
        if result.is_err() || !shutdown.has_begun() {
            shutdown.begin();
            result?;
            anyhow::bail!("a task ended before the process");
        }
    }
}

/// Forgets what was kept long enough.
async fn sweep(app: Arc<App>) -> anyhow::Result<()> {
    loop {
        let swept = async {
            audience::import::sweep(&app, app.clock.now()).await?;
            app.requests.sweep().await?;
            owner::sweep(&app).await
        };
        if let Err(error) = swept.await {
            tracing::error!(%error, "what is forgotten could not be swept");
        }
        tokio::select! {
            () = app.clock.sleep(SWEEP) => {}
            () = app.shutdown.begun() => return Ok(()),
        }
    }
}
