//! Starts services: one of them, or all in one process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use service_kit::SharedClock;
use service_kit::db::Db;
use service_kit::files::{Lock, write_private};
use service_kit::health::Health;
use service_kit::identity::{Issuer, SigningKey, TrustedKeys, USERS, secret_file};
use service_kit::sealing::Sealer;
use service_kit::server::{bind_admin, serve_admin};
use service_kit::service::{Dependencies, Ready};
use service_kit::shutdown::Shutdown;
use telegram_emulator::Emulator;
use tgmesh_integration::TelegramNetwork;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{Config, Database, Profile, schema};
use crate::local::LocalUser;
use crate::network;

/// Names of all services, in the order in which they start.
pub const SERVICES: [&str; 3] = ["integration", "parsing", "invite"];

/// Where everything is served, once it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    /// Address of each service.
    pub services: BTreeMap<String, SocketAddr>,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// The emulator, when this process runs one.
    pub emulator: Option<telegram_emulator::Info>,
}

/// Services that run in this process.
#[derive(Debug)]
pub struct Running {
    /// Where they are served.
    pub served: Served,
    /// The emulator, when this process runs one.
    pub emulator: Option<Emulator>,
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: Shutdown,
    _place: Option<Place>,
}

impl Running {
    /// Waits until every service has ended.
    ///
    /// # Errors
    /// When one of them failed.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.context("a service died").and_then(|ended| ended);
            // One that fails takes the others down; the first reason is told.
            self.shutdown.begin();
            result = result.and(ended);
        }
        if let Some(emulator) = self.emulator.take() {
            emulator.shutdown().await;
        }
        result
    }

    /// Asks all services to end, and waits.
    ///
    /// # Errors
    /// When one of them failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.begin();
        self.wait().await
    }
}

