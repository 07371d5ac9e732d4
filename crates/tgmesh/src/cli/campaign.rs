//! `tgmesh campaign`: invites people to a chat.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use tgmesh_proto::invite::v1 as pb;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient as Client;
use tgmesh_proto::invite::v1::upload_audience_request::Part;
use tgmesh_proto::telegram::v1::Outcome;
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use super::campaign_view as view;
use super::client::{Clients, Connect, Service};
use super::names::Names;
use super::progress::{Progress, Watched, follow};
use super::{Context, Done, Failure, Page, Priority, accounts, mask, parse};

const TO: Service = Service::Invite;
/// Bytes of a file in one message; the contract allows 1 MiB.
const PIECE: usize = 256 * 1024;

/// Arguments of `campaign`.
#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell for every account whether it can invite into a chat, or exactly why not.
    Check {
        /// The chat: @name, t.me/name, t.me/c/…, -100… id, or t.me/+hash.
        #[arg(allow_negative_numbers = true)]
        chat: String,
    },
    /// Create a campaign with its audience.
    Create(Box<CreateArgs>),
    /// Invite one person at once, outside of any campaign, and tell what happened.
    Test {
        /// The chat, in any form that `check` takes.
        #[arg(long, allow_negative_numbers = true)]
        chat: String,
        /// The person: a username, phone number or link.
        person: String,
        /// The account that does it: its id, or a part of its name; any that can when left out.
        #[arg(long)]
        account: Option<String>,
    },
    /// List campaigns, newest first.
    List(Page),
    /// Show a campaign.
    Show(Which),
    /// Change a campaign's name, notes or urgency.
    Update {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        changes: Changes,
    },
    /// Start a campaign.
    Start {
        #[command(flatten)]
        which: Which,
        /// Watch it until it ends.
        #[arg(long)]
        watch: bool,
    },
    /// Watch a campaign until it ends or is paused.
    Watch(Which),
    /// Stop a campaign: nothing is sent any more, within a second.
    Pause(Which),
    /// Let a paused campaign go on.
    Resume(Which),
    /// Give a campaign up.
    Cancel(Which),
    /// Delete a campaign that is a draft or has ended.
    Delete {
        #[command(flatten)]
        which: Which,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// List a campaign's targets with their outcomes.
    Targets {
        #[command(flatten)]
        which: Which,
        /// Only people whose name, username or phone number starts with this.
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        /// Only those with this outcome, such as invited or "privacy restricted".
        #[arg(long, value_parser = outcome)]
        outcome: Option<Outcome>,
        #[command(flatten)]
        page: Page,
    },
    /// List a campaign's attempts, newest first.
    Executions {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        page: Page,
    },
    /// Sum a campaign up: by outcome, account, day and error.
    Report(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The campaign's id, or "last" for the newest.
    campaign: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its name.
    #[arg(long)]
    name: Option<String>,
    /// The team's own notes; "" takes them away.
    #[arg(long)]
    description: Option<String>,
    /// How urgent it is.
    #[arg(long, value_enum)]
    priority: Option<Priority>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Consent {
    /// They asked for it.
    OptIn,
    /// They are customers or members already.
    Existing,
    /// Another basis, which --description names.
    Other,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("audience").required(true).args(["from_parse", "from_file", "to"]))]
struct CreateArgs {
    /// The chat to invite to: @name, t.me/name, t.me/c/…, -100… id, or t.me/+hash.
    #[arg(long, allow_negative_numbers = true)]
    chat: String,
    /// The people: all results of this completed parse task; "last" for the newest.
    #[arg(long, value_name = "TASK")]
    from_parse: Option<String>,
    /// Take what a parse task has found although it is paused, cancelled or failed.
    #[arg(long, requires = "from_parse")]
    accept_partial: bool,
    /// The people: the rows of this CSV or TXT file.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The people: usernames, phone numbers or links.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    to: Vec<String>,
    /// Take only the first so many who can become targets.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i32).range(0..))]
    limit: i32,
    /// Why these people may be contacted.
    #[arg(long, value_enum)]
    consent: Consent,
    /// Its name; the chat's title when left out.
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// The team's own notes.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// How urgent it is.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Create nothing: only say what would be created.
    #[arg(long)]
    dry_run: bool,
}

async fn find(clients: &Clients, campaign: &str) -> Result<String, Failure> {
    if campaign != "last" {
        return match Uuid::try_parse(campaign) {
            Ok(id) => Ok(id.to_string()),
            Err(_) => Err(Failure::usage(format!("{campaign} is no id of a campaign, nor \"last\""))),
        };
    }
    let request = pb::ListCampaignsRequest { page_size: 1, ..Default::default() };
    let answer = clients.call(TO, request, async |c, r| Client::new(c).list_campaigns(r).await).await?;
    let last = answer.campaigns.into_iter().next();
    last.map(|campaign| campaign.id)
        .ok_or_else(|| Failure::new("there is no campaign yet").advice("create one: tgmesh campaign create --help"))
}

async fn readiness(clients: &Clients, chat: String) -> Result<pb::CheckReadinessResponse, Failure> {
    let request = pb::CheckReadinessRequest { kind: pb::CampaignKind::InviteToChat.into(), chat };
    clients.call(TO, request, async |c, r| Client::new(c).check_readiness(r).await).await
}

/// The id of a chat, named in any form that `check` takes.
pub(crate) async fn chat_id(clients: &Clients, chat: String) -> Result<i64, Failure> {
    if let Ok(id) = chat.parse() {
        return Ok(id);
    }
    let unseen = Failure::new(format!("no account can see the chat {chat}"));
    let seen = readiness(clients, chat).await?.chat;
    seen.map(|chat| chat.chat_id)
        .ok_or_else(|| unseen.advice("check the chat's name; `tgmesh accounts list` shows the accounts"))
}

/// Reads an outcome as it is shown.
fn outcome(text: &str) -> Result<Outcome, String> {
    let name = format!("OUTCOME_{}", text.to_uppercase().replace([' ', '-'], "_"));
    let outcome = Outcome::from_str_name(&name).filter(|outcome| *outcome != Outcome::Unspecified);
    outcome.ok_or_else(|| "expected an outcome as `campaign targets` shows it".to_owned())
}

/// Does what was asked for.
pub(crate) async fn run(context: &Context, args: CampaignArgs) -> Done {
    let clients = &Clients::new(context, &args.connect)?;
    let request_id = clients.request_id();
    match args.command {
        Command::Check { chat } => {
            let answer = readiness(clients, chat).await?;
            context.show(&answer, |answer| view::readiness(context, answer))?;
            if answer.ready > 0 { Ok(()) } else { Err(Failure::new("no account is ready to invite there")) }
        }
        Command::Create(args) => create(context, clients, *args).await,
        Command::Test { chat, person, account } => {
            let account_id = match account {
                Some(account) => accounts::find(clients, &account).await?,
                None => String::new(),
            };
            let request = pb::TestInviteRequest { request_id, chat, user: person, account_id };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).test_invite(r).await).await?;
            let names = Names::of_accounts(context, clients).await;
            context.show(&answer, |answer| view::tried(&names, answer))?;
            let invited = answer.outcome() == Outcome::Invited;
            if invited { Ok(()) } else { Err(Failure::new("the person was not invited")) }
        }
        Command::List(page) => {
            let request =
                pb::ListCampaignsRequest { page_size: page.limit, page_token: page.page, ..Default::default() };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_campaigns(r).await).await?;
            context.show(&answer, |answer| view::table(context, answer))
        }
        Command::Show(which) => {
            let request = pb::GetCampaignRequest { campaign_id: find(clients, &which.campaign).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_campaign(r).await).await?;
            context.show(&answer, |answer| view::campaign(context, answer.campaign.as_ref()))
        }
        Command::Update { which, changes: Changes { name, description, priority } } => {
            let set =
                [("name", name.is_some()), ("description", description.is_some()), ("priority", priority.is_some())];
            let request = pb::UpdateCampaignRequest {
                request_id,
                campaign_id: find(clients, &which.campaign).await?,
                update_mask: Some(mask(&set)),
                name: name.unwrap_or_default(),
                description: description.unwrap_or_default(),
                priority: priority.map_or(0, |priority| priority.into_proto().into()),
                ..Default::default()
            };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).update_campaign(r).await).await?;
            context.show(&answer, |answer| view::campaign(context, answer.campaign.as_ref()))
        }
        Command::Start { which, watch: follow } => {
            let campaign_id = find(clients, &which.campaign).await?;
            let request = pb::StartCampaignRequest { request_id, campaign_id: campaign_id.clone() };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).start_campaign(r).await).await?;
            context.show(&answer, |answer| view::line(answer.campaign.as_ref()))?;
            if let Some(campaign) = &answer.campaign {
                estimate(context, clients, campaign).await;
            }
            if follow { watch(context, clients, campaign_id).await } else { Ok(()) }
        }
        Command::Watch(which) => watch(context, clients, find(clients, &which.campaign).await?).await,
        Command::Pause(which) => {
            let request = pb::PauseCampaignRequest { request_id, campaign_id: find(clients, &which.campaign).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).pause_campaign(r).await).await?;
            context.show(&answer, |answer| view::line(answer.campaign.as_ref()))
        }
        Command::Resume(which) => {
            let request = pb::ResumeCampaignRequest { request_id, campaign_id: find(clients, &which.campaign).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).resume_campaign(r).await).await?;
            context.show(&answer, |answer| view::line(answer.campaign.as_ref()))
        }
        Command::Cancel(which) => {
            let request = pb::CancelCampaignRequest { request_id, campaign_id: find(clients, &which.campaign).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).cancel_campaign(r).await).await?;
            context.show(&answer, |answer| view::line(answer.campaign.as_ref()))
        }
        Command::Delete { which, yes } => {
            let campaign_id = find(clients, &which.campaign).await?;
            super::prompt::confirm(&format!("delete campaign {campaign_id} with its targets"), yes).await?;
            let request = pb::DeleteCampaignRequest { request_id, campaign_id };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).delete_campaign(r).await).await?;
            context.show(&answer, |_| "deleted".to_owned())
        }
        Command::Targets { which, search, outcome, page } => {
            let campaign_id = find(clients, &which.campaign).await?;
            let (page_size, page_token) = (page.limit, page.page);
            let outcomes = outcome.into_iter().map(Into::into).collect();
            let states = Vec::new();
            let request = pb::ListTargetsRequest { campaign_id, states, outcomes, search, page_size, page_token };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_targets(r).await).await?;
            context.show(&answer, view::targets)
        }
        Command::Executions { which, page } => {
            let campaign_id = find(clients, &which.campaign).await?;
            let names = Names::of_accounts(context, clients).await.and_targets(context, clients, &campaign_id).await;
            let (page_size, page_token) = (page.limit, page.page);
            let request = pb::ListExecutionsRequest { campaign_id, page_size, page_token, ..Default::default() };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_executions(r).await).await?;
            context.show(&answer, |answer| view::executions(context, &names, answer))
        }
        Command::Report(which) => {
            let request = pb::GetReportRequest { campaign_id: find(clients, &which.campaign).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_report(r).await).await?;
            let names = Names::of_accounts(context, clients).await;
            context.show(&answer, |answer| view::report(context, &names, answer))
        }
    }
}

