//! What can be configured.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::{ServerConfig, Wrong};

/// Configuration of the parsing service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How it listens.
    pub server: ServerConfig,
    /// How it runs tasks.
    pub engine: EngineConfig,
}

impl Config {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The setting that cannot.
    pub fn check(&self) -> Result<(), Wrong> {
        self.engine.check().map_err(|wrong| wrong.below("engine"))
    }
}

/// How tasks are run. How fast Telegram is read is the integration service's
/// configuration, not this one's.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Most tasks that one process runs at once; those that wait for an account
    /// count.
    pub max_running_tasks: usize,
    /// Seconds after which another process takes over the tasks of one that
    /// died. Renewed at a third of it.
    pub claim_ttl_s: u64,
    /// Seconds after which the account of a process that died is free again.
    /// Renewed at a third of it; 1 to 600.
    pub lease_ttl_s: u64,
    /// Longest wait for an account in one go, in seconds, at most 110; the task
    /// then lets others have its place and comes back.
    pub lease_wait_s: u64,
    /// Seconds without a batch after which a reading is begun anew at its
    /// cursor. Longer than the slowest speed profile waits.
    pub batch_timeout_s: u64,
}

impl EngineConfig {
    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless(self.max_running_tasks > 0, "max_running_tasks", "must be at least 1")?;
        Wrong::unless(self.claim_ttl_s > 0, "claim_ttl_s", "must be at least 1")?;
        Wrong::unless((1..=600).contains(&self.lease_ttl_s), "lease_ttl_s", "must lie between 1 and 600")?;
        Wrong::unless(self.lease_wait_s <= 110, "lease_wait_s", "must be at most 110")?;
        Wrong::unless(self.batch_timeout_s > 0, "batch_timeout_s", "must be at least 1")
    }

    pub(crate) fn claim_ttl(&self) -> Duration {
        Duration::from_secs(self.claim_ttl_s)
    }

    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_ttl_s)
    }

    pub(crate) fn lease_wait(&self) -> Duration {
        Duration::from_secs(self.lease_wait_s)
    }

    pub(crate) fn batch_timeout(&self) -> Duration {
        Duration::from_secs(self.batch_timeout_s)
    }
}
