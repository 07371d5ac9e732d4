//! Who may have a connection with a key: one in the whole deployment.
//!
//! A connection is opened only by whoever holds the claim of its key, a row whose
//! primary key is the key's fingerprint, and the claim is given back only when the
//! socket is closed. So it does not matter how many rows know a key, nor how many
//! processes there are. A process says again and again that it holds its claims;
//! of one that gives no sign of life they are taken over. One that cannot say so
//! drops its connections before that. In SQLite, whose file belongs to one process at
//! a time, claims do not end by themselves: nobody is there who could take them over.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sea_orm::DbErr;
use service_kit::SharedClock;
use service_kit::clock::new_id;
use service_kit::db::Db;
use service_kit::requests::HELD;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{SessionKey, store};
use crate::entity::key_claim;
use crate::error::{Error, Result};

/// How long before others may take a claim over its connection is dropped.
const MARGIN: Duration = Duration::from_secs(1);
/// What stands for ever in SQLite.
const EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
/// How often somebody who waits for a key looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The claims of this process.
#[derive(Debug, Clone)]
pub struct Claims(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    clock: SharedClock,
    process: Uuid,
    /// How long others leave a claim alone that is not renewed.
    lasts: Duration,
    /// By their holders. One stands here before its row does, until after.
    here: Mutex<HashMap<Uuid, Arc<Hold>>>,
}

/// What is known of a claim.
#[derive(Debug)]
struct Hold {
    fingerprint: Vec<u8>,
    /// Until when others leave it alone, by the clock that never goes back; `None`
    /// while it is being taken.
    until: Mutex<Option<Duration>>,
    wanted: CancellationToken,
    lost: CancellationToken,
}

impl Hold {
    fn until(&self) -> MutexGuard<'_, Option<Duration>> {
        self.until.lock().expect("no panic holds the lock")
    }

    /// How long it can still be relied on.
    fn left(&self, clock: &SharedClock) -> Duration {
        let until = if self.lost.is_cancelled() { None } else { *self.until() };
        until.unwrap_or_default().saturating_sub(MARGIN + clock.monotonic())
    }

    async fn lost(&self, clock: &SharedClock) {
        loop {
            let left = self.left(clock);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = clock.sleep(left) => {}
            }
        }
    }
}

/// The right to have a connection with a key, until it is given back or lost.
/// Who drops it without giving it back keeps others waiting for a moment.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    holder: Uuid,
    hold: Arc<Hold>,
    claims: Claims,
}

impl Claim {
    /// Whether it is still ours. To be asked before anything is sent.
    pub fn holds(&self) -> bool {
        !self.hold.left(&self.claims.0.clock).is_zero()
    }

    /// Waits until it is no longer ours: the connection must be dropped at once.
    pub async fn lost(&self) {
        self.hold.lost(&self.claims.0.clock).await;
    }

    /// Waits until it is lost, or somebody else wants it: the connection is to be
    /// closed when nothing is under way.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (hold, clock) = (self.hold.clone(), self.claims.0.clock.clone());
        async move {
            tokio::select! {
                () = hold.wanted.cancelled() => {}
                () = hold.lost(&clock) => {}
            }
        }
    }

    /// Gives the key back. Its connection must be closed.
    pub async fn release(self) {
        // Whatever fails here, the next renewal gives back what nobody has in hand.
        if let Err(error) = self.claims.give_back(&self.hold.fingerprint, self.holder).await {
            tracing::warn!(%error, "the claim of a key could not be given back yet");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Ok(mut here) = self.claims.0.here.lock() {
            here.remove(&self.holder);
        }
    }
}

impl Claims {
    /// Over the service's database, for a process that starts.
    pub fn new(db: Db, clock: SharedClock) -> Self {
        let process = new_id(&*clock);
        let lasts = if db.is_sqlite() { EVER } else { HELD };
        Self(Arc::new(Inner { db, clock, process, lasts, here: Mutex::default() }))
    }

