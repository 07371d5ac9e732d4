//! Configuration: documented defaults, then a file, then the environment.
//!
//! Unknown keys are refused, so that a misspelt one cannot be silently ignored.

use std::net::SocketAddr;
use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Variables of the environment begin with this; levels are parted by two
/// underscores, as in `TGMESH__INVITE__LISTEN`.
pub const ENV_PREFIX: &str = "TGMESH__";

/// Reads the configuration.
///
/// # Errors
/// When a file cannot be read, a key is unknown, or a value does not fit. The
/// message names the key and where it was set.
pub fn load<T: DeserializeOwned>(defaults: &str, file: Option<&Path>) -> anyhow::Result<T> {
    let mut figment = Figment::from(Toml::string(defaults));
    if let Some(file) = file {
        anyhow::ensure!(file.is_file(), "the configuration file {} cannot be found", file.display());
        figment = figment.merge(Toml::file_exact(file));
    }
    figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
    figment.extract().map_err(|error| {
        let all: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
        anyhow::anyhow!("the configuration is not usable: {}", all.join("; "))
    })
}

/// Where a service's rows are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://PATH?mode=rwc` or `postgres://…`.
    pub url: SecretString,
    /// Most connections held.
    pub max_connections: u32,
}

/// How a server listens and protects itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Most calls served at once by the process; more are refused with
    /// OVERLOADED.
    pub max_concurrent_calls: usize,
    /// Largest message accepted, in bytes.
    pub max_message_bytes: usize,
    /// Connections end after about so many seconds, so that clients spread over
    /// new replicas.
    pub max_connection_age_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        server: ServerConfig,
    }

    const DEFAULTS: &str = "
        [server]
        listen = '127.0.0.1:0'
        max_concurrent_calls = 100
        max_message_bytes = 4194304
        max_connection_age_s = 600
    ";

    #[test]
    fn a_file_overrides_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tgmesh.toml");
        std::fs::write(&file, "[server]\nmax_concurrent_calls = 7\n").unwrap();
        let sample: Sample = load(DEFAULTS, Some(&file)).unwrap();
        assert_eq!((sample.server.max_concurrent_calls, sample.server.max_message_bytes), (7, 4_194_304));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tgmesh.toml");
        std::fs::write(&file, "[server]\nmax_concurent_calls = 7\n").unwrap();
        let error = load::<Sample>(DEFAULTS, Some(&file)).unwrap_err().to_string();
        assert!(error.contains("max_concurent_calls"), "{error}");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = load::<Sample>(DEFAULTS, Some(Path::new("/nowhere/tgmesh.toml"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/tgmesh.toml"), "{error}");
    }
}
