//! The configuration of all processes: documented in `default.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use service_kit::telemetry::LogConfig;
use tgmesh_integration::connections::config::RsaKey;
use tgmesh_migrations::Schema;

/// The defaults, with their documentation.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The configuration of all processes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which defaults hold, and what must be set.
    pub profile: Profile,
    /// Where the embedded profile keeps its files.
    pub data_dir: PathBuf,
    /// How long a process may take to end its work, in seconds.
    pub grace_s: u64,
    /// Written once everything is served; empty for none.
    pub ready_file: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// The admin port.
    pub admin: Admin,
    /// Keys that seal.
    pub sealing: Sealing,
    /// Keys that sign, and those that are trusted.
    pub identity: Identity,
    /// How Telegram is reached.
    pub telegram: Telegram,
    /// The embedded profile's Telegram.
    pub emulator: Emulator,
    /// Where the services find each other.
    pub addresses: Addresses,
    /// Where the services' rows are.
    pub databases: Databases,
    /// The integration service.
    pub integration: tgmesh_integration::Config,
    /// The parsing service.
    pub parsing: tgmesh_parsing::Config,
    /// The invite service.
    pub invite: tgmesh_invite::Config,
}

/// Which defaults hold, and what must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Nothing is installed: files and the emulator.
    Embedded,
    /// PostgreSQL, keys and Telegram are given.
    Production,
}

/// The admin port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// Keys that seal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// In base64; the first seals.
    pub keys: Vec<SecretString>,
}

/// Keys that sign, and those that are trusted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Where `<service>.key` lies.
    pub key_dir: PathBuf,
    /// Public keys by issuer.
    #[serde(default)]
    pub trusted: BTreeMap<String, Vec<String>>,
}

/// How Telegram is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// The application's id.
    pub api_id: i32,
    /// The application's hash.
    pub api_hash: SecretString,
    /// Where a running emulator says how it is reached.
    pub emulator_info: PathBuf,
    /// Where logins begin.
    pub default_data_centre: i32,
    /// Address of each data centre.
    #[serde(default)]
    pub data_centres: BTreeMap<String, SocketAddr>,
    /// Keys of the data centres.
    pub rsa_keys: Vec<RsaKey>,
}

/// The embedded profile's Telegram.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// File with its world; empty for the demo's.
    pub scenario: PathBuf,
    /// Whether a doubled key dies.
    pub strict: bool,
    /// Where it is controlled.
    pub control: SocketAddr,
}

/// Where the services find each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The integration service.
    pub integration: String,
    /// The parsing service.
    pub parsing: String,
    /// The invite service.
    pub invite: String,
}

/// Where a service's rows are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Empty for a file in `data_dir`.
    pub url: SecretString,
    /// Most connections held.
    pub max_connections: u32,
}

/// Where the services' rows are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Databases {
    /// The integration service's.
    pub integration: Database,
    /// The parsing service's.
    pub parsing: Database,
    /// The invite service's.
    pub invite: Database,
}

impl Config {
    /// Reads it: defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When something cannot be read, is unknown, or does not fit together.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let config: Self = service_kit::config::load(DEFAULTS, file)?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> anyhow::Result<()> {
        if self.profile == Profile::Production {
            for (name, database) in self.databases() {
                let url = database.url.expose_secret();
                ensure!(
                    url.starts_with("postgres"),
                    "databases.{name}.url must be a postgres:// address in production"
                );
            }
            ensure!(!self.sealing.keys.is_empty(), "sealing.keys must be set in production");
            ensure!(!self.identity.key_dir.as_os_str().is_empty(), "identity.key_dir must be set in production");
            ensure!(!self.identity.trusted.is_empty(), "identity.trusted must be set in production");
            ensure!(self.telegram.api_id > 0, "telegram.api_id must be set in production");
        }
        Ok(())
    }

    /// Pairs of settings that work, and are dangerous together.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let connections = &self.integration.connections;
        let lease = self.integration.leases.default_ttl_ms / 1_000;
        if connections.call_timeout_s > lease {
            warnings.push(format!(
                "integration.connections.call_timeout_s ({}) is longer than a lease lasts ({lease} s): a call may \
                 outlive its lease",
                connections.call_timeout_s
            ));
        }
        if self.grace_s < connections.call_timeout_s / 2 {
            warnings.push(format!(
                "grace_s ({}) is much shorter than integration.connections.call_timeout_s ({}): calls under way when a \
                 process stops end with an unknown outcome",
                self.grace_s, connections.call_timeout_s
            ));
        }
        if !self.admin.listen.ip().is_loopback() && self.profile == Profile::Embedded {
            warnings.push(format!("the admin port listens on {}, which others can reach", self.admin.listen));
        }
        warnings
    }

    /// Every service's database, by the service's name.
    pub fn databases(&self) -> [(&'static str, &Database); 3] {
        [
            ("integration", &self.databases.integration),
            ("parsing", &self.databases.parsing),
            ("invite", &self.databases.invite),
        ]
    }

    /// The address of a service's database.
    pub fn database_url(&self, name: &str, database: &Database) -> SecretString {
        if !database.url.expose_secret().is_empty() {
            return database.url.clone();
        }
        format!("sqlite://{}?mode=rwc", self.data_dir.join(format!("{name}.db")).display()).into()
    }

    /// Where signing keys lie.
    pub fn key_dir(&self) -> PathBuf {
        if self.identity.key_dir.as_os_str().is_empty() {
            self.data_dir.join("keys")
        } else {
            self.identity.key_dir.clone()
        }
    }

    /// Makes the folder of the embedded profile.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.data_dir)
            .with_context(|| format!("the folder {} cannot be made", self.data_dir.display()))
    }
}

