//! Clients of the public contracts: where the services are, who calls, and
//! what is tried again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use service_kit::SharedClock;
use service_kit::client::{TokenSource, UserChannel};
use service_kit::clock::new_id;
use telegram_emulator::Info;
use tgmesh_proto::ErrorReason;
use tonic::{Code, Response, Status, Streaming};
use uuid::Uuid;

use super::serve::read_ready;
use super::{Context, Failure};
use crate::config::{Config, Profile};
use crate::local::{LocalTokens, LocalUser};

/// Holds an access token, in place of the embedded profile's own user.
const TOKEN: &str = "TGMESH_TOKEN";
/// How often a call that found nobody is made again, under the same request id.
const RETRIES: u32 = 3;
/// Pause before the first of them; each later one waits twice as long.
const BACKOFF: Duration = Duration::from_millis(200);
/// The longest pause before a watch is taken up again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long a watch that broke is tried to be taken up again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that operators call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Integration,
    Parsing,
    Invite,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integration => "integration",
            Self::Parsing => "parsing",
            Self::Invite => "invite",
        })
    }
}

/// Whom to call, and as whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Address of a service, such as invite=10.0.0.7:50052.
    #[arg(long = "address", global = true, value_name = "SERVICE=ADDRESS", value_parser = service_address)]
    addresses: Vec<(String, String)>,
    #[command(flatten)]
    caller: Caller,
}

/// As whom to call.
#[derive(Debug, Clone, Args)]
pub(crate) struct Caller {
    /// Act in this workspace instead of the data folder's own.
    #[arg(long, global = true, value_name = "UUID")]
    workspace: Option<Uuid>,
    /// Act as this user instead of the data folder's own.
    #[arg(long, global = true, value_name = "UUID")]
    user: Option<Uuid>,
}

fn service_address(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if crate::launch::SERVICES.contains(&name) && !address.is_empty() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err("expected SERVICE=ADDRESS with integration, parsing or invite".to_owned()),
    }
}

/// Where a service is: what was asked for, else where a running process says it
/// is, else where the configuration expects it.
pub(crate) fn resolve(config: &Config, asked: Option<&str>, service: &str) -> String {
    let found = || read_ready(&config.data_dir)?.services.get(service).map(ToString::to_string);
    let configured = || match service {
        "parsing" => config.addresses.parsing.clone(),
        "invite" => config.addresses.invite.clone(),
        _ => config.addresses.integration.clone(),
    };
    let address = asked.map(str::to_owned).or_else(found).unwrap_or_else(configured);
    if address.contains("://") { address } else { format!("http://{address}") }
}

/// The emulator that stands in for Telegram here, if any.
pub(crate) fn emulator(config: &Config) -> Option<Info> {
    let elsewhere = |file: &Path| crate::network::read_info(file).ok();
    let file = &config.telegram.emulator_info;
    if file.as_os_str().is_empty() { read_ready(&config.data_dir)?.emulator } else { elsewhere(file) }
}

/// A token that was given.
struct Given(String);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

impl TokenSource for Given {
    fn token(&self) -> String {
        self.0.clone()
    }
}

fn token_source(context: &Context, caller: &Caller) -> Result<Arc<dyn TokenSource>, Failure> {
    if let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.trim().is_empty()) {
        return Ok(Arc::new(Given(token.trim().to_owned())));
    }
    if context.config.profile != Profile::Embedded {
        return Err(Failure::forbidden("there is no access token").advice(format!("put one into {TOKEN}")));
    }
    Ok(local_tokens(context, caller)?)
}

/// The tokens of the data folder's own user.
pub(crate) fn local_tokens(context: &Context, caller: &Caller) -> Result<Arc<LocalTokens>, Failure> {
    let config = &context.config;
    let folder = config.data_dir.display();
    let Some(mut user) = LocalUser::load(&config.data_dir)? else {
        return Err(Failure::forbidden(format!("nothing was ever served in the data folder {folder}"))
            .advice(format!("name the folder of the running services with --data-dir, or put a token into {TOKEN}")));
    };
    user.workspace_id = caller.workspace.unwrap_or(user.workspace_id);
    user.user_id = caller.user.unwrap_or(user.user_id);
    // Whoever can read the data folder operates the deployment.
    Ok(LocalTokens::new(&config.key_dir(), user, true, context.clock.clone())?)
}

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Clients {
    config: Config,
    asked: Vec<(String, String)>,
    token: Arc<dyn TokenSource>,
    clock: SharedClock,
}

