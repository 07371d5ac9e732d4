//! What the layers of every server promise of calls that answer with a stream, over a real channel.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use service_kit::client::{TokenSource, UserChannel};
use service_kit::clock::{ManualClock, SystemClock};
use service_kit::config::ServerConfig;
use service_kit::identity::{Acting, Issuer, SigningKey, TrustedKeys, USERS, Verifier};
use service_kit::server::Server;
use service_kit::shutdown::Shutdown;
use service_kit::{SharedClock, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_proto::parsing::v1::{self as wire, export_results_request::Format};
use tgmesh_tests::wait;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every call with an endless stream. Each holds `alive` weakly, so that they can be counted.
#[derive(Debug, Clone, Default)]
struct Endless {
    alive: Arc<()>,
}

impl Endless {
    fn streams(&self) -> usize {
        Arc::weak_count(&self.alive)
    }
}

struct Source(#[expect(dead_code, reason = "counted")] std::sync::Weak<()>);

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let message = wire::ExportResultsResponse { data: vec![7; 32 * 1024], ..Default::default() };
        let message = prost::Message::encode_to_vec(&message);
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
        framed.extend(message);
        Poll::Ready(Some(Ok(Frame::data(framed.into()))))
    }
}

impl NamedService for Endless {
    const NAME: &'static str = "tgmesh.parsing.v1.ParsingService";
}

impl Service<http::Request<Body>> for Endless {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let body = Body::new(Source(Arc::downgrade(&self.alive)));
        let mut response = http::Response::new(body);
        let kind = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        ready(Ok(response))
    }
}

#[derive(Debug)]
struct Token(Issuer);

impl TokenSource for Token {
    fn token(&self) -> String {
        self.0.user(Acting { user_id: uuid::Uuid::from_u128(1), workspace_id: uuid::Uuid::from_u128(2) }, false)
    }
}

/// A server with the whole stack of layers, that serves two calls at once.
struct World {
    endless: Endless,
    channel: UserChannel,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

impl World {
    async fn start(clock: SharedClock) -> anyhow::Result<Self> {
        let key = SigningKey::generate(USERS)?;
        let mut keys = TrustedKeys::default();
        keys.trust(USERS, &key.public())?;
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse()?,
            max_concurrent_calls: 2,
            max_message_bytes: 1 << 20,
            max_connection_age_s: 1_800,
        };
        let endless = Endless::default();
        let verifier = Verifier::new("parsing", keys, clock.clone());
        let bound = Server::new("parsing", config, verifier, clock.clone()).mount(endless.clone()).bind().await?;
        let channel =
            UserChannel::new(&format!("http://{}", bound.address()), Arc::new(Token(Issuer::new(key, clock))))?;
        let shutdown = Shutdown::new();
        let task = tokio::spawn(bound.serve(shutdown.clone()));
        Ok(Self { endless, channel, shutdown, task })
    }

    async fn open(&self) -> Result<Streaming<wire::ExportResultsResponse>, Status> {
        let id = uuid::Uuid::from_u128(3).to_string();
        let request = wire::ExportResultsRequest { parse_task_id: id, format: Format::Csv.into() };
        Ok(ParsingServiceClient::new(self.channel.clone()).export_results(request).await?.into_inner())
    }

    /// Waits until so many streams go on at the server.
    async fn streams(&self, expected: usize) -> anyhow::Result<()> {
        let what = format!("{expected} streams to go on");
        wait::until(&what, PATIENCE, async || (self.endless.streams() == expected).then_some(())).await
    }
}

/// Reads what was sent, up to the reason why no more comes.
async fn end(mut stream: Streaming<wire::ExportResultsResponse>) -> Option<ErrorReason> {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return tgmesh_proto::status::reason(&status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_keeps_its_place_until_it_is_over() -> anyhow::Result<()> {
    let world = World::start(SystemClock::shared()).await?;
    let (first, _second) = (world.open().await?, world.open().await?);
    let refused = world.open().await.map(drop).expect_err("both places are taken");
    assert_eq!(tgmesh_proto::status::reason(&refused), Some(ErrorReason::Overloaded));
    drop(first);
    let _third = wait::until("a place to be free", PATIENCE, async || world.open().await.ok()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_though_nobody_reads() -> anyhow::Result<()> {
    let clock = ManualClock::new(Time::from_secs(1_800_000_000));
    let world = World::start(clock.clone()).await?;
    let stream = world.open().await?;
    clock.advance(Duration::from_secs(299));
    let younger = world.open().await?;
    world.streams(2).await?;
    clock.advance(Duration::from_secs(1));
    world.streams(1).await?;
    assert_eq!(end(stream).await, Some(ErrorReason::TokenInvalid));
    // Its place is free, and the other token is good still.
    let _third = wait::until("a place to be free", PATIENCE, async || world.open().await.ok()).await?;
    drop(younger);
    world.streams(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_process_though_nobody_reads() -> anyhow::Result<()> {
    let world = World::start(SystemClock::shared()).await?;
    let (read, unread) = (world.open().await?, world.open().await?);
    world.shutdown.begin();
    world.streams(0).await?;
    assert_eq!(end(read).await, Some(ErrorReason::ShuttingDown));
    // The server does not wait for the other reader either.
    tokio::time::timeout(PATIENCE, world.task).await???;
    drop(unread);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_unimplemented_and_never_unauthenticated() -> anyhow::Result<()> {
    let world = World::start(SystemClock::shared()).await?;
    let ask = async |path: &str| {
        let mut channel = world.channel.clone();
        let request = http::Request::post(format!("http://unused{path}")).body(Body::empty())?;
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
        let answer = channel.call(request).await?;
        anyhow::Ok(Status::from_header_map(answer.headers()).expect("it is not served"))
    };
    for path in ["/tgmesh.parsing.v1.ParsingService/Invent", "/tgmesh.lease.v1.LeaseService/GetLease"] {
        let status = ask(path).await?;
        let failure = tgmesh_proto::status::read(&status).expect("it has a reason");
        assert_eq!(failure.reason, ErrorReason::NotImplemented, "{path}");
        assert_eq!(failure.metadata.get("method").map(String::as_str), path.strip_prefix('/'));
        assert!(status.message().contains("tgmesh.parsing.v1.ParsingService"), "{}", status.message());
    }
    Ok(())
}
