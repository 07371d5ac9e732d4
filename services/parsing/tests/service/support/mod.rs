//! A parsing service in this process, over real gRPC.

pub mod integration;

use std::sync::Arc;
use std::time::Duration;

use self::integration::Integration;
use anyhow::Context as _;
use service_kit::SharedClock;
use service_kit::client::{ServiceChannel, TokenSource, UserChannel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::config::ServerConfig;
use service_kit::db::Db;
use service_kit::identity::{Acting, Issuer, SigningKey, TrustedKeys, USERS, Verifier};
use service_kit::sealing::Sealer;
use service_kit::server::Server;
use service_kit::service::Dependencies;
use service_kit::shutdown::Shutdown;
use tgmesh_migrations::Schema;
use tgmesh_parsing::{Config, EngineConfig};
use tgmesh_proto::lease::v1::lease_service_server::LeaseServiceServer;
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_proto::telegram::v1::telegram_service_server::TelegramServiceServer;
use tgmesh_tests::database::TestDatabase;
use tgmesh_tests::wait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Long for anything here, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

fn server_config() -> ServerConfig {
    ServerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        max_concurrent_calls: 1_000,
        max_message_bytes: 4 * 1024 * 1024,
        max_connection_age_s: 600,
    }
}

/// What a run of the service needs, and its stand-in for integration.
pub struct World {
    pub integration: Integration,
    pub db: Db,
    pub clock: SharedClock,
    address: String,
    users: Arc<Issuer>,
    invite: Arc<Issuer>,
    parsing_key: SigningKey,
    trusted: TrustedKeys,
    shutdown: Shutdown,
    _database: TestDatabase,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.force();
    }
}

impl World {
    pub async fn new(database: TestDatabase, script: integration::Script) -> anyhow::Result<Self> {
        let clock = SystemClock::shared();
        let db = Db::connect(&database.url().to_owned().into(), 8).await?;
        tgmesh_migrations::migrate(db.conn(), Schema::Parsing).await?;
        let mut trusted = TrustedKeys::default();
        let mut key = |issuer: &str| -> anyhow::Result<SigningKey> {
            let key = SigningKey::generate(issuer)?;
            trusted.trust(issuer, &key.public())?;
            Ok(key)
        };
        let (users, invite, parsing_key) = (key(USERS)?, key("invite")?, key("parsing")?);
        let integration = Integration::new(script);
        let shutdown = Shutdown::new();
        let verifier = Verifier::new("integration", trusted.clone(), clock.clone());
        let server = Server::new("integration", server_config(), verifier, clock.clone())
            .mount(LeaseServiceServer::new(integration.clone()))
            .mount(TelegramServiceServer::new(integration.clone()))
            .bind()
            .await?;
        let address = format!("http://{}", server.address());
        tokio::spawn(server.serve(shutdown.clone()));
        Ok(Self {
            integration,
            db,
            address,
            users: Arc::new(Issuer::new(users, clock.clone())),
            invite: Arc::new(Issuer::new(invite, clock.clone())),
            parsing_key,
            trusted,
            shutdown,
            clock,
            _database: database,
        })
    }

    /// Starts the service over the world's database.
    pub async fn start(&self) -> anyhow::Result<Running> {
        self.start_with(1).await
    }

    /// Starts it with claims of so many seconds.
    pub async fn start_with(&self, claim_ttl_s: u64) -> anyhow::Result<Running> {
        let config = Config {
            server: server_config(),
            engine: EngineConfig {
                claim_ttl_s,
                lease_wait_s: 1,
                lease_ttl_s: 15,
                batch_timeout_s: 120,
                max_running_tasks: 200,
            },
        };
        let deps = Dependencies {
            db: self.db.clone(),
            sealer: Sealer::new(&[vec![5; 32]])?,
            issuer: Arc::new(Issuer::new(self.parsing_key.clone(), self.clock.clone())),
            trusted: self.trusted.clone(),
            clock: self.clock.clone(),
        };
        let shutdown = Shutdown::new();
        let (ready, served) = oneshot::channel();
        let run = tokio::spawn(tgmesh_parsing::run(config, self.address.clone(), deps, shutdown.clone(), ready));
        let address = format!("http://{}", served.await.context("the service did not start")?.address);
        Ok(Running { address, shutdown, run })
    }

