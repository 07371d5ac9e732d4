//! `tgmesh dnc`: people who must not be contacted.

use clap::{Args, Subcommand};
use tgmesh_proto::invite::v1 as pb;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient as Client;
use uuid::Uuid;

use super::client::{Clients, Connect, Service};
use super::output::{Table, more};
use super::{Context, Done, Failure, Page};

const TO: Service = Service::Invite;

/// Arguments of `dnc`.
#[derive(Debug, Args)]
pub(crate) struct DncArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List those who must not be contacted, newest first.
    List {
        /// Only people whose username or phone number starts with this.
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        page: Page,
    },
    /// Put people on the list; it holds from the next action on.
    Add {
        /// Usernames, phone numbers, or user ids.
        #[arg(required = true)]
        people: Vec<String>,
        /// Why.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take people off the list.
    Remove {
        /// Their usernames, phone numbers or user ids, or the ids of their entries.
        #[arg(required = true)]
        people: Vec<String>,
    },
}

/// Does what was asked for.
pub(crate) async fn run(context: &Context, args: DncArgs) -> Done {
    let clients = Clients::new(context, &args.connect)?;
    let request_id = clients.request_id();
    match args.command {
        Command::List { search, page } => {
            let request = pb::ListDoNotContactRequest { search, page_size: page.limit, page_token: page.page };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).list_do_not_contact(r).await).await?;
            context.show(&answer, |answer| {
                table(context, &answer.entries).or("nobody is on the list\n") + &more(&answer.next_page_token)
            })
        }
        Command::Add { people, reason } => {
            let request = pb::AddDoNotContactRequest { request_id, people, reason };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).add_do_not_contact(r).await).await?;
            context.show(&answer, |answer| table(context, &answer.entries).or(""))
        }
        Command::Remove { people } => {
            let mut entry_ids = Vec::new();
            for person in &people {
                entry_ids.push(entry(&clients, person).await?);
            }
            let request = pb::RemoveDoNotContactRequest { request_id, entry_ids };
            let answer = clients.call(TO, request, async |c, r| Client::new(c).remove_do_not_contact(r).await).await?;
            context.show(&answer, |answer| format!("{} taken off the list", answer.removed))?;
            let gone = i64::try_from(people.len()).unwrap_or(i64::MAX).saturating_sub(answer.removed.into());
            if gone <= 0 { Ok(()) } else { Err(Failure::new(format!("{gone} of them are not on the list"))) }
        }
    }
}

/// The id of the entry of a person, or the id itself.
async fn entry(clients: &Clients, person: &str) -> Result<String, Failure> {
    if Uuid::try_parse(person).is_ok() {
        return Ok(person.to_owned());
    }
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let name = person.trim_start_matches('@');
    let is = |entry: &pb::DoNotContact| {
        entry.username.eq_ignore_ascii_case(name)
            || (!digits(person).is_empty()
                && (entry.user_id.to_string() == person
                    || person.starts_with('+') && digits(&entry.phone) == digits(person)))
    };
    let mut page_token = String::new();
    loop {
        let request = pb::ListDoNotContactRequest { page_size: 1_000, page_token, ..Default::default() };
        let answer = clients.call(TO, request, async |c, r| Client::new(c).list_do_not_contact(r).await).await?;
        if let Some(entry) = answer.entries.into_iter().find(is) {
            return Ok(entry.id);
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Err(Failure::new(format!("{person} is not on the list")).advice("`tgmesh dnc list` shows who is"));
        }
    }
}

fn table(context: &Context, entries: &[pb::DoNotContact]) -> Table {
    let mut table = Table::new(&["id", "who", "why", "since"]);
    for entry in entries {
        let username = if entry.username.is_empty() { String::new() } else { format!("@{}", entry.username) };
        let user_id = if entry.user_id == 0 { String::new() } else { entry.user_id.to_string() };
        let who: Vec<_> = [username, entry.phone.clone(), user_id].into_iter().filter(|who| !who.is_empty()).collect();
        table.row([entry.id.clone(), who.join(" "), entry.reason.clone(), context.when(entry.create_time.as_ref())]);
    }
    table
}
