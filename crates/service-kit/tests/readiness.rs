//! Readiness follows what a service depends on; liveness does not.

use std::time::Duration;

use service_kit::client::bare_channel;
use service_kit::clock::SystemClock;
use service_kit::config::ServerConfig;
use service_kit::health::Dependency;
use service_kit::identity::{TrustedKeys, Verifier};
use service_kit::server::{Bound, Server};
use service_kit::shutdown::Shutdown;
use tgmesh_tests::wait;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PATIENCE: Duration = Duration::from_secs(20);

async fn bind(name: &'static str, dependencies: Vec<Dependency>) -> anyhow::Result<Bound> {
    // Looks are two seconds apart.
    let clock = SystemClock::accelerated(20.0);
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse()?,
        max_concurrent_calls: 10,
        max_message_bytes: 1 << 20,
        max_connection_age_s: 1_800,
    };
    let server = Server::new(name, config, Verifier::new(name, TrustedKeys::default(), clock.clone()), clock);
    dependencies.into_iter().fold(server, Server::depends_on).bind().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_while_the_one_it_needs_is_and_lives_anyway() -> anyhow::Result<()> {
    let integration = bind("integration", Vec::new()).await?;
    let place = integration.address();
    let invite = bind("invite", vec![Dependency::service("integration", &format!("http://{place}"))?]).await?;
    let (health, address) = (invite.health(), invite.address());
    let (there, here) = (Shutdown::new(), Shutdown::new());
    tokio::spawn(invite.serve(here.clone()));
    wait::until("the missing one to be named", PATIENCE, async || {
        let health = health.borrow();
        (!health.ready && health.failing.iter().any(|(name, _)| *name == format!("integration at {place}")))
            .then_some(())
    })
    .await?;

    tokio::spawn(integration.serve(there.clone()));
    let ready = async |expected: bool| {
        let what = format!("ready to be {expected}");
        wait::until(&what, PATIENCE, async || (health.borrow().ready == expected).then_some(())).await
    };
    ready(true).await?;
    there.begin();
    there.force();
    ready(false).await?;

    let status = async |service: &str| {
        let mut client = HealthClient::new(bare_channel(&format!("http://{address}"))?);
        let request = HealthCheckRequest { service: service.to_owned() };
        anyhow::Ok(client.check(request).await?.get_ref().status())
    };
    assert_eq!(status("ready").await?, ServingStatus::NotServing);
    assert_eq!(status("").await?, ServingStatus::Serving, "an outage restarts nothing");
    Ok(())
}
