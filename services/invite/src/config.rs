//! The service's configuration.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::{ServerConfig, Wrong};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the server listens and protects itself.
    pub server: ServerConfig,
    /// How campaigns are worked on.
    pub engine: EngineConfig,
    /// What uploads may hold.
    pub import: ImportConfig,
}

impl Config {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The setting that cannot.
    pub fn check(&self) -> Result<(), Wrong> {
        self.engine.check().map_err(|wrong| wrong.below("engine"))?;
        self.import.check().map_err(|wrong| wrong.below("import"))
    }
}

/// How campaigns are worked on. The pace is not set here: it is the accounts'
/// quotas, kept by the integration service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
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

impl EngineConfig {
    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless(self.max_workers > 0, "max_workers", "must be at least 1")?;
        Wrong::unless(self.max_workers_per_campaign > 0, "max_workers_per_campaign", "must be at least 1")?;
        Wrong::unless(self.tick_ms > 0, "tick_ms", "must be at least 1")?;
        Wrong::unless(self.acquire_wait_ms <= 110_000, "acquire_wait_ms", "must be at most 110000")?;
        Wrong::unless(
            (1_000..=600_000).contains(&self.lease_ttl_ms),
            "lease_ttl_ms",
            "must lie between 1000 and 600000",
        )?;
        // Renewed at a third of it.
        Wrong::unless(self.owner_ttl_ms >= 3, "owner_ttl_ms", "must be at least 3")
    }

    /// [`EngineConfig::tick_ms`].
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }

    /// [`EngineConfig::acquire_wait_ms`].
    pub fn acquire_wait(&self) -> Duration {
        Duration::from_millis(self.acquire_wait_ms)
    }

    /// [`EngineConfig::lease_ttl_ms`].
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
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
        Duration::from_millis(self.owner_ttl_ms)
    }

    /// [`EngineConfig::reconcile_retry_ms`].
    pub fn reconcile_retry(&self) -> Duration {
        Duration::from_millis(self.reconcile_retry_ms)
    }
}

/// What uploads may hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
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

impl ImportConfig {
    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless(self.max_rows > 0, "max_rows", "must be at least 1")?;
        Wrong::unless(self.max_bytes > 0, "max_bytes", "must be at least 1")?;
        Wrong::unless(self.batch > 0, "batch", "must be at least 1")?;
        Wrong::unless(self.staging_s > 0, "staging_s", "must be at least 1")
    }
}
