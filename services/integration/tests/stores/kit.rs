//! A world to test in: a database of its own, a clock that stands still.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait, IntoActiveModel as _};
use service_kit::address::ChatAddress;
use service_kit::clock::{ManualClock, new_id};
use service_kit::db::Db;
use service_kit::identity::Service;
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::sealing::Sealer;
use service_kit::shutdown::Shutdown;
use service_kit::{Identity, SharedClock, Time};
use tgmesh_integration::entity::{account, chat_right, restriction};
use tgmesh_integration::error::{Error, Result};
use tgmesh_integration::leases::{
    Acquired, Chats, Lease, LeaseConfig, LeaseManager, LeaseParts, LeaseStore, Looked, SqlLeaseStore, Unavailable, Wake,
};
use tgmesh_integration::quotas::{Ask, Limits, QuotaParts, Quotas, Reservation, Settlement};
use tgmesh_migrations::Schema;
use tgmesh_proto::integration::v1::AccountKind;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, LeaseKey, Purpose, ReleaseLeaseRequest};
use tgmesh_proto::quota::v1::Action;
use tgmesh_tests::database::{self, TestDatabase};
use uuid::Uuid;

/// A Friday noon.
pub const START: Time = Time::from_secs(20_777 * 86_400 + 12 * 3_600);
/// A chat, as the Bot API writes ids.
pub const CHAT: i64 = -1_001_000_000_001;

pub struct World {
    pub clock: Arc<ManualClock>,
    pub db: Db,
    pub store: Arc<dyn LeaseStore>,
    pub leases: LeaseManager,
    pub quotas: Quotas,
    pub chats: Arc<AskedChats>,
    pub shutdown: Shutdown,
    /// A member of the first workspace, through the invite service.
    pub who: Identity,
    defaults: Arc<Limits>,
    tokens: Tokens,
    _database: TestDatabase,
}

/// Notes whose rights it was asked to check, and knows what it was told.
#[derive(Debug, Default)]
pub struct AskedChats {
    /// Each once, in the order in which they were asked for.
    pub asked: Mutex<Vec<Uuid>>,
    pub names: Mutex<HashMap<String, i64>>,
    pub looked: Mutex<Looked>,
}

#[async_trait::async_trait]
impl Chats for AskedChats {
    async fn chat_id(&self, _workspace_id: Uuid, chat: &ChatAddress) -> Result<Option<i64>> {
        Ok(match chat {
            ChatAddress::Id(id) => Some(*id),
            chat => self.names.lock().unwrap().get(&chat.to_string()).copied(),
        })
    }

    fn looked(&self, _workspace_id: Uuid, _chat: &ChatAddress) -> Looked {
        self.looked.lock().unwrap().clone()
    }

    fn check_rights(&self, _workspace_id: Uuid, _chat: &ChatAddress, _chat_id: Option<i64>, accounts: &[Uuid]) {
        let mut asked = self.asked.lock().unwrap();
        for account in accounts {
            if !asked.contains(account) {
                asked.push(*account);
            }
        }
    }
}

impl World {
    pub async fn sqlite() -> anyhow::Result<Self> {
        Self::on(database::sqlite()?).await
    }

    pub async fn postgres() -> anyhow::Result<Self> {
        Self::on(database::postgres().await?).await
    }

    async fn on(database: TestDatabase) -> anyhow::Result<Self> {
        let clock = ManualClock::new(START);
        let db = Db::connect(&database.url().to_owned().into(), 8).await?;
        tgmesh_migrations::migrate(db.conn(), Schema::Integration).await?;
        let tokens = Tokens::new(Sealer::new(&[vec![7; 32]])?);
        // Tests set the limits they are about.
        let defaults = Arc::new(Limits::NONE);
        let chats = Arc::new(AskedChats::default());
        let shutdown = Shutdown::new();
        let (store, leases, quotas) = rooms(&db, &clock, &tokens, &defaults, &chats, &shutdown);
        let who = member(Uuid::from_u128(1));
        Ok(Self { clock, db, store, leases, quotas, chats, shutdown, who, defaults, tokens, _database: database })
    }

    /// The same database, seen by a process that has just started, under these
    /// limits of the deployment.
    pub async fn restart_with(&mut self, defaults: Limits) -> anyhow::Result<()> {
        self.defaults = Arc::new(defaults);
        let (store, leases, quotas) =
            rooms(&self.db, &self.clock, &self.tokens, &self.defaults, &self.chats, &self.shutdown);
        (self.store, self.leases, self.quotas) = (store, leases, quotas);
        self.quotas.recover().await.context("start-up")
    }

