//! `tgmesh accounts`: Telegram accounts, their state and journal.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient as Client;
use uuid::Uuid;

use super::client::{Clients, Connect, Service};
use super::login::{self, LoginArgs};
use super::output::{Table, count, more, name_of, word};
use super::{Context, Done, Failure, Page, mask, prompt};
use crate::local::LocalUser;

/// Arguments of `accounts`.
#[derive(Debug, Args)]
pub(crate) struct AccountsArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List accounts, newest first.
    List {
        /// Only those whose label, name or username contains this.
        #[arg(long, default_value = "")]
        search: String,
        #[command(flatten)]
        page: Page,
    },
    /// Show an account: its state with the reason, restrictions, connection.
    Show(Which),
    /// Log an account in.
    Login(LoginArgs),
    /// Connect accounts by session strings of Telethon or Pyrogram, one a line.
    Import {
        /// File with the strings; standard input when left out or "-".
        file: Option<PathBuf>,
    },
    /// Change an account's label, or what it is used for.
    Update {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        changes: Changes,
    },
    /// Pause an account: nothing uses it until it is resumed.
    Pause(Which),
    /// Resume an account.
    Resume(Which),
    /// Connect, verify the session, refresh the profile.
    Check(Which),
    /// Log an account out and erase it.
    Delete {
        #[command(flatten)]
        which: Which,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show an account's journal, newest first.
    Events {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        page: Page,
    },
    /// Sum the workspace's accounts up.
    Summary {
        /// Period over which errors are counted, in hours.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=720))]
        hours: i64,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The account: its id, or a part of its name, label or username that only it has.
    account: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// The team's own name for it; "" takes it away.
    #[arg(long)]
    label: Option<String>,
    /// All that it is used for; nothing else uses it then.
    #[arg(long, value_enum, value_name = "PURPOSE", num_args = 1..)]
    purposes: Option<Vec<Purpose>>,
}

/// What an account is used for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    /// Reading chats, members, messages.
    Parse,
    /// Adding people to chats.
    Invite,
    /// Writing to people.
    Message,
}

impl Purpose {
    fn into_proto(self) -> tgmesh_proto::lease::v1::Purpose {
        use tgmesh_proto::lease::v1::Purpose as Wire;
        match self {
            Self::Parse => Wire::Parse,
            Self::Invite => Wire::Invite,
            Self::Message => Wire::Message,
        }
    }
}

/// Finds the id of an account that is named by its id or by a part of its name.
pub(crate) async fn find(clients: &Clients, account: &str) -> Result<String, Failure> {
    if Uuid::try_parse(account).is_ok() {
        return Ok(account.to_owned());
    }
    let search = account.trim_start_matches('@').to_owned();
    let request = pb::ListAccountsRequest { search, page_size: 3, ..Default::default() };
    let found = list(clients, request).await?.accounts;
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(Failure::new(format!("no account is called {account}"))
            .advice("`tgmesh accounts list` shows the accounts of this workspace")),
        _ => Err(Failure::new(format!("several accounts are called {account}")).advice("name it by its id")),
    }
}

pub(crate) async fn list(
    clients: &Clients,
    request: pb::ListAccountsRequest,
) -> Result<pb::ListAccountsResponse, Failure> {
    clients.call(Service::Integration, request, async |c, r| Client::new(c).list_accounts(r).await).await
}

