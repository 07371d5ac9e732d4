//! The configuration of all processes: documented in `default.toml`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use service_kit::config::Wrong;
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
    /// Where it listens; `None` for this machine and the port of what is served.
    #[serde(deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    /// Ports, so that services which run alone can share a machine.
    pub ports: AdminPorts,
}

/// Ports of the admin port, by what is served.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminPorts {
    /// Several services in one process.
    pub all: u16,
    /// The integration service alone.
    pub integration: u16,
    /// The invite service alone.
    pub invite: u16,
    /// The parsing service alone.
    pub parsing: u16,
}

impl Admin {
    /// Where a process listens that serves these.
    pub fn address(&self, services: &[&str]) -> SocketAddr {
        let port = match services {
            ["integration"] => self.ports.integration,
            ["invite"] => self.ports.invite,
            ["parsing"] => self.ports.parsing,
            _ => self.ports.all,
        };
        self.listen.unwrap_or((Ipv4Addr::LOCALHOST, port).into())
    }
}

/// An address, or nothing.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    // The address may be mistyped: its text is not repeated.
    text.parse().map(Some).map_err(serde::de::Error::custom)
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
        Ok(service_kit::config::load(DEFAULTS, file, Self::check)?)
    }

    fn check(&self) -> Result<(), Wrong> {
        self.log.check().map_err(|wrong| wrong.below("log"))?;
        self.integration.check().map_err(|wrong| wrong.below("integration"))?;
        self.parsing.check().map_err(|wrong| wrong.below("parsing"))?;
        self.invite.check().map_err(|wrong| wrong.below("invite"))?;
        if self.profile == Profile::Production {
            for (name, database) in self.databases() {
                let postgres = database.url.expose_secret().starts_with("postgres");
                Wrong::unless(
                    postgres,
                    format!("databases.{name}.url"),
                    "must be a postgres:// address in production",
                )?;
            }
            let set = |holds, key: &str| Wrong::unless(holds, key, "must be set in production");
            set(!self.sealing.keys.is_empty(), "sealing.keys")?;
            set(!self.identity.key_dir.as_os_str().is_empty(), "identity.key_dir")?;
            set(!self.identity.trusted.is_empty(), "identity.trusted")?;
            set(self.telegram.api_id > 0, "telegram.api_id")?;
            set(!self.telegram.api_hash.expose_secret().is_empty(), "telegram.api_hash")?;
            set(!self.telegram.data_centres.is_empty(), "telegram.data_centres")?;
        }
        Ok(())
    }

    /// Pairs of settings that work, and are dangerous together.
    pub fn warnings(&self) -> Vec<String> {
        let (connections, speeds) = (&self.integration.connections, &self.integration.speeds);
        let (invite, parsing) = (&self.invite.engine, &self.parsing.engine);
        let call_ms = connections.call_timeout_s * 1_000;
        let mut warnings = Vec::new();
        let mut warn = |dangerous: bool, text: String| {
            if dangerous {
                warnings.push(text);
            }
        };
        for (key, ttl_ms) in [
            ("integration.leases.default_ttl_ms", self.integration.leases.default_ttl_ms),
            ("invite.engine.lease_ttl_ms", invite.lease_ttl_ms),
        ] {
            warn(
                ttl_ms < call_ms,
                format!(
                    "{key} ({ttl_ms}) is shorter than integration.connections.call_timeout_s ({}): a call may outlive \
                     its lease",
                    connections.call_timeout_s
                ),
            );
        }
        // Reads may be made again, so a reader's lease is shorter; it must outlive the way to Telegram.
        warn(
            parsing.lease_ttl_s < connections.connect_timeout_s,
            format!(
                "parsing.engine.lease_ttl_s ({}) is shorter than integration.connections.connect_timeout_s ({}): an \
                 account may be another's before its connection is open",
                parsing.lease_ttl_s, connections.connect_timeout_s
            ),
        );
        warn(
            self.grace_s < connections.call_timeout_s / 2,
            format!(
                "grace_s ({}) is much shorter than integration.connections.call_timeout_s ({}): calls under way when a \
                 process stops end with an unknown outcome",
                self.grace_s, connections.call_timeout_s
            ),
        );
        for (name, speed) in [("safe", speeds.safe), ("medium", speeds.medium), ("fast", speeds.fast)] {
            // The longest pause before a read, with the wait for its answer.
            let pause_ms = speed.interval_ms.max(speed.per_minute.map_or(0, |_| 60_000));
            warn(
                parsing.batch_timeout_s * 1_000 < pause_ms + call_ms,
                format!(
                    "parsing.engine.batch_timeout_s ({}) is shorter than integration.speeds.{name} and \
                     integration.connections.call_timeout_s ({}) may take together: readings would begin anew for ever",
                    parsing.batch_timeout_s, connections.call_timeout_s
                ),
            );
        }
        let (callers, calls) =
            (invite.max_workers + 2 * parsing.max_running_tasks, self.integration.server.max_concurrent_calls);
        warn(
            callers > calls,
            format!(
                "integration.server.max_concurrent_calls ({calls}) is less than invite.engine.max_workers ({}) and \
                 parsing.engine.max_running_tasks ({}) need at once: users would be refused with OVERLOADED",
                invite.max_workers, parsing.max_running_tasks
            ),
        );
        warn(
            invite.max_workers + parsing.max_running_tasks > self.integration.leases.max_waiters,
            format!(
                "integration.leases.max_waiters ({}) is less than invite.engine.max_workers ({}) and \
                 parsing.engine.max_running_tasks ({}) together: some would be refused instead of waiting",
                self.integration.leases.max_waiters, invite.max_workers, parsing.max_running_tasks
            ),
        );
        warn(
            invite.owner_ttl_ms < 3 * invite.tick_ms,
            format!(
                "invite.engine.owner_ttl_ms ({}) is less than three of invite.engine.tick_ms ({}): a busy process may \
                 be taken for dead",
                invite.owner_ttl_ms, invite.tick_ms
            ),
        );
        if let Some(listen) = self.admin.listen.filter(|listen| !listen.ip().is_loopback()) {
            let text = format!("admin.listen ({listen}) can be reached by others, and knows no identities");
            warn(self.profile == Profile::Embedded, text);
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

    /// Makes the folder of the embedded profile, for its owner alone: people,
    /// phone numbers and keys lie there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self) -> anyhow::Result<()> {
        service_kit::files::private_folder(&self.data_dir)
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
#[path = "config_tests.rs"]
mod tests;
