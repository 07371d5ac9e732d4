//! `tgmesh doctor`: looks at everything that tgmesh depends on, and names what
//! is wrong with host and port, or file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Statement};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use service_kit::db::Db;
use tgmesh_migrations::SchemaError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::output::{Table, print_line};
use super::serve::read_ready;
use super::{Context, Done, Failure, client, failure};
use crate::config::{Config, Database, Profile, schema};
use crate::launch::SERVICES;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It works, or will; worth knowing.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    state: State,
    what: String,
    /// Host and port, or file.
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    detail: String,
}

impl Finding {
    fn new(state: State, what: impl Into<String>, at: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            state,
            what: what.into(),
            at: at.into(),
            latency_ms: None,
            version: String::new(),
            detail: detail.into(),
        }
    }

    fn took(mut self, latency: Duration) -> Self {
        self.latency_ms = u64::try_from(latency.as_millis()).ok();
        self
    }

    fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}

/// A configuration that cannot even be read.
pub(crate) fn unusable(error: &anyhow::Error, file: Option<&Path>, json: bool) -> Done {
    let at = file.map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
    tell(json, &[Finding::new(State::Failed, "configuration", at, format!("{error:#}"))])
}

/// Looks at everything.
pub(crate) async fn run(context: &Context, file: Option<PathBuf>) -> Done {
    let config = &context.config;
    let at = file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    let mut findings = vec![Finding::new(State::Ok, "configuration", at, format!("{:?} profile", config.profile))];
    let warnings = config.warnings();
    findings.extend(warnings.into_iter().map(|warning| Finding::new(State::Warning, "configuration", "", warning)));
    if config.profile == Profile::Embedded {
        findings.push(folder(context));
    }
    findings.extend(keys(context));
    for (name, database) in config.databases() {
        findings.push(self::database(context, name, database).await);
    }
    for name in SERVICES {
        findings.push(service(context, name).await);
    }
    findings.push(admin(context).await);
    telegram(context, &mut findings).await;
    tell(context.json, &findings)
}

fn tell(json: bool, findings: &[Finding]) -> Done {
    let failed = findings.iter().filter(|finding| finding.state == State::Failed).count();
    if json {
        print_line(&serde_json::json!({ "ok": failed == 0, "findings": findings }).to_string());
    } else {
        let mut table = Table::new(&["", "what", "at", "took", "version", "detail"]);
        for finding in findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Failed => "FAILED",
            };
            table.row([
                state.to_owned(),
                finding.what.clone(),
                finding.at.clone(),
                finding.latency_ms.map(|latency| format!("{latency} ms")).unwrap_or_default(),
                finding.version.clone(),
                finding.detail.clone(),
            ]);
        }
        print_line(table.or("").trim_end());
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("{failed} of {} checks failed", findings.len())))
}

/// The data folder: there, and writable.
fn folder(context: &Context) -> Finding {
    let folder = &context.config.data_dir;
    let finding = |state, detail: &str| Finding::new(state, "data folder", folder.display().to_string(), detail);
    if !folder.is_dir() {
        return finding(State::Warning, &context.hint("it is not there yet: `tgmesh serve` makes it"));
    }
    match tempfile::NamedTempFile::new_in(folder) {
        Ok(_) => finding(State::Ok, "can be written"),
        Err(error) => finding(State::Failed, &format!("cannot be written: {error}")),
    }
}

/// Signing keys: there, and nobody else's to read.
fn keys(context: &Context) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let config = &context.config;
    let look = |name: &str| {
        let file = config.key_dir().join(format!("{name}.key"));
        let finding = |state, detail| Finding::new(state, format!("key of {name}"), file.display().to_string(), detail);
        match std::fs::metadata(&file) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                finding(State::Warning, "others can read it: chmod 600".to_owned())
            }
            Ok(_) => finding(State::Ok, String::new()),
            Err(_) if config.profile == Profile::Embedded => {
                finding(State::Warning, context.hint("it is not there yet: `tgmesh serve` makes it"))
            }
            Err(error) => finding(State::Failed, format!("cannot be read: {error}")),
        }
    };
    SERVICES.into_iter().map(look).collect()
}

/// The file of a database that is one.
fn sqlite_file(config: &Config, name: &str, database: &Database) -> Option<PathBuf> {
    let url = database.url.expose_secret();
    if url.is_empty() {
        return Some(config.data_dir.join(format!("{name}.db")));
    }
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
}

