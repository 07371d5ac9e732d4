//! The store of `request_id`s: a repeated call gets the first one's answer.
//!
//! The answer is stored in the transaction of its effect, so either both exist
//! or neither. Scope is the caller and the method; entries live 24 hours. Each
//! service's schema has the table `requests`.
//!
//! A call whose effect is elsewhere is held, while it is under way, by the
//! process that serves it: until a deadline that the process moves on. So others
//! can tell what a dead process left from what a living one works on, and
//! whoever takes over is the only one who can answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect as _};
use tgmesh_proto::{ErrorReason, WithRequestId};
use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::db::Db;
use crate::identity::Identity;
use crate::sealing::Sealer;
use crate::shutdown::Shutdown;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a call stays held by a process that gives no sign of life: more than
/// the clocks of two processes may differ. Renewed at a third of it.
pub const HELD: Duration = Duration::from_secs(5);

/// How often a call that waits for a twin elsewhere looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The table `requests`.
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A call that was made, and its answer.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "requests")]
    pub struct Model {
        /// Caller and method.
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope: String,
        /// The caller's id for the call.
        #[sea_orm(primary_key, auto_increment = false)]
        pub request_id: Uuid,
        /// Fingerprint of the request: it may hold a code or a password.
        pub body_hash: Vec<u8>,
        /// The answer; NULL while the call is under way.
        pub answer: Option<Vec<u8>>,
        /// The process that serves the call. New with each start.
        pub process: Uuid,
        /// Until when it does, unless it says so again; in milliseconds since the epoch.
        pub held_until_at: i64,
        /// When the call was made, in milliseconds since the epoch.
        pub created_at: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Why a call cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The id was used with another request.
    #[error("the request_id {0} was used before with another request")]
    Reused(Uuid),
    /// The database failed.
    #[error("the request store failed")]
    Db(#[from] DbErr),
    /// A stored answer cannot be read.
    #[error("a stored answer cannot be read")]
    Answer(#[from] prost::DecodeError),
}

impl RequestError {
    /// As a status, unless it is the database's.
    pub fn to_status(&self) -> Option<Status> {
        match self {
            Self::Reused(id) => Some(
                tgmesh_proto::status::status(ErrorReason::RequestIdReused, self.to_string())
                    .with("request_id", id)
                    .violation("request_id", "was used before with another request")
                    .build(),
            ),
            Self::Db(_) | Self::Answer(_) => None,
        }
    }
}

/// What is known of a call.
#[derive(Debug)]
#[must_use]
pub enum Claim<R> {
    /// It was made before; this is its answer.
    Repeat(R),
    /// It is new. Store the answer in the slot.
    New(Slot),
}

/// What is known of a call whose effect is not a transaction of ours.
#[derive(Debug)]
#[must_use]
pub enum Opened<R> {
    /// It was made before; this is its answer.
    Repeat(R),
    /// It was begun and not finished: its process died, or failed to store an
    /// answer. What it did is for the caller to find out.
    Interrupted(Slot),
    /// It is new.
    New(Slot),
}

/// What became of a call that was made earlier.
#[derive(Debug)]
#[must_use]
pub enum Past<R> {
    /// It was never begun, and never will be: its id is used up now.
    Never,
    /// It was answered.
    Answered(R),
    /// It was begun, and has no answer.
    Unfinished,
}

/// The place for an answer.
#[derive(Debug)]
pub struct Slot {
    scope: String,
    request_id: Uuid,
    process: Uuid,
    #[expect(dead_code, reason = "the call is held, and twins wait, until it is dropped")]
    in_flight: Option<InFlight>,
}

impl Slot {
    /// Stores the answer, in the transaction of the effect.
    ///
    /// # Errors
    /// When the database fails, or another process has taken the call over: the
    /// effect must not be committed then.
    pub async fn answer<R: Message>(&self, tx: &impl ConnectionTrait, answer: &R) -> Result<(), DbErr> {
        let update = Query::update()
            .table(entity::Entity)
            .value(entity::Column::Answer, answer.encode_to_vec())
            .and_where(entity::Column::Scope.eq(self.scope.clone()))
            .and_where(entity::Column::RequestId.eq(self.request_id))
            .and_where(entity::Column::Process.eq(self.process))
            .to_owned();
        if tx.execute(&update).await?.rows_affected() == 0 { Err(DbErr::RecordNotUpdated) } else { Ok(()) }
    }

    /// Forgets the call, after a failure that surely had no effect: a repeat is
    /// then a new call.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        entity::Entity::delete_by_id((self.scope.clone(), self.request_id))
            .filter(entity::Column::Process.eq(self.process))
            .exec(conn)
            .await
            .map(|_| ())
    }

    /// The caller's id for the call.
    pub fn request_id(&self) -> Uuid {
        self.request_id
    }
}

type Key = (String, Uuid);

/// The calls under way in this process. Twins wait for the end of the sender.
type Calls = Arc<Mutex<HashMap<Key, Call>>>;

#[derive(Debug)]
struct Call {
    end: watch::Sender<()>,
    /// Whether the store says that this process holds it, and is to go on saying so.
    held: bool,
}

/// Marks a call as under way in this process; twins wait for its end.
#[derive(Debug)]
struct InFlight {
    key: Key,
    calls: Calls,
}

impl InFlight {
    fn hold(&self) {
        if let Some(call) = self.calls.lock().expect("no panic holds the lock").get_mut(&self.key) {
            call.held = true;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Ok(mut calls) = self.calls.lock() {
            calls.remove(&self.key);
        }
    }
}

/// The store.
#[derive(Debug, Clone)]
pub struct Requests {
    db: Db,
    clock: SharedClock,
    sealer: Sealer,
    process: Uuid,
    calls: Calls,
}

impl Requests {
    /// Over a service's database.
    pub fn new(db: Db, clock: SharedClock, sealer: Sealer) -> Self {
        let process = crate::clock::new_id(&*clock);
        Self { db, clock, sealer, process, calls: Arc::default() }
    }

    /// Takes a call whose effect is made in `tx`. A twin in flight waits here,
    /// for the row or the lock of the other transaction.
    ///
    /// # Errors
    /// When the id was used with another request, or the database fails.
    pub async fn claim<Q, R>(
        &self,
        tx: &impl ConnectionTrait,
        who: &Identity,
        method: &str,
        request: &Q,
    ) -> Result<Claim<R>, RequestError>
    where
        Q: Message + WithRequestId,
        R: Message + Default,
    {
        let (scope, request_id, body) = describe(who, method, request);
        if self.insert(tx, &scope, request_id, &self.sealer.fingerprint(&scope, &body)).await? {
            return Ok(Claim::New(Slot { scope, request_id, process: self.process, in_flight: None }));
        }
        let row = find(tx, &scope, request_id).await?;
        match row {
            Some(row) if !self.sealer.is_fingerprint(&scope, &body, &row.body_hash) => {
                Err(RequestError::Reused(request_id))
            }
            Some(entity::Model { answer: Some(answer), .. }) => Ok(Claim::Repeat(R::decode(answer.as_slice())?)),
            // The row of a transaction that is seen has its answer; anything
            // else is a row that expired between two statements.
            _ => Err(RequestError::Db(DbErr::RecordNotFound("the request vanished".to_owned()))),
        }
    }

    /// Takes a call whose effect is elsewhere, such as at Telegram. A twin that
    /// is under way, here or in another process, is waited for; one that nobody
    /// holds any more is taken over.
    ///
    /// # Errors
    /// When the id was used with another request, or the database fails.
    pub async fn open<Q, R>(&self, who: &Identity, method: &str, request: &Q) -> Result<Opened<R>, RequestError>
    where
        Q: Message + WithRequestId,
        R: Message + Default,
    {
        let (scope, request_id, body) = describe(who, method, request);
        let hash = self.sealer.fingerprint(&scope, &body);
        let key = (scope, request_id);
        loop {
            let in_flight = self.enter(&key).await;
            if self.insert(&*self.db.writing().await, &key.0, request_id, &hash).await? {
                in_flight.hold();
                return Ok(Opened::New(self.slot(key, in_flight)));
            }
            let Some(row) = find(self.db.conn(), &key.0, request_id).await? else {
                continue;
            };
            if !self.sealer.is_fingerprint(&key.0, &body, &row.body_hash) {
                return Err(RequestError::Reused(request_id));
            }
            if let Some(answer) = row.answer {
                return Ok(Opened::Repeat(R::decode(answer.as_slice())?));
            }
            if !self.is_held(&row) && self.take_over(&row).await? {
                in_flight.hold();
                return Ok(Opened::Interrupted(self.slot(key, in_flight)));
            }
            drop(in_flight);
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until no twin is under way in this process, and takes its place.
    async fn enter(&self, key: &Key) -> InFlight {
        loop {
            let mut twin = {
                let mut calls = self.calls.lock().expect("no panic holds the lock");
                match calls.get(key) {
                    Some(twin) => twin.end.subscribe(),
                    None => {
                        calls.insert(key.clone(), Call { end: watch::Sender::new(()), held: false });
                        return InFlight { key: key.clone(), calls: self.calls.clone() };
                    }
                }
            };
            // An error means that the twin is done.
            let _ = twin.changed().await;
        }
    }

    fn slot(&self, (scope, request_id): Key, in_flight: InFlight) -> Slot {
        Slot { scope, request_id, process: self.process, in_flight: Some(in_flight) }
    }

    /// Whether somebody works on a call that this process does not work on. What
    /// is this process's own and not in hand was left by a call that failed.
    fn is_held(&self, row: &entity::Model) -> bool {
        row.process != self.process && row.held_until_at > self.clock.now().millis()
    }

    /// Takes a call from the process that left it; false when somebody was faster.
    async fn take_over(&self, row: &entity::Model) -> Result<bool, DbErr> {
        let done = entity::Entity::update_many()
            .set(entity::ActiveModel {
                process: Set(self.process),
                held_until_at: Set(self.held_until()),
                ..Default::default()
            })
            .filter(entity::Column::Scope.eq(&row.scope))
            .filter(entity::Column::RequestId.eq(row.request_id))
            .filter(entity::Column::Answer.is_null())
            .filter(entity::Column::Process.eq(row.process))
            .filter(entity::Column::HeldUntilAt.eq(row.held_until_at))
            .exec(self.db.conn())
            .await?;
        Ok(done.rows_affected > 0)
    }

    /// Says again and again of every call under way here that it is held. To be
    /// run beside the server of a service that opens calls; ends with the last of
    /// them once shutdown has begun.
    pub async fn hold(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = self.clock.sleep(HELD / 3) => {}
                () = shutdown.begun(), if !shutdown.has_begun() => {}
            }
            let held: Vec<Key> = {
                let calls = self.calls.lock().expect("no panic holds the lock");
                calls.iter().filter(|(_, call)| call.held).map(|(key, _)| key.clone()).collect()
            };
            if held.is_empty() && shutdown.has_begun() {
                return;
            }
            for (scope, request_id) in held {
                let renewed = entity::Entity::update_many()
                    .set(entity::ActiveModel { held_until_at: Set(self.held_until()), ..Default::default() })
                    .filter(entity::Column::Scope.eq(scope))
                    .filter(entity::Column::RequestId.eq(request_id))
                    .filter(entity::Column::Process.eq(self.process))
                    .exec(self.db.conn())
                    .await;
                if let Err(error) = renewed {
                    tracing::warn!(%error, "a call under way could not be held");
                }
            }
        }
    }

    fn held_until(&self) -> i64 {
        (self.clock.now() + HELD).millis()
    }

    /// What became of an earlier call of this caller. One that is under way, here
    /// or in another process, is waited for. One that was never begun is kept
    /// from beginning: a request that is still on its way finds its id used up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn past<R: Message + Default>(
        &self,
        who: &Identity,
        method: &str,
        request_id: Uuid,
    ) -> Result<Past<R>, RequestError> {
        let key = (scope(who, method), request_id);
        loop {
            let in_flight = self.enter(&key).await;
            // No request has this hash: whoever comes with the id is refused.
            if self.insert(self.db.conn(), &key.0, request_id, b"never").await? {
                return Ok(Past::Never);
            }
            match find(self.db.conn(), &key.0, request_id).await? {
                None => {}
                Some(row) if row.body_hash == b"never" => return Ok(Past::Never),
                Some(entity::Model { answer: Some(answer), .. }) => {
                    return Ok(Past::Answered(R::decode(answer.as_slice())?));
                }
                Some(row) if self.is_held(&row) => {}
                Some(_) => return Ok(Past::Unfinished),
            }
            drop(in_flight);
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Forgets a call, in the transaction that takes its effect back: a repeat is
    /// then a new call.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(
        &self,
        tx: &impl ConnectionTrait,
        who: &Identity,
        method: &str,
        request_id: Uuid,
    ) -> Result<(), DbErr> {
        entity::Entity::delete_by_id((scope(who, method), request_id)).exec(tx).await.map(|_| ())
    }

    /// Deletes answers that were kept long enough.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let before = (self.clock.now() - KEPT).millis();
        let done =
            entity::Entity::delete_many().filter(entity::Column::CreatedAt.lt(before)).exec(self.db.conn()).await?;
        Ok(done.rows_affected)
    }

    async fn insert(
        &self,
        conn: &impl ConnectionTrait,
        scope: &str,
        request_id: Uuid,
        hash: &[u8],
    ) -> Result<bool, DbErr> {
        let row = entity::ActiveModel {
            scope: Set(scope.to_owned()),
            request_id: Set(request_id),
            body_hash: Set(hash.to_vec()),
            answer: Set(None),
            process: Set(self.process),
            held_until_at: Set(self.held_until()),
            created_at: Set(self.clock.now().millis()),
        };
        let done = entity::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([entity::Column::Scope, entity::Column::RequestId]).do_nothing().to_owned(),
            )
            .exec_without_returning(conn)
            .await;
        match done {
            Ok(rows) => Ok(rows > 0),
            Err(DbErr::RecordNotInserted) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn find(conn: &impl ConnectionTrait, scope: &str, request_id: Uuid) -> Result<Option<entity::Model>, DbErr> {
    entity::Entity::find_by_id((scope.to_owned(), request_id)).limit(1).one(conn).await
}

fn scope(who: &Identity, method: &str) -> String {
    format!("{}/{}/{}/{method}", who.workspace_id, who.user_id, who.service_name())
}

fn describe<Q: Message + WithRequestId>(who: &Identity, method: &str, request: &Q) -> (String, Uuid, Vec<u8>) {
    // The contract's rules have shown that it is a UUID.
    let request_id = Uuid::parse_str(request.request_id()).unwrap_or_default();
    let scope = scope(who, method);
    // With the id, so that equal codes or passwords cannot be told from equal fingerprints.
    let mut body = request_id.as_bytes().to_vec();
    body.extend(request.encode_to_vec());
    (scope, request_id, body)
}
