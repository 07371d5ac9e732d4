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
mod tests {
    use service_kit::Time;
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
        for (text, named) in [
            ("[integration.connections]\ncall_timeout_s = 90", "integration.leases.default_ttl_ms"),
            ("[integration.connections]\ncall_timeout_s = 90", "invite.engine.lease_ttl_ms"),
            ("[integration.connections]\ncall_timeout_s = 90", "grace_s"),
            ("[integration.connections]\ncall_timeout_s = 90", "parsing.engine.batch_timeout_s"),
            ("[invite.engine]\nlease_ttl_ms = 20000", "invite.engine.lease_ttl_ms"),
            ("[invite.engine]\nmax_workers = 900", "integration.server.max_concurrent_calls"),
            ("[invite.engine]\ntick_ms = 5000", "invite.engine.owner_ttl_ms"),
            ("[integration.leases]\nmax_waiters = 300", "integration.leases.max_waiters"),
            ("[parsing.engine]\nlease_ttl_s = 5", "parsing.engine.lease_ttl_s"),
            ("[parsing.engine]\nbatch_timeout_s = 60", "parsing.engine.batch_timeout_s"),
            ("[integration.speeds.safe]\ninterval_ms = 200000", "integration.speeds.safe"),
            ("[admin]\nlisten = '0.0.0.0:9090'", "admin.listen"),
        ] {
            let warnings = load(text).unwrap().warnings();
            assert!(warnings.iter().any(|warning| warning.contains(named)), "{text}: {warnings:?}");
        }
    }

    /// The path of every setting in a text.
    fn settings(table: &toml::Table, path: &[&str], found: &mut Vec<String>) {
        for (key, value) in table {
            let path = [path, &[key]].concat();
            match value {
                toml::Value::Table(inner) => settings(inner, &path, found),
                _ => found.push(path.join(".")),
            }
        }
    }

    #[test]
    fn every_setting_has_its_default_in_the_document_and_nowhere_else() {
        let all: toml::Table = DEFAULTS.parse().unwrap();
        let mut found = Vec::new();
        settings(&all, &[], &mut found);
        assert!(found.len() > 80, "{}", found.len());
        for key in found {
            let mut without = all.clone();
            let (mut table, mut path) = (&mut without, key.split('.').peekable());
            while let Some(name) = path.next() {
                if path.peek().is_none() {
                    table.remove(name);
                    break;
                }
                table = table.get_mut(name).and_then(toml::Value::as_table_mut).unwrap();
            }
            let loaded = service_kit::config::load::<Config>(&without.to_string(), None, |_| Ok(()));
            let error = loaded.map(drop).expect_err(&key).to_string();
            assert!(error.starts_with(&key) && error.ends_with(": is missing"), "{key}: {error}");
        }
    }

    #[test]
    fn every_setting_is_documented() {
        let (mut documented, mut named) = (BTreeMap::<&str, bool>::new(), String::new());
        for (above, line) in DEFAULTS.lines().zip(DEFAULTS.lines().skip(1)) {
            if line.starts_with('[') {
                line.clone_into(&mut named);
            }
            let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
            // Above it, or above its section, or where a setting of this name stands first.
            *documented.entry(key).or_default() |= above.starts_with('#') || named.contains("speeds");
        }
        let without: Vec<_> = documented.iter().filter(|(_, documented)| !**documented).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn services_that_run_alone_share_a_machine() {
        let admin = load("").unwrap().admin;
        let ports: Vec<u16> = [&["integration", "parsing", "invite"][..], &["integration"], &["invite"], &["parsing"]]
            .iter()
            .map(|services| admin.address(services).port())
            .collect();
        assert_eq!(ports, [9090, 9091, 9092, 9093]);
        let admin = load("[admin]\nlisten = '10.0.0.1:1'").unwrap().admin;
        assert_eq!(admin.address(&["invite"]).to_string(), "10.0.0.1:1");
    }

    #[test]
    fn a_wrong_value_is_told_by_its_setting_and_never_shown() {
        for (text, expected) in [
            ("[telegram]\napi_hash = 987654321", "telegram.api_hash: expected text, in quotes"),
            ("[log]\nfilter = 'no=such=filter'", "log.filter: expected levels such as \"info\""),
            ("[log]\nformat = 'x'", "log.format: expected text or json"),
            ("[integration.limits.invite]\nper_day = -3", "per_day: expected a whole number, 0 or more, or \"off\""),
            ("[integration.limits.invite]\nper_day = 'x'", "per_day: expected a whole number, 0 or more, or \"off\""),
            ("[invite.engine]\nlease_ttl_ms = 5", "invite.engine.lease_ttl_ms: must lie between 1000 and 600000"),
            ("[parsing.engine]\nlease_wait_s = 111", "parsing.engine.lease_wait_s: must be at most 110"),
            ("[admin]\nlisten = '987654321'", "admin.listen: expected an address such as 127.0.0.1:50051"),
            ("profile = 'x'", "profile: expected embedded or production"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(
                error.contains("tgmesh.toml: ") && !error.contains("987654321") && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
