//! What can be configured.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::ServerConfig;

/// Configuration of the parsing service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How it listens.
    pub server: ServerConfig,
    /// How it runs tasks.
    #[serde(default)]
    pub engine: EngineConfig,
}

/// How tasks are run. How fast Telegram is read is the integration service's
/// configuration, not this one's.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Most tasks that one process runs at once; those that wait for an account
    /// count. Default 200.
    pub max_running_tasks: usize,
    /// Seconds after which another process takes over the tasks of one that
    /// died. Renewed at a third of it. Default 6.
    pub claim_ttl_s: u64,
    /// Seconds after which the account of a process that died is free again.
    /// Renewed at a third of it; 1 to 600. Default 15.
    pub lease_ttl_s: u64,
    /// Longest wait for an account in one go, in seconds, at most 110; the task
    /// then lets others have its place and comes back. Default 20.
    pub lease_wait_s: u64,
    /// Seconds without a batch after which a reading is begun anew at its
    /// cursor. Longer than the slowest speed profile waits. Default 120.
    pub batch_timeout_s: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { max_running_tasks: 200, claim_ttl_s: 6, lease_ttl_s: 15, lease_wait_s: 20, batch_timeout_s: 120 }
    }
}

impl EngineConfig {
    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.max_running_tasks > 0, "engine.max_running_tasks must be at least 1");
        anyhow::ensure!(self.claim_ttl_s > 0, "engine.claim_ttl_s must be at least 1");
        anyhow::ensure!((1..=600).contains(&self.lease_ttl_s), "engine.lease_ttl_s must lie between 1 and 600");
        anyhow::ensure!(self.lease_wait_s <= 110, "engine.lease_wait_s must be at most 110");
        anyhow::ensure!(self.batch_timeout_s > 0, "engine.batch_timeout_s must be at least 1");
        Ok(())
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
