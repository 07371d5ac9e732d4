//! The service's configuration.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::ServerConfig;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the server listens and protects itself.
    pub server: ServerConfig,
    /// How campaigns are worked on.
    #[serde(default)]
    pub engine: EngineConfig,
    /// What uploads may hold.
    #[serde(default)]
    pub import: ImportConfig,
}

/// How campaigns are worked on. The pace is not set here: it is the accounts'
/// quotas, kept by the integration service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Most accounts that the process works with at once, over all campaigns.
    pub max_workers: usize,
    /// Most accounts that the process works with at once for one campaign.
    pub max_workers_per_campaign: usize,
    /// How often the process looks for work that another replica made, in
    /// milliseconds. Bounds how late a pause made elsewhere is seen while an
    /// account is waited for; a send sees it at once.
    pub tick_ms: u64,
    /// How long one request for an account waits at the integration service,
    /// in milliseconds; at most 110000.
    pub acquire_wait_ms: u64,
    /// How long an account is held without a renewal, in milliseconds, 1000 to
    /// 600000: after a crash it is free again after so long.
    pub lease_ttl_ms: u64,
    /// An account that must wait longer than this between two targets is given
    /// back, in milliseconds.
    pub patience_ms: u64,
    /// An account held this long is given back when other campaigns of its
    /// workspace wait for one, in milliseconds.
    pub fair_share_ms: u64,
    /// How long after its last sign of life a process counts as dead, in
    /// milliseconds; its targets are then taken over. More than the clocks of
    /// two replicas may differ.
    pub owner_ttl_ms: u64,
    /// How long after a failed attempt to find out what became of a lost
    /// answer the next one comes, in milliseconds.
    pub reconcile_retry_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_workers: 256,
            max_workers_per_campaign: 64,
            tick_ms: 500,
            acquire_wait_ms: 20_000,
            lease_ttl_ms: 30_000,
            patience_ms: 5_000,
            fair_share_ms: 20_000,
            owner_ttl_ms: 10_000,
            reconcile_retry_ms: 5_000,
        }
    }
}

impl EngineConfig {
    /// [`EngineConfig::tick_ms`].
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms.max(1))
    }

    /// [`EngineConfig::acquire_wait_ms`].
    pub fn acquire_wait(&self) -> Duration {
        Duration::from_millis(self.acquire_wait_ms.min(110_000))
    }

    /// [`EngineConfig::lease_ttl_ms`].
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms.clamp(1_000, 600_000))
    }

    /// [`EngineConfig::patience_ms`].
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    /// [`EngineConfig::fair_share_ms`].
    pub fn fair_share(&self) -> Duration {
        Duration::from_millis(self.fair_share_ms)
    }

    /// [`EngineConfig::owner_ttl_ms`].
    pub fn owner_ttl(&self) -> Duration {
        Duration::from_millis(self.owner_ttl_ms.max(3))
    }

    /// [`EngineConfig::reconcile_retry_ms`].
    pub fn reconcile_retry(&self) -> Duration {
        Duration::from_millis(self.reconcile_retry_ms)
    }
}

/// What uploads may hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportConfig {
    /// Most rows of one audience.
    pub max_rows: u64,
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// How long an uploaded file is kept, in seconds.
    pub kept_s: u64,
    /// Rows written in one transaction.
    pub batch: usize,
    /// An import that makes no progress for so long is given up and its rows
    /// are swept, in seconds.
    pub staging_s: u64,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self { max_rows: 5_000_000, max_bytes: 4 << 30, kept_s: 24 * 60 * 60, batch: 500, staging_s: 600 }
    }
}
