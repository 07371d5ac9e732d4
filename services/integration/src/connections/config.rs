//! How to reach Telegram, or the emulator: the same code with other values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// The values that differ between Telegram and the emulator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelegramNetwork {
    /// The application's id, from my.telegram.org.
    pub api_id: i32,
    /// The application's hash.
    pub api_hash: SecretString,
    /// Address of each data centre, by its id. One that is not listed is never
    /// contacted: a call that needs it fails.
    pub data_centres: BTreeMap<String, SocketAddr>,
    /// The data centre where logins begin.
    pub default_data_centre: i32,
    /// RSA keys of the data centres, as decimal numbers.
    pub rsa_keys: Vec<RsaKey>,
}

/// A public key of Telegram's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RsaKey {
    /// The modulus, in decimal.
    pub modulus: String,
    /// The exponent, in decimal.
    pub exponent: String,
}

/// How connections behave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelegramConfig {
    /// Longest time to open a connection and verify its session, in seconds.
    pub connect_timeout_s: u64,
    /// Longest time to wait for an answer, in seconds.
    pub call_timeout_s: u64,
    /// A connection that was not used for so many seconds is closed.
    pub idle_close_s: u64,
    /// The device that every session of the deployment names, always the same.
    pub device_model: String,
    /// Its operating system.
    pub system_version: String,
}

impl TelegramConfig {
    /// Longest time to open a connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }

    /// Longest time to wait for an answer.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_secs(self.call_timeout_s)
    }

    /// When an unused connection is closed.
    pub fn idle_close(&self) -> Duration {
        Duration::from_secs(self.idle_close_s)
    }
}
