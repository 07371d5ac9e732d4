//! `tgmesh quota` and `tgmesh leases`: what accounts may do, and who uses them.

use clap::{Args, Subcommand};
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::quota::v1 as pb;
use tgmesh_proto::quota::v1::quota_service_client::QuotaServiceClient as Client;

use super::accounts::find;
use super::client::{Clients, Connect, Service};
use super::limit_names::{Setting, collect, rows, setting};
use super::names::Names;
use super::output::{Table, more, word};
use super::{Context, Done, Failure, Page, campaign};

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
        /// Also show the limits that are per chat, for this one: @name, t.me/name, t.me/c/…, -100… id, or t.me/+hash.
        #[arg(long, allow_negative_numbers = true)]
        chat: Option<String>,
    },
    /// Show the limits in force.
    Limits(LevelArgs),
    /// Set limits; they hold from the next action on. Below the deployment, limits can only become tighter.
    Set {
        /// A name that `quota limits` shows, and a number, a time, a range of times, or "off": invite.per_day=20,
        /// invite.pause=45min, invite.interval=10min..15min.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<Setting>,
        #[command(flatten)]
        level: LevelArgs,
    },
    /// List what an account has done, newest first, from the durable ledger.
    History {
        /// The account: its id, or a part of its name.
        account: String,
        #[command(flatten)]
        page: Page,
    },
}

/// Whose limits.
#[derive(Debug, Args)]
struct LevelArgs {
    /// Those of one account; those of the workspace when left out.
    #[arg(long, conflicts_with = "global")]
    account: Option<String>,
    /// Those of the whole deployment; operators only.
    #[arg(long)]
    global: bool,
}

impl LevelArgs {
    async fn find(self, clients: &Clients) -> Result<Option<pb::LimitsLevel>, Failure> {
        use pb::limits_level::{Global, Level, Workspace};
        let level = match self.account {
            Some(account) => Level::AccountId(find(clients, &account).await?),
            None if self.global => Level::Global(Global {}),
            None => Level::Workspace(Workspace {}),
        };
        Ok(Some(pb::LimitsLevel { level: Some(level) }))
    }
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
    /// End a lease at once: the next call of whoever holds it is refused.
    Revoke {
        /// The lease's id.
        lease: String,
    },
}

/// Shows limits and their use.
pub(crate) async fn quota(context: &Context, args: QuotaArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    match args.command {
        QuotaCommand::Show { account, chat } => {
            let chat_id = match chat {
                Some(chat) => Some(campaign::chat_id(&clients, chat).await?),
                None => None,
            };
            let request = pb::GetUsageRequest { account_id: find(&clients, &account).await?, chat_id };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_usage(r).await).await?;
            context.show(&answer, |answer| usage(context, answer))
        }
        QuotaCommand::Limits(level) => {
            let request = pb::GetLimitsRequest { level: level.find(&clients).await? };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).get_limits(r).await).await?;
            context.show(&answer, |answer| limits(answer.limits.as_ref(), answer.effective.as_ref()))
        }
        QuotaCommand::Set { settings, level } => {
            let (wanted, paths) = collect(&settings).map_err(Failure::usage)?;
            let request = pb::UpdateLimitsRequest {
                request_id: clients.request_id(),
                level: level.find(&clients).await?,
                limits: Some(wanted),
                update_mask: Some(prost_types::FieldMask { paths }),
            };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).update_limits(r).await).await?;
            context.show(&answer, |answer| limits(answer.limits.as_ref(), answer.effective.as_ref()))
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

/// Shows leases, and ends them.
pub(crate) async fn leases(context: &Context, args: LeasesArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    match args.command {
        LeasesCommand::List(page) => {
            let request =
                lease::ListLeasesRequest { page_size: page.limit, page_token: page.page, ..Default::default() };
            let answer =
                clients.call(TO, request, async |c, r| LeaseServiceClient::new(c).list_leases(r).await).await?;
            let names = Names::of_accounts(context, &clients).await;
            context.show(&answer, |answer| held(context, &names, answer))
        }
        LeasesCommand::Revoke { lease } => {
            let request = lease::RevokeLeaseRequest { request_id: clients.request_id(), lease_id: lease };
            let answer =
                clients.call(TO, request, async |c, r| LeaseServiceClient::new(c).revoke_lease(r).await).await?;
            context.show(&answer, |_| "ended".to_owned())
        }
    }
}

fn held(context: &Context, names: &Names, answer: &lease::ListLeasesResponse) -> String {
    let mut table = Table::new(&["id", "account", "for", "chat", "holder", "work", "until"]);
    for lease in &answer.leases {
        table.row([
            lease.id.clone(),
            names.of(&lease.account_id).to_owned(),
            word(lease.purpose().as_str_name(), "PURPOSE"),
            chat(lease.chat_id),
            // The service; the process behind it is for --json.
            lease.holder.split(['/', ' ']).next().unwrap_or_default().to_owned(),
            lease.work.clone(),
            context.when(lease.expire_time.as_ref()),
        ]);
    }
    table.or("no account is in use\n") + &more(&answer.next_page_token)
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
fn limits(set: Option<&pb::Limits>, effective: Option<&pb::Limits>) -> String {
    let mut table = Table::new(&["name", "limit", "set at this level", "in force"]);
    for ([name, what, set], [_, _, effective]) in rows(set).zip(rows(effective)) {
        table.row([name, what, set, effective]);
    }
    table.or("")
}
