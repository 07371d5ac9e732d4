//! The client side of calls between processes: names are resolved again and
//! again and calls spread over all addresses that answer, signed, traced, and bounded by
//! the deadline of their contract.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use tgmesh_proto::{ErrorReason, MethodInfo};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};
use tower::Service;

use crate::identity::{Acting, Issuer};
use crate::trace::TraceContext;

/// How often a name is resolved.
const RESOLVE: Duration = Duration::from_secs(5);
/// How often a name that stands for nothing yet is.
const RESOLVE_SOON: Duration = Duration::from_secs(1);
/// How long a call waits for a name to be resolved for the first time.
const FIRST: Duration = Duration::from_secs(5);
/// What a call that surely was not sent is told to wait before the next one.
const RETRY: Duration = Duration::from_secs(1);
/// How long an address may take to take a connection, where another one does.
const ANSWERS: Duration = Duration::from_secs(1);

/// What a name stands for now.
pub type Addresses = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>;

/// Who knows what names stand for.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a host.
    fn resolve(&self, host: &str, port: u16) -> Addresses;
}

/// The system's names: files, DNS.
#[derive(Debug)]
struct System;

impl Resolver for System {
    fn resolve(&self, host: &str, port: u16) -> Addresses {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// A channel to another service that signs every call. The request must carry
/// an [`Acting`] in its extensions: see [`Acting::request`].
#[derive(Debug, Clone)]
pub struct ServiceChannel {
    channel: Channel,
    issuer: Arc<Issuer>,
    names: watch::Receiver<Name>,
    server: Server,
}

/// What is known of a name.
#[derive(Debug, Clone)]
enum Name {
    /// Nobody has asked yet.
    Unasked,
    /// It has no address, for this reason.
    Unknown(Arc<str>),
    /// It has addresses, or had some: they are called.
    Known,
}

/// Who is called, as errors name him.
#[derive(Debug, Clone)]
struct Server {
    audience: &'static str,
    address: Arc<str>,
}

impl Server {
    fn failed(&self, reason: ErrorReason, what: impl std::fmt::Display) -> tgmesh_proto::status::Builder {
        let Self { audience, address } = self;
        tgmesh_proto::status::status(reason, format!("the {audience} service at {address} {what}"))
    }

    /// It was not called at all.
    fn unreachable(&self, why: impl std::fmt::Display) -> Status {
        let status = self.failed(ErrorReason::DependencyUnavailable, format!("cannot be reached: {why}"));
        status.with("dependency", self).retry_after(Some(RETRY)).build()
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.audience, self.address)
    }
}

impl ServiceChannel {
    /// A channel to the service `audience` at `http://HOST:PORT`. Connects on
    /// first use, to every address that the host's name has and that answers.
    ///
    /// # Errors
    /// When the address is no such URL.
    pub fn new(address: &str, audience: &'static str, issuer: Arc<Issuer>) -> anyhow::Result<Self> {
        Self::by(address, audience, issuer, System, RESOLVE)
    }

    /// The same with another source of names, asked so often.
    ///
    /// # Errors
    /// As [`ServiceChannel::new`].
    pub fn by(
        address: &str,
        audience: &'static str,
        issuer: Arc<Issuer>,
        names: impl Resolver,
        every: Duration,
    ) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let uri: Uri = address.parse().with_context(|| format!("{address} is no address of a service"))?;
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            anyhow::bail!("{address} is no address of a service: expected http://HOST:PORT");
        };
        #[expect(clippy::disallowed_methods, reason = "this is the constructor of clients")]
        let (channel, changes) = Channel::balance_channel(64);
        let (host, scheme) = (host.to_owned(), uri.scheme_str().unwrap_or("http").to_owned());
        let server = Server { audience, address: format!("{host}:{port}").into() };
        let (known, found) = watch::channel(Name::Unasked);
        tokio::spawn(resolve(names, every, host, port, scheme, changes, known));
        Ok(Self { channel, issuer, names: found, server })
    }

    /// Host and port: what an error may say of it.
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// Gives a failure of the transport the name of what failed; answers of the
    /// service pass as they are. A call that surely was not sent fails under
    /// this name by itself; what is named here may have arrived.
    pub fn name_failure(&self, status: Status) -> Status {
        let what = match (tgmesh_proto::status::reason(&status), status.code()) {
            // The one refused is this service: its caller's token is as good as it was.
            (Some(ErrorReason::TokenInvalid | ErrorReason::CallerNotAllowed), _) => "refuses this service",
            (Some(_), _) => return status,
            (None, Code::DeadlineExceeded) => {
                return self.server.failed(ErrorReason::DeadlineExceeded, "did not answer in time").build();
            }
            (None, Code::Unavailable | Code::Unknown | Code::Cancelled) => "cannot be reached: the connection was cut",
            (None, _) => return status,
        };
        self.server.failed(ErrorReason::DependencyUnavailable, what).with("dependency", &self.server).build()
    }
}

/// Why no connection could be made; `None` when there was one.
fn no_connection(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let connect =
        std::iter::successors(Some(error), |error| error.source()).find(|error| error.is::<ConnectError>())?;
    std::iter::successors(Some(connect), |error| error.source()).last().map(ToString::to_string)
}

/// Why a name has no address; `None` when it has, or had one.
async fn no_address(mut names: watch::Receiver<Name>) -> Option<Arc<str>> {
    match tokio::time::timeout(FIRST, names.wait_for(|name| !matches!(name, Name::Unasked))).await {
        Ok(Ok(name)) => match &*name {
            Name::Unknown(why) => Some(why.clone()),
            Name::Unasked | Name::Known => None,
        },
        Ok(Err(_)) => Some("its name is not resolved any more".into()),
        Err(_) => Some("its name could not be resolved in time".into()),
    }
}

