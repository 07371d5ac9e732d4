//! Those who wait for an account, and who serves them.
//!
//! One task per workspace in which somebody waits. It is woken by what makes
//! accounts available, and by the clock when the next one is due, and then goes
//! through the waiters in order: priority first, then first come. Waiters with
//! equal needs share the fate of the first of them, so a round costs one attempt
//! per kind of need, however many wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::clock::{SharedClock, Sleep};
use service_kit::{Identity, Time};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, Priority};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::manager::LeaseManager;
use super::store::{Ask, Needs};
use super::{Lease, Unavailable};
use crate::error::{Error, Result};

/// A caller's place: priority, then order of arrival.
type Place = (i32, u64);

/// A call that wants an account.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub who: Identity,
    pub request: AcquireLeaseRequest,
    pub ask: Ask,
    /// When it gives up.
    pub until: Time,
    /// When it gives up if it would be granted but for rights that are being asked for.
    pub checks_until: Time,
}

impl Wish {
    fn is_twin(&self, other: &Self) -> bool {
        self.request.request_id == other.request.request_id
            && self.who.user_id == other.who.user_id
            && self.who.service == other.who.service
    }

    /// When it gives up, denied for these reasons.
    fn end(&self, denied: &Unavailable) -> Time {
        if denied.awaits_rights() { self.checks_until } else { self.until }
    }

    fn priority(&self) -> i32 {
        match self.request.priority() {
            Priority::Unspecified => Priority::Normal.into(),
            priority => priority.into(),
        }
    }
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    Taken(Handed),
    Denied(Unavailable),
}

/// A lease on its way to its caller. Dropped on the way, it is taken back: who
/// cancels his work gives up waiting in the very moment in which others release,
/// and the account must not stay with nobody until the ttl is over.
#[derive(Debug)]
pub(super) struct Handed {
    lease: Box<Lease>,
    back: Option<(LeaseManager, Arc<Wish>)>,
}

impl Handed {
    pub fn new(lease: Box<Lease>, back: Option<(LeaseManager, Arc<Wish>)>) -> Self {
        Self { lease, back }
    }

    /// It has arrived.
    pub fn accept(mut self) -> Lease {
        self.back = None;
        (*self.lease).clone()
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some((manager, wish)) = self.back.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let lease = self.lease.clone();
            runtime.spawn(async move { manager.take_back(&wish, &lease).await });
        }
    }
}

#[derive(Debug)]
struct Waiter {
    wish: Arc<Wish>,
    reply: oneshot::Sender<Result<Handed>>,
}

/// The waiters of all workspaces.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    workspaces: Mutex<HashMap<Uuid, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<Place, Waiter>,
    arrivals: u64,
}

impl Waiters {
    /// Whether nobody waits in the workspace.
    pub fn is_empty(&self, workspace_id: Uuid) -> bool {
        !self.lock().contains_key(&workspace_id)
    }