/// A database: whether it answers, how fast, which version, which schema.
async fn database(context: &Context, name: &str, database: &Database) -> Finding {
    let config = &context.config;
    let what = format!("database of {name}");
    if let Some(file) = sqlite_file(config, name, database).filter(|file| !file.exists()) {
        let detail = context.hint("it is not there yet: `tgmesh serve` or `tgmesh migrate` makes it");
        return Finding::new(State::Warning, what, file.display().to_string(), detail);
    }
    let url = config.database_url(name, database);
    let at = service_kit::db::describe(url.expose_secret());
    let failed = |detail: String| Finding::new(State::Failed, what.clone(), at.clone(), detail);
    let db = match tokio::time::timeout(PATIENCE, Db::connect(&url, 1)).await {
        Ok(Ok(db)) => db,
        Ok(Err(error)) => return failed(format!("cannot be reached: {error}")),
        Err(_) => return failed(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let (question, product) =
        if db.is_sqlite() { ("SELECT sqlite_version()", "SQLite") } else { ("SHOW server_version", "PostgreSQL") };
    let begun = context.clock.monotonic();
    let answer = db.conn().query_one_raw(Statement::from_string(db.conn().get_database_backend(), question)).await;
    let latency = context.clock.monotonic().saturating_sub(begun);
    let version = match answer {
        Ok(row) => row.and_then(|row| row.try_get_by_index::<String>(0).ok()).unwrap_or_default(),
        Err(error) => return failed(format!("does not answer: {error}")),
    };
    let Some(schema) = schema(name) else { return failed("has no schema".to_owned()) };
    let (state, detail) = match tgmesh_migrations::check(db.conn(), schema).await {
        Ok(()) => (State::Ok, "the schema is up to date".to_owned()),
        Err(error @ SchemaError::Old { .. }) if config.profile == Profile::Embedded => {
            (State::Warning, context.hint(&format!("{error}, or let `tgmesh serve` do it")))
        }
        Err(error) => (State::Failed, context.hint(&error.to_string())),
    };
    Finding::new(state, what, at, detail).took(latency).version(format!("{product} {version}"))
}

/// A service: whether it is ready, and how fast it says so.
async fn service(context: &Context, name: &str) -> Finding {
    let address = client::resolve(&context.config, None, name);
    let finding = |state, detail: String| Finding::new(state, format!("{name} service"), address.clone(), detail);
    let channel = match service_kit::client::bare_channel(&address) {
        Ok(channel) => channel,
        Err(error) => return finding(State::Failed, format!("is no address: {error:#}")),
    };
    let begun = context.clock.monotonic();
    let request = HealthCheckRequest { service: "ready".to_owned() };
    let answer = tokio::time::timeout(PATIENCE, HealthClient::new(channel).check(request)).await;
    let latency = context.clock.monotonic().saturating_sub(begun);
    match answer {
        Ok(Ok(answer)) if answer.get_ref().status == ServingStatus::Serving as i32 => {
            finding(State::Ok, "ready".to_owned()).took(latency)
        }
        Ok(Ok(_)) => finding(State::Failed, "it runs and is not ready: /readyz on its admin port says why".to_owned()),
        Ok(Err(status)) => finding(State::Failed, format!("cannot be reached: {}", failure::cause(&status))),
        Err(_) => finding(State::Failed, format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The admin port, and the build behind it.
async fn admin(context: &Context) -> Finding {
    let address = read_ready(&context.config.data_dir)
        .map_or_else(|| context.config.admin.address(&SERVICES), |served| served.admin);
    let begun = context.clock.monotonic();
    let asked = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /version HTTP/1.0\r\nhost: admin\r\n\r\n").await?;
        let mut answer = Vec::new();
        // A stranger may answer without end.
        stream.take(4_096).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    });
    let answer = asked.await;
    let latency = context.clock.monotonic().saturating_sub(begun);
    let finding = |state, detail: &str| Finding::new(state, "admin port", address.to_string(), detail);
    match answer {
        Ok(Ok(answer)) => {
            let build = answer.lines().last().and_then(|line| line.strip_prefix("tgmesh ")).unwrap_or_default();
            let found = match build {
                "" => finding(State::Failed, "something else answers here"),
                build if build == crate::BUILD => finding(State::Ok, "the same build as this one"),
                _ => finding(State::Warning, &format!("this is another build: {}", crate::BUILD)),
            };
            found.took(latency).version(build)
        }
        Ok(Err(error)) => finding(State::Failed, &format!("cannot be reached: {error}")),
        Err(_) => finding(State::Failed, &format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Telegram, or what stands in for it. Only addresses that are configured are
/// contacted, and nothing is sent to them.
async fn telegram(context: &Context, findings: &mut Vec<Finding>) {
    let config = &context.config;
    let file = &config.telegram.emulator_info;
    let elsewhere = !file.as_os_str().is_empty();
    if let Some(error) = elsewhere.then(|| crate::network::read_info(file)).and_then(Result::err) {
        findings.push(Finding::new(State::Failed, "emulator", file.display().to_string(), format!("{error:#}")));
        return;
    }
    let emulated = elsewhere || config.telegram.api_id == 0;
    let mut addresses: Vec<(String, SocketAddr)> = Vec::new();
    if !emulated {
        let dcs = config.telegram.data_centres.iter();
        addresses.extend(dcs.map(|(dc, address)| (format!("Telegram, data centre {dc}"), *address)));
        if addresses.is_empty() {
            findings.push(Finding::new(State::Failed, "Telegram", "telegram.data_centres", "no address is configured"));
        }
    } else if let Some(info) = client::emulator(config) {
        let dcs = info.dcs.iter();
        addresses.extend(dcs.map(|dc| (format!("emulator, data centre {}", dc.id), SocketAddr::V4(dc.address))));
        addresses.extend(info.control.map(|address| ("emulator, control".to_owned(), address)));
    } else {
        let detail = context.hint("not running: `tgmesh serve all` starts one");
        findings.push(Finding::new(State::Warning, "emulator", config.emulator.control.to_string(), detail));
    }
    for (what, address) in addresses {
        let begun = context.clock.monotonic();
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let latency = context.clock.monotonic().saturating_sub(begun);
        let at = address.to_string();
        findings.push(match connected {
            Ok(Ok(_)) => Finding::new(State::Ok, what, at, "accepts connections").took(latency),
            Ok(Err(error)) => Finding::new(State::Failed, what, at, format!("cannot be reached: {error}")),
            Err(_) => Finding::new(State::Failed, what, at, format!("no answer within {} s", PATIENCE.as_secs())),
        });
    }
}
