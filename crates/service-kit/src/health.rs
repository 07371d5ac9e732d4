//! Health: `""` is the process (liveness); `ready` and each service are its
//! dependencies and whether it is draining (readiness).
//!
//! What a service cannot do its work without is its dependency: its database,
//! and the service that makes its Telegram calls. Liveness knows nothing of them:
//! nothing is restarted because something else is away.
//!
//! A dependency must fail three looks in a row before readiness goes: one slow
//! answer must not take a replica out. It comes back with the first good look.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response};
use tonic_health::server::HealthReporter;

use crate::clock::SharedClock;
use crate::shutdown::Shutdown;

/// Time between two looks at the dependencies.
const INTERVAL: Duration = Duration::from_secs(2);
/// Longest time a look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Failures in a row after which readiness goes.
const FAILURES: u32 = 3;

type Look = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something without which the service cannot work.
#[derive(Clone)]
pub struct Dependency {
    /// Its name, with host and port.
    pub name: String,
    look: Arc<dyn Fn() -> Look + Send + Sync>,
}

impl std::fmt::Debug for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dependency").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Dependency {
    /// A dependency and how to look at it.
    pub fn new<F, R>(name: impl Into<String>, look: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name: name.into(), look: Arc::new(move || Box::pin(look())) }
    }

    /// A service's database.
    pub fn database(db: &crate::db::Db) -> Self {
        let kind = if db.is_sqlite() { "sqlite" } else { "postgresql" };
        let name = format!("{kind} at {}", db.name());
        let db = db.clone();
        Self::new(name, move || {
            let db = db.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        })
    }

    /// Another service, at `http://HOST:PORT`: it must be ready itself.
    ///
    /// # Errors
    /// When the address is no such URL.
    pub fn service(name: &str, address: &str) -> anyhow::Result<Self> {
        let client = HealthClient::new(crate::client::bare_channel(address)?);
        let place = address.split_once("://").map_or(address, |(_, place)| place);
        Ok(Self::new(format!("{name} at {place}"), move || {
            let mut client = client.clone();
            async move {
                let request = HealthCheckRequest { service: "ready".to_owned() };
                let answer = client.check(request).await.map_err(|status| status.message().to_owned())?;
                let ready = answer.get_ref().status() == health_check_response::ServingStatus::Serving;
                if ready { Ok(()) } else { Err("it is not ready".to_owned()) }
            }
        }))
    }

    /// Looks once.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub async fn check(&self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, (self.look)()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// What is known of the process: shared with the admin port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether calls should be sent here.
    pub ready: bool,
    /// Dependencies that fail, with the reason.
    pub failing: Vec<(String, String)>,
}

/// Keeps the health service up to date.
#[derive(Debug)]
pub struct Monitor {
    pub(crate) reporter: HealthReporter,
    pub(crate) services: Vec<&'static str>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) state: watch::Sender<Health>,
}

impl Monitor {
    /// Looks at the dependencies until shutdown begins, then reports not ready.
    pub async fn run(self, clock: SharedClock, shutdown: Shutdown) {
        self.reporter.set_service_status("", ServingStatus::Serving).await;
        let mut failures = vec![0_u32; self.dependencies.len()];
        let mut was_ready = None;
        loop {
            let mut failing = Vec::new();
            for (dependency, failures) in self.dependencies.iter().zip(&mut failures) {
                match dependency.check().await {
                    Ok(()) => *failures = 0,
                    Err(reason) => {
                        *failures += 1;
                        // Once: an outage would fill the log.
                        if *failures == 1 {
                            tracing::warn!(dependency = dependency.name, reason, "dependency fails");
                        }
                        failing.push((dependency.name.clone(), reason));
                    }
                }
            }
            // Before the first success nothing is damped: a process is ready
            // only once everything has answered.
            let ready = match was_ready {
                Some(true) => failures.iter().all(|failures| *failures < FAILURES),
                _ => failing.is_empty(),
            };
            if was_ready != Some(ready) {
                self.report(ready).await;
                was_ready = Some(ready);
            }
            self.state.send_replace(Health { ready, failing });
            tokio::select! {
                () = clock.sleep(INTERVAL) => {}
                () = shutdown.begun() => break,
            }
        }
        self.report(false).await;
        self.state.send_modify(|health| health.ready = false);
    }

    async fn report(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        tracing::info!(ready, "readiness changed");
        self.reporter.set_service_status("ready", status).await;
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
