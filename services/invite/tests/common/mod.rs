//! What the tests of the service share: databases of their own, a world that
//! stands for the integration and parsing services, and the service itself.

#![expect(dead_code, reason = "each test file uses a part of it")]

pub mod results;
pub mod stub;
pub mod world;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use service_kit::SharedClock;
use service_kit::client::{TokenSource, UserChannel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::config::ServerConfig;
use service_kit::db::Db;
use service_kit::identity::{Acting, Issuer, SigningKey, TrustedKeys, USERS};
use service_kit::sealing::Sealer;
use service_kit::service::Dependencies;
use service_kit::shutdown::Shutdown;
use tgmesh_invite::{Addresses, Config, EngineConfig, ImportConfig};
use tgmesh_migrations::Schema;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;
use tgmesh_proto::invite::v1::*;
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::world::World;

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Client = InviteServiceClient<UserChannel>;

/// A database with the schema in place.
pub struct TestDb {
    pub db: Db,
    _folder: tempfile::TempDir,
}

/// One database of each kind.
pub async fn databases() -> Vec<TestDb> {
    let server = std::env::var("TGMESH_TEST_POSTGRES_URL")
        .expect("TGMESH_TEST_POSTGRES_URL is not set: run through `cargo xtask test`");
    let folder = tempfile::tempdir().unwrap();
    let name = format!("invite_{}", Uuid::new_v4().simple());
    let admin = Db::connect(&server.clone().into(), 1).await.unwrap();
    admin.conn().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let urls = [format!("sqlite://{}/invite.db?mode=rwc", folder.path().display()), format!("{base}/{name}")];
    let mut folders = vec![folder, tempfile::tempdir().unwrap()];
    let mut found = Vec::new();
    for url in urls {
        let db = Db::connect(&url.into(), 8).await.unwrap();
        tgmesh_migrations::migrate(db.conn(), Schema::Invite).await.unwrap();
        found.push(TestDb { db, _folder: folders.remove(0) });
    }
    found
}

/// Runs a test on each kind of database.
pub async fn on_each<F, R>(test: F)
where
    F: Fn(Db) -> R,
    R: Future<Output = ()>,
{
    for database in databases().await {
        let kind = if database.db.is_sqlite() { "sqlite" } else { "postgresql" };
        tokio::time::timeout(PATIENCE, test(database.db.clone())).await.unwrap_or_else(|_| panic!("{kind}: too slow"));
    }
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

/// The service under test, and the world that it works in.
pub struct Service {
    pub client: Client,
    pub world: World,
    pub db: Db,
    pub clock: SharedClock,
    pub acting: Acting,
    users: Vec<u8>,
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

pub fn config() -> Config {
    Config {
        server: ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            max_concurrent_calls: 100,
            max_message_bytes: 4 << 20,
            max_connection_age_s: 600,
        },
        engine: EngineConfig {
            tick_ms: 20,
            acquire_wait_ms: 300,
            patience_ms: 200,
            owner_ttl_ms: 600,
            reconcile_retry_ms: 50,
            max_workers: 256,
            max_workers_per_campaign: 64,
            lease_ttl_ms: 30_000,
            fair_share_ms: 20_000,
        },
        import: ImportConfig {
            max_rows: 5_000_000,
            max_bytes: 4 << 30,
            kept_s: 24 * 60 * 60,
            batch: 500,
            staging_s: 600,
        },
    }
}

impl Service {
    /// Starts it over a database, in a world with so many accounts.
    pub async fn start(db: Db, accounts: usize) -> Self {
        Self::start_in(db, World::start(accounts).await).await
    }

    /// Starts it in a world that exists already.
    pub async fn start_in(db: Db, world: World) -> Self {
        Self::start_with(config(), db, world).await
    }

    /// Starts it with this configuration.
    pub async fn start_with(config: Config, db: Db, world: World) -> Self {
        let clock = SystemClock::shared();
        let users = SigningKey::generate(USERS).unwrap();
        let seed = vec![5; 32];
        let users = SigningKey::from_seed(users.issuer(), &seed).unwrap();
        let mut trusted = TrustedKeys::default();
        trusted.trust(USERS, &users.public()).unwrap();
        let deps = Dependencies {
            db: db.clone(),
            sealer: Sealer::new(&[vec![7; 32]]).unwrap(),
            issuer: Arc::new(Issuer::new(SigningKey::generate("invite").unwrap(), clock.clone())),
            trusted,
            clock: clock.clone(),
        };
        let (sender, ready) = tokio::sync::oneshot::channel();
        let shutdown = Shutdown::new();
        let addresses = Addresses { integration: world.url(), parsing: world.url() };
        let task = tokio::spawn(tgmesh_invite::run(config, addresses, deps, shutdown.clone(), sender));
        let address = match ready.await {
            Ok(ready) => ready.address,
            Err(_) => panic!("the service did not start: {:?}", task.await),
        };
        let acting = Acting { user_id: Uuid::from_u128(1), workspace_id: Uuid::from_u128(2) };
        let client = client(&seed, address, acting, &clock);
        Self { client, world, db, clock, acting, users: seed, address, shutdown, task }
    }

    /// A client for another user.
    pub fn client_of(&self, acting: Acting) -> Client {
        client(&self.users, self.address, acting, &self.clock)
    }

    /// Ends the service as `kill -9` does: in the middle of whatever it does.
    pub async fn kill(self) -> World {
        self.task.abort();
        let _ = self.task.await;
        self.world
    }

    /// Ends it as a signal does.
    pub async fn stop(self) -> World {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
        self.world
    }

    pub fn id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    /// A campaign with these people, as a draft.
    pub async fn create(&mut self, people: &[String]) -> Campaign {
        let request = self.request(people);
        self.client.create_campaign(request).await.unwrap().into_inner().campaign.unwrap()
    }

    pub fn request(&self, people: &[String]) -> CreateCampaignRequest {
        CreateCampaignRequest {
            request_id: self.id(),
            kind: CampaignKind::InviteToChat as i32,
            chat: "@rustberlin".into(),
            audience: Some(Audience {
                source: Some(Source::Inline(InlineAudience { entries: people.to_vec() })),
                ..Default::default()
            }),
            consent_basis: ConsentBasis::OptIn as i32,
            ..Default::default()
        }
    }

    pub async fn start_campaign(&mut self, campaign_id: &str) -> Campaign {
        let request = StartCampaignRequest { request_id: self.id(), campaign_id: campaign_id.into() };
        self.client.start_campaign(request).await.unwrap().into_inner().campaign.unwrap()
    }

    pub async fn get(&mut self, campaign_id: &str) -> Campaign {
        let request = GetCampaignRequest { campaign_id: campaign_id.into() };
        self.client.get_campaign(request).await.unwrap().into_inner().campaign.unwrap()
    }

    /// Watches a campaign until it is as wanted.
    pub async fn until(&mut self, campaign_id: &str, what: impl Fn(&Campaign) -> bool) -> Campaign {
        let request = WatchCampaignRequest { campaign_id: campaign_id.into(), ..Default::default() };
        let mut stream = self.client.watch_campaign(request).await.unwrap().into_inner();
        let mut last = None;
        let watching = async {
            while let Some(message) = stream.message().await.unwrap() {
                let campaign = message.campaign.unwrap();
                sums_up(&campaign);
                if what(&campaign) {
                    return Some(campaign);
                }
                last = Some(campaign);
            }
            None
        };
        match tokio::time::timeout(PATIENCE / 3, watching).await {
            Ok(found) => found.expect("the watch ended"),
            Err(_) => panic!("waited in vain; the campaign is {last:#?}"),
        }
    }

    pub async fn until_done(&mut self, campaign_id: &str) -> Campaign {
        self.until(campaign_id, |campaign| campaign.state() == State::Completed).await
    }
}

fn client(seed: &[u8], address: std::net::SocketAddr, acting: Acting, clock: &SharedClock) -> Client {
    let issuer = Issuer::new(SigningKey::from_seed(USERS, seed).unwrap(), clock.clone());
    let channel = UserChannel::new(&format!("http://{address}"), Arc::new(Tokens { issuer, acting })).unwrap();
    InviteServiceClient::new(channel)
}

/// COUNT-1, on everything that the service says.
pub fn sums_up(campaign: &Campaign) {
    let progress = campaign.progress.as_ref().unwrap();
    let outcomes: i64 = progress.outcomes.iter().map(|count| count.targets).sum();
    assert_eq!(progress.pending + progress.under_way + outcomes, progress.total, "{campaign:#?}");
}

/// Names for so many people.
pub fn people(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("person_{number}")).collect()
}

/// Targets with an outcome.
pub fn outcome(campaign: &Campaign, outcome: tgmesh_proto::telegram::v1::Outcome) -> i64 {
    let outcomes = &campaign.progress.as_ref().unwrap().outcomes;
    outcomes.iter().filter(|count| count.outcome() == outcome).map(|count| count.targets).sum()
}

/// The reason of a refused call.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> tgmesh_proto::ErrorReason {
    let status = answer.expect_err("the call was not refused");
    tgmesh_proto::status::reason(&status).unwrap_or_else(|| panic!("not of the catalogue: {status:?}"))
}
