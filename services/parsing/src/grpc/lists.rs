//! Lists, page by page.

use serde::Serialize;
use service_kit::Identity;
use tgmesh_proto::parsing::v1 as wire;
use uuid::Uuid;

use super::{Parsing, convert, id};
use crate::error::Error;
use crate::tasks::store::ListFilter;
use crate::{contacts, results, tasks};

/// What a list of results depends on.
#[derive(Serialize)]
struct ResultsOf<'a> {
    workspace_id: Uuid,
    task_id: Uuid,
    search: &'a str,
}

/// What a list of contacts depends on.
#[derive(Serialize)]
struct ContactsOf<'a> {
    workspace_id: Uuid,
    task_id: Option<Uuid>,
    search: &'a str,
}

impl Parsing {
    pub(super) async fn tasks_page(
        &self,
        who: &Identity,
        request: &wire::ListParseTasksRequest,
    ) -> Result<wire::ListParseTasksResponse, Error> {
        let wrong = unspecified("states", &request.states).chain(unspecified("kinds", &request.kinds));
        let wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            return Err(Error::FieldsInvalid(wrong));
        }
        let filter = ListFilter {
            states: request.states.clone(),
            kinds: request.kinds.clone(),
            with_results: request.with_results,
        };
        let page = self.tokens.page::<Uuid>(
            "parse_tasks",
            &(who.workspace_id, &filter),
            request.page_size,
            &request.page_token,
        )?;
        let rows = tasks::store::list(self.db.conn(), who.workspace_id, &filter, page.after, page.size + 1).await?;
        let (rows, next_page_token) = self.tokens.finish(&page, rows, |task| task.id);
        Ok(wire::ListParseTasksResponse { parse_tasks: rows.iter().map(convert::task).collect(), next_page_token })
    }

    pub(super) async fn results_page(
        &self,
        who: &Identity,
        request: &wire::ListResultsRequest,
    ) -> Result<wire::ListResultsResponse, Error> {
        let task = self.tasks.get(who, id(&request.parse_task_id)).await?;
        let list = ResultsOf { workspace_id: who.workspace_id, task_id: task.id, search: &request.search };
        let page = self.tokens.page::<i64>("parse_results", &list, request.page_size, &request.page_token)?;
        let after = page.after.unwrap_or(0);
        let rows =
            results::store::after(self.db.conn(), who.workspace_id, task.id, after, &request.search, page.size + 1)
                .await?;
        let (rows, next_page_token) = self.tokens.finish(&page, rows, |row| row.seq.unwrap_or(0));
        Ok(wire::ListResultsResponse { results: rows.iter().map(convert::result).collect(), next_page_token })
    }

    pub(super) async fn stats(
        &self,
        who: &Identity,
        request: &wire::GetResultStatsRequest,
    ) -> Result<wire::GetResultStatsResponse, Error> {
        let task = self.tasks.get(who, id(&request.parse_task_id)).await?;
        let groups = results::store::stats(self.db.conn(), who.workspace_id, task.id).await?;
        let mut stats = wire::GetResultStatsResponse::default();
        for group in groups {
            stats.total += group.total;
            stats.with_username += group.with_username;
            stats.with_phone += group.with_phone;
            stats.premium += group.premium;
            stats.last_seen.push(wire::LastSeenCount { last_seen: group.last_seen, count: group.total });
        }
        Ok(stats)
    }

    pub(super) async fn contacts_page(
        &self,
        who: &Identity,
        request: &wire::ListContactsRequest,
    ) -> Result<wire::ListContactsResponse, Error> {
        let task_id = match request.parse_task_id.as_str() {
            "" => None,
            task => Some(self.tasks.get(who, id(task)).await?.id),
        };
        let list = ContactsOf { workspace_id: who.workspace_id, task_id, search: &request.search };
        let page = self.tokens.page::<Uuid>("contacts", &list, request.page_size, &request.page_token)?;
        let rows = contacts::store::list(
            self.db.conn(),
            who.workspace_id,
            &request.search,
            task_id,
            page.after,
            page.size + 1,
        )
        .await?;
        let (rows, next_page_token) = self.tokens.finish(&page, rows, |row| row.id);
        Ok(wire::ListContactsResponse { contacts: self.with_details(who, &rows).await?, next_page_token })
    }

    pub(super) async fn contact(
        &self,
        who: &Identity,
        request: &wire::GetContactRequest,
    ) -> Result<wire::GetContactResponse, Error> {
        let row = contacts::store::find(self.db.conn(), who.workspace_id, id(&request.contact_id)).await?;
        let contact = self.with_details(who, &[row]).await?.pop();
        Ok(wire::GetContactResponse { contact })
    }

    async fn with_details(
        &self,
        who: &Identity,
        rows: &[contacts::entity::Model],
    ) -> Result<Vec<wire::Contact>, Error> {
        let users: Vec<i64> = rows.iter().map(|row| row.user_id).collect();
        let accounts = contacts::store::accounts_of(self.db.conn(), who.workspace_id, &users).await?;
        let tasks = results::store::tasks_with(self.db.conn(), who.workspace_id, &users).await?;
        Ok(rows.iter().map(|row| convert::contact(row, &accounts, &tasks)).collect())
    }
}

/// Entries of an enum list that say nothing.
fn unspecified<'a>(field: &'a str, values: &'a [i32]) -> impl Iterator<Item = (String, String)> + 'a {
    let nothing = values.iter().enumerate().filter(|(_, value)| **value == 0);
    nothing.map(move |(index, _)| (format!("{field}[{index}]"), "must not be unspecified".to_owned()))
}
