//! Names in place of ids: looked up once a command.

use std::collections::HashMap;

use tgmesh_proto::integration::v1::ListAccountsRequest;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;

use super::client::{Clients, Service};
use super::{Context, accounts, campaign_view};

/// Lines of a page.
const PAGE: i32 = 1_000;
/// Most pages of targets that are looked through: of a larger campaign the rest keep their ids.
const PAGES: usize = 5;

/// Names by id.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// The names of the workspace's accounts; none for scripts, which get ids.
    /// An id does where no name can be had.
    pub(crate) async fn of_accounts(context: &Context, clients: &Clients) -> Self {
        let mut names = Self::default();
        if context.json {
            return names;
        }
        let mut page_token = String::new();
        loop {
            let request = ListAccountsRequest { page_size: PAGE, page_token, ..Default::default() };
            let Ok(answer) = accounts::list(clients, request).await else { return names };
            names.0.extend(answer.accounts.iter().map(|account| (account.id.clone(), accounts::title(account))));
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return names;
            }
        }
    }

    /// And those of a campaign's targets.
    pub(crate) async fn and_targets(mut self, context: &Context, clients: &Clients, campaign_id: &str) -> Self {
        let mut page_token = String::new();
        for _ in 0..if context.json { 0 } else { PAGES } {
            let campaign_id = campaign_id.to_owned();
            let request = invite::ListTargetsRequest { campaign_id, page_size: PAGE, page_token, ..Default::default() };
            let call = async |c, r| InviteServiceClient::new(c).list_targets(r).await;
            let Ok(answer) = clients.call(Service::Invite, request, call).await else { break };
            self.0.extend(answer.targets.iter().map(|target| (target.id.clone(), campaign_view::who(target))));
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        self
    }

    /// The name, or the id where none is known.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}