impl Service<http::Request<Body>> for ServiceChannel {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Some(acting) = request.extensions().get::<Acting>().copied() else {
            return Box::pin(async { Err("a call to another service names nobody it is made for".into()) });
        };
        let token = self.issuer.service(acting, self.server.audience);
        let trace = TraceContext::current().unwrap_or_else(TraceContext::root).child();
        let headers = request.headers_mut();
        for (name, value) in [("authorization", format!("Bearer {token}")), ("traceparent", trace.to_string())] {
            if let Ok(mut value) = HeaderValue::try_from(value) {
                value.set_sensitive(name == "authorization");
                headers.insert(name, value);
            }
        }
        if !request.headers().contains_key("grpc-timeout")
            && let Some(deadline) = MethodInfo::find(request.uri().path()).and_then(|method| method.deadline)
            && let Ok(value) = HeaderValue::try_from(format!("{}m", deadline.as_millis()))
        {
            request.headers_mut().insert("grpc-timeout", value);
        }
        // The channel that was polled ready is the one to call.
        let clone = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, clone);
        let (names, server) = (self.names.clone(), self.server.clone());
        Box::pin(async move {
            // Without an address the channel would wait for one for ever.
            if let Some(why) = no_address(names).await {
                return Ok(server.unreachable(why).into_http());
            }
            match channel.call(request).await {
                Ok(answer) => Ok(answer),
                Err(error) => match no_connection(&error) {
                    Some(why) => Ok(server.unreachable(why).into_http()),
                    None => Err(error.into()),
                },
            }
        })
    }
}

/// The addresses that take connections; all of them when none does. The channel itself prefers whoever has least to
/// do, and nobody has less to do than a server that refuses every call.
async fn alive(found: Vec<SocketAddr>) -> HashSet<SocketAddr> {
    if found.len() < 2 {
        return found.into_iter().collect();
    }
    let mut attempts = JoinSet::new();
    for address in found.iter().copied() {
        attempts.spawn(async move {
            let connect = tokio::time::timeout(ANSWERS, TcpStream::connect(address)).await;
            matches!(connect, Ok(Ok(_))).then_some(address)
        });
    }
    let answering: HashSet<SocketAddr> = attempts.join_all().await.into_iter().flatten().collect();
    if answering.is_empty() { found.into_iter().collect() } else { answering }
}

/// Keeps the channel's addresses those of the name, until the channel is gone.
async fn resolve(
    names: impl Resolver,
    every: Duration,
    host: String,
    port: u16,
    scheme: String,
    changes: Sender<Change<SocketAddr, Endpoint>>,
    state: watch::Sender<Name>,
) {
    let mut known = HashSet::new();
    loop {
        let resolved = match names.resolve(&host, port).await {
            Ok(found) if found.is_empty() => Err(std::io::Error::other("the name has no address")),
            resolved => resolved,
        };
        let found: HashSet<SocketAddr> = match resolved {
            Ok(found) => alive(found).await,
            Err(error) => {
                tracing::warn!(host, port, %error, "name cannot be resolved");
                if known.is_empty() {
                    state.send_replace(Name::Unknown(format!("its name cannot be resolved: {error}").into()));
                }
                // What was known may be there still.
                known.clone()
            }
        };
        for gone in known.difference(&found) {
            if changes.send(Change::Remove(*gone)).await.is_err() {
                return;
            }
        }
        for new in found.difference(&known) {
            let Ok(endpoint) = Endpoint::from_shared(format!("{scheme}://{new}")) else {
                continue;
            };
            let endpoint = endpoint
                .connect_timeout(Duration::from_secs(5))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true);
            if changes.send(Change::Insert(*new, endpoint)).await.is_err() {
                return;
            }
        }
        known = found;
        if !known.is_empty() {
            state.send_replace(Name::Known);
        }
        let pause = if known.is_empty() { every.min(RESOLVE_SOON) } else { every };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changes.closed() => return,
        }
    }
}

/// A channel for a client of the public contracts, such as the command line:
/// every call carries this token.
#[derive(Debug, Clone)]
pub struct UserChannel {
    channel: Channel,
    token: Arc<dyn TokenSource>,
}

/// Where a user's token comes from.
pub trait TokenSource: std::fmt::Debug + Send + Sync {
    /// A token that is good now.
    fn token(&self) -> String;
}

impl UserChannel {
    /// A channel to `http://HOST:PORT`. Connects on first use.
    ///
    /// # Errors
    /// When the address is no such URL.
    pub fn new(address: &str, token: Arc<dyn TokenSource>) -> anyhow::Result<Self> {
        Ok(Self { channel: bare_channel(address)?, token })
    }
}

impl Service<http::Request<Body>> for UserChannel {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", self.token.token())) {
            value.set_sensitive(true);
            request.headers_mut().insert("authorization", value);
        }
        self.channel.call(request)
    }
}

/// A bare channel to `http://HOST:PORT`, for services that know no identities:
/// health, and the emulator's control. Connects on first use.
///
/// # Errors
/// When the address is no such URL.
pub fn bare_channel(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.connect_timeout(Duration::from_secs(5));
    #[expect(clippy::disallowed_methods, reason = "this is the constructor of clients")]
    let channel = endpoint.connect_lazy();
    Ok(channel)
}
