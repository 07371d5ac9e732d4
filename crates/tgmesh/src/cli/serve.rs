//! The processes: services, and the emulator alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use service_kit::shutdown::Shutdown;
use service_kit::telemetry;
use telegram_emulator::{Emulator, EmulatorConfig, Info, Scenario, SentCode, StartError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::output::print_line;
use super::phone::{self, Phone};
use super::{Context, Done, Failure};
use crate::config::Profile;
use crate::launch::{self, SERVICES, Served};
use crate::network;

/// How long a process may take to leave once it was told to drop everything.
const LAST: Duration = Duration::from_secs(2);

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// All services in one process.
    All,
    /// Accounts, logins, leases, quotas, every call to Telegram.
    Integration,
    /// Campaigns.
    Invite,
    /// Parse tasks and their results.
    Parsing,
}

impl What {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => &SERVICES,
            Self::Integration => &["integration"],
            Self::Invite => &["invite"],
            Self::Parsing => &["parsing"],
        }
    }
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Which services.
    #[arg(value_enum)]
    what: What,
}

/// Serves until a signal.
pub(crate) async fn serve(context: &Context, args: ServeArgs) -> Done {
    let config = &context.config;
    telemetry::install(&config.log)?;
    let shutdown = Shutdown::new();
    follow_signals(context, &shutdown);
    let running = tokio::select! {
        started = launch::start(config, args.what.names(), context.clock.clone(), shutdown.clone()) => started?,
        () = shutdown.forced() => return Ok(()),
    };
    let ready_file = (config.profile == Profile::Embedded).then(|| ready_file(&config.data_dir, args.what));
    if let Some(file) = &ready_file {
        launch::write_ready(file, &running.served)?;
    }
    announce(context, &running.served);
    let ended = tokio::select! {
        ended = running.wait() => ended,
        () = async { shutdown.forced().await; context.clock.sleep(LAST).await } => {
            Err(anyhow::anyhow!("some work did not end in time and was dropped"))
        }
    };
    if let Some(file) = &ready_file {
        // Whoever looks for a running process must not be sent to this one.
        let _ = std::fs::remove_file(file);
    }
    tracing::info!("stopped");
    Ok(ended?)
}

/// Where the embedded profile's processes say how they are reached.
fn ready_file(data_dir: &Path, what: What) -> PathBuf {
    data_dir.join(match what {
        What::All => "ready.json".to_owned(),
        one => format!("ready-{}.json", one.names()[0]),
    })
}

/// What the processes that use this data folder say of themselves.
pub(crate) fn read_ready(data_dir: &Path) -> Option<Served> {
    let mut found: Option<Served> = None;
    for what in [What::All, What::Integration, What::Invite, What::Parsing] {
        let Some(served) = std::fs::read(ready_file(data_dir, what))
            .ok()
            .and_then(|text| serde_json::from_slice::<Served>(&text).ok())
        else {
            continue;
        };
        match &mut found {
            None => found = Some(served),
            Some(known) => {
                known.services.extend(served.services);
                known.emulator = known.emulator.take().or(served.emulator);
            }
        }
    }
    found
}

fn announce(context: &Context, served: &Served) {
    if context.json {
        if let Ok(text) = serde_json::to_string(served) {
            print_line(&text);
        }
        return;
    }
    let services: Vec<String> = served.services.iter().map(|(name, address)| format!("{name} {address}")).collect();
    let emulator = served.emulator.as_ref().and_then(|info| info.control);
    let emulator = emulator.map(|address| format!(" · emulator's control {address}")).unwrap_or_default();
    print_line(&format!("ready: {} · admin {}{emulator}", services.join(" · "), served.admin));
}

fn follow_signals(context: &Context, shutdown: &Shutdown) {
    let (shutdown, clock) = (shutdown.clone(), context.clock.clone());
    let grace = Duration::from_secs(context.config.grace_s);
    tokio::spawn(async move {
        if let Err(error) = shutdown.follow_signals(clock, grace).await {
            tracing::error!(%error, "signals cannot be followed");
        }
    });
}

/// Arguments of `emulator`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EmulatorArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    phone: Option<Phone>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The world; the demonstration's when left out.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Where addresses and RSA key are written once it runs.
    #[arg(long, value_name = "FILE")]
    info: Option<PathBuf>,
    /// Where it is controlled by gRPC; loopback only. The configured address when left out.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// A key that is seen on two connections dies, as at Telegram.
    #[arg(long)]
    strict: bool,
    /// Port of a data centre; a free one when left out.
    #[arg(long = "port", value_name = "DC=PORT", value_parser = dc_port)]
    ports: Vec<(i32, u16)>,
}

fn dc_port(text: &str) -> Result<(i32, u16), String> {
    let (dc, port) = text.split_once('=').ok_or("expected DC=PORT, such as 2=4430")?;
    let dc = dc.parse().map_err(|_| format!("{dc} is no number of a data centre"))?;
    Ok((dc, port.parse().map_err(|_| format!("{port} is no port"))?))
}

/// Uses an emulated phone, or runs the emulator until a signal.
pub(crate) async fn emulator(context: &Context, args: EmulatorArgs) -> Done {
    if let Some(phone) = args.phone {
        return phone::run(context, phone).await;
    }
    let args = args.run;
    telemetry::install(&context.config.log)?;
    let scenario = match &args.scenario {
        Some(file) => {
            Scenario::load(file).with_context(|| format!("the scenario {} cannot be used", file.display()))?
        }
        None => Scenario::parse(network::DEMO).map_err(anyhow::Error::from)?,
    };
    let shutdown = Shutdown::new();
    follow_signals(context, &shutdown);
    let start = EmulatorConfig {
        dc_ports: args.ports.into_iter().collect::<BTreeMap<_, _>>(),
        control: Some(args.control.unwrap_or(context.config.emulator.control)),
        strict: args.strict,
        ..EmulatorConfig::new(scenario)
    };
    let emulator = Emulator::start(start).await.map_err(|error| {
        let failure = Failure::new(error.to_string());
        match error {
            StartError::Bind { .. } => failure.advice("--control 127.0.0.1:0 and --port DC=0 take free ports"),
            _ => failure,
        }
    })?;
    if let Some(file) = &args.info {
        emulator.write_info_file(file).map_err(anyhow::Error::from)?;
    }
    let codes = emulator.handle().sent_codes();
    announce_emulator(context, emulator.info());
    tokio::select! {
        () = shutdown.begun() => {}
        () = tell_codes(context, codes) => {}
    }
    emulator.shutdown().await;
    shutdown.force();
    Ok(())
}

/// Shows the login codes that emulated phones receive, until the emulator ends.
async fn tell_codes(context: &Context, mut codes: Receiver<SentCode>) {
    loop {
        match codes.recv().await {
            Ok(SentCode { phone, code }) if context.json => {
                print_line(&serde_json::json!({ "phone": format!("+{phone}"), "code": code }).to_string());
            }
            Ok(SentCode { phone, code }) => print_line(&format!("login code for +{phone}: {code}")),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn announce_emulator(context: &Context, info: &Info) {
    if context.json {
        if let Ok(text) = serde_json::to_string(info) {
            print_line(&text);
        }
        return;
    }
    let dcs: Vec<String> = info.dcs.iter().map(|dc| format!("data centre {} {}", dc.id, dc.address)).collect();
    let control = info.control.map(|address| format!(" · control {address}")).unwrap_or_default();
    print_line(&format!("ready: {}{control}", dcs.join(" · ")));
}
