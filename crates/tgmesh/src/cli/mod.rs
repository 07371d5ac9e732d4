//! The command line: what can be asked for, and who answers it.

mod accounts;
mod campaign;
mod campaign_view;
mod client;
mod dnc;
mod doctor;
mod failure;
mod health;
mod hints;
mod limit_names;
mod limits;
mod login;
mod maintain;
mod names;
pub(crate) mod output;
mod parse;
pub(crate) mod parse_view;
mod phone;
mod progress;
mod prompt;
mod qr;
mod serve;
mod token;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use service_kit::SharedClock;
use service_kit::clock::SystemClock;
use service_kit::telemetry::{LogConfig, LogFormat};

use crate::config::Config;
pub use failure::Failure;
use hints::Hints;

/// What a command answers: nothing, or why it failed.
pub type Done = Result<(), Failure>;

/// tgmesh runs a team's Telegram accounts as one mesh of services.
#[derive(Debug, Parser)]
#[command(name = "tgmesh", version = crate::BUILD, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration; what it does not set has the defaults.
    #[arg(long, global = true, env = "TGMESH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the embedded profile keeps its files, in place of the configured folder.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Answer in JSON: the messages of the contracts, one a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the main job on an emulated Telegram, with a verdict at the end.
    Demo(crate::demo::Args),

    // The processes.
    /// Run the services, one of them or all in one process.
    Serve(serve::ServeArgs),
    /// Run the Telegram emulator alone.
    Emulator(serve::EmulatorArgs),

    // The operator's work.
    /// Telegram accounts: log in, list, pause, check.
    Accounts(accounts::AccountsArgs),
    /// Collect audiences: start, watch, export.
    Parse(parse::ParseArgs),
    /// Invite people to a chat: check, create, start, watch, report.
    Campaign(campaign::CampaignArgs),
    /// People who must not be contacted.
    Dnc(dnc::DncArgs),
    /// Limits of accounts, and how much of them is used.
    Quota(limits::QuotaArgs),
    /// Who uses which account now.
    Leases(limits::LeasesArgs),

    /// Print an access token of the data folder's user, good for five minutes: for any other gRPC client.
    Token(token::TokenArgs),

    // For whoever operates the processes.
    /// Bring the schemas of the databases up to date.
    Migrate(maintain::MigrateArgs),
    /// Look at everything that tgmesh depends on, and name what is wrong.
    Doctor,
    /// Ask a running service whether it is healthy; ends with 0 or 1.
    Healthcheck(health::HealthcheckArgs),
    /// Print every setting with its default and what it is for.
    Config,
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print which build this is.
    Version,
}

/// Which part of a list is shown.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// Most lines.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
    /// Go on where the list before ended: what it said behind "more".
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page: String,
}

/// How urgent some work is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Priority {
    /// Before all others.
    Urgent,
    /// Before normal work.
    High,
    /// In its turn.
    Normal,
    /// When nothing else is to do.
    Low,
}

impl Priority {
    fn into_proto(self) -> tgmesh_proto::lease::v1::Priority {
        use tgmesh_proto::lease::v1::Priority as Wire;
        match self {
            Self::Urgent => Wire::Urgent,
            Self::High => Wire::High,
            Self::Normal => Wire::Normal,
            Self::Low => Wire::Low,
        }
    }
}

/// The fields that an update changes, of those that it could.
pub(crate) fn mask(fields: &[(&str, bool)]) -> prost_types::FieldMask {
    let paths = fields.iter().filter(|(_, set)| *set).map(|(field, _)| (*field).to_owned());
    prost_types::FieldMask { paths: paths.collect() }
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) json: bool,
    pub(crate) hints: Hints,
}

impl Cli {
    /// Whether answers are JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn run(self) -> Done {
        let hints = Hints::new(self.config.as_deref(), self.data_dir.as_deref());
        self.answer(hints.clone()).await.map_err(|failure| failure.complete(&hints))
    }

    async fn answer(self, hints: Hints) -> Done {
        // These need no configuration: it may be what is broken.
        match &self.command {
            Command::Config => {
                output::print_text(crate::config::DEFAULTS.as_bytes());
                return Ok(());
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Self::command(), "tgmesh", &mut script);
                output::print_text(&script);
                return Ok(());
            }
            Command::Version => {
                version(self.json);
                return Ok(());
            }
            Command::Demo(args) => return play(args).await,
            _ => {}
        }
        let mut config = match Config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(error) if matches!(self.command, Command::Doctor) => {
                return doctor::unusable(&error, self.config.as_deref(), self.json);
            }
            Err(error) => return Err(Failure::configuration(error)),
        };
        if let Some(dir) = self.data_dir {
            config.data_dir = dir;
        }
        let context = Context { config, clock: SystemClock::shared(), json: self.json, hints };
        match self.command {
            Command::Serve(args) => serve::serve(&context, args).await,
            Command::Emulator(args) => serve::emulator(&context, args).await,
            Command::Accounts(args) => accounts::run(&context, args).await,
            Command::Parse(args) => parse::run(&context, args).await,
            Command::Campaign(args) => campaign::run(&context, args).await,
            Command::Dnc(args) => dnc::run(&context, args).await,
            Command::Quota(args) => limits::quota(&context, args).await,
            Command::Leases(args) => limits::leases(&context, args).await,
            Command::Token(args) => token::print(&context, &args),
            Command::Migrate(args) => maintain::migrate(&context, args).await,
            Command::Doctor => doctor::run(&context, self.config).await,
            Command::Healthcheck(args) => health::check(&context, args).await,
            Command::Config | Command::Completions { .. } | Command::Version | Command::Demo(_) => Ok(()),
        }
    }
}

/// The demo brings its own configuration, and a folder of its own.
async fn play(args: &crate::demo::Args) -> Done {
    // Without a log there is nothing but the play.
    if args.verbose {
        service_kit::telemetry::install(&LogConfig { filter: "info".to_owned(), format: LogFormat::Text })?;
    }
    match crate::demo::run(args).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("the verdict is red".to_owned())),
        Err(error) => {
            Err(Failure::new(format!("the demo failed: {error:#}")).advice("--verbose shows the log of the services"))
        }
    }
}

fn version(json: bool) {
    if json {
        output::print_line(&serde_json::json!({ "version": crate::BUILD }).to_string());
    } else {
        output::print_line(&format!("tgmesh {}", crate::BUILD));
    }
}
