//! Configuration of the service.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::{ServerConfig, Wrong};

use crate::connections::TelegramConfig;
use crate::leases::LeaseConfig;
use crate::quotas::limits::Limits;
use crate::quotas::pacing::SpeedConfig;

/// Configuration of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How it listens.
    pub server: ServerConfig,
    /// How connections to Telegram behave.
    pub connections: TelegramConfig,
    /// How leases are given.
    pub leases: LeaseConfig,
    /// The deployment's limits until an operator sets others.
    pub limits: Limits,
    /// How fast reads follow one another.
    pub speeds: SpeedConfig,
    /// Rules that are neither limits nor speeds.
    pub rules: Rules,
}

impl Config {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The setting that cannot.
    pub fn check(&self) -> Result<(), Wrong> {
        let Self { connections, leases, .. } = self;
        Wrong::unless(connections.connect_timeout_s > 0, "connections.connect_timeout_s", "must be at least 1")?;
        Wrong::unless(connections.call_timeout_s > 0, "connections.call_timeout_s", "must be at least 1")?;
        let ttl = (1_000..=600_000).contains(&leases.default_ttl_ms);
        Wrong::unless(ttl, "leases.default_ttl_ms", "must lie between 1000 and 600000")?;
        Wrong::unless(leases.sweep_ms > 0, "leases.sweep_ms", "must be at least 1")?;
        Wrong::unless(leases.look_ms > 0, "leases.look_ms", "must be at least 1")?;
        Wrong::unless(self.rules.login_life_s > 0, "rules.login_life_s", "must be at least 1")?;
        // Nobody without known rights is given a lease that needs some.
        Wrong::unless(self.rules.rights_life_s > 0, "rules.rights_life_s", "must be at least 1")
    }
}

/// Rules that are neither limits nor speeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Added to what a flood wait says, in milliseconds.
    pub flood_margin_ms: u64,
    /// How long a login may take, in seconds.
    pub login_life_s: u64,
    /// How long what Telegram said of rights is believed, in seconds.
    pub rights_life_s: u64,
    /// Of so many invites that Telegram accepted, one is looked after: is the
    /// user in the chat? 0 for none, 1 for each.
    pub check_one_invite_in: u32,
}

impl Rules {
    pub(crate) fn flood_margin(&self) -> Duration {
        Duration::from_millis(self.flood_margin_ms)
    }
}
