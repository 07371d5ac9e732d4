//! Writes what happens to the log.

use std::fmt;

use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Wrong;

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

impl LogConfig {
    /// Refuses a filter that cannot be read.
    ///
    /// # Errors
    /// The filter's.
    pub fn check(&self) -> Result<(), Wrong> {
        let readable = EnvFilter::builder().parse(&self.filter).is_ok();
        Wrong::unless(readable, "filter", "expected levels such as \"info\" or \"info,tgmesh_invite=debug\"")
    }
}

/// Libraries whose debug and trace events may hold what passes through them,
/// such as login codes or keys. Their detail is never written, whatever the
/// filter says.
const NEVER_IN_DETAIL: &str = "trace,grammers_mtsender=info,grammers_mtproto=info,grammers_client=info,\
                               grammers_session=info,sqlx=warn,h2=info,hyper=info,tonic=info";

/// Fields that machines join by: long, and no help to somebody who reads. The JSON
/// has them.
const FOR_MACHINES: [&str; 3] = ["trace_id", "user_id", "workspace_id"];

/// Writes fields as people read them: short.
struct ForPeople;

impl<'w> FormatFields<'w> for ForPeople {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut line = Line { writer: Writer::new(&mut text), begun: !current.fields.is_empty(), result: Ok(()) };
        fields.record(&mut line);
        line.result?;
        // Nothing at all for a field that is left out.
        current.fields.push_str(&text);
        Ok(())
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_err() || FOR_MACHINES.contains(&field.name()) {
            return;
        }
        let space = if std::mem::replace(&mut self.begun, true) { " " } else { "" };
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{name}={value}"),
        };
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Whatever could be taken for something else stands in quotes.
        if !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"') {
            self.write(field, format_args!("{value}"));
        } else {
            self.write(field, format_args!("{value:?}"));
        }
    }
}

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
    // Two filters: an event must pass both, so neither makes the other louder.
    let registry = tracing_subscriber::registry()
        .with(EnvFilter::builder().parse(&config.filter)?)
        .with(EnvFilter::builder().parse(NEVER_IN_DETAIL)?);
    match config.format {
        LogFormat::Text => {
            // Colours are for terminals.
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let layer = tracing_subscriber::fmt::layer().fmt_fields(ForPeople).with_ansi(colours);
            registry.with(layer.with_writer(writer).with_target(false)).try_init()?;
        }
        LogFormat::Json => {
            registry
                .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer))
                .try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_are_never_louder_than_asked_for_nor_than_is_safe() {
        let filter = |text: &str| EnvFilter::builder().parse(text).unwrap();
        let log =
            tracing_subscriber::registry().with(filter("trace,grammers_mtproto=error")).with(filter(NEVER_IN_DETAIL));
        tracing::subscriber::with_default(log, || {
            assert!(!tracing::enabled!(target: "grammers_mtproto", tracing::Level::WARN), "asked for");
            assert!(!tracing::enabled!(target: "grammers_mtsender", tracing::Level::DEBUG), "not safe");
            assert!(tracing::enabled!(target: "grammers_mtsender", tracing::Level::INFO));
            assert!(tracing::enabled!(target: "tgmesh_invite", tracing::Level::TRACE));
        });
    }

    #[test]
    fn a_line_for_people_is_short_and_has_what_they_need() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(ForPeople).with_ansi(false).without_time();
        let log = tracing_subscriber::registry().with(layer.with_writer(move || writer.clone()).with_target(false));
        tracing::subscriber::with_default(log, || {
            let later = tracing::field::Empty;
            let span = tracing::info_span!("call", rpc = "a.B/C", trace_id = "0af7", user_id = later, caller = later);
            span.record("user_id", "01a1");
            span.record("caller", "user");
            span.in_scope(|| tracing::info!(code = ?tonic::Code::Ok, ms = 4.328, why = "two words", "call"));
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line.trim(), "INFO call{rpc=a.B/C caller=user}: call code=Ok ms=4.328 why=\"two words\"");
    }
}
