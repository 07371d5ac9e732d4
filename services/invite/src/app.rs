//! What every part of the service works with.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, Statement, Value};
use service_kit::SharedClock;
use service_kit::batch::Batch;
use service_kit::client::ServiceChannel;
use service_kit::clock::new_id;
use service_kit::db::Db;
use service_kit::lease::Leases;
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::sealing::Sealer;
use service_kit::shutdown::Shutdown;
use service_kit::watch::Poke;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tokio::sync::Notify;
use tonic::Status;
use uuid::Uuid;

use crate::config::Config;
use crate::engine::hands::Hands;
use crate::engine::record::Finished;
use crate::engine::store::{Beginning, Begun};
use crate::error::Error;

/// The service's parts.
#[derive(Debug)]
pub struct App {
    /// Configuration.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: SharedClock,
    /// Page and resume tokens.
    pub tokens: Tokens,
    /// The store of `request_id`s.
    pub requests: Requests,
    /// Wakes the watches of this process.
    pub poke: Arc<Poke>,
    /// Wakes the engine of this process.
    pub work: Notify,
    /// Takes accounts.
    pub leases: Leases,
    /// This process, as owner of targets. New with each start, so that what a
    /// process before left behind never looks like ours.
    pub process: Uuid,
    /// Which of the targets that it owns it works on.
    pub hands: Hands,
    /// Attempts about to be made, written down together.
    pub begins: Batch<Beginning, Begun>,
    /// Outcomes, written down together.
    pub outcomes: Batch<Finished, bool>,
    /// When the process stops.
    pub shutdown: Shutdown,
    integration: ServiceChannel,
    parsing: ServiceChannel,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        db: Db,
        clock: SharedClock,
        sealer: Sealer,
        shutdown: Shutdown,
        integration: ServiceChannel,
        parsing: ServiceChannel,
    ) -> Self {
        Self {
            config,
            requests: Requests::new(db.clone(), clock.clone(), sealer.clone()),
            leases: Leases::new(integration.clone(), clock.clone()),
            process: new_id(&*clock),
            hands: Hands::default(),
            begins: Batch::default(),
            outcomes: Batch::default(),
            db,
            clock,
            tokens: Tokens::new(sealer),
            poke: Arc::default(),
            work: Notify::new(),
            shutdown,
            integration,
            parsing,
        }
    }

    /// A new identifier.
    pub fn new_id(&self) -> Uuid {
        new_id(&*self.clock)
    }

    /// The time, as columns hold it.
    pub fn now(&self) -> i64 {
        self.clock.now().millis()
    }

    /// The Telegram calls of the integration service.
    pub fn telegram(&self) -> TelegramServiceClient<ServiceChannel> {
        TelegramServiceClient::new(self.integration.clone())
    }

    /// The parsing service.
    pub fn parsing(&self) -> ParsingServiceClient<ServiceChannel> {
        ParsingServiceClient::new(self.parsing.clone())
    }

    /// An error of the integration service, with its name when it cannot be reached.
    pub fn integration_error(&self, status: Status) -> Error {
        Error::Upstream(Box::new(self.integration.name_failure(status)))
    }

    /// An error of the parsing service, with its name when it cannot be reached.
    pub fn parsing_error(&self, status: Status) -> Error {
        Error::Upstream(Box::new(self.parsing.name_failure(status)))
    }

    /// Something changed that watches show and the engine works on.
    pub fn changed(&self) {
        self.poke.poke();
        self.work.notify_one();
    }
}

/// A statement in the words that SQLite and PostgreSQL share, with `$1`, `$2`, …
pub fn sql<V>(conn: &impl ConnectionTrait, text: impl Into<String>, values: V) -> Statement
where
    V: IntoIterator<Item = Value>,
{
    Statement::from_sql_and_values(conn.get_database_backend(), text, values)
}

/// Runs a statement, and answers how many rows it changed.
pub async fn execute<V>(conn: &impl ConnectionTrait, text: impl Into<String>, values: V) -> Result<u64, sea_orm::DbErr>
where
    V: IntoIterator<Item = Value>,
{
    Ok(conn.execute_raw(sql(conn, text, values)).await?.rows_affected())
}

/// Adds rows to the values, and answers how `VALUES` writes them. A table of
/// them has the columns `column1`, `column2`, … in both databases.
pub fn rows<const N: usize>(values: &mut Vec<Value>, rows: impl IntoIterator<Item = [Value; N]>) -> String {
    let mut written = Vec::new();
    for row in rows {
        let places: Vec<String> = (values.len() + 1..).take(N).map(|at| format!("${at}")).collect();
        written.push(format!("({})", places.join(", ")));
        values.extend(row);
    }
    written.join(", ")
}
