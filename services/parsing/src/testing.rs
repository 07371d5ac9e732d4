//! What the tests of this crate share.

use std::sync::Arc;

use service_kit::clock::ManualClock;
use service_kit::db::Db;
use service_kit::{SharedClock, Time};
use tgmesh_migrations::Schema;
use tgmesh_proto::parsing::v1::{ParseFilter, ParseKind};
use tgmesh_tests::database::{self, TestDatabase};
use uuid::Uuid;

use crate::person::Person;
use crate::tasks::entity::Model;
use crate::tasks::tests::task;

/// A store of a test's own, and a clock that stands still.
pub struct World {
    pub db: Db,
    pub clock: Arc<ManualClock>,
    /// Keeps the database.
    _database: TestDatabase,
}

impl World {
    async fn new(database: TestDatabase) -> anyhow::Result<Self> {
        let db = Db::connect(&database.url().to_owned().into(), 5).await?;
        tgmesh_migrations::migrate(db.conn(), Schema::Parsing).await?;
        let clock = ManualClock::new(Time::from_secs(1_800_000_000));
        Ok(Self { db, clock, _database: database })
    }

    /// On SQLite.
    pub async fn sqlite() -> anyhow::Result<Self> {
        Self::new(database::sqlite()?).await
    }

    /// On PostgreSQL.
    pub async fn postgres() -> anyhow::Result<Self> {
        Self::new(database::postgres().await?).await
    }

    pub fn shared_clock(&self) -> SharedClock {
        self.clock.clone()
    }
}

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test(crate::testing::World::sqlite().await?).await
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test(crate::testing::World::postgres().await?).await
            })*
        }
    };
}
pub(crate) use on_both_databases;

/// A task of its own id in the workspace of that number.
pub fn task_of(workspace: u128, number: u128) -> Model {
    Model { id: Uuid::from_u128(number), workspace_id: Uuid::from_u128(workspace), ..task() }
}

/// A task for authors.
pub fn authors_task(workspace: u128, number: u128) -> Model {
    Model { kind: ParseKind::MessageAuthors as i32, ..task_of(workspace, number) }
}

/// A person whom the account of that number sees.
pub fn person(user_id: i64, account: u128) -> Person {
    Person {
        user_id,
        username: format!("user_{user_id}"),
        first_name: format!("First {user_id}"),
        reference: Some((Uuid::from_u128(account), user_id.to_be_bytes().to_vec())),
        ..Person::default()
    }
}

/// A filter by activity.
pub fn at_least(min_activity: i32) -> ParseFilter {
    ParseFilter { min_activity, ..Default::default() }
}
