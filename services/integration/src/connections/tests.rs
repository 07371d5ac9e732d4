//! What becomes of connections that end in ways that nobody wants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use grammers_tl_types::{enums, functions};
use num_bigint::BigUint;
use service_kit::Time;
use service_kit::clock::{ManualClock, SystemClock};
use service_kit::db::Db;
use telegram_emulator::{ConnectionEnd, Emulator, EmulatorConfig, Fault, FaultFilter, FaultKind, NewUser, Scenario};
use tgmesh_migrations::Schema;
use tgmesh_tests::database::{self, TestDatabase};
use tgmesh_tests::wait;

use super::config::RsaKey;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const USER: i64 = 61;
const LINE: LineId = LineId::Account(Uuid::from_u128(1));

const CONFIG: TelegramConfig = TelegramConfig {
    connect_timeout_s: 5,
    call_timeout_s: 5,
    idle_close_s: 600,
    device_model: String::new(),
    system_version: String::new(),
};

/// Counts how often somebody wanted to open a connection.
#[derive(Default)]
struct Asked(AtomicU32);

#[async_trait]
impl Sessions for Asked {
    async fn session(&self, _line: LineId) -> Result<LineSession, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Error::Internal)
    }

    async fn claim(&self, _key: &SessionKey) -> Result<Claim, Error> {
        Err(Error::Internal)
    }
}

#[tokio::test]
async fn no_connection_opens_after_the_last_has_closed() {
    let key = RsaKey {
        modulus: ((BigUint::from(1_u8) << 2048_u32) - BigUint::from(1_u8)).to_string(),
        exponent: "65537".to_owned(),
    };
    let network = TelegramNetwork {
        api_id: 1,
        api_hash: "hash".to_owned().into(),
        data_centres: BTreeMap::from([("2".to_owned(), ([127, 0, 0, 1], 1).into())]),
        default_data_centre: 2,
        rsa_keys: vec![key],
    };
    let asked = Arc::new(Asked::default());
    let dialer = Dialer::new(CONFIG, &network).unwrap();
    let connections = Connections::new(dialer, asked.clone(), SystemClock::shared(), Arc::new(|_, _| {}));
    let line = LineId::Account(Uuid::from_u128(1));
    let ping = functions::Ping { ping_id: 1 };
    assert!(connections.call(line, &ping, open()).await.is_err());
    assert_eq!(asked.0.load(Ordering::Relaxed), 1);
    connections.close_all(Duration::from_secs(60)).await;
    let late = connections.call(line, &ping, open()).await;
    assert!(matches!(late, Err(CallError::NotSent(_))), "{late:?}");
    assert_eq!(asked.0.load(Ordering::Relaxed), 1, "a connection was about to be opened");
    // Who listens learns that there is nothing more to hear.
    assert!(connections.events(line).pushed.recv().await.is_err());
}

/// An emulator, and all connections to it of a user whose session is known.
struct World {
    emulator: Emulator,
    connections: Connections,
    claims: Claims,
    _database: TestDatabase,
}

/// The session of the one line that there is.
struct Known {
    key: SessionKey,
    claims: Claims,
}

#[async_trait]
impl Sessions for Known {
    async fn session(&self, _line: LineId) -> Result<LineSession, Error> {
        Ok(LineSession { key: self.key.clone(), expect: Expect::User(USER) })
    }

    async fn claim(&self, key: &SessionKey) -> Result<Claim, Error> {
        self.claims.take(key).await
    }
}

impl World {
    async fn start(clock: SharedClock, on_change: OnChange) -> anyhow::Result<Self> {
        let emulator = Emulator::start(EmulatorConfig::new(Scenario::parse("")?)).await?;
        let handle = emulator.handle();
        handle.create_user(&NewUser { id: USER, first_name: "Ann".to_owned(), ..NewUser::default() })?;
        let info = emulator.info();
        let dc = info.dcs[0];
        handle.add_key([7; 256], dc.id, Some(USER));
        let network = TelegramNetwork {
            api_id: 1,
            api_hash: "hash".to_owned().into(),
            data_centres: BTreeMap::from([(dc.id.to_string(), dc.address.into())]),
            default_data_centre: dc.id,
            rsa_keys: vec![RsaKey { modulus: info.rsa_modulus.clone(), exponent: info.rsa_exponent.to_string() }],
        };
        let database = database::sqlite()?;
        let db = Db::connect(&database.url().to_owned().into(), 2).await?;
        tgmesh_migrations::migrate(db.conn(), Schema::Integration).await?;
        let claims = Claims::new(db, clock.clone());
        let sessions = Arc::new(Known { key: SessionKey::new(dc.id, [7; 256]), claims: claims.clone() });
        let connections = Connections::new(Dialer::new(CONFIG, &network)?, sessions, clock, on_change);
        Ok(Self { emulator, connections, claims, _database: database })
    }

    async fn call(&self) -> Result<usize, CallError> {
        let me = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
        self.connections.call(LINE, &me, open()).await.map(|users| users.len())
    }

    /// Waits until the server has seen that its first connection is closed, and by whom.
    async fn first_closed(&self) -> anyhow::Result<ConnectionEnd> {
        wait::until("the connection to be closed", PATIENCE, async || self.emulator.handle().connections().first()?.end)
            .await
    }

    /// There were two connections, one after the other.
    fn rebuilt(&self) {
        let connections = self.emulator.handle().connections();
        let [first, second] = &connections[..] else { panic!("not two connections: {connections:?}") };
        assert!(first.closed.unwrap() <= second.live.unwrap() && second.closed.is_none(), "{connections:?}");
        assert!(self.emulator.handle().overlaps().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_panics_is_replaced() -> anyhow::Result<()> {
    // Whom the actor tells panics, when its socket is open and the key is claimed.
    let panics = AtomicBool::new(true);
    let on_change = move |_, state| {
        assert!(state != LineState::Connected || !panics.swap(false, Ordering::SeqCst), "on purpose");
    };
    let world = World::start(SystemClock::shared(), Arc::new(on_change)).await?;
    let claims = world.claims.clone();
    tokio::spawn(async move { claims.hold().await });
    let died = world.call().await;
    assert!(matches!(died, Err(CallError::Unanswered(_))), "{died:?}");
    assert_eq!(world.first_closed().await?, ConnectionEnd::ByClient);
    wait::until("the line to be known as closed", PATIENCE, async || {
        (world.connections.state(LINE) == LineState::Idle).then_some(())
    })
    .await?;
    assert_eq!(world.call().await.unwrap(), 1);
    world.rebuilt();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_silent_connection_is_rebuilt() -> anyhow::Result<()> {
    let clock = ManualClock::new(Time::from_secs(1_000_000_000));
    let world = World::start(clock.clone(), Arc::new(|_, _| {})).await?;
    assert_eq!(world.call().await.unwrap(), 1);
    let silence = Fault::always(FaultFilter::default(), FaultKind::Silence);
    let silence = world.emulator.handle().inject_fault(silence);
    // A sign of life is due. That none comes is found out by the real time that networks have.
    clock.advance(Duration::from_secs(30));
    assert_eq!(world.first_closed().await?, ConnectionEnd::ByClient);
    wait::until("the line to be known as closed", PATIENCE, async || {
        (world.connections.state(LINE) == LineState::Idle).then_some(())
    })
    .await?;
    assert_eq!(world.emulator.handle().connections().len(), 1);
    world.emulator.handle().clear_faults(Some(silence));
    assert_eq!(world.call().await.unwrap(), 1);
    world.rebuilt();
    Ok(())
}