async fn create(context: &Context, clients: &Clients, args: CreateArgs) -> Done {
    let source = match (args.from_parse, args.from_file) {
        (Some(task), _) => pb::audience::Source::ParseTaskId(parse::find(clients, &task).await?),
        (_, Some(file)) => pb::audience::Source::AudienceId(upload(context, clients, &file).await?),
        _ => pb::audience::Source::Inline(pb::InlineAudience { entries: args.to }),
    };
    let consent = match args.consent {
        Consent::OptIn => pb::ConsentBasis::OptIn,
        Consent::Existing => pb::ConsentBasis::ExistingRelationship,
        Consent::Other => pb::ConsentBasis::Other,
    };
    let request = pb::CreateCampaignRequest {
        request_id: clients.request_id(),
        name: args.name,
        kind: pb::CampaignKind::InviteToChat.into(),
        chat: args.chat,
        description: args.description,
        audience: Some(pb::Audience { source: Some(source), limit: args.limit, accept_partial: args.accept_partial }),
        consent_basis: consent.into(),
        priority: args.priority.into_proto().into(),
        validate_only: args.dry_run,
        ..Default::default()
    };
    let answer = clients.call(TO, request, async |c, r| Client::new(c).create_campaign(r).await).await?;
    context.show(&answer, |answer| view::created(context, answer))?;
    if let Some(campaign) = answer.campaign {
        estimate(context, clients, &campaign).await;
    }
    Ok(())
}