/// Does what was asked for.
pub(crate) async fn run(context: &Context, args: AccountsArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    let request_id = clients.request_id();
    let to = Service::Integration;
    match args.command {
        Command::List { search, page } => {
            let request =
                pb::ListAccountsRequest { search, page_size: page.limit, page_token: page.page, ..Default::default() };
            let answer = list(&clients, request).await?;
            context.show(&answer, |answer| table(context, answer))
        }
        Command::Show(which) => {
            let request = pb::GetAccountRequest { account_id: find(&clients, &which.account).await? };
            let answer = clients.call(to, request, async |c, r| Client::new(c).get_account(r).await).await?;
            context.show(&answer, |answer| answer.account.as_ref().map(|a| show(context, a)).unwrap_or_default())
        }
        Command::Login(args) => login::run(context, &clients, args).await,
        Command::Import { file } => {
            let request = pb::ImportSessionsRequest { request_id, sessions: read_sessions(file)? };
            let answer = clients.call(to, request, async |c, r| Client::new(c).import_sessions(r).await).await?;
            context.show(&answer, imported)?;
            let connected = pb::import_result::Status::Connected;
            let failed = answer.results.iter().filter(|result| result.status() != connected).count();
            if failed == 0 {
                Ok(())
            } else {
                Err(Failure::new(format!("{} not connected", count(failed, "line was", "lines were"))))
            }
        }
        Command::Update { which, changes: Changes { label, purposes } } => {
            let set = [("label", label.is_some()), ("purposes", purposes.is_some())];
            let request = pb::UpdateAccountRequest {
                request_id,
                account_id: find(&clients, &which.account).await?,
                update_mask: Some(mask(&set)),
                label: label.unwrap_or_default(),
                purposes: purposes.unwrap_or_default().into_iter().map(|purpose| purpose.into_proto().into()).collect(),
                etag: String::new(),
            };
            let answer = clients.call(to, request, async |c, r| Client::new(c).update_account(r).await).await?;
            context.show(&answer, |answer| answer.account.as_ref().map(|a| show(context, a)).unwrap_or_default())
        }
        Command::Pause(which) => {
            let request = pb::PauseAccountRequest { request_id, account_id: find(&clients, &which.account).await? };
            let answer = clients.call(to, request, async |c, r| Client::new(c).pause_account(r).await).await?;
            context.show(&answer, |answer| line(answer.account.as_ref()))
        }
        Command::Resume(which) => {
            let request = pb::ResumeAccountRequest { request_id, account_id: find(&clients, &which.account).await? };
            let answer = clients.call(to, request, async |c, r| Client::new(c).resume_account(r).await).await?;
            context.show(&answer, |answer| line(answer.account.as_ref()))
        }
        Command::Check(which) => {
            let request = pb::CheckAccountRequest { request_id, account_id: find(&clients, &which.account).await? };
            let answer = clients.call(to, request, async |c, r| Client::new(c).check_account(r).await).await?;
            if answer.issues.is_empty() {
                return context.show(&answer, |answer| line(answer.account.as_ref()) + "  nothing is wrong\n");
            }
            context.show_json(&answer)?;
            Err(unwell(&which.account, &answer))
        }
        Command::Delete { which, yes } => {
            let account_id = find(&clients, &which.account).await?;
            prompt::confirm(&format!("log {} out and erase it", which.account), yes).await?;
            let request = pb::DeleteAccountRequest { request_id, account_id };
            let answer = clients.call(to, request, async |c, r| Client::new(c).delete_account(r).await).await?;
            context.show(&answer, |answer| match &answer.account {
                Some(_) => "Telegram cannot be reached: logging out is tried again, then it is erased".to_owned(),
                None => "erased".to_owned(),
            })
        }
        Command::Events { which, page } => {
            let account_id = find(&clients, &which.account).await?;
            let request = pb::ListAccountEventsRequest { account_id, page_size: page.limit, page_token: page.page };
            let answer = clients.call(to, request, async |c, r| Client::new(c).list_account_events(r).await).await?;
            context.show(&answer, |answer| events(context, answer))
        }
        Command::Summary { hours } => {
            let period = Some(prost_types::Duration { seconds: hours * 3_600, nanos: 0 });
            let request = pb::GetFleetSummaryRequest { period };
            let answer = clients.call(to, request, async |c, r| Client::new(c).get_fleet_summary(r).await).await?;
            context.show(&answer, |answer| summary(context, answer))
        }
    }
}

/// Session strings, from where no process list or shell history shows them.
fn read_sessions(file: Option<PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            text = std::fs::read_to_string(&file)
                .map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))?;
        }
        None => {
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::new(format!("standard input cannot be read: {error}")))?;
        }
    }
    Ok(text)
}

fn state(account: &pb::Account) -> String {
    word(account.state().as_str_name(), "STATE")
}

/// What people call it.
pub(crate) fn title(account: &pb::Account) -> String {
    if account.label.is_empty() {
        name_of(&account.username, &account.first_name, &account.last_name)
    } else {
        account.label.clone()
    }
}

/// The state with its reason, in words that are not said twice.
fn state_and_why(account: &pb::Account) -> String {
    let (state, why) = (state(account), &account.state_detail);
    match why.strip_prefix(&state) {
        _ if why.is_empty() => state,
        Some(_) => why.clone(),
        None => format!("{state}: {why}"),
    }
}

/// One account in one line.
pub(crate) fn line(account: Option<&pb::Account>) -> String {
    account.map_or_else(String::new, |a| format!("{}  {}  {}\n", a.id, title(a), state_and_why(a)))
}

/// What a check has found.
fn unwell(asked: &str, answer: &pb::CheckAccountResponse) -> Failure {
    let mut issues: Vec<&str> = Vec::new();
    for issue in &answer.issues {
        if !issues.contains(&issue.as_str()) {
            issues.push(issue);
        }
    }
    let name = answer.account.as_ref().map_or_else(|| asked.to_owned(), title);
    let id = answer.account.as_ref().map_or(asked, |account| &account.id);
    let failure = Failure::new(format!("the check of {name} failed: {}", issues.join("; ")));
    match answer.account.as_ref().map(pb::Account::state) {
        Some(pb::account::State::SessionLost) => {
            failure.advice("log the account in again: tgmesh accounts login phone NUMBER")
        }
        // It looks well here, and cannot be asked there.
        Some(pb::account::State::Ready) => failure.advice("`tgmesh doctor` looks for the fault"),
        Some(pb::account::State::Paused) => failure.advice(format!("resume it: tgmesh accounts resume {id}")),
        _ => failure.advice(format!("`tgmesh accounts show {id}` says until when")),
    }
}

