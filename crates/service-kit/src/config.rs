//! Configuration: documented defaults, then a file, then the environment.
//!
//! Unknown settings are refused, so that a misspelt one cannot be silently
//! ignored. What is wrong is told in one line: where it was set, which setting it
//! is, what was expected. Never the value: it may be a secret, or a part of one.

use std::net::SocketAddr;
use std::path::Path;

use figment::error::Kind;
use figment::providers::{Env, Format as _, Toml};
use figment::{Figment, Metadata, Source};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Variables of the environment begin with this; levels are parted by two
/// underscores, as in `TGMESH__INVITE__LISTEN`.
pub const ENV_PREFIX: &str = "TGMESH__";

/// Why a configuration cannot be used: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Wrong {
    /// The setting, as `invite.server.listen`.
    pub key: String,
    /// What is wrong with it, without its value: `must be set in production`.
    pub what: String,
}

impl Wrong {
    /// Something is wrong with the setting `key`.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }

    /// The same, of a setting below `section`.
    #[must_use]
    pub fn below(self, section: &str) -> Self {
        Self { key: join(section, &self.key), ..self }
    }

    /// Refuses unless `holds`.
    ///
    /// # Errors
    /// When it does not.
    pub fn unless(holds: bool, key: impl Into<String>, what: impl Into<String>) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(key, what)) }
    }
}

/// Reads the configuration. `check` looks at what the types cannot say.
///
/// # Errors
/// When the file cannot be read, a setting is unknown or missing, a value does
/// not fit, or `check` refuses.
pub fn load<T: DeserializeOwned>(
    defaults: &str,
    file: Option<&Path>,
    check: impl FnOnce(&T) -> Result<(), Wrong>,
) -> Result<T, ConfigError> {
    let mut figment = Figment::from(Toml::string(defaults));
    if let Some(file) = file {
        readable(file)?;
        figment = figment.merge(Toml::file_exact(file));
    }
    figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
    let config: T = figment.extract().map_err(|error| ConfigError(describe(&error)))?;
    match check(&config) {
        Ok(()) => Ok(config),
        Err(Wrong { key, what }) => {
            let place = figment.find_metadata(&key);
            Err(ConfigError(at(place, &key, &what)))
        }
    }
}

/// Refuses a file that is none, or no TOML: its own error would show the lines
/// around the fault, values and all.
fn readable(file: &Path) -> Result<(), ConfigError> {
    use std::io::ErrorKind;
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        ConfigError(match error.kind() {
            ErrorKind::NotFound => format!("there is no configuration file {name}"),
            ErrorKind::IsADirectory => format!("{name} is a folder: expected a configuration file"),
            ErrorKind::InvalidData => format!("{name} is no text: expected TOML in UTF-8"),
            _ => format!("the configuration file {name} cannot be read: {error}"),
        })
    })?;
    text.parse::<toml::Table>().map(drop).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count()) + 1;
        let what: Vec<&str> = error.message().lines().collect();
        ConfigError(format!("{name}, line {line}: {}", what.join(", ")))
    })
}

/// One line for what serde has found.
fn describe(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let (key, what) = match &error.kind {
        Kind::MissingField(name) => (join(&key, name), "is missing".to_owned()),
        // Its path leads to the unknown setting already.
        Kind::UnknownField(name, _) if error.path.last() == Some(name) => (key, NO_SETTING.to_owned()),
        Kind::UnknownField(name, _) => (join(&key, name), NO_SETTING.to_owned()),
        Kind::UnknownVariant(_, known) => (key, format!("expected {}", known.join(" or "))),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            (key, format!("expected {}", plain(expected)))
        }
        Kind::InvalidLength(_, expected) => (key, format!("expected {expected}")),
        Kind::Message(text) => (key, message(text)),
        _ => (key, "does not fit".to_owned()),
    };
    at(error.metadata.as_ref(), &key, &what)
}

const NO_SETTING: &str = "is no setting";

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Says where a setting was set.
fn at(place: Option<&Metadata>, key: &str, what: &str) -> String {
    match place {
        Some(Metadata { source: Some(Source::File(file)), .. }) => {
            // As it was given: the path is made absolute on its way.
            format!("{}: {key}: {what}", file.display())
        }
        Some(place) if place.name.contains(ENV_PREFIX) => {
            let variable = key.to_ascii_uppercase().replace('.', "__");
            format!("environment variable {ENV_PREFIX}{variable}: {key}: {what}")
        }
        _ => format!("{key}: {what}"),
    }
}

