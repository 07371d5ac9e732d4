//! What the rooms of this service share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DbErr, EntityTrait as _};
use service_kit::clock::new_id;
use service_kit::db::{Db, Tx};
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::sealing::Sealer;
use service_kit::watch::Poke;
use service_kit::{SharedClock, Time};
use uuid::Uuid;

use crate::connections::{Claim, Claims, Connections, Expect, LineId, LineSession, SessionKey, Sessions};
use crate::entity::{account, ended_session, login, session};
use crate::error::{Error, Result};
use crate::leases::LeaseManager;
use crate::quotas::Quotas;
use crate::quotas::pacing::Pacing;
use crate::tasks::Tasks;

/// What the rooms of this service share.
#[derive(Debug)]
pub struct Core {
    /// The service's database.
    pub db: Db,
    /// Seals sessions, peer references and tokens.
    pub sealer: Sealer,
    /// Tells the time.
    pub clock: SharedClock,
    /// Connections to Telegram.
    pub connections: Connections,
    /// Leases.
    pub leases: LeaseManager,
    /// Quotas.
    pub quotas: Quotas,
    /// Spaces reads out.
    pub pacing: Pacing,
    /// The store of request ids.
    pub requests: Requests,
    /// Page and resume tokens.
    pub tokens: Tokens,
    /// Wakes the watches of accounts.
    pub poke: Arc<Poke>,
    /// Wakes the worker that logs ended sessions out.
    pub ended: Arc<tokio::sync::Notify>,
    /// Tasks that outlive the call that began them.
    pub tasks: Tasks,
    /// What the deployment sets.
    pub settings: Settings,
}

/// What the deployment sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The application's id at Telegram.
    pub api_id: i32,
    /// The application's hash at Telegram.
    pub api_hash: secrecy::SecretString,
    /// Added to flood waits, in place of a minute.
    pub flood_margin: Option<Duration>,
    /// How long a login may take.
    pub login_life: Duration,
    /// How long what Telegram said of rights is believed.
    pub rights_life: Duration,
    /// Of so many invites that Telegram accepted, one is looked after; 0 for none.
    pub check_one_invite_in: u32,
}

impl Core {
    /// The time.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// A new identifier.
    pub fn id(&self) -> Uuid {
        new_id(&*self.clock)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(&self) -> Result<Tx> {
        self.db.begin().await.map_err(|error| self.failed(&error))
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commit(&self, tx: Tx) -> Result<()> {
        tx.commit().await.map_err(|error| self.failed(&error))
    }

    /// A failure of the database.
    pub fn failed(&self, error: &DbErr) -> Error {
        Error::database(&self.db, error)
    }

    /// Brings what is derived from an account up to date, in the transaction
    /// that changed it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, tx: &Tx, account: Uuid) -> Result<()> {
        self.quotas.refresh(tx, account).await
    }

    /// Tells those who wait that an account changed, after the commit.
    pub fn changed(&self, workspace: Uuid) {
        self.poke.poke();
        self.leases.poke(workspace);
    }
}

/// Reads sealed sessions from the database, and claims their keys.
#[derive(Debug, Clone)]
pub struct SessionStore {
    db: Db,
    sealer: Sealer,
    claims: Claims,
}

impl SessionStore {
    /// Over the service's database.
    pub fn new(db: Db, sealer: Sealer, claims: Claims) -> Self {
        Self { db, sealer, claims }
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<SessionKey> {
        let plain = self.sealer.open(context, sealed).map_err(Error::internal)?;
        SessionKey::from_bytes(&plain).ok_or_else(|| Error::internal("a sealed session cannot be read"))
    }
}

/// What a session of an account is sealed for.
pub fn account_context(id: Uuid) -> String {
    format!("session:{id}")
}

/// What the session of a login is sealed for.
pub fn login_context(id: Uuid) -> String {
    format!("login:{id}")
}

/// What a session that is to be logged out is sealed for.
pub fn ended_context(id: Uuid) -> String {
    format!("ended:{id}")
}

#[async_trait]
impl Sessions for SessionStore {
    async fn session(&self, line: LineId) -> Result<LineSession> {
        let failed = |error: DbErr| Error::database(&self.db, &error);
        let gone = || Error::plain(tgmesh_proto::ErrorReason::SessionLost, "there is no session any more");
        match line {
            LineId::Account(id) => {
                let row =
                    session::Entity::find_by_id(id).one(self.db.conn()).await.map_err(failed)?.ok_or_else(gone)?;
                let account =
                    account::Entity::find_by_id(id).one(self.db.conn()).await.map_err(failed)?.ok_or_else(gone)?;
                let key = self.open(&account_context(id), &row.sealed)?;
                Ok(LineSession { key, expect: Expect::User(account.telegram_user_id) })
            }
            LineId::Login(id) => {
                let row = login::Entity::find_by_id(id).one(self.db.conn()).await.map_err(failed)?.ok_or_else(gone)?;
                let sealed = row.sealed.ok_or_else(gone)?;
                let secrets = crate::logins::Secrets::open(&self.sealer, id, &sealed)?;
                Ok(LineSession { key: secrets.key, expect: Expect::Nobody })
            }
            LineId::Session(id) => {
                let row = ended_session::Entity::find_by_id(id)
                    .one(self.db.conn())
                    .await
                    .map_err(failed)?
                    .ok_or_else(gone)?;
                let key = self.open(&ended_context(id), &row.sealed)?;
                Ok(LineSession { key, expect: Expect::Nobody })
            }
        }
    }
    async fn claim(&self, key: &SessionKey) -> Result<Claim> {
        self.claims.take(key).await
    }
}