    /// How many wait in the workspace.
    pub fn count(&self, workspace_id: Uuid) -> usize {
        let waits = |waiter: &&Waiter| !waiter.reply.is_closed();
        self.lock().get(&workspace_id).map_or(0, |queue| queue.waiters.values().filter(waits).count())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Queue>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waiters in order; those whose callers went away are let go.
    fn in_order(&self, workspace_id: Uuid) -> Vec<(Place, Arc<Wish>)> {
        let mut workspaces = self.lock();
        let Some(queue) = workspaces.get_mut(&workspace_id) else { return Vec::new() };
        queue.waiters.retain(|_, waiter| !waiter.reply.is_closed());
        queue.waiters.iter().map(|(place, waiter)| (*place, waiter.wish.clone())).collect()
    }

    fn is_gone(&self, workspace_id: Uuid, place: Place) -> bool {
        let workspaces = self.lock();
        let waiter = workspaces.get(&workspace_id).and_then(|queue| queue.waiters.get(&place));
        waiter.is_none_or(|waiter| waiter.reply.is_closed())
    }

    fn answer(&self, workspace_id: Uuid, place: Place, answer: Result<Handed>) {
        let waiter = self.lock().get_mut(&workspace_id).and_then(|queue| queue.waiters.remove(&place));
        if let Some(waiter) = waiter {
            // What does not arrive is taken back when it is dropped.
            let _ = waiter.reply.send(answer);
        }
    }
}

impl LeaseManager {
    /// Waits in line.
    pub(super) async fn wait_in_line(&self, wish: Arc<Wish>) -> Result<Handed> {
        let workspace_id = wish.who.workspace_id;
        let (reply, answer) = oneshot::channel();
        {
            let mut workspaces = self.waiters.lock();
            let begins = !workspaces.contains_key(&workspace_id);
            let queue = workspaces.entry(workspace_id).or_default();
            if queue.waiters.len() >= self.config.max_waiters {
                return Err(Error::plain(ErrorReason::Overloaded, "too many calls wait for an account")
                    .retry_after(Some(Duration::from_secs(1))));
            }
            queue.arrivals += 1;
            let place = (wish.priority(), queue.arrivals);
            queue.waiters.insert(place, Waiter { wish, reply });
            let waiting = self.wake.join(workspace_id);
            // It may have been freed since the caller's own attempt.
            waiting.notify_one();
            if begins {
                tokio::spawn(pump(self.clone(), workspace_id, waiting));
            }
        }
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }
}

/// What a caller learns when the process ends.
pub(super) fn shutting_down() -> Error {
    Error::plain(ErrorReason::ShuttingDown, "this replica gives no more leases").retry_after(Some(Duration::ZERO))
}

/// Serves the waiters of a workspace until there are none.
async fn pump(manager: LeaseManager, workspace_id: Uuid, waiting: Arc<Notify>) {
    let stop = manager.shutdown.token();
    loop {
        if stop.is_cancelled() {
            // Dropped replies tell the callers.
            manager.waiters.lock().remove(&workspace_id);
            manager.wake.leave(workspace_id);
            return;
        }
        let next = round(&manager, workspace_id).await;
        {
            let mut workspaces = manager.waiters.lock();
            if workspaces.get(&workspace_id).is_none_or(|queue| queue.waiters.is_empty()) {
                workspaces.remove(&workspace_id);
                manager.wake.leave(workspace_id);
                return;
            }
        }
        tokio::select! {
            () = waiting.notified() => {}
            () = sleep_until(&manager.clock, next) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Goes through the waiters once; answers when to look again.
async fn round(manager: &LeaseManager, workspace_id: Uuid) -> Time {
    let mut denied: HashMap<Needs, Unavailable> = HashMap::new();
    let begin = manager.clock.now();
    let mut next = begin + Duration::from_millis(manager.config.look_ms);
    let mut served: Vec<Place> = Vec::new();
    let order = manager.waiters.in_order(workspace_id);
    for (place, wish) in &order {
        if served.contains(place) || manager.waiters.is_gone(workspace_id, *place) {
            continue;
        }
        if !denied.contains_key(&wish.ask.needs) {
            match manager.attempt(wish).await {
                Ok(Attempt::Taken(handed)) => {
                    manager.waiters.answer(workspace_id, *place, Ok(handed));
                    // A twin in flight gets the same answer, not the next account.
                    for (twin, other) in order.iter().filter(|(twin, other)| twin != place && other.is_twin(wish)) {
                        let answer = match manager.attempt(other).await {
                            Ok(Attempt::Taken(handed)) => Ok(handed),
                            Ok(Attempt::Denied(unavailable)) => Err(Error::NoAccount(Box::new(unavailable))),
                            Err(error) => Err(error),
                        };
                        manager.waiters.answer(workspace_id, *twin, answer);
                        served.push(*twin);
                    }
                    continue;
                }
                Ok(Attempt::Denied(unavailable)) => {
                    denied.insert(wish.ask.needs.clone(), unavailable);
                }
                Err(error) => {
                    manager.waiters.answer(workspace_id, *place, Err(error));
                    continue;
                }
            }
        }
        let Some(unavailable) = denied.get(&wish.ask.needs) else { continue };
        let end = wish.end(unavailable);
        if end <= manager.clock.now() {
            let answer = Err(Error::NoAccount(Box::new(unavailable.clone())));
            manager.waiters.answer(workspace_id, *place, answer);
        } else {
            next = next.min(end);
        }
    }
    // What is due already was refused for a reason that nobody foresees: not at once again.
    denied.values().filter_map(Unavailable::earliest).filter(|due| *due > begin).fold(next, Time::min)
}

/// A sleep that ends at `until`, even when the clock moves while it is made.
fn sleep_until(clock: &SharedClock, until: Time) -> Sleep {
    loop {
        let now = clock.now();
        let sleep = clock.sleep(until.since(now));
        if clock.now() == now {
            return sleep;
        }
    }
}
