//! `tgmesh quota` and `tgmesh leases`: what accounts may do, and who uses them.

use clap::{Args, Subcommand};
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::quota::v1 as pb;
use tgmesh_proto::quota::v1::quota_service_client::QuotaServiceClient as Client;

use super::accounts::find;
use super::client::{Clients, Connect, Service};
use super::output::{Table, duration, more, word};
use super::{Context, Done, Page};

const TO: Service = Service::Integration;

/// Arguments of `quota`.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// Show how much of each limit an account has used, and when it ends.
    Show {
        /// The account: its id, or a part of its name.
        account: String,
        /// Also show the limits that are per chat, for the chat with this id (-100…).
        #[arg(long, allow_negative_numbers = true, value_name = "ID")]
        chat: Option<i64>,
    },
    /// Show the limits in force.
    Limits {
        /// Those of one account; those of the workspace when left out.
        #[arg(long, conflicts_with = "global")]
        account: Option<String>,
        /// Those of the whole deployment; operators only.
        #[arg(long)]
        global: bool,
    },
    /// List what an account has done, newest first, from the durable ledger.
    History {
        /// The account: its id, or a part of its name.
        account: String,
        #[command(flatten)]
        page: Page,
    },
}

/// Arguments of `leases`.
#[derive(Debug, Args)]
pub(crate) struct LeasesArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: LeasesCommand,
}

#[derive(Debug, Subcommand)]
enum LeasesCommand {
    /// List the leases that are held now.
    List(Page),
}

/// Shows limits and their use.
pub(crate) async fn quota(context: &Context, args: QuotaArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    match args.command {
        QuotaCommand::Show { account, chat } => {
            let request = pb::GetUsageRequest { account_id: find(&clients, &account).await?, chat_id: chat };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_usage(r).await).await?;
            context.show(&answer, |answer| usage(context, answer))
        }
        QuotaCommand::Limits { account, global } => {
            use pb::limits_level::Level;
            let level = match account {
                Some(account) => Level::AccountId(find(&clients, &account).await?),
                None if global => Level::Global(pb::limits_level::Global {}),
                None => Level::Workspace(pb::limits_level::Workspace {}),
            };
            let request = pb::GetLimitsRequest { level: Some(pb::LimitsLevel { level: Some(level) }) };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_limits(r).await).await?;
            context.show(&answer, limits)
        }
        QuotaCommand::History { account, page } => {
            let account_id = find(&clients, &account).await?;
            let (page_size, page_token) = (page.limit, page.page);
            let request = pb::ListUsageHistoryRequest { account_id, page_size, page_token, ..Default::default() };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_usage_history(r).await).await?;
            context.show(&answer, |answer| history(context, answer))
        }
    }
}

/// Shows leases.
pub(crate) async fn leases(context: &Context, args: LeasesArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    let LeasesCommand::List(page) = args.command;
    let request = lease::ListLeasesRequest { page_size: page.limit, page_token: page.page, ..Default::default() };
    let answer = clients.call(TO, request, async |c, r| LeaseServiceClient::new(c).list_leases(r).await).await?;
    context.show(&answer, |answer| {
        let mut table = Table::new(&["id", "account", "for", "chat", "holder", "work", "until"]);
        for lease in &answer.leases {
            table.row([
                lease.id.clone(),
                lease.account_id.clone(),
                word(lease.purpose().as_str_name(), "PURPOSE"),
                chat(lease.chat_id),
                lease.holder.clone(),
                lease.work.clone(),
                context.when(lease.expire_time.as_ref()),
            ]);
        }
        table.or("no account is in use\n") + &more(&answer.next_page_token)
    })
}

fn chat(chat_id: i64) -> String {
    if chat_id == 0 { String::new() } else { chat_id.to_string() }
}

fn usage(context: &Context, answer: &pb::GetUsageResponse) -> String {
    let mut table = Table::new(&["limit", "chat", "used", "reserved", "allowed", "period ends", "next possible"]);
    for usage in &answer.usage {
        table.row([
            word(usage.limit().as_str_name(), "LIMIT_NAME"),
            chat(usage.chat_id),
            usage.used.to_string(),
            usage.reserved.to_string(),
            usage.allowed.map(|allowed| allowed.to_string()).unwrap_or_default(),
            context.when(usage.end_time.as_ref()),
            usage.next_possible_time.as_ref().map_or_else(|| "now".to_owned(), |time| context.when(Some(time))),
        ]);
    }
    table.or("nothing is limited\n")
}

fn history(context: &Context, answer: &pb::ListUsageHistoryResponse) -> String {
    let mut table = Table::new(&["time", "action", "chat", "state", "error"]);
    for entry in &answer.entries {
        table.row([
            context.when(entry.reserve_time.as_ref()),
            word(entry.action().as_str_name(), "ACTION"),
            chat(entry.chat_id),
            word(entry.state().as_str_name(), "STATE"),
            entry.telegram_error.clone(),
        ]);
    }
    table.or("nothing was done yet\n") + &more(&answer.next_page_token)
}

/// Limits by name: what is set at the level, and what results.
fn limits(answer: &pb::GetLimitsResponse) -> String {
    let mut table = Table::new(&["limit", "set here", "in force"]);
    let (set, effective) = (rows(answer.limits.as_ref()), rows(answer.effective.as_ref()));
    for ((name, set), (_, effective)) in set.into_iter().zip(effective) {
        table.row([name.to_owned(), set, effective]);
    }
    table.or("")
}

fn rows(limits: Option<&pb::Limits>) -> Vec<(&'static str, String)> {
    let limits = limits.cloned().unwrap_or_default();
    let (invite, message) = (limits.invite.unwrap_or_default(), limits.message.unwrap_or_default());
    let number = |number: Option<i32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let time = |time: Option<prost_types::Duration>| {
        time.and_then(|time| time.try_into().ok()).map_or_else(|| "-".to_owned(), duration)
    };
    let interval = invite
        .interval
        .map_or_else(|| "-".to_owned(), |range| format!("{} to {}", time(range.shortest), time(range.longest)));
    vec![
        ("invites a day", number(invite.per_day)),
        ("invites a day and chat", number(invite.per_day_and_chat)),
        ("invites for ever and chat", number(invite.total_per_chat)),
        ("invites an hour", number(invite.per_hour)),
        ("between two invites", interval),
        ("invites before a pause", number(invite.pause_after)),
        ("the pause", time(invite.pause)),
        ("messages a day", number(message.per_day)),
        ("messages an hour", number(message.per_hour)),
        ("contacts added a day", number(limits.add_contact_per_day)),
        ("chats joined a day", number(limits.join_chat_per_day)),
        ("usernames looked up a day", number(limits.resolve_username_per_day)),
    ]
}
