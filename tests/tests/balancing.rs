//! One service calls another by a name that stands for several servers: calls reach all of them, one that is dead is
//! left, a new one is found.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use service_kit::client::{Addresses, Resolver, ServiceChannel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::config::ServerConfig;
use service_kit::identity::{Acting, Issuer, SigningKey, TrustedKeys, Verifier};
use service_kit::server::Server;
use service_kit::shutdown::Shutdown;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_tests::wait;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

const PATIENCE: Duration = Duration::from_secs(30);
/// Calls made to see who answers.
const CALLS: usize = 40;

/// What the name stands for; the test changes it.
#[derive(Debug, Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn set(&self, servers: &[&Served]) {
        *self.0.lock().expect("nobody panics here") = servers.iter().map(|served| served.address).collect();
    }
}

impl Resolver for Names {
    fn resolve(&self, host: &str, _: u16) -> Addresses {
        assert_eq!(host, "integration.tgmesh");
        let found = self.0.lock().expect("nobody panics here").clone();
        Box::pin(ready(Ok(found)))
    }
}

/// Answers every call with where it is served.
#[derive(Debug, Clone)]
struct Echo(SocketAddr);

impl NamedService for Echo {
    const NAME: &'static str = "tgmesh.lease.v1.LeaseService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        ready(Ok(tgmesh_proto::status::status(ErrorReason::LeaseNotFound, self.0.to_string()).build().into_http()))
    }
}

/// A server with the whole stack of layers.
struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Served {
    async fn start(address: SocketAddr, keys: TrustedKeys) -> anyhow::Result<Self> {
        let clock = SystemClock::shared();
        let config = ServerConfig {
            listen: address,
            max_concurrent_calls: 100,
            max_message_bytes: 1 << 20,
            max_connection_age_s: 1_800,
        };
        let verifier = Verifier::new("integration", keys, clock.clone());
        let bound = Server::new("integration", config, verifier, clock).mount(Echo(address)).bind().await?;
        let shutdown = Shutdown::new();
        let task = tokio::spawn(bound.serve(shutdown.clone()));
        Ok(Self { address, shutdown, task })
    }

    /// Gone at once, with all its connections.
    async fn kill(&mut self) -> anyhow::Result<()> {
        self.shutdown.begin();
        self.shutdown.force();
        (&mut self.task).await?
    }
}

/// Who answers: how often by address, and how many calls nobody answered.
async fn who(channel: &ServiceChannel, acting: Acting) -> (BTreeMap<String, usize>, usize) {
    let (mut answers, mut failures) = (BTreeMap::new(), 0);
    for _ in 0..CALLS {
        let mut client = LeaseServiceClient::new(channel.clone());
        let status = client.acquire_lease(acting.request(lease::AcquireLeaseRequest::default())).await.map(drop);
        let status = status.expect_err("it is an echo");
        match tgmesh_proto::status::reason(&status) {
            Some(ErrorReason::LeaseNotFound) => *answers.entry(status.message().to_owned()).or_default() += 1,
            _ => failures += 1,
        }
    }
    (answers, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_over_all_addresses_of_a_name() -> anyhow::Result<()> {
    let key = SigningKey::generate("invite")?;
    let mut keys = TrustedKeys::default();
    keys.trust("invite", &key.public())?;
    let clock = SystemClock::shared();
    let acting = Acting { user_id: new_id(&*clock), workspace_id: new_id(&*clock) };
    // One port at all addresses, as behind a headless name.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    let mut first = Served::start(at(1), keys.clone()).await?;
    let mut second = Served::start(at(2), keys.clone()).await?;
    let names = Names::default();
    names.set(&[&first, &second]);
    let address = format!("http://integration.tgmesh:{port}");
    let issuer = Arc::new(Issuer::new(key, clock));
    let channel =
        ServiceChannel::by(&address, "integration", issuer, names.clone(), Duration::from_millis(20)).context("by")?;

    let only = async |what: &str, expected: &[&Served]| {
        let expected: Vec<String> = expected.iter().map(|served| served.address.to_string()).collect();
        wait::until(what, PATIENCE, async || {
            let (answers, failures) = who(&channel, acting).await;
            (failures == 0 && answers.keys().eq(expected.iter())).then_some(answers)
        })
        .await
    };
    let answers = only("both to answer", &[&first, &second]).await?;
    assert!(answers.values().all(|count| *count >= CALLS / 8), "one has nearly all of the work: {answers:?}");

    // It is dead, and its name still stands for it.
    second.kill().await?;
    only("the dead one to be left", &[&first]).await?;

    // The name stands for a new one, and no longer for the dead one.
    let mut third = Served::start(at(3), keys.clone()).await?;
    names.set(&[&first, &third]);
    only("the new one to be found", &[&first, &third]).await?;

    // One that serves and is no longer named gets no more calls.
    names.set(&[&third]);
    only("the one without a name to be left", &[&third]).await?;

    // A dead one that comes back is found again.
    names.set(&[&first, &second, &third]);
    second = Served::start(second.address, keys).await?;
    only("the one that came back", &[&first, &second, &third]).await?;
    for served in [&mut first, &mut second, &mut third] {
        served.kill().await?;
    }
    Ok(())
}
