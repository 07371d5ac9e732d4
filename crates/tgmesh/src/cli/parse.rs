//! `tgmesh parse`: collects audiences.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use tgmesh_proto::parsing::v1 as pb;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient as Client;
use tgmesh_proto::telegram::v1 as telegram;
use uuid::Uuid;

use super::client::{Clients, Connect, Service};
use super::names::Names;
use super::parse_view as view;
use super::progress::{Progress, Watched, follow};
use super::{Context, Done, Failure, Page, Priority};

const TO: Service = Service::Parsing;

/// Arguments of `parse`.
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a task for each source.
    Start(Box<StartArgs>),
    /// List tasks, newest first.
    List(Page),
    /// Show a task.
    Show(Which),
    /// Watch a task until it ends.
    Watch(Which),
    /// Stop a task within a second; it can go on later.
    Pause(Which),
    /// Let a paused task go on where it was.
    Resume(Which),
    /// Give a task up; what it found is kept.
    Cancel(Which),
    /// Delete a task that has ended, with its results.
    Delete {
        #[command(flatten)]
        which: Which,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Write what a task found to a file or to standard output.
    Export {
        #[command(flatten)]
        which: Which,
        /// The file's format; CSV when left out, NDJSON with --json.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// The file; standard output when left out.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The task's id, or "last" for the newest.
    task: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The members of a group, or what a channel shows of its subscribers.
    Members,
    /// The authors of a group's messages.
    Authors,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Speed {
    /// 2.0 s between requests, at most 20 a minute.
    Safe,
    /// 0.8 s between requests, at most 40 a minute.
    Medium,
    /// 0.2 s between requests, at most 90 a minute.
    Fast,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LastSeen {
    Online,
    Recently,
    Week,
    Month,
}

#[derive(Debug, Args)]
struct StartArgs {
    /// Sources: @name, t.me/name, t.me/c/…, -100… id, or t.me/+hash.
    #[arg(required = true, allow_negative_numbers = true)]
    sources: Vec<String>,
    /// What is collected.
    #[arg(long, value_enum, default_value_t = Kind::Members)]
    kind: Kind,
    /// How fast reads follow one another.
    #[arg(long, value_enum, default_value_t = Speed::Medium)]
    speed: Speed,
    /// How urgent it is.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Create nothing: only look at the sources.
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Watch until all tasks have ended.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Who is kept")]
struct FilterArgs {
    /// Keep bots too.
    #[arg(long)]
    include_bots: bool,
    /// Keep admins of the chat too.
    #[arg(long)]
    include_admins: bool,
    /// Keep deleted accounts too.
    #[arg(long)]
    include_deleted: bool,
    /// Only those with a username.
    #[arg(long)]
    has_username: bool,
    /// Only those whose phone number can be seen.
    #[arg(long)]
    has_phone: bool,
    /// Only those with Telegram Premium.
    #[arg(long)]
    premium: bool,
    /// Only those last online this recently, or more recently.
    #[arg(long, value_enum)]
    last_seen: Option<LastSeen>,
    /// Only messages written at or after this time, such as 2026-11-01 or 2026-11-01T09:00:00Z; authors only.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only messages written before this time; authors only.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Only the last so many messages; authors only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    last_messages: Option<i32>,
    /// Only people with at least so many messages; authors only.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    min_activity: i32,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Timestamp::from_str(&text).map_err(|_| "expected a time such as 2026-11-01 or 2026-11-01T09:00:00Z".to_owned())
}

impl FilterArgs {
    fn into_filter(self) -> pb::ParseFilter {
        let last_seen = self.last_seen.map_or(telegram::LastSeen::Unspecified, |last| match last {
            LastSeen::Online => telegram::LastSeen::Online,
            LastSeen::Recently => telegram::LastSeen::Recently,
            LastSeen::Week => telegram::LastSeen::Week,
            LastSeen::Month => telegram::LastSeen::Month,
        });
        pb::ParseFilter {
            include_bots: self.include_bots,
            include_admins: self.include_admins,
            include_deleted: self.include_deleted,
            has_username: self.has_username,
            has_phone: self.has_phone,
            premium: self.premium,
            last_seen_within: last_seen.into(),
            since_time: self.since,
            until_time: self.until,
            last_messages: self.last_messages.unwrap_or(0),
            min_activity: self.min_activity,
        }
    }
}

/// The id of a task that is named by its id, or as the last one.
pub(crate) async fn find(clients: &Clients, task: &str) -> Result<String, Failure> {
    if task != "last" {
        return match Uuid::try_parse(task) {
            Ok(id) => Ok(id.to_string()),
            Err(_) => Err(Failure::usage(format!("{task} is no id of a parse task, nor \"last\""))),
        };
    }
    let request = pb::ListParseTasksRequest { page_size: 1, ..Default::default() };
    let answer = clients.call(TO, request, async |c, r| Client::new(c).list_parse_tasks(r).await).await?;
    let last = answer.parse_tasks.into_iter().next();
    last.map(|task| task.id)
        .ok_or_else(|| Failure::new("there is no parse task yet").advice("start one: tgmesh parse start SOURCE"))
}

/// Does what was asked for.
pub(crate) async fn run(context: &Context, args: ParseArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    let request_id = clients.request_id();
    match args.command {
        Command::Start(args) => start(context, &clients, *args).await,
        Command::List(page) => {
            let request =
                pb::ListParseTasksRequest { page_size: page.limit, page_token: page.page, ..Default::default() };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_parse_tasks(r).await).await?;
            context.show(&answer, |answer| view::table(context, answer))
        }
        Command::Show(which) => {
            let request = pb::GetParseTaskRequest { parse_task_id: find(&clients, &which.task).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_parse_task(r).await).await?;
            context.show(&answer, |answer| view::task(context, answer.parse_task.as_ref()))
        }
        Command::Watch(which) => watch(context, &clients, find(&clients, &which.task).await?).await,
        Command::Pause(which) => {
            let request = pb::PauseParseTaskRequest { request_id, parse_task_id: find(&clients, &which.task).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).pause_parse_task(r).await).await?;
            context.show(&answer, |answer| view::line(answer.parse_task.as_ref()))
        }
        Command::Resume(which) => {
            let request = pb::ResumeParseTaskRequest { request_id, parse_task_id: find(&clients, &which.task).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).resume_parse_task(r).await).await?;
            context.show(&answer, |answer| view::line(answer.parse_task.as_ref()))
        }
        Command::Cancel(which) => {
            let request = pb::CancelParseTaskRequest { request_id, parse_task_id: find(&clients, &which.task).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).cancel_parse_task(r).await).await?;
            context.show(&answer, |answer| view::line(answer.parse_task.as_ref()))
        }
        Command::Delete { which, yes } => {
            let parse_task_id = find(&clients, &which.task).await?;
            super::prompt::confirm(&format!("delete parse task {parse_task_id} with its results"), yes).await?;
            let request = pb::DeleteParseTaskRequest { request_id, parse_task_id };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).delete_parse_task(r).await).await?;
            context.show(&answer, |_| "deleted".to_owned())
        }
        Command::Export { which, format, output } => {
            let task = find(&clients, &which.task).await?;
            let format = format.unwrap_or(if context.json { Format::Ndjson } else { Format::Csv });
            export(context, &clients, task, format, output.as_deref()).await
        }
    }
}