fn table(context: &Context, answer: &pb::ListAccountsResponse) -> String {
    let mut table = Table::new(&["id", "account", "phone", "state", "why"]);
    for account in &answer.accounts {
        let cells = [account.id.clone(), title(account), account.phone.clone(), state(account)];
        let [id, title, phone, state] = cells;
        let why = if account.state_detail == state { String::new() } else { account.state_detail.clone() };
        table.row([id, title, phone, state, why]);
    }
    let nothing = "no accounts yet: tgmesh accounts login phone NUMBER, or: tgmesh accounts login qr\n";
    table.or(&context.hint(nothing)) + &more(&answer.next_page_token)
}

fn show(context: &Context, account: &pb::Account) -> String {
    let purposes = account.purposes().map(|purpose| word(purpose.as_str_name(), "PURPOSE"));
    let mut text = Table::of_pairs([
        ("id", account.id.clone()),
        ("account", name_of(&account.username, &account.first_name, &account.last_name)),
        ("label", account.label.clone()),
        ("Telegram id", account.telegram_user_id.to_string()),
        ("kind", word(account.kind().as_str_name(), "ACCOUNT_KIND")),
        ("phone", account.phone.clone()),
        ("premium", if account.premium { "yes" } else { "no" }.to_owned()),
        ("used for", purposes.collect::<Vec<_>>().join(", ")),
        ("state", state_and_why(account)),
        ("until", context.when(account.state_end_time.as_ref())),
        ("session", word(account.session_state().as_str_name(), "SESSION_STATE")),
        ("connection", word(account.connection_state().as_str_name(), "CONNECTION_STATE")),
        ("connected", context.when(account.create_time.as_ref())),
        ("verified", context.when(account.check_time.as_ref())),
    ]);
    for restriction in &account.restrictions {
        let actions: Vec<_> = restriction.actions().map(|action| word(action.as_str_name(), "ACTION")).collect();
        let scope = if actions.is_empty() { "everything".to_owned() } else { actions.join(", ") };
        let _ = writeln!(
            text,
            "restricted: {} ({}), {scope}, until {}",
            word(restriction.cause().as_str_name(), "CAUSE"),
            restriction.telegram_error,
            context.when(restriction.end_time.as_ref())
        );
    }
    text
}

fn imported(answer: &pb::ImportSessionsResponse) -> String {
    let mut table = Table::new(&["line", "result", "account", "why"]);
    for result in &answer.results {
        let account = result.account.as_ref().map(title).unwrap_or_default();
        table.row([
            result.line.to_string(),
            word(result.status().as_str_name(), "STATUS"),
            account,
            result.detail.clone(),
        ]);
    }
    table.or("there was nothing to import")
}

fn events(context: &Context, answer: &pb::ListAccountEventsResponse) -> String {
    let me = LocalUser::load(&context.config.data_dir).ok().flatten().map(|user| user.user_id.to_string());
    let mut table = Table::new(&["time", "what", "error", "call", "by"]);
    for event in &answer.events {
        table.row([
            context.when(event.event_time.as_ref()),
            word(event.kind().as_str_name(), "KIND"),
            event.telegram_error.clone(),
            event.call.clone(),
            me.as_ref().map_or_else(|| event.actor.clone(), |me| event.actor.replace(me, "you")),
        ]);
    }
    table.or("nothing has happened yet\n") + &more(&answer.next_page_token)
}

fn summary(context: &Context, answer: &pb::GetFleetSummaryResponse) -> String {
    let limit = |left: Option<i32>| left.map_or_else(|| "not limited".to_owned(), |left| left.to_string());
    let states = answer.states.iter().filter(|count| count.accounts > 0);
    let states: Vec<_> =
        states.map(|count| format!("{} {}", count.accounts, word(count.state().as_str_name(), "STATE"))).collect();
    let errors: Vec<_> = answer.errors.iter().map(|e| format!("{} × {}", e.count, e.telegram_error)).collect();
    Table::of_pairs([
        ("accounts", if states.is_empty() { "none".to_owned() } else { states.join(", ") }),
        ("invites left today", limit(answer.invites_left_today)),
        ("messages left today", limit(answer.messages_left_today)),
        ("flood waits", answer.floods.to_string()),
        ("errors", errors.join(", ")),
        ("next recovery", context.when(answer.next_recovery_time.as_ref())),
    ])
}