/// What a type is called by whoever writes settings.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "path string" => "a path, as text".to_owned(),
        "socket address" => ADDRESS.to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        "a string" => "text, in quotes".to_owned(),
        other => other.to_owned(),
    }
}

const ADDRESS: &str = "an address such as 127.0.0.1:50051";

/// Texts of the types that read themselves. Only those are shown that are known
/// to hold no value.
fn message(text: &str) -> String {
    if text == "invalid socket address syntax" {
        return format!("expected {ADDRESS}");
    }
    match text.strip_prefix(EXPECTED) {
        Some(what) => format!("{EXPECTED}{what}"),
        None => "does not fit".to_owned(),
    }
}

/// Begins the texts of our own types.
const EXPECTED: &str = "expected ";

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
        #[expect(dead_code, reason = "only read")]
        hash: SecretString,
        colour: Colour,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Blue,
    }

    const DEFAULTS: &str = "
        hash = ''
        colour = 'red'
        [server]
        listen = '127.0.0.1:0'
        max_concurrent_calls = 100
        max_message_bytes = 4194304
        max_connection_age_s = 600
    ";

    fn load_text(text: &[u8]) -> (String, Result<Sample, ConfigError>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tgmesh.toml");
        std::fs::write(&file, text).unwrap();
        let check = |sample: &Sample| {
            Wrong::unless(sample.server.max_concurrent_calls != 13, "server.max_concurrent_calls", "must not be 13")
        };
        (file.display().to_string(), load(DEFAULTS, Some(&file), check))
    }

    #[test]
    fn a_file_overrides_defaults() {
        let sample = load_text(b"[server]\nmax_concurrent_calls = 7\n").1.unwrap();
        assert_eq!((sample.server.max_concurrent_calls, sample.server.max_message_bytes), (7, 4_194_304));
        assert_eq!(sample.colour, Colour::Red);
    }

    #[test]
    fn an_error_is_one_line_with_the_place_the_setting_and_what_was_expected() {
        for (text, expected) in [
            ("[server]\nmax_concurent_calls = 7\n", ": server.max_concurent_calls: is no setting"),
            ("hash = 987654321\n", ": hash: expected text, in quotes"),
            ("colour = '987654321'\n", ": colour: expected red or blue"),
            ("[server]\nlisten = '987654321'\n", ": server.listen: expected an address such as 127.0.0.1:50051"),
            (
                "[server]\nmax_message_bytes = -987654321\n",
                ": server.max_message_bytes: expected a whole number, 0 or more",
            ),
            (
                "[server]\nmax_message_bytes = '987654321'\n",
                ": server.max_message_bytes: expected a whole number, 0 or more",
            ),
            ("server = 987654321\n", ": server: expected a table"),
            ("[server]\nmax_concurrent_calls = 13\n", ": server.max_concurrent_calls: must not be 13"),
        ] {
            let (file, loaded) = load_text(text.as_bytes());
            assert_eq!(loaded.unwrap_err().to_string(), format!("{file}{expected}"), "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_line_without_its_text() {
        let (file, loaded) = load_text(b"colour = 'blue'\nhash = 987654321 secret\n");
        let error = loaded.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{file}, line 2: ")), "{error}");
        assert!(!error.contains("987654321") && !error.contains('\n'), "{error}");
        let error = load_text(b"\xff\xfe").1.unwrap_err().to_string();
        assert!(error.contains("expected TOML in UTF-8"), "{error}");
    }

    #[test]
    fn a_missing_default_is_named() {
        let without = DEFAULTS.replace("max_message_bytes = 4194304", "");
        let error = load::<Sample>(&without, None, |_| Ok(())).unwrap_err().to_string();
        assert_eq!(error, "server.max_message_bytes: is missing");
    }

    #[test]
    fn a_file_that_is_none_is_an_error() {
        let load = |file: &str| load::<Sample>(DEFAULTS, Some(Path::new(file)), |_| Ok(())).unwrap_err().to_string();
        assert_eq!(load("/nowhere/tgmesh.toml"), "there is no configuration file /nowhere/tgmesh.toml");
        assert_eq!(load("/tmp"), "/tmp is a folder: expected a configuration file");
    }
}