    pub fn now(&self) -> Time {
        service_kit::Clock::now(&*self.clock)
    }

    pub fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// Lets time pass until then.
    pub fn pass_until(&self, time: Time) {
        self.pass(time.since(self.now()));
    }

    /// An account of the first workspace that can do everything.
    pub async fn account(&self) -> anyhow::Result<Uuid> {
        let user = i64::try_from(new_id(&*self.clock).as_u128() & 0xffff_ffff_ffff)?;
        self.account_of(self.who.workspace_id, user).await
    }

    pub async fn accounts(&self, count: usize) -> anyhow::Result<Vec<Uuid>> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.account().await?);
            // Ids made in the same millisecond have no order.
            self.pass(Duration::from_millis(1));
        }
        Ok(ids)
    }

    pub async fn account_of(&self, workspace_id: Uuid, telegram_user_id: i64) -> anyhow::Result<Uuid> {
        let id = new_id(&*self.clock);
        let row = account::Model {
            id,
            workspace_id,
            telegram_user_id,
            kind: AccountKind::User.into(),
            label: String::new(),
            purposes: 0b1110,
            username: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            phone: String::new(),
            premium: false,
            session_state: SessionState::Ok.into(),
            session_error: String::new(),
            paused_at: None,
            deleting_at: None,
            checked_at: None,
            fencing_token: 0,
            created_at: 0,
            updated_at: 0,
            revision: 0,
        };
        let tx = self.db.begin().await?;
        account::Entity::insert(row.into_active_model()).exec_without_returning(&*tx).await?;
        self.quotas.refresh(&tx, id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Changes an account as the rest of the service does: and its slots with it.
    pub async fn change(&self, id: Uuid, change: impl FnOnce(&mut account::ActiveModel)) -> anyhow::Result<()> {
        let tx = self.db.begin().await?;
        let row = account::Entity::find_by_id(id).one(&*tx).await?.context("no such account")?;
        let mut row = row.into_active_model();
        change(&mut row);
        row.update(&*tx).await?;
        self.quotas.refresh(&tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn delete_account(&self, id: Uuid) -> anyhow::Result<()> {
        let tx = self.db.begin().await?;
        account::Entity::delete_by_id(id).exec(&*tx).await?;
        self.quotas.refresh(&tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn restrict(&self, id: Uuid, cause: Cause, action: Action, end: Option<Time>) -> anyhow::Result<()> {
        let row = restriction::Model {
            id: new_id(&*self.clock),
            account_id: id,
            cause: cause.into(),
            actions: if action == Action::Unspecified { 0 } else { 1 << i32::from(action) },
            begin_at: self.now().millis(),
            end_at: end.map(Time::millis),
            telegram_error: String::new(),
            method: String::new(),
            ended: false,
        };
        let tx = self.db.begin().await?;
        restriction::Entity::insert(row.into_active_model()).exec_without_returning(&*tx).await?;
        self.quotas.refresh(&tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes what Telegram said of an account's rights in the chat, now.
    pub async fn rights(&self, id: Uuid, rights: i32) -> anyhow::Result<()> {
        let row = chat_right::ActiveModel {
            account_id: Set(id),
            chat_id: Set(CHAT),
            rights: Set(rights),
            problem: Set(0),
            detail: Set(String::new()),
            checked_at: Set(self.now().millis()),
        };
        chat_right::Entity::delete_by_id((id, CHAT)).exec(self.db.conn()).await?;
        chat_right::Entity::insert(row).exec_without_returning(self.db.conn()).await?;
        self.leases.poke(self.who.workspace_id);
        Ok(())
    }

    pub async fn acquire(&self, request: AcquireLeaseRequest) -> Result<Lease> {
        self.leases.acquire(&self.who, request, None).await
    }

    /// Takes any account for inviting, at once or not at all.
    pub async fn take(&self) -> Result<Lease> {
        self.acquire(wish(Purpose::Invite)).await
    }

    /// Why none can be had.
    pub async fn denied(&self, request: AcquireLeaseRequest) -> anyhow::Result<Unavailable> {
        match self.acquire(request).await {
            Err(Error::NoAccount(unavailable)) => Ok(*unavailable),
            other => anyhow::bail!("expected a denial, got {other:?}"),
        }
    }

    pub async fn release(&self, lease: &Lease) -> Result<Lease> {
        self.leases.release(&self.who, &ReleaseLeaseRequest { request_id: id(), key: Some(key(lease)) }).await
    }

    pub fn ask(&self, account_id: Uuid, action: Action, chat_id: i64) -> Ask {
        Ask { id: None, workspace_id: self.who.workspace_id, account_id, action, chat_id, method: "test", lease: None }
    }

    pub async fn reserve(&self, account_id: Uuid, action: Action) -> Result<Reservation> {
        self.quotas.reserve(&self.ask(account_id, action, 0)).await
    }

    pub async fn settle(&self, reservation: &Reservation, settlement: Settlement) -> anyhow::Result<()> {
        let tx = self.db.begin().await?;
        self.quotas.settle(&tx, reservation, &settlement).await?;
        tx.commit().await?;
        self.quotas.poke(reservation.workspace_id);
        Ok(())
    }

    /// Does an action that succeeds.
    pub async fn act(&self, account_id: Uuid, action: Action, chat_id: i64) -> anyhow::Result<()> {
        let reservation = self.quotas.reserve(&self.ask(account_id, action, chat_id)).await?;
        self.settle(&reservation, success()).await
    }
}

fn rooms(
    db: &Db,
    clock: &Arc<ManualClock>,
    tokens: &Tokens,
    defaults: &Arc<Limits>,
    chats: &Arc<AskedChats>,
    shutdown: &Shutdown,
) -> (Arc<dyn LeaseStore>, LeaseManager, Quotas) {
    let clock: SharedClock = clock.clone();
    let sealer = Sealer::new(&[vec![7; 32]]).expect("a key");
    let requests = Requests::new(db.clone(), clock.clone(), sealer);
    let wake = Arc::new(Wake::default());
    let store: Arc<dyn LeaseStore> =
        Arc::new(SqlLeaseStore::new(db.clone(), clock.clone(), requests.clone(), defaults.clone()));
    let leases = LeaseManager::new(LeaseParts {
        store: store.clone(),
        chats: chats.clone(),
        wake: wake.clone(),
        clock: clock.clone(),
        tokens: tokens.clone(),
        shutdown: shutdown.clone(),
        config: LeaseConfig { default_ttl_ms: 30_000, sweep_ms: 1_000, look_ms: 1_000, max_waiters: 10_000 },
    });
    let quotas = Quotas::sql(QuotaParts {
        db: db.clone(),
        clock,
        requests,
        tokens: tokens.clone(),
        wake,
        defaults: defaults.clone(),
        rng: StdRng::seed_from_u64(7),
    });
    (store, leases, quotas)
}

/// A member of a workspace, through the invite service.
pub fn member(workspace_id: Uuid) -> Identity {
    Identity {
        user_id: Uuid::from_u128(workspace_id.as_u128() + 1_000),
        workspace_id,
        service: Some(Service::Invite),
        operator: false,
        expires_at: START + Duration::from_secs(1_000_000_000),
    }
}

/// An operator of the deployment, by himself.
pub fn operator() -> Identity {
    Identity { service: None, operator: true, ..member(Uuid::from_u128(900)) }
}

pub fn id() -> String {
    Uuid::new_v4().to_string()
}

/// A request for an account, without waiting.
pub fn wish(purpose: Purpose) -> AcquireLeaseRequest {
    AcquireLeaseRequest {
        request_id: id(),
        purpose: purpose.into(),
        holder: "test/1".to_owned(),
        work: "campaign".to_owned(),
        ..AcquireLeaseRequest::default()
    }
}

pub fn secs(secs: u64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: i64::try_from(secs).unwrap(), nanos: 0 })
}

pub fn key(lease: &Lease) -> LeaseKey {
    LeaseKey { lease_id: lease.id.to_string(), fencing_token: lease.token }
}

pub fn success() -> Settlement {
    Settlement::Counted { telegram_error: String::new(), success: true }
}

pub fn taken(acquired: Acquired) -> Option<Lease> {
    match acquired {
        Acquired::Taken { lease, .. } => Some(*lease),
        Acquired::Denied { .. } => None,
    }
}

/// The reason of an error, for comparing.
pub fn reason<T: std::fmt::Debug>(result: Result<T>) -> Option<tgmesh_proto::ErrorReason> {
    result.err().map(|error| error.reason())
}
