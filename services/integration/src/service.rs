//! How the service is put together.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use service_kit::health::Dependency;
use service_kit::identity::Verifier;
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::server::Server;
use service_kit::service::{Dependencies, Ready};
use service_kit::shutdown::Shutdown;
use service_kit::watch::Poke;
use tgmesh_migrations::Schema;
use tgmesh_proto::integration::v1::integration_service_server::IntegrationServiceServer;
use tgmesh_proto::lease::v1::lease_service_server::LeaseServiceServer;
use tgmesh_proto::quota::v1::quota_service_server::QuotaServiceServer;
use tgmesh_proto::telegram::v1::telegram_service_server::TelegramServiceServer;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::accounts::{connect, effects, log_out};
use crate::config::Config;
use crate::connections::{Claims, Connections, Dialer, TelegramNetwork};
use crate::core::{Core, SessionStore, Settings};
use crate::grpc::{IntegrationGrpc, LeaseGrpc, QuotaGrpc, TelegramGrpc};
use crate::leases::{LeaseManager, LeaseParts, SqlLeaseStore, Wake};
use crate::logins;
use crate::quotas::pacing::Pacing;
use crate::quotas::{QuotaParts, Quotas};
use crate::tasks::Tasks;
use crate::telegram::known::KnownChats;

/// Pause between two rounds of housekeeping.
const ROUND: Duration = Duration::from_secs(1);
/// Longest time that connections are waited for at the end.
const CLOSE: Duration = Duration::from_secs(5);

/// Serves until shutdown.
///
/// # Errors
/// When the schema is old, the address is taken, or a task of the service dies.
pub async fn run(
    config: Config,
    network: TelegramNetwork,
    deps: Dependencies,
    shutdown: Shutdown,
    ready: oneshot::Sender<Ready>,
) -> anyhow::Result<()> {
    config.check()?;
    tgmesh_migrations::check(deps.db.conn(), Schema::Integration).await?;
    let claims = Claims::new(deps.db.clone(), deps.clock.clone());
    claims.recover().await?;
    let core = assemble(&config, &network, &deps, &claims, &shutdown)?;
    core.quotas.recover().await.map_err(|error| anyhow::anyhow!("the ledger cannot be recovered: {error}"))?;

    let verifier = Verifier::new("integration", deps.trusted.clone(), deps.clock.clone());
    let limit = config.server.max_message_bytes;
    let bound = Server::new("integration", config.server, verifier, deps.clock.clone())
        .depends_on(Dependency::database(&deps.db))
        .mount(IntegrationServiceServer::new(IntegrationGrpc { core: core.clone() }).max_decoding_message_size(limit))
        .mount(
            LeaseServiceServer::new(LeaseGrpc::new(core.leases.clone(), deps.clock.clone()))
                .max_decoding_message_size(limit),
        )
        .mount(QuotaServiceServer::new(QuotaGrpc::new(core.quotas.clone())).max_decoding_message_size(limit))
        .mount(TelegramServiceServer::new(TelegramGrpc { core: core.clone() }).max_decoding_message_size(limit))
        .bind()
        .await?;

    let mut tasks = JoinSet::new();
    let leases = core.leases.clone();
    tasks.spawn(async move {
        leases.run().await;
        Ok(())
    });
    tasks.spawn(housekeeping(core.clone(), shutdown.clone()));
    {
        let (core, shutdown) = (core.clone(), shutdown.clone());
        tasks.spawn(async move {
            log_out::run(&core, &shutdown).await;
            Ok(())
        });
    }
    {
        let (requests, shutdown) = (core.requests.clone(), shutdown.clone());
        tasks.spawn(async move {
            requests.hold(&shutdown).await;
            Ok(())
        });
    }
    // Until the last connection is closed, which is after everything else.
    let mut holding = tokio::spawn(async move { claims.hold().await });
    ready.send(Ready { address: bound.address(), health: bound.health() }).ok();
    tasks.spawn(bound.serve(shutdown.clone()));
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            _ = &mut holding => anyhow::bail!("nobody holds the claims of keys any more"),
        };
        let Some(ended) = ended else { break };
        // A task that dies takes the process down: half a service is worse than none.
        match ended {
            Ok(Ok(())) if shutdown.has_begun() => {}
            Ok(Ok(())) => anyhow::bail!("a task of the integration service ended early"),
            Ok(Err(error)) => return Err(error),
            Err(error) => anyhow::bail!("a task of the integration service died: {error}"),
        }
    }
    core.connections.close_all(CLOSE).await;
    // Nobody listens to them any more, and what they ask comes back unsent.
    core.tasks.finish(CLOSE).await;
    holding.abort();
    Ok(())
}