/// Starts these services in this process. The embedded profile brings its
/// schemas up to date by itself, and starts an emulator when it runs the
/// integration service and no Telegram is configured.
///
/// # Errors
/// When something cannot be started; what was started is stopped.
pub async fn start(
    config: &Config,
    services: &[&str],
    clock: SharedClock,
    shutdown: Shutdown,
) -> anyhow::Result<Running> {
    tracing::info!(build = crate::BUILD, ?services, "starting");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let fresh = !config.data_dir.exists();
    let mut place = None;
    let bound = async {
        if config.profile == Profile::Embedded {
            config.prepare()?;
            place = Some(Place::take(config, services)?);
        }
        bind_admin(config.admin.address(services)).await
    };
    let admin = match bound.await {
        Ok(admin) => admin,
        Err(error) => {
            drop(place);
            if fresh && config.profile == Profile::Embedded {
                // Only if nothing is in it.
                let _ = std::fs::remove_dir(&config.data_dir);
            }
            return Err(error);
        }
    };
    if config.profile == Profile::Embedded {
        LocalUser::load_or_create(&config.data_dir, &clock)?;
    }
    let mut emulator = None;
    let mut telegram = None;
    if services.contains(&"integration") {
        telegram = match network::configured(config)? {
            Some(network) => Some(network),
            None => {
                ensure!(config.profile == Profile::Embedded, "telegram.api_id is not set");
                let started = network::start_emulator(config, &clock).await?;
                let network = network::of_emulator(started.info())?;
                emulator = Some(started);
                Some(network)
            }
        };
    }
    let mut served = Served {
        services: BTreeMap::new(),
        admin: admin.local_addr()?,
        emulator: emulator.as_ref().map(|emulator| emulator.info().clone()),
    };
    let mut tasks = JoinSet::new();
    let mut healths: Vec<(&'static str, watch::Receiver<Health>)> = Vec::new();
    for name in SERVICES.into_iter().filter(|name| services.contains(name)) {
        match start_one(config, name, &served, telegram.clone(), &clock, &shutdown, &mut tasks).await {
            Ok(ready) => {
                served.services.insert(name.to_owned(), ready.address);
                healths.push((name, ready.health));
            }
            Err(error) => {
                shutdown.force();
                tasks.shutdown().await;
                return Err(error.context(format!("the {name} service did not start")));
            }
        }
    }
    tasks.spawn(serve_admin(admin, crate::BUILD, healths, shutdown.clone()));
    if !config.ready_file.as_os_str().is_empty() {
        write_ready(&config.ready_file, &served)?;
    }
    Ok(Running { served, emulator, tasks, shutdown, _place: place })
}

/// The services' places in a data folder: each has one process at a time there.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "held, not read")] Vec<Lock>);

impl Place {
    fn take(config: &Config, services: &[&str]) -> anyhow::Result<Self> {
        let take = |name: &&str| {
            let file = config.data_dir.join(format!("{name}.lock"));
            let lock = Lock::take(&file).with_context(|| format!("{} cannot be locked", file.display()))?;
            lock.map_err(|process| {
                anyhow::anyhow!(
                    "the {name} service is already running here: process {process} uses the data folder {}",
                    config.data_dir.display()
                )
            })
        };
        Ok(Self(services.iter().map(take).collect::<anyhow::Result<_>>()?))
    }
}

async fn start_one(
    config: &Config,
    name: &'static str,
    served: &Served,
    telegram: Option<TelegramNetwork>,
    clock: &SharedClock,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Ready> {
    let (_, database) = config.databases().into_iter().find(|(found, _)| *found == name).context("no such service")?;
    let deps = dependencies(config, name, database, clock).await?;
    let (ready, told) = oneshot::channel();
    let stop = shutdown.clone();
    let found = |other: &str, configured: &str| {
        served.services.get(other).map_or_else(|| configured.to_owned(), |address| format!("http://{address}"))
    };
    let integration = found("integration", &config.addresses.integration);
    match name {
        "integration" => {
            let network = telegram.context("Telegram is not configured")?;
            tasks.spawn(tgmesh_integration::run(config.integration.clone(), network, deps, stop, ready));
        }
        "parsing" => {
            tasks.spawn(tgmesh_parsing::run(config.parsing.clone(), integration, deps, stop, ready));
        }
        "invite" => {
            let addresses =
                tgmesh_invite::Addresses { integration, parsing: found("parsing", &config.addresses.parsing) };
            tasks.spawn(tgmesh_invite::run(config.invite.clone(), addresses, deps, stop, ready));
        }
        other => bail!("there is no service {other}"),
    }
    match told.await {
        Ok(ready) => Ok(ready),
        // It ended before it served: its task says why.
        Err(_) => match tasks.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
            _ => bail!("it ended without a reason"),
        },
    }
}

/// What a service needs from outside.
///
/// # Errors
/// When the database cannot be reached, or a key cannot be read.
pub async fn dependencies(
    config: &Config,
    name: &'static str,
    database: &Database,
    clock: &SharedClock,
) -> anyhow::Result<Dependencies> {
    let key = signing_key(config, name)?;
    let url = config.database_url(name, database);
    let db = Db::connect(&url, database.max_connections)
        .await
        .with_context(|| format!("the database of the {name} service cannot be reached"))?;
    if config.profile == Profile::Embedded {
        let schema = schema(name).context("no such service")?;
        tgmesh_migrations::migrate(db.conn(), schema)
            .await
            .with_context(|| format!("{} cannot be migrated", db.name()))?;
    }
    Ok(Dependencies {
        db,
        sealer: sealer(config)?,
        issuer: Arc::new(Issuer::new(key, clock.clone())),
        trusted: trusted(config)?,
        clock: clock.clone(),
    })
}

/// The key of an issuer. Only the embedded profile makes one: in production a key
/// that nobody trusts would be found out by the first refused call.
fn signing_key(config: &Config, issuer: &str) -> anyhow::Result<SigningKey> {
    let file = config.key_dir().join(format!("{issuer}.key"));
    match config.profile {
        Profile::Embedded => Ok(SigningKey::load_or_create(issuer, &file)?),
        Profile::Production => {
            SigningKey::load(issuer, &file).context("identity.key_dir: production makes no keys by itself")
        }
    }
}

/// What seals this deployment's secrets.
///
/// # Errors
/// When a key cannot be used.
pub fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    let keys = if config.sealing.keys.is_empty() && config.profile == Profile::Embedded {
        vec![secret_file(&config.key_dir().join("sealing.key"), service_kit::identity::random_seed)?]
    } else {
        let decode = |key: &secrecy::SecretString| {
            base64::engine::general_purpose::STANDARD
                .decode(key.expose_secret())
                .map_err(|_| anyhow::anyhow!("sealing.keys: not base64"))
        };
        config.sealing.keys.iter().map(decode).collect::<anyhow::Result<Vec<_>>>()?
    };
    Ok(Sealer::new(&keys)?)
}

fn trusted(config: &Config) -> anyhow::Result<TrustedKeys> {
    let mut trusted = TrustedKeys::default();
    if config.identity.trusted.is_empty() {
        // The embedded profile: whoever can read the folder is everybody.
        for issuer in SERVICES.into_iter().chain([USERS]) {
            let key = signing_key(config, issuer)?;
            trusted.trust(issuer, &key.public())?;
        }
    }
    for (issuer, keys) in &config.identity.trusted {
        for key in keys {
            trusted.trust(issuer, key)?;
        }
    }
    Ok(trusted)
}

/// Writes where everything is served: aside, then moved into place, so that
/// whoever sees the file sees all of it.
///
/// # Errors
/// When it cannot be written.
pub fn write_ready(file: &Path, served: &Served) -> anyhow::Result<()> {
    write_private(file, &serde_json::to_vec_pretty(served)?)
        .with_context(|| format!("the ready file {} cannot be written", file.display()))
}
