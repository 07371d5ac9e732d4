//! The server of every process: tonic's own, with one layer stack, health and
//! reflection.

mod admin;
mod context;
mod deadline;
mod ending;
mod failure;
mod identity;
mod limit;
mod middleware;
mod panic;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tower::ServiceBuilder;

pub use admin::{bind_admin, serve_admin};
pub use failure::{database, internal};
pub use limit::detached;
pub use middleware::{Apply, Inner, Middleware};

use crate::clock::SharedClock;
use crate::config::ServerConfig;
use crate::health::{Dependency, Health, Monitor};
use crate::identity::Verifier;
use crate::shutdown::Shutdown;

/// How long a server that has nothing left to do waits for what was answered
/// to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// A server under construction.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    config: ServerConfig,
    verifier: Arc<Verifier>,
    clock: SharedClock,
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    dependencies: Vec<Dependency>,
}

impl Server {
    /// A server of this name without services.
    pub fn new(name: &'static str, config: ServerConfig, verifier: Verifier, clock: SharedClock) -> Self {
        Self {
            name,
            config,
            verifier: Arc::new(verifier),
            clock,
            routes: Routes::builder(),
            services: Vec::new(),
            dependencies: Vec::new(),
        }
    }

    /// Mounts a service; reflection and health learn of it in the same step.
    #[must_use]
    pub fn mount<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.services.push(S::NAME);
        self
    }

    /// Names something without which the services cannot work.
    #[must_use]
    pub fn depends_on(mut self, dependency: Dependency) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Takes the address.
    ///
    /// # Errors
    /// When it is taken, or reflection cannot be built.
    pub async fn bind(mut self) -> anyhow::Result<Bound> {
        use anyhow::Context as _;
        let listener = TcpListener::bind(self.config.listen)
            .await
            .with_context(|| format!("{} cannot listen on {}", self.name, self.config.listen))?;
        let address = listener.local_addr()?;

        let (reporter, health) = tonic_health::server::health_reporter();
        // The reporter says SERVING of "" at once; nothing is served yet.
        for service in self.services.iter().chain(&["", "ready"]) {
            reporter.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
        }
        self.routes.add_service(health);
        // Old tools ask the v1alpha interface, new ones v1.
        self.routes.add_service(self.reflection().build_v1()?);
        self.routes.add_service(self.reflection().build_v1alpha()?);

        let services = self.services.clone().into();
        let state = watch::Sender::new(Health::default());
        let monitor =
            Monitor { reporter, services: self.services, dependencies: self.dependencies, state: state.clone() };
        Ok(Bound {
            name: self.name,
            listener,
            address,
            routes: self.routes.routes(),
            config: self.config,
            verifier: self.verifier,
            clock: self.clock,
            services,
            monitor,
            health: state.subscribe(),
        })
    }

    fn reflection(&self) -> tonic_reflection::server::Builder<'static> {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tgmesh_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        for service in self.services.iter().chain(&["grpc.health.v1.Health"]) {
            builder = builder.with_service_name(*service);
        }
        builder
    }
}

/// A server that has its address and does not serve yet.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    routes: Routes,
    config: ServerConfig,
    verifier: Arc<Verifier>,
    clock: SharedClock,
    services: Arc<[&'static str]>,
    monitor: Monitor,
    health: watch::Receiver<Health>,
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of its health, for the admin port.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Serves until shutdown begins and every call has ended, or the hard step.
    /// A reader that takes nothing holds no call, and is not waited for.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        // Jitter: replicas started together must not drop their clients together.
        #[expect(clippy::disallowed_methods, reason = "jitter needs no seed")]
        let jitter = rand::rng().random_range(0.9..1.1);
        let age = Duration::from_secs(self.config.max_connection_age_s).mul_f64(jitter);
        let limit = limit::Limit::new(self.config.max_concurrent_calls);
        let identity = identity::CheckIdentity::new(self.verifier, self.services);
        let stack = stack(limit.clone(), identity, &self.clock, &shutdown);
        let router = tonic::transport::Server::builder()
            .max_connection_age(age)
            .max_connection_age_grace(Duration::from_secs(60))
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .max_concurrent_streams(1_000)
            .tcp_nodelay(true)
            .layer(stack)
            .add_routes(self.routes);
        tracing::info!(service = self.name, address = %self.address, "serving");
        let monitor = AbortOnDropHandle::new(tokio::spawn(self.monitor.run(self.clock.clone(), shutdown.clone())));
        let stopping = shutdown.clone();
        tokio::select! {
            served = router.serve_with_incoming_shutdown(
                TcpListenerStream::new(self.listener),
                async move { stopping.begun().await },
            ) => served?,
            () = drained(&limit, &self.clock, &shutdown) => {}
            () = shutdown.forced() => {}
        }
        drop(monitor);
        Ok(())
    }
}

/// Waits until shutdown has begun, no call is under way, and what was answered
/// has had its time to reach those who read.
async fn drained(limit: &limit::Limit, clock: &SharedClock, shutdown: &Shutdown) {
    shutdown.begun().await;
    let mut idle = Duration::ZERO;
    while idle < FLUSH {
        clock.sleep(FLUSH / 10).await;
        idle = if limit.is_idle() { idle + FLUSH / 10 } else { Duration::ZERO };
    }
}

/// The layers around every call, from the wire inwards.
fn stack(
    limit: limit::Limit,
    identity: identity::CheckIdentity,
    clock: &SharedClock,
    shutdown: &Shutdown,
) -> impl tower::Layer<Routes, Service: Inner> + Clone + use<> {
    ServiceBuilder::new()
        // Request id, trace, one wide span and log line: outermost, so that every
        // answer below shows in them, refusals included.
        .layer(Apply(context::CallContext::new(clock.clone())))
        // A panic answers INTERNAL and stays inside its call.
        .layer(Apply(panic::CatchPanic))
        // Sheds load before any work is done for a call, for the whole process:
        // behind a gateway a limit per connection bounds the wrong thing.
        .layer(Apply(limit))
        // Nobody past here is unknown.
        .layer(Apply(identity))
        // Streams end with the token that opened them, and with the process.
        .layer(Apply(ending::Ending::new(clock.clone(), shutdown.clone())))
        // Innermost, and a little before tonic's own, which answers CANCELLED.
        .layer(Apply(deadline::Deadline))
}
