//! What a call to another service fails with when the service is not there: always with the place where it should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use service_kit::client::{Addresses, Resolver, ServiceChannel};
use service_kit::clock::SystemClock;
use service_kit::identity::{Acting, Issuer, SigningKey};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::GetLeaseRequest;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::status::{Failure, read};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tonic::{Code, Status};

/// Well below the deadline of the call.
const SOON: Duration = Duration::from_secs(4);

/// Everything is here, or nothing has a name.
#[derive(Debug)]
struct Names(Option<SocketAddr>);

impl Resolver for Names {
    fn resolve(&self, _: &str, _: u16) -> Addresses {
        let found = self.0.map(|address| vec![address]);
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

fn channel(names: Names) -> anyhow::Result<ServiceChannel> {
    let issuer = Arc::new(Issuer::new(SigningKey::generate("invite")?, SystemClock::shared()));
    ServiceChannel::by("http://integration.tgmesh:50051", "integration", issuer, names, Duration::from_secs(5))
}

async fn call(channel: &ServiceChannel) -> Status {
    let acting = Acting { user_id: uuid::Uuid::from_u128(1), workspace_id: uuid::Uuid::from_u128(2) };
    let request = GetLeaseRequest { lease_id: uuid::Uuid::from_u128(3).to_string() };
    let answer = LeaseServiceClient::new(channel.clone()).get_lease(acting.request(request)).await;
    answer.map(drop).expect_err("nobody serves this")
}

fn names_the_place(status: &Status, why: &str) -> Failure {
    let failure = read(status).expect("it has a reason");
    assert_eq!((failure.reason, status.code()), (ErrorReason::DependencyUnavailable, Code::Unavailable));
    let place = failure.metadata.get("dependency").map(String::as_str);
    assert_eq!(place, Some("integration at integration.tgmesh:50051"));
    assert!(status.message().contains("integration.tgmesh:50051"), "{}", status.message());
    assert!(status.message().contains(why), "{}", status.message());
    failure
}

#[tokio::test]
async fn a_name_without_address_is_said_at_once() -> anyhow::Result<()> {
    let channel = channel(Names(None))?;
    let status = tokio::time::timeout(SOON, call(&channel)).await?;
    let failure = names_the_place(&status, "no such name");
    assert!(failure.retry_after.is_some(), "it was not sent, and may be made again");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() -> anyhow::Result<()> {
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let channel = channel(Names(Some(nobody)))?;
    let status = tokio::time::timeout(SOON, call(&channel)).await?;
    let failure = names_the_place(&status, "refused");
    assert!(failure.retry_after.is_some(), "it was not sent, and may be made again");
    Ok(())
}

#[tokio::test]
async fn what_was_cut_may_have_arrived_and_is_named_on_demand() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let channel = channel(Names(Some(listener.local_addr()?)))?;
    tokio::spawn(async move {
        // Takes the request, and hangs up.
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 512];
            let _ = stream.read(&mut some).await;
        }
    });
    let status = tokio::time::timeout(SOON, call(&channel)).await?;
    assert!(read(&status).is_none(), "nobody knows whether it arrived: {status:?}");
    names_the_place(&channel.name_failure(status), "cut");
    Ok(())
}

#[tokio::test]
async fn a_refusal_of_this_service_is_not_its_callers() -> anyhow::Result<()> {
    let channel = channel(Names(None))?;
    for reason in [ErrorReason::TokenInvalid, ErrorReason::CallerNotAllowed] {
        let refused = tgmesh_proto::status::status(reason, "no").build();
        names_the_place(&channel.name_failure(refused), "refuses");
    }
    let theirs = tgmesh_proto::status::status(ErrorReason::ChatNotFound, "no").build();
    assert_eq!(tgmesh_proto::status::reason(&channel.name_failure(theirs)), Some(ErrorReason::ChatNotFound));
    Ok(())
}
