//! Real processes on fixed ports: the three services. The emulator, which nobody
//! kills, is in the test's own process.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use service_kit::SharedClock;
use service_kit::client::{TokenSource, UserChannel, bare_channel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::identity::{Acting, Issuer, SigningKey, USERS};
use telegram_emulator::{Emulator, EmulatorConfig, Handle, Scenario};
use tempfile::TempDir;
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_tests::database::{self, TestDatabase};
use tgmesh_tests::process::{Launch, Process, binary};
use tgmesh_tests::wait;
use tonic::transport::Channel;

use super::brake::Brake;
use super::world::World;
use super::{Histogram, PATIENCE, Service, Window};

/// Longest start of a process.
const START: Duration = Duration::from_secs(60);

/// What differs between stages.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub world: World,
    /// Between two invites of an account.
    pub invite_interval_ms: u64,
    pub login_life_s: u64,
    /// PostgreSQL in place of SQLite files.
    pub postgres: bool,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    // Processes first: they end before their folder and databases go.
    processes: BTreeMap<Service, Process>,
    emulator: Emulator,
    pub brakes: BTreeMap<Service, Brake>,
    _databases: BTreeMap<Service, TestDatabase>,
    addresses: BTreeMap<Service, String>,
    control: String,
    config: PathBuf,
    settings: Settings,
    tokens: Arc<Tokens>,
    clock: SharedClock,
    pub kills: Histogram,
    folder: TempDir,
}

#[derive(Debug)]
struct Tokens {
    issuer: Issuer,
    acting: Acting,
}

impl TokenSource for Tokens {
    fn token(&self) -> String {
        self.issuer.user(self.acting, false)
    }
}

impl Stage {
    /// Starts everything.
    pub async fn set(settings: Settings) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tgmesh-kills-").tempdir()?;
        let binary = binary()?;
        let ports = Ports::pick()?;
        let info = folder.path().join("emulator.json");
        let control = SocketAddr::from(([127, 0, 0, 1], 0));
        let scenario = Scenario::parse(&settings.world.scenario())?;
        let emulator =
            Emulator::start(EmulatorConfig { strict: true, control: Some(control), ..EmulatorConfig::new(scenario) });
        let emulator = emulator.await?;
        emulator.write_info_file(&info)?;
        let control = emulator.info().control.context("the emulator is not controlled")?;

