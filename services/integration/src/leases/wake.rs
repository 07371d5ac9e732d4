//! Wakes those who wait for an account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

/// Wakes those who wait for an account of a workspace. Shared by everything
/// that can make an account available.
#[derive(Debug, Default)]
pub struct Wake {
    workspaces: Mutex<HashMap<Uuid, Arc<Notify>>>,
}

impl Wake {
    /// Something of this workspace changed: a lease ended, an action was settled,
    /// a restriction ended, an account came, a limit was changed. Call it after
    /// the commit. Costs nothing when nobody waits.
    pub fn poke(&self, workspace_id: Uuid) {
        if let Some(waiting) = self.lock().get(&workspace_id) {
            // Stored when the pump is at work: it looks again afterwards.
            waiting.notify_one();
        }
    }

    /// Something of all workspaces changed.
    pub fn poke_all(&self) {
        self.lock().values().for_each(|waiting| waiting.notify_one());
    }

    pub(super) fn join(&self, workspace_id: Uuid) -> Arc<Notify> {
        self.lock().entry(workspace_id).or_default().clone()
    }

    pub(super) fn leave(&self, workspace_id: Uuid) {
        self.lock().remove(&workspace_id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