async fn start(context: &Context, clients: &Clients, args: StartArgs) -> Done {
    let kind = match args.kind {
        Kind::Members => pb::ParseKind::Members,
        Kind::Authors => pb::ParseKind::MessageAuthors,
    };
    let speed = match args.speed {
        Speed::Safe => telegram::SpeedProfile::Safe,
        Speed::Medium => telegram::SpeedProfile::Medium,
        Speed::Fast => telegram::SpeedProfile::Fast,
    };
    let request = pb::CreateParseTasksRequest {
        request_id: clients.request_id(),
        sources: args.sources,
        kind: kind.into(),
        filter: Some(args.filter.into_filter()),
        speed: speed.into(),
        priority: args.priority.into_proto().into(),
        validate_only: args.dry_run,
    };
    let answer = clients.call(TO, request, async |c, r| Client::new(c).create_parse_tasks(r).await).await?;
    context.show(&answer, view::created)?;
    if args.watch {
        for task in answer.parse_tasks {
            watch(context, clients, task.id).await?;
        }
    }
    Ok(())
}

impl Watched for pb::WatchParseTaskResponse {
    type Subject = pb::ParseTask;

    fn resume_token(&self) -> &str {
        &self.resume_token
    }

    fn subject(&self) -> Option<&pb::ParseTask> {
        self.parse_task.as_ref()
    }

    fn progress(context: &Context, task: &pb::ParseTask) -> Progress {
        let (position, total) = view::position(task);
        Progress {
            position,
            total,
            state: view::state_key(task),
            line: view::state_line(context, task),
            rests: view::rests(task.state()),
        }
    }
}

async fn watch(context: &Context, clients: &Clients, parse_task_id: String) -> Done {
    let open = async |c, resume_token| {
        let request = pb::WatchParseTaskRequest { parse_task_id: parse_task_id.clone(), resume_token };
        Client::new(c).watch_parse_task(request).await
    };
    let Some(task) = follow::<pb::WatchParseTaskResponse>(context, clients, &Names::default(), TO, open).await? else {
        return Ok(());
    };
    if !context.json {
        super::output::print_line(view::task(context, Some(&task)).trim_end());
    }
    match task.state() {
        pb::parse_task::State::Completed => Ok(()),
        pb::parse_task::State::Failed => Err(Failure::with_reason(task.failure_detail, &task.failure_reason)),
        other => Err(Failure::new(format!("the task is {}", view::state_word(other)))),
    }
}

/// Writes the pieces as they come; a file only gets its name once it is whole.
async fn export(
    context: &Context,
    clients: &Clients,
    parse_task_id: String,
    format: Format,
    output: Option<&Path>,
) -> Done {
    let format = match format {
        Format::Csv => pb::export_results_request::Format::Csv,
        Format::Ndjson => pb::export_results_request::Format::Ndjson,
    };
    let request = pb::ExportResultsRequest { parse_task_id, format: format.into() };
    let mut pieces = clients.call(TO, request, async |c, r| Client::new(c).export_results(r).await).await?;
    let cannot = |error: std::io::Error| {
        let file = output.unwrap_or(Path::new("."));
        Failure::new(format!("{} cannot be written: {error}", file.display()))
    };
    let folder = output.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let mut file = match output {
        Some(_) => Some(tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(cannot)?),
        None => None,
    };
    let mut bytes = 0;
    while let Some(piece) = pieces.message().await.map_err(|status| clients.failed(TO, &status))? {
        bytes += piece.data.len();
        match &mut file {
            Some(file) => file.write_all(&piece.data).map_err(cannot)?,
            None => super::output::print_text(&piece.data),
        }
    }
    if let (Some(file), Some(output)) = (file, output) {
        file.persist(output).map_err(|error| cannot(error.error))?;
        if context.json {
            super::output::print_line(&serde_json::json!({ "file": output, "bytes": bytes }).to_string());
        } else {
            context.say(&format!("{bytes} bytes are in {}", output.display()));
        }
    }
    Ok(())
}