        let mut databases = BTreeMap::new();
        if settings.postgres {
            for service in Service::ALL {
                databases.insert(service, database::postgres().await?);
            }
        }
        let addresses: BTreeMap<Service, String> =
            Service::ALL.into_iter().map(|service| (service, format!("127.0.0.1:{}", ports.of(service)))).collect();
        let data = folder.path().join("data");
        let config = folder.path().join("tgmesh.toml");
        let clock = SystemClock::shared();
        let acting = Acting { user_id: new_id(&*clock), workspace_id: new_id(&*clock) };
        let key = SigningKey::load_or_create(USERS, &data.join("keys").join(format!("{USERS}.key")))?;
        let tokens = Arc::new(Tokens { issuer: Issuer::new(key, clock.clone()), acting });
        let mut stage = Self {
            processes: BTreeMap::new(),
            emulator,
            brakes: BTreeMap::new(),
            _databases: databases,
            addresses,
            control: format!("http://{control}"),
            config,
            settings,
            tokens,
            clock,
            kills: Histogram::default(),
            folder,
        };
        stage.configure(settings.login_life_s)?;
        for service in Service::ALL {
            let launch = Launch::new(service.name(), &binary, stage.folder.path())
                .arguments(["serve", service.name(), "--config"])
                .arguments([stage.config.display().to_string()])
                .variable("TGMESH__ADMIN__LISTEN", "127.0.0.1:0")
                .ready_file(data.join(format!("ready-{}.json", service.name())));
            stage.processes.insert(service, launch.start()?);
            // One after another: they make the keys that they share.
            stage.ready(service).await?;
            let brake = Brake::new(&stage.database(service, &data)).await?;
            stage.brakes.insert(service, brake);
        }
        Ok(stage)
    }

    fn database(&self, service: Service, data: &Path) -> String {
        match self._databases.get(&service) {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite://{}?mode=rwc", data.join(format!("{}.db", service.name())).display()),
        }
    }

    /// Writes the configuration; each process reads it when it starts.
    pub fn configure(&self, login_life_s: u64) -> anyhow::Result<()> {
        let folder = self.folder.path().display();
        let address = |service: Service| self.addresses.get(&service).cloned().unwrap_or_default();
        let (integration, parsing, invite) =
            (address(Service::Integration), address(Service::Parsing), address(Service::Invite));
        let url = |service: Service| {
            self._databases.get(&service).map(|database| database.url().to_owned()).unwrap_or_default()
        };
        let interval = self.settings.invite_interval_ms;
        let text = format!(
            r#"
data_dir = "{folder}/data"
grace_s = 5
[telegram]
emulator_info = "{folder}/emulator.json"
[addresses]
integration = "http://{integration}"
parsing = "http://{parsing}"
invite = "http://{invite}"
[databases.integration]
url = "{}"
[integration.server]
listen = "{integration}"
[integration.leases]
sweep_ms = 200
look_ms = 200
[integration.rules]
login_life_s = {login_life_s}
check_one_invite_in = 5
[integration.limits]
resolve_username_per_day = "off"
[integration.limits.invite]
per_day = "off"
per_day_and_chat = "off"
total_per_chat = "off"
pause_after = "off"
interval = {{ shortest_ms = {interval}, longest_ms = {interval} }}
[integration.speeds.fast]
interval_ms = 20
per_minute = 100000
[databases.parsing]
url = "{}"
[parsing.server]
listen = "{parsing}"
[parsing.engine]
claim_ttl_s = 1
lease_ttl_s = 2
lease_wait_s = 5
[databases.invite]
url = "{}"
[invite.server]
listen = "{invite}"
[invite.engine]
tick_ms = 100
acquire_wait_ms = 1000
owner_ttl_ms = 1500
lease_ttl_ms = 2000
reconcile_retry_ms = 300
"#,
            url(Service::Integration),
            url(Service::Parsing),
            url(Service::Invite),
        );
        std::fs::write(&self.config, text)?;
        Ok(())
    }

    /// Kills a process at once, in this window of its work.
    pub fn kill(&mut self, service: Service, window: Window) -> anyhow::Result<()> {
        self.process(service)?.kill()?;
        self.say(&format!("{} killed: {window}", service.name()));
        self.kills.count(service, window);
        Ok(())
    }

    /// Starts it again, and waits until it serves.
    pub async fn restart(&mut self, service: Service) -> anyhow::Result<()> {
        self.process(service)?.restart()?;
        self.ready(service).await?;
        self.say(&format!("{} serves again", service.name()));
        Ok(())
    }

    async fn ready(&mut self, service: Service) -> anyhow::Result<()> {
        self.process(service)?.ready(START).await?;
        Ok(())
    }

    /// Tells what happens, and when.
    #[expect(clippy::print_stdout, reason = "whoever looks at a failure wants to know what came before it")]
    pub fn say(&self, what: &str) {
        println!("{:8.2} s  {what}", self.clock.monotonic().as_secs_f64());
    }

    /// A process.
    pub fn process(&mut self, service: Service) -> anyhow::Result<&mut Process> {
        self.processes.get_mut(&service).context("no such process")
    }

    /// The brake in a process's database.
    pub fn brake(&mut self, service: Service) -> anyhow::Result<&mut Brake> {
        self.brakes.get_mut(&service).context("no such database")
    }

    /// A new id for a call.
    pub fn request_id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    fn channel(&self, service: Service) -> anyhow::Result<UserChannel> {
        // A channel of its own for each call: none outlives the process that it reached.
        let address = self.addresses.get(&service).context("no such service")?;
        UserChannel::new(&format!("http://{address}"), self.tokens.clone())
    }

    pub fn integration(&self) -> anyhow::Result<IntegrationServiceClient<UserChannel>> {
        Ok(IntegrationServiceClient::new(self.channel(Service::Integration)?))
    }

    pub fn parsing(&self) -> anyhow::Result<ParsingServiceClient<UserChannel>> {
        Ok(ParsingServiceClient::new(self.channel(Service::Parsing)?))
    }

    pub fn invite(&self) -> anyhow::Result<InviteServiceClient<UserChannel>> {
        Ok(InviteServiceClient::new(self.channel(Service::Invite)?))
    }

    /// The emulator.
    pub fn emulated(&self) -> &Handle {
        self.emulator.handle()
    }

    /// The emulator's control.
    pub fn control(&self) -> anyhow::Result<EmulatorServiceClient<Channel>> {
        Ok(EmulatorServiceClient::new(bare_channel(&self.control)?))
    }

    /// Holds requests of a method, after letting some pass.
    pub async fn hold(&self, method: &str, kind: emulator::FaultKind, skip: u32, times: u32) -> anyhow::Result<()> {
        let filter = emulator::FaultFilter { method: method.to_owned(), ..Default::default() };
        let fault = emulator::Fault { filter: Some(filter), kind: kind.into(), skip, times, ..Default::default() };
        self.control()?.inject_fault(emulator::InjectFaultRequest { fault: Some(fault) }).await?;
        Ok(())
    }

    /// Waits until a request is held.
    pub async fn held(&self) -> anyhow::Result<emulator::Hold> {
        let watching = async {
            let mut watch = self.control()?.watch_holds(emulator::WatchHoldsRequest::default()).await?.into_inner();
            watch.message().await?.context("the watch ended").and_then(|held| held.hold.context("no hold"))
        };
        tokio::time::timeout(PATIENCE, watching).await.context("no request was held")?
    }

    /// Clears all faults, and lets go of what is held.
    pub async fn let_go(&self) -> anyhow::Result<()> {
        let mut control = self.control()?;
        control.clear_faults(emulator::ClearFaultsRequest::default()).await?;
        for hold in control.list_holds(emulator::ListHoldsRequest {}).await?.into_inner().holds {
            control.release_hold(emulator::ReleaseHoldRequest { hold_id: hold.id, drop: false }).await?;
        }
        Ok(())
    }

    /// All recorded calls of a method.
    pub async fn calls(&self, method: &str) -> anyhow::Result<Vec<emulator::Call>> {
        let (mut control, mut calls) = (self.control()?, Vec::new());
        loop {
            let filter = emulator::CallFilter { method: method.to_owned(), ..Default::default() };
            let after = calls.last().map_or(0, |call: &emulator::Call| call.number);
            let request = emulator::ListCallsRequest { filter: Some(filter), after, limit: 1_000 };
            let page = control.list_calls(request).await?.into_inner().calls;
            if page.is_empty() {
                return Ok(calls);
            }
            calls.extend(page);
        }
    }

    /// Everybody of the world.
    pub async fn users(&self) -> anyhow::Result<Vec<emulator::User>> {
        let mut stream = self.control()?.list_users(emulator::ListUsersRequest {}).await?.into_inner();
        let mut users = Vec::new();
        while let Some(page) = stream.message().await? {
            users.extend(page.users);
        }
        Ok(users)
    }

    /// Everybody who is or was in a chat.
    pub async fn members(&self, chat_id: i64) -> anyhow::Result<Vec<emulator::Member>> {
        let mut stream = self.control()?.list_members(emulator::ListMembersRequest { chat_id }).await?.into_inner();
        let mut members = Vec::new();
        while let Some(page) = stream.message().await? {
            members.extend(page.members);
        }
        Ok(members)
    }

    /// Counts of everything recorded.
    pub async fn summary(&self) -> anyhow::Result<emulator::GetSummaryResponse> {
        Ok(self.control()?.get_summary(emulator::GetSummaryRequest {}).await?.into_inner())
    }

    /// Waits for something of the emulator or of a service.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Self) -> Option<T>) -> anyhow::Result<T> {
        wait::until(what, PATIENCE, async || look(self).await).await
    }

    /// When a test failed: what the processes wrote is kept for a while.
    pub fn keep_logs(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Ports that are free, below those that the system gives out by itself, so
/// that a process finds its own again when it is started again.
struct Ports([u16; 3]);

impl Ports {
    fn pick() -> anyhow::Result<Self> {
        let mut free = Vec::new();
        static STAGES: AtomicU16 = AtomicU16::new(0);
        // Far from those of other stages, of this process and of others.
        let stage = STAGES.fetch_add(100, Ordering::Relaxed);
        let process = u16::try_from(std::process::id() * 10 % 20_000)?;
        let start = 10_000 + (process + stage) % 20_000;
        for port in (start..32_000).chain(10_000..start) {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                free.push(port);
            }
            if let [integration, parsing, invite] = free[..] {
                return Ok(Self([integration, parsing, invite]));
            }
        }
        anyhow::bail!("no free ports")
    }

    fn of(&self, service: Service) -> u16 {
        self.0[service as usize]
    }
}