    /// Before the first connection. SQLite's file belongs to one process at a
    /// time, so claims that are in it are those of dead ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recover(&self) -> Result<()> {
        if !self.0.db.is_sqlite() {
            return Ok(());
        }
        let done = async {
            let tx = self.0.db.begin().await?;
            store::clear(&*tx).await?;
            tx.commit().await
        };
        done.await.map_err(|error| Error::database(&self.0.db, &error))
    }

    /// Takes the claim of a key. Waits for it as long as somebody has it, whom it
    /// asks to give it back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take(&self, key: &SessionKey) -> Result<Claim> {
        let fingerprint = key.fingerprint();
        loop {
            let claim = self.enter(&fingerprint);
            if self.insert(&claim).await.map_err(|error| Error::database(&self.0.db, &error))? {
                return Ok(claim);
            }
            drop(claim);
            self.ask_for(&fingerprint);
            self.0.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// A claim that has no row yet.
    fn enter(&self, fingerprint: &[u8]) -> Claim {
        let holder = new_id(&*self.0.clock);
        let hold = Arc::new(Hold {
            fingerprint: fingerprint.to_vec(),
            until: Mutex::default(),
            wanted: CancellationToken::new(),
            lost: CancellationToken::new(),
        });
        self.here().insert(holder, hold.clone());
        Claim { holder, hold, claims: self.clone() }
    }

    async fn insert(&self, claim: &Claim) -> Result<bool, DbErr> {
        let tx = self.0.db.begin().await?;
        let (now, until) = (self.0.clock.now(), self.0.clock.monotonic() + self.0.lasts);
        let row = key_claim::Model {
            fingerprint: claim.hold.fingerprint.clone(),
            holder: claim.holder,
            process: self.0.process,
            held_until_at: (now + self.0.lasts).millis(),
            wanted: false,
        };
        let taken = store::take(&*tx, &row, now).await?;
        tx.commit().await?;
        if taken {
            *claim.hold.until() = Some(until);
        }
        Ok(taken)
    }

    /// Asks whoever in this process has a key to give it back; others see it in the row.
    fn ask_for(&self, fingerprint: &[u8]) {
        for hold in self.here().values().filter(|hold| hold.fingerprint == fingerprint && hold.until().is_some()) {
            hold.wanted.cancel();
        }
    }

    async fn give_back(&self, fingerprint: &[u8], holder: Uuid) -> Result<(), DbErr> {
        let tx = self.0.db.begin().await?;
        store::release(&*tx, fingerprint, holder).await?;
        tx.commit().await
    }

    /// Says again and again of each claim of this process that it is held. To be
    /// run until the last connection is closed; never ends.
    pub async fn hold(&self) {
        let clock = &self.0.clock;
        let mut begun = clock.monotonic();
        loop {
            // From the beginning of the last renewal, however long it took.
            clock.sleep((begun + HELD / 3).saturating_sub(clock.monotonic())).await;
            begun = clock.monotonic();
            if let Err(error) = self.renew_in_time().await {
                tracing::warn!(%error, "the claims of keys could not be renewed");
            }
        }
    }

    /// Gives a slow renewal all the time in which it is of use: one that is begun anew
    /// queues behind all who write, and on a slow disk none would ever come to its end.
    async fn renew_in_time(&self) -> Result<(), DbErr> {
        let clock = &self.0.clock;
        let mut renewing = pin!(self.renew());
        // By then the claims are lost. A connection to the database that died silently must not hold up the next ones.
        let mut too_late = clock.sleep(self.0.lasts);
        loop {
            tokio::select! {
                renewed = &mut renewing => return renewed,
                () = &mut too_late => {
                    tracing::warn!("the claims of keys were not renewed in time");
                    return Ok(());
                }
                () = clock.sleep(HELD / 3) => tracing::warn!("renewing the claims of keys takes long"),
            }
        }
    }

    async fn renew(&self) -> Result<(), DbErr> {
        let held: Vec<(Uuid, Arc<Hold>)> = {
            let here = self.here();
            here.iter().filter(|(_, hold)| hold.until().is_some()).map(|(id, hold)| (*id, hold.clone())).collect()
        };
        let tx = self.0.db.begin().await?;
        // However long what follows takes, it counts from here: others may see it at once.
        let (now, until) = (self.0.clock.now(), self.0.clock.monotonic() + self.0.lasts);
        let rows = store::renew(&*tx, self.0.process, now + self.0.lasts).await?;
        tx.commit().await?;
        let mut rows: HashMap<Uuid, key_claim::Model> = rows.into_iter().map(|row| (row.holder, row)).collect();
        for (holder, hold) in held {
            match rows.remove(&holder) {
                Some(row) => {
                    *hold.until() = Some(until);
                    if row.wanted {
                        hold.wanted.cancel();
                    }
                }
                None => hold.lost.cancel(),
            }
        }
        // What nobody has in hand was left by a task that ended in the middle of something.
        for (holder, row) in rows {
            if !self.here().contains_key(&holder) {
                self.give_back(&row.fingerprint, holder).await?;
            }
        }
        Ok(())
    }

    fn here(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Hold>>> {
        self.0.here.lock().expect("no panic holds the lock")
    }
}