fn assemble(
    config: &Config,
    network: &TelegramNetwork,
    deps: &Dependencies,
    claims: &Claims,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<Core>> {
    let Dependencies { db, sealer, clock, .. } = deps.clone();
    let tokens = Tokens::new(sealer.clone());
    let requests = Requests::new(db.clone(), clock.clone(), sealer.clone());
    let wake = Arc::<Wake>::default();
    let defaults = Arc::new(config.limits.clone());
    #[expect(clippy::disallowed_methods, reason = "the process's own seed; tests pass theirs to the stores")]
    let seed = rand::random();
    let quotas = Quotas::sql(QuotaParts {
        db: db.clone(),
        clock: clock.clone(),
        requests: requests.clone(),
        tokens: tokens.clone(),
        wake: wake.clone(),
        defaults: defaults.clone(),
        rng: StdRng::seed_from_u64(seed),
    });
    let chats = Arc::new(KnownChats::new(db.clone()));
    let leases = LeaseManager::new(LeaseParts {
        store: Arc::new(
            SqlLeaseStore::new(db.clone(), clock.clone(), requests.clone(), defaults)
                .with_rights_life(Duration::from_secs(config.rules.rights_life_s)),
        ),
        chats: chats.clone(),
        wake,
        clock: clock.clone(),
        tokens: tokens.clone(),
        shutdown: shutdown.clone(),
        config: config.leases.clone(),
    });
    let poke = Arc::<Poke>::default();
    let on_change = {
        let poke = poke.clone();
        Arc::new(move |_, _| poke.poke())
    };
    let dialer = Dialer::new(config.connections.clone(), network)?;
    let sessions = Arc::new(SessionStore::new(db.clone(), sealer.clone(), claims.clone()));
    let core = Arc::new(Core {
        connections: Connections::new(dialer, sessions, clock.clone(), on_change),
        pacing: Pacing::new(clock.clone(), config.speeds),
        db,
        sealer,
        clock,
        leases,
        quotas,
        requests,
        tokens,
        poke,
        ended: Arc::default(),
        tasks: Tasks::default(),
        settings: Settings {
            api_id: network.api_id,
            api_hash: network.api_hash.clone(),
            flood_margin: Some(config.rules.flood_margin()),
            login_life: Duration::from_secs(config.rules.login_life_s),
            rights_life: Duration::from_secs(config.rules.rights_life_s),
            check_one_invite_in: config.rules.check_one_invite_in,
        },
    });
    chats.begin(&core);
    Ok(core)
}

/// What is to be done now and then: restrictions that end, logins that expire,
/// answers that were kept long enough.
async fn housekeeping(core: Arc<Core>, shutdown: Shutdown) -> anyhow::Result<()> {
    let stop = shutdown.token();
    while !stop.is_cancelled() {
        for (what, done) in [
            ("restrictions", effects::end_restrictions(&core).await),
            ("logins", logins::expire(&core).await),
            ("trials", connect::forget_trials(&core).await),
            ("quotas", core.quotas.sweep().await.map(|_| ())),
            ("requests", core.requests.sweep().await.map(|_| ()).map_err(|error| core.failed(&error))),
        ] {
            // The database may be away; the next round tries again.
            if let Err(error) = done {
                tracing::warn!(what, %error, "housekeeping failed");
            }
        }
        tokio::select! {
            () = core.clock.sleep(ROUND) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}