/// What a watch hears.
#[derive(Debug)]
pub(crate) enum Heard<'a, T> {
    Message(&'a T),
    /// The connection broke, for the first time since the last message; it is taken up again.
    Broken(&'a Failure),
}

impl Clients {
    /// Finds out whom to call, and as whom. Connects on first use.
    pub(crate) fn new(context: &Context, connect: &Connect) -> Result<Self, Failure> {
        Ok(Self {
            config: context.config.clone(),
            asked: connect.addresses.clone(),
            token: token_source(context, &connect.caller)?,
            clock: context.clock.clone(),
        })
    }

    /// Where a service is now: one that was started again may be elsewhere.
    fn address(&self, service: Service) -> String {
        let name = service.to_string();
        let asked = self.asked.iter().rev().find(|(asked, _)| *asked == name);
        resolve(&self.config, asked.map(|(_, address)| address.as_str()), &name)
    }

    /// An id under which one action can be repeated.
    pub(crate) fn request_id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    /// The same for errors of streams.
    pub(crate) fn failed(&self, service: Service, status: &Status) -> Failure {
        Failure::of_call(status, &service.to_string(), &self.address(service))
    }

    /// Makes a call; tries again, with the same request, while nobody is there.
    pub(crate) async fn call<Q: Clone, R>(
        &self,
        service: Service,
        request: Q,
        send: impl AsyncFn(UserChannel, Q) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let address = self.address(service);
        let channel = UserChannel::new(&address, self.token.clone())
            .map_err(|error| Failure::new(format!("{address} is no address of a service: {error}")))?;
        let mut tried = 0;
        loop {
            match send(channel.clone(), request.clone()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if status.code() == Code::Unavailable && tried < RETRIES => {
                    self.clock.sleep(BACKOFF * 2_u32.pow(tried)).await;
                    tried += 1;
                }
                Err(status) => return Err(self.failed(service, &status)),
            }
        }
    }

    /// Watches until `each` answers true, and takes the watch up again where it
    /// was when the service ends it or cannot be reached any more.
    ///
    /// # Errors
    /// That of the first opening; later only what no patience mends.
    pub(crate) async fn watch<T>(
        &self,
        service: Service,
        open: impl AsyncFn(UserChannel, String) -> Result<Response<Streaming<T>>, Status>,
        mut each: impl FnMut(Heard<'_, T>) -> bool,
        resume: impl Fn(&T) -> &str,
    ) -> Result<(), Failure> {
        let mut token = String::new();
        let (mut heard_ever, mut broken) = (false, None::<Broken>);
        loop {
            let mut heard = false;
            let failure = match self.call(service, token.clone(), &open).await {
                Ok(mut stream) => loop {
                    match stream.message().await {
                        Ok(Some(message)) => {
                            (heard, heard_ever, broken) = (true, true, None);
                            resume(&message).clone_into(&mut token);
                            if each(Heard::Message(&message)) {
                                return Ok(());
                            }
                        }
                        Ok(None) => break Failure::unavailable(format!("the {service} service ended the watch")),
                        Err(status) => break self.failed(service, &status),
                    }
                },
                Err(failure) => failure,
            };
            // A stream ends with its token: the next one has another.
            if heard && failure.reason() == Some(ErrorReason::TokenInvalid) {
                continue;
            }
            if !heard_ever || !failure.is_unavailable() {
                return Err(failure);
            }
            let now = self.clock.monotonic();
            if broken.is_none() {
                each(Heard::Broken(&failure));
            }
            let Some(pause) = broken.get_or_insert(Broken::at(now)).pause(now) else {
                return Err(failure.advice(
                    "what was watched goes on by itself once the service is back: watch it again then; \
                     `tgmesh doctor` looks for the fault",
                ));
            };
            self.clock.sleep(pause).await;
        }
    }
}

/// A watch that broke.
#[derive(Debug)]
struct Broken {
    since: Duration,
    next: Duration,
}

impl Broken {
    fn at(now: Duration) -> Self {
        Self { since: now, next: BACKOFF }
    }

    /// How long to wait before the next attempt; `None` when it was tried long enough.
    fn pause(&mut self, now: Duration) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_BACKOFF);
        (now.saturating_sub(self.since) < PATIENCE).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_watch_is_tried_ever_more_rarely_and_not_for_ever() {
        let begun = Duration::from_secs(1_000);
        let mut now = begun;
        let mut broken = Broken::at(now);
        let mut pauses = Vec::new();
        while let Some(pause) = broken.pause(now) {
            now += pause;
            pauses.push(pause);
        }
        assert_eq!(pauses[..3], [BACKOFF, BACKOFF * 2, BACKOFF * 4]);
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_BACKOFF), "{pauses:?}");
        let tried = now - begun;
        assert!((PATIENCE..PATIENCE + LONGEST_BACKOFF).contains(&tried), "{tried:?}");
    }
}