/// Tells people how long a campaign will take, where that can be known.
async fn estimate(context: &Context, clients: &Clients, campaign: &pb::Campaign) {
    if context.json {
        return;
    }
    let pending = campaign.progress.as_ref().map_or(0, |progress| progress.pending);
    if let Ok(readiness) = readiness(clients, campaign.chat.clone()).await
        && let Some(text) = view::estimate(pending, &readiness)
    {
        context.say(&context.hint(&text));
    }
}

/// Sends a file of people; answers with the id of the audience.
async fn upload(context: &Context, clients: &Clients, file: &Path) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| Failure::new(format!("{} cannot be read: {error}", file.display()));
    // Opened here first: what cannot be read must not begin an upload.
    drop(tokio::fs::File::open(file).await.map_err(cannot)?);
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let header = pb::UploadHeader { request_id: clients.request_id(), file_name: name, ..Default::default() };
    let (broken, mut why) = tokio::sync::mpsc::channel(1);
    let sent = clients.call(TO, header, async |c, header| {
        let (pieces, stream) = tokio::sync::mpsc::channel(4);
        let (file, broken) = (file.to_owned(), broken.clone());
        tokio::spawn(async move {
            // Whoever receives is gone once the call has failed: it says why.
            if pieces.send(pb::UploadAudienceRequest { part: Some(Part::Header(header)) }).await.is_ok()
                && let Err(error) = read(&file, &pieces).await
            {
                let _ = broken.send(error).await;
                // An end here would be taken for the file's.
                pieces.closed().await;
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        Client::new(c).upload_audience(stream).await
    });
    let answer = tokio::select! {
        answer = sent => answer?,
        Some(error) = why.recv() => return Err(cannot(error)),
    };
    // Which rows, and why, is told with the campaign.
    let report = view::import(answer.import_report.as_ref());
    context.say(&format!("{}: {}", file.display(), report.lines().next().unwrap_or_default()));
    Ok(answer.audience_id)
}

async fn read(file: &Path, pieces: &tokio::sync::mpsc::Sender<pb::UploadAudienceRequest>) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(file).await?;
    loop {
        let mut data = vec![0; PIECE];
        let read = file.read(&mut data).await?;
        data.truncate(read);
        let piece = pb::UploadAudienceRequest { part: Some(Part::Data(data)) };
        if read == 0 || pieces.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

impl Watched for pb::WatchCampaignResponse {
    type Subject = pb::Campaign;

    fn resume_token(&self) -> &str {
        &self.resume_token
    }

    fn subject(&self) -> Option<&pb::Campaign> {
        self.campaign.as_ref()
    }

    fn news(&self, names: &Names) -> Vec<String> {
        self.executions.iter().map(|execution| view::execution(names, execution)).collect()
    }

    fn progress(context: &Context, campaign: &pb::Campaign) -> Progress {
        let (position, total) = view::position(campaign);
        Progress {
            position,
            total: Some(total),
            state: view::state_key(campaign),
            line: view::state_line(context, campaign),
            rests: view::rests(campaign.state()),
        }
    }
}

async fn watch(context: &Context, clients: &Clients, campaign_id: String) -> Done {
    let open = async |c, resume_token| {
        let request = pb::WatchCampaignRequest { campaign_id: campaign_id.clone(), resume_token };
        Client::new(c).watch_campaign(request).await
    };
    let names = Names::of_accounts(context, clients).await.and_targets(context, clients, &campaign_id).await;
    let seen = follow::<pb::WatchCampaignResponse>(context, clients, &names, TO, open).await?;
    let Some(campaign) = seen else { return Ok(()) };
    if !context.json {
        super::output::print_line(view::campaign(context, Some(&campaign)).trim_end());
    }
    match campaign.state() {
        pb::campaign::State::Completed => Ok(()),
        pb::campaign::State::Failed => Err(Failure::with_reason(campaign.failure_detail, &campaign.failure_reason)),
        other => Err(Failure::new(format!("the campaign is {}", view::state_word(other)))),
    }
}
