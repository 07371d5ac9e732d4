//! A world of a test's own: all services and an emulated Telegram in this process, workspaces, and clients.

#![expect(dead_code, reason = "each test uses a part of it")]

pub mod play;
pub mod sessions;
pub mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prost_reflect::MethodDescriptor;
use service_kit::SharedClock;
use service_kit::client::{TokenSource, UserChannel, bare_channel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::identity::{Acting, Issuer, SigningKey, USERS};
use service_kit::shutdown::Shutdown;
use telegram_emulator::{Emulator, EmulatorConfig, Handle, Scenario};
use tempfile::TempDir;
use tgmesh::config::Config;
use tgmesh::launch::{self, Running};
use tgmesh_proto::Caller;
use tonic::transport::Channel;

/// Long enough for anything, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The world of the emulator, with people besides of whom each can log in: 61 to 69, the last with [`PASSWORD`].
const SCENARIO: &str = include_str!("../../../crates/telegram-emulator/scenarios/tests.toml");

/// The password of the user 69.
pub const PASSWORD: &str = "a password of two words";

/// An engine that soon looks again.
const QUICK: &str = "[invite.engine]\nacquire_wait_ms = 500\n";

/// Where a service listens unless the settings say more of it: nothing has a port that something else may have.
fn anywhere(settings: &str) -> String {
    let sections = ["admin", "integration.server", "parsing.server", "invite.server"];
    let unsaid = sections.into_iter().filter(|section| !settings.contains(&format!("[{section}]")));
    unsaid.map(|section| format!("[{section}]\nlisten = '127.0.0.1:0'\n")).collect()
}

/// Settings with which nobody waits between two invites.
pub const UNLIMITED: &str = "
[integration.limits.invite]
per_day = 'off'
per_day_and_chat = 'off'
total_per_chat = 'off'
interval = { shortest_ms = 0, longest_ms = 0 }
pause_after = 'off'
[integration.limits.message]
per_day = 'off'
per_hour = 'off'
";

/// The phone number of a user of the scenario.
pub fn phone(user: i64) -> String {
    format!("+49 30 8000 00{user}")
}

/// All services and an emulated Telegram, in this process.
pub struct World {
    folder: TempDir,
    /// How everything runs.
    pub config: Config,
    /// Everybody's clock.
    pub clock: SharedClock,
    running: Running,
    /// An emulator that is not the product's own, but configured as Telegram.
    outside: Option<Emulator>,
    issuers: BTreeMap<&'static str, Arc<Issuer>>,
    channels: BTreeMap<&'static str, Channel>,
    /// A workspace and its user.
    pub owner: Acting,
    /// Another one.
    pub stranger: Acting,
}

impl World {
    /// Starts everything.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(UNLIMITED, "").await
    }

    /// Starts everything with these settings, and with more of a scenario.
    pub async fn start_with(settings: &str, scenario: &str) -> anyhow::Result<Self> {
        Self::launch(settings, scenario, None).await
    }

    /// The same with an emulator in the place of Telegram: as in production, with this application's hash.
    pub async fn start_as_outside(settings: &str, scenario: &str, api_hash: &str) -> anyhow::Result<Self> {
        let scenario = Scenario::parse(&format!("{SCENARIO}{}{scenario}", people()))?;
        let emulator = Emulator::start(EmulatorConfig { strict: true, ..EmulatorConfig::new(scenario) }).await?;
        let info = emulator.info();
        let mut telegram = format!("[telegram]\napi_id = 7\napi_hash = '{api_hash}'\n[telegram.data_centres]\n");
        for dc in &info.dcs {
            telegram.push_str(&format!("{} = '{}'\n", dc.id, dc.address));
        }
        telegram.push_str(&format!(
            "[[telegram.rsa_keys]]\nmodulus = '{}'\nexponent = '{}'\n",
            info.rsa_modulus, info.rsa_exponent
        ));
        Self::launch(&format!("{telegram}{settings}"), "", Some(emulator)).await
    }

    /// Starts some of the services alone; with these settings.
    pub async fn start_only(services: &[&str], settings: &str) -> anyhow::Result<Self> {
        Self::launch_only(services, settings, "", None).await
    }

    async fn launch(settings: &str, scenario: &str, outside: Option<Emulator>) -> anyhow::Result<Self> {
        Self::launch_only(&launch::SERVICES, settings, scenario, outside).await
    }

    async fn launch_only(
        services: &[&str],
        settings: &str,
        scenario: &str,
        outside: Option<Emulator>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (file, world) = (folder.path().join("tgmesh.toml"), folder.path().join("scenario.toml"));
        let dirs = format!("data_dir = '{}'\n", folder.path().join("data").display());
        let emulator = format!("[emulator]\nscenario = '{}'\ncontrol = '127.0.0.1:0'\n", world.display());
        std::fs::write(&file, format!("{dirs}{emulator}{QUICK}{}{settings}", anywhere(settings)))?;
        std::fs::write(&world, format!("{SCENARIO}{}{scenario}", people()))?;
        let config = Config::load(Some(&file))?;
        let clock = SystemClock::shared();
        let running = launch::start(&config, services, clock.clone(), Shutdown::new()).await?;
        let mut issuers = BTreeMap::new();
        for name in launch::SERVICES.into_iter().chain([USERS]) {
            let key = SigningKey::load_or_create(name, &config.key_dir().join(format!("{name}.key")))?;
            issuers.insert(name, Arc::new(Issuer::new(key, clock.clone())));
        }
        let mut channels = BTreeMap::new();
        for name in launch::SERVICES.into_iter().filter(|name| services.contains(name)) {
            let address = running.served.services.get(name).context("the service does not run")?;
            channels.insert(name, bare_channel(&format!("http://{address}"))?);
        }
        let workspace = || Acting { user_id: new_id(&*clock), workspace_id: new_id(&*clock) };
        let (owner, stranger) = (workspace(), workspace());
        Ok(Self { folder, config, clock, running, outside, issuers, channels, owner, stranger })
    }

    /// Starts the integration service once more, beside the one that runs: on the same database, which must be a server's.
    pub async fn replica(&self, folder: &Path) -> anyhow::Result<Running> {
        let mut config = self.config.clone();
        config.identity.key_dir = self.config.key_dir();
        config.data_dir = folder.to_owned();
        launch::start(&config, &["integration"], self.clock.clone(), Shutdown::new()).await
    }

    /// Stops everything.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        self.running.stop().await?;
        if let Some(emulator) = self.outside {
            emulator.shutdown().await;
        }
        Ok(self.folder)
    }

    /// Where everything is kept.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a service is served.
    pub fn address(&self, service: &str) -> std::net::SocketAddr {
        self.running.served.services[service]
    }

    /// The emulator.
    pub fn handle(&self) -> &Handle {
        self.outside.as_ref().or(self.running.emulator.as_ref()).expect("it runs").handle()
    }

    /// How the emulator is reached.
    pub fn emulator_info(&self) -> &telegram_emulator::Info {
        self.outside.as_ref().or(self.running.emulator.as_ref()).expect("it runs").info()
    }

    /// A new id, of a request or of nothing.
    pub fn id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    /// Whoever signs with the key of a service, or of the gateway.
    pub fn issuer(&self, name: &str) -> &Arc<Issuer> {
        &self.issuers[name]
    }

    /// A token of such a caller for a service.
    pub fn token(&self, caller: Caller, acting: Acting, audience: &'static str) -> String {
        match caller {
            Caller::User => self.issuer(USERS).user(acting, false),
            Caller::Operator => self.issuer(USERS).user(acting, true),
            Caller::Invite => self.issuer("invite").service(acting, audience),
            Caller::Parsing => self.issuer("parsing").service(acting, audience),
        }
    }

    /// The channel to the service that serves a method.
    pub fn channel_of(&self, method: &MethodDescriptor) -> Channel {
        self.channels[audience(method)].clone()
    }

    /// A channel on which each call is made by such a caller; for the generated clients.
    pub fn channel(&self, service: &'static str, caller: Caller, acting: Acting) -> UserChannel {
        self.channel_to(&self.running, service, caller, acting)
    }

    /// The same to a process that was started besides.
    pub fn channel_to(&self, running: &Running, service: &'static str, caller: Caller, acting: Acting) -> UserChannel {
        let address = &running.served.services[service];
        let issuer = match caller {
            Caller::User | Caller::Operator => USERS,
            Caller::Invite => "invite",
            Caller::Parsing => "parsing",
        };
        let bearer = Bearer { issuer: self.issuer(issuer).clone(), caller, acting, audience: service };
        UserChannel::new(&format!("http://{address}"), Arc::new(bearer)).expect("the address is one")
    }
}