    /// A user of the workspace of this number.
    pub fn user(&self, running: &Running, workspace: u128) -> anyhow::Result<User> {
        let acting = Acting { user_id: Uuid::from_u128(workspace + 1), workspace_id: Uuid::from_u128(workspace) };
        let token = Token { issuer: self.users.clone(), acting };
        let channel = UserChannel::new(&running.address, Arc::new(token))?;
        Ok(User { client: ParsingServiceClient::new(channel), clock: self.clock.clone() })
    }

    /// The invite service, acting for a user of the workspace of this number.
    pub fn invite(
        &self,
        running: &Running,
        workspace: u128,
    ) -> anyhow::Result<(ParsingServiceClient<ServiceChannel>, Acting)> {
        let channel = ServiceChannel::new(&running.address, "parsing", self.invite.clone())?;
        let acting = Acting { user_id: Uuid::from_u128(workspace + 1), workspace_id: Uuid::from_u128(workspace) };
        Ok((ParsingServiceClient::new(channel), acting))
    }
}

#[derive(Debug)]
struct Token {
    issuer: Arc<Issuer>,
    acting: Acting,
}

impl TokenSource for Token {
    fn token(&self) -> String {
        self.issuer.user(self.acting, false)
    }
}

/// A service that runs.
pub struct Running {
    address: String,
    shutdown: Shutdown,
    run: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Asks it to stop, and waits for its end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.run).await???;
        Ok(())
    }

    /// Drops it in the middle of whatever it does.
    pub async fn kill(self) {
        self.shutdown.force();
        self.run.abort();
        // Cancelled is what it should be.
        let _ = self.run.await;
    }
}

/// A user and what he calls.
pub struct User {
    pub client: ParsingServiceClient<UserChannel>,
    clock: SharedClock,
}

impl User {
    pub fn request_id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    /// A request for one source.
    pub fn order(&self, kind: wire::ParseKind) -> wire::CreateParseTasksRequest {
        wire::CreateParseTasksRequest {
            request_id: self.request_id(),
            sources: vec!["@rustberlin".into()],
            kind: kind as i32,
            ..Default::default()
        }
    }

    /// Creates one task, and answers its id.
    pub async fn create(&mut self, order: wire::CreateParseTasksRequest) -> anyhow::Result<String> {
        let answer = self.client.create_parse_tasks(order).await?.into_inner();
        Ok(answer.parse_tasks.into_iter().next().context("no task was created")?.id)
    }

    pub async fn get(&mut self, id: &str) -> anyhow::Result<wire::ParseTask> {
        let request = wire::GetParseTaskRequest { parse_task_id: id.to_owned() };
        self.client.get_parse_task(request).await?.into_inner().parse_task.context("no task came")
    }

    /// Waits until the task is as it should be.
    pub async fn until(
        &mut self,
        id: &str,
        what: &str,
        good: impl Fn(&wire::ParseTask) -> bool,
    ) -> anyhow::Result<wire::ParseTask> {
        let waited = wait::until(what, PATIENCE, async || self.get(id).await.ok().filter(|task| good(task))).await;
        match waited {
            Ok(task) => Ok(task),
            Err(error) => Err(error.context(format!("{:#?}", self.get(id).await?))),
        }
    }

    /// Waits until the task is in this state.
    pub async fn until_state(&mut self, id: &str, state: State) -> anyhow::Result<wire::ParseTask> {
        self.until(id, state.as_str_name(), |task| task.state() == state).await
    }

    /// The ids of all whom a task found, page by page.
    pub async fn found(&mut self, id: &str) -> anyhow::Result<Vec<i64>> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = wire::ListResultsRequest {
                parse_task_id: id.to_owned(),
                page_size: 70,
                page_token,
                ..Default::default()
            };
            let page = self.client.list_results(request).await?.into_inner();
            found.extend(page.results.iter().map(user_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }
}

/// Who was found.
pub fn user_id(result: &wire::ParseResult) -> i64 {
    match &result.result {
        Some(wire::parse_result::Result::Person(person)) => person.user_id,
        _ => 0,
    }
}

/// Runs each test over SQLite and over PostgreSQL.
macro_rules! on_both_databases {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                super::$test(tgmesh_tests::database::sqlite()?).await
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> anyhow::Result<()> {
                super::$test(tgmesh_tests::database::postgres().await?).await
            })*
        }
    };
}
pub(crate) use on_both_databases;