/// The schema of a service.
pub fn schema(name: &str) -> Option<Schema> {
    match name {
        "integration" => Some(Schema::Integration),
        "parsing" => Some(Schema::Parsing),
        "invite" => Some(Schema::Invite),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use service_kit::Time;
    use tgmesh_integration::leases::LeaseConfig;
    use tgmesh_integration::quotas::pacing::Speed;
    use tgmesh_integration::quotas::rules::{ChatCounts, Counts, uses};
    use tgmesh_integration::quotas::{Limits, SpeedConfig};
    use tgmesh_proto::quota::v1::Action;

    use super::*;

    fn load(text: &str) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("tgmesh.toml");
        std::fs::write(&file, text)?;
        Config::load(Some(&file))
    }

    #[test]
    fn the_defaults_are_complete_and_safe() {
        let config = load("").unwrap();
        assert_eq!(config.profile, Profile::Embedded);
        assert_eq!(config.warnings(), Vec::<String>::new());
    }

    #[test]
    fn the_documented_limits_are_those_of_the_product() {
        let config = load("").unwrap().integration;
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.speeds, SpeedConfig::default());
        assert_eq!(config.leases, LeaseConfig::default());
    }

    #[test]
    fn every_limit_and_speed_can_be_turned_off() {
        let mut text = "[integration.limits]\nadd_contact_per_day = 'off'\njoin_chat_per_day = 'off'\n\
                        resolve_username_per_day = 'off'\n[integration.limits.invite]\nper_day = 'off'\n\
                        per_day_and_chat = 'off'\ntotal_per_chat = 'off'\npause_after = 'off'\npause_ms = 0\n\
                        interval = { shortest_ms = 0, longest_ms = 0 }\n\
                        [integration.limits.message]\nper_day = 'off'\nper_hour = 'off'\n"
            .to_owned();
        for profile in ["safe", "medium", "fast"] {
            text +=
                &format!("[integration.speeds.{profile}]\ninterval_ms = 0\nfull_profile_ms = 0\nper_minute = 'off'\n");
        }
        let config = load(&text).unwrap().integration;
        let none = Speed { interval_ms: 0, full_profile_ms: 0, per_minute: None };
        assert_eq!(config.speeds, SpeedConfig { safe: none, medium: none, fast: none });
        let counts = Counts { chat: Some(ChatCounts::default()), ..Counts::default() };
        for action in [Action::Invite, Action::Message, Action::AddContact, Action::JoinChat, Action::ResolveUsername] {
            let uses = uses(&config.limits, action, &counts, Time::ZERO);
            assert!(uses.is_empty(), "{action:?}: {uses:?}");
        }
    }

    #[test]
    fn one_setting_of_a_speed_or_a_limit_can_be_changed_alone() {
        let text = "[integration.speeds.fast]\ninterval_ms = 0\n[integration.limits.invite]\nper_hour = 4\n";
        let config = load(text).unwrap().integration;
        assert_eq!((config.speeds.fast.interval_ms, config.speeds.fast.per_minute), (0, Some(90)));
        assert_eq!((config.limits.invite.per_hour, config.limits.invite.per_day), (Some(4), Some(30)));
    }

    #[test]
    fn production_names_what_is_missing() {
        let error = load("profile = 'production'").unwrap_err().to_string();
        assert!(error.contains("databases.integration.url"), "{error}");
    }

    #[test]
    fn unknown_settings_are_refused_at_every_level() {
        for text in [
            "colour = 1",
            "[log]\nlevel = 'x'",
            "[invite.server]\nport = 1",
            "[integration.rules]\nx = 1",
            "[databases.parsing]\nhost = 'x'",
            "[invite]\nx = 1",
        ] {
            assert!(load(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dangerous_pairs_are_named() {
        let config = load("[integration.connections]\ncall_timeout_s = 90").unwrap();
        assert!(config.warnings()[0].contains("call_timeout_s"), "{:?}", config.warnings());
    }
}