/// The process that serves a method, as tokens name it.
pub fn audience(method: &MethodDescriptor) -> &'static str {
    match method.parent_service().package_name() {
        "tgmesh.invite.v1" => "invite",
        "tgmesh.parsing.v1" => "parsing",
        _ => "integration",
    }
}

/// The path of a method on the wire.
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// The people who can log in besides those of the scenario.
fn people() -> String {
    let one = |id: i64| {
        let password =
            if id == 69 { format!("password = '{PASSWORD}'\npassword_hint = 'two words'\n") } else { String::new() };
        format!(
            "\n[[user]]\nid = {id}\nphone = '{}'\nfirst_name = 'User {id}'\nusername = 'user_{id}'\n{password}",
            phone(id)
        )
    };
    let all: String = (61..70).map(one).collect();
    // A group in which all of them are, and may invite.
    format!(
        "{all}\n[[chat]]\nid = 601\nkind = 'supergroup'\ntitle = 'Ours'\nusername = 'our_group'\ncreator = 40\n\
         members = [11, 61, 62, 63, 64, 65, 66, 67, 68, 69]\n"
    )
}

#[derive(Debug)]
struct Bearer {
    issuer: Arc<Issuer>,
    caller: Caller,
    acting: Acting,
    audience: &'static str,
}

impl TokenSource for Bearer {
    fn token(&self) -> String {
        match self.caller {
            Caller::User => self.issuer.user(self.acting, false),
            Caller::Operator => self.issuer.user(self.acting, true),
            Caller::Invite | Caller::Parsing => self.issuer.service(self.acting, self.audience),
        }
    }
}
