//! The tasks that this process runs now, and who wants to know of changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service_kit::watch::Poke;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Shared by the calls and the engine of a process.
#[derive(Debug, Default)]
pub struct Running {
    tasks: Mutex<HashMap<Uuid, CancellationToken>>,
    wake: Notify,
    watches: Arc<Poke>,
}

impl Running {
    /// Stops a task if it runs here. Its row must say so already: the engine
    /// only stops, it decides nothing.
    pub fn stop(&self, id: Uuid) {
        if let Some(token) = self.tasks().get(&id) {
            token.cancel();
        }
    }

    /// Lets the engine look for work.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Running::wake`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the watches that a task changed.
    pub fn poke(&self) {
        self.watches.poke();
    }

    /// What wakes the watches.
    pub fn watches(&self) -> Arc<Poke> {
        self.watches.clone()
    }

    /// Adds a task; it is taken out when the place is dropped.
    pub fn enter(self: &Arc<Self>, id: Uuid) -> Place {
        let token = CancellationToken::new();
        self.tasks().insert(id, token.clone());
        Place { running: self.clone(), id, token }
    }

    /// The tasks that run here.
    pub fn ids(&self) -> Vec<Uuid> {
        self.tasks().keys().copied().collect()
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        // A map of tokens is whole whatever happened to its holder.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that runs here.
#[derive(Debug)]
pub struct Place {
    running: Arc<Running>,
    id: Uuid,
    token: CancellationToken,
}

impl Place {
    /// Ends when the task must stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.tasks().remove(&self.id);
        // A place is free.
        self.running.wake();
    }
}
