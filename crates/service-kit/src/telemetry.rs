//! Writes what happens to the log.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Configuration of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Which events are written: a filter such as `info` or `info,tgmesh=debug`.
    pub filter: String,
    /// How they look.
    pub format: LogFormat,
}

/// Libraries whose debug and trace events may hold what passes through them,
/// such as login codes or keys. Their detail is never written, whatever the
/// filter says.
const NEVER_IN_DETAIL: [&str; 8] = [
    "grammers_mtsender=info",
    "grammers_mtproto=info",
    "grammers_client=info",
    "grammers_session=info",
    "sqlx=warn",
    "h2=info",
    "hyper=info",
    "tonic=info",
];

/// Installs the log, to standard error.
///
/// # Errors
/// When the filter cannot be read, or a log is installed already.
pub fn install(config: &LogConfig) -> anyhow::Result<()> {
    install_to(config, std::io::stderr)
}

/// Installs the log, to a writer.
///
/// # Errors
/// As [`install`].
pub fn install_to<W>(config: &LogConfig, writer: W) -> anyhow::Result<()>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter = EnvFilter::builder().parse(&config.filter)?;
    for directive in NEVER_IN_DETAIL {
        filter = filter.add_directive(directive.parse()?);
    }
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => {
            // Colours are for terminals.
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer).with_target(false);
            registry.with(layer).try_init()?;
        }
        LogFormat::Json => {
            registry
                .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer))
                .try_init()?;
        }
    }
    Ok(())
}
