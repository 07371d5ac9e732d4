//! Configuration of the service.

use std::time::Duration;

use serde::Deserialize;
use service_kit::config::ServerConfig;

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
    #[serde(default)]
    pub leases: LeaseConfig,
    /// The deployment's limits until an operator sets others.
    #[serde(default)]
    pub limits: Limits,
    /// How fast reads follow one another.
    #[serde(default)]
    pub speeds: SpeedConfig,
    /// Rules that are neither limits nor speeds.
    pub rules: Rules,
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
