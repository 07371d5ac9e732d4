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

fn token_source(context: &Context, connect: &Connect) -> Result<Arc<dyn TokenSource>, Failure> {
    if let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.trim().is_empty()) {
        return Ok(Arc::new(Given(token.trim().to_owned())));
    }
    let config = &context.config;
    if config.profile != Profile::Embedded {
        return Err(Failure::forbidden("there is no access token").advice(format!("put one into {TOKEN}")));
    }
    let folder = config.data_dir.display();
    let Some(mut user) = LocalUser::load(&config.data_dir)? else {
        return Err(Failure::forbidden(format!("nothing was ever served in the data folder {folder}"))
            .advice(format!("name the folder of the running services with --data-dir, or put a token into {TOKEN}")));
    };
    user.workspace_id = connect.workspace.unwrap_or(user.workspace_id);
    user.user_id = connect.user.unwrap_or(user.user_id);
    // Whoever can read the data folder operates the deployment.
    Ok(LocalTokens::new(&config.key_dir(), user, true, context.clock.clone())?)
}

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Clients {
    addresses: [String; 3],
    token: Arc<dyn TokenSource>,
    clock: SharedClock,
}

impl Clients {
    /// Finds out whom to call, and as whom. Connects on first use.
    pub(crate) fn new(context: &Context, connect: &Connect) -> Result<Self, Failure> {
        let address = |service: Service| {
            let name = service.to_string();
            let asked = connect.addresses.iter().rev().find(|(asked, _)| *asked == name);
            resolve(&context.config, asked.map(|(_, address)| address.as_str()), &name)
        };
        Ok(Self {
            addresses: [Service::Integration, Service::Parsing, Service::Invite].map(address),
            token: token_source(context, connect)?,
            clock: context.clock.clone(),
        })
    }

    fn address(&self, service: Service) -> &str {
        &self.addresses[service as usize]
    }

    /// An id under which one action can be repeated.
    pub(crate) fn request_id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    /// The same for errors of streams.
    pub(crate) fn failed(&self, service: Service, status: &Status) -> Failure {
        Failure::of_call(status, &service.to_string(), self.address(service))
    }

    /// Makes a call; tries again, with the same request, while nobody is there.
    pub(crate) async fn call<Q: Clone, R>(
        &self,
        service: Service,
        request: Q,
        send: impl AsyncFn(UserChannel, Q) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let channel = UserChannel::new(self.address(service), self.token.clone())
            .map_err(|error| Failure::new(format!("{} is no address of a service: {error}", self.address(service))))?;
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

    /// Watches until `each` answers true, following the watch when the service
    /// ends it: at the token's end, or when a replica goes.
    pub(crate) async fn watch<T>(
        &self,
        service: Service,
        open: impl AsyncFn(UserChannel, String) -> Result<Response<Streaming<T>>, Status>,
        mut each: impl FnMut(&T) -> bool,
        resume: impl Fn(&T) -> &str,
    ) -> Result<(), Failure> {
        let mut token = String::new();
        loop {
            let mut stream = self.call(service, token.clone(), &open).await?;
            let mut heard = false;
            let ended = loop {
                match stream.message().await {
                    Ok(Some(message)) => {
                        heard = true;
                        resume(&message).clone_into(&mut token);
                        if each(&message) {
                            return Ok(());
                        }
                    }
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                }
            };
            let goes_on = ended.as_ref().is_none_or(|status| {
                let reason = tgmesh_proto::status::reason(status);
                status.code() == Code::Unavailable || reason == Some(ErrorReason::TokenInvalid)
            });
            match ended {
                // One that ends before it has said anything would end again.
                Some(status) if !goes_on || !heard => return Err(self.failed(service, &status)),
                None if !heard => return Err(Failure::new(format!("the {service} service ended the watch"))),
                _ => self.clock.sleep(BACKOFF).await,
            }
        }
    }
}
