//! Rows as the wire writes them.

use service_kit::Time;
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::{ParseTask, Waiting, waiting};
use tgmesh_proto::telegram::v1::PeerReference;
use uuid::Uuid;

use crate::contacts::entity as contacts;
use crate::results::entity as results;
use crate::tasks::completeness::completeness;
use crate::tasks::entity::Model;
use crate::tasks::progress::progress;
use crate::tasks::state::allowed_actions;

fn time(at: i64) -> prost_types::Timestamp {
    Time::from_millis(at).to_proto()
}

/// A task.
pub fn task(task: &Model) -> ParseTask {
    let state = task.task_state();
    let filter = task.parse_filter();
    let chat = task.chat();
    let chat_kind = chat.as_ref().map_or(0, |chat| chat.kind);
    let done = state == State::Completed;
    ParseTask {
        id: task.id.to_string(),
        source: task.source.clone(),
        kind: task.kind,
        filter: Some(filter),
        speed: task.speed,
        priority: task.priority,
        state: task.state,
        waiting: waiting(task, state),
        progress: Some(progress(task, &filter, chat_kind, state == State::Running)),
        completeness: done.then(|| completeness(task, &filter, chat.as_ref().unwrap_or(&Default::default()))),
        chat,
        failure_reason: task.failure_reason.clone(),
        failure_detail: task.failure_detail.clone(),
        allowed_actions: allowed_actions(state).map(|action| action as i32).collect(),
        create_time: Some(time(task.created_at)),
        start_time: task.started_at.map(time),
        end_time: task.ended_at.map(time),
        update_time: Some(time(task.updated_at)),
        etag: format!("{:x}", task.version),
    }
}

fn waiting(task: &Model, state: State) -> Option<Waiting> {
    match state {
        State::Pending => Some(Waiting {
            reason: waiting::Reason::Queue as i32,
            until_time: None,
            detail: "waits for its turn".to_owned(),
        }),
        State::Running if task.waiting_reason != 0 => Some(Waiting {
            reason: task.waiting_reason,
            until_time: task.waiting_until.map(time),
            detail: task.waiting_detail.clone(),
        }),
        _ => None,
    }
}

/// A result.
pub fn result(row: &results::Model) -> wire::ParseResult {
    wire::ParseResult {
        id: row.id.to_string(),
        result: Some(wire::parse_result::Result::Person(row.person().into_proto())),
        activity: row.activity,
        last_active_time: row.last_active_at.map(time),
        find_time: Some(time(row.found_at)),
    }
}

/// A contact, with the accounts that can address him and the tasks that found him.
pub fn contact(row: &contacts::Model, accounts: &[contacts::accounts::Model], tasks: &[(i64, Uuid)]) -> wire::Contact {
    wire::Contact {
        id: row.id.to_string(),
        person: Some(row.person().into_proto()),
        peer_references: accounts
            .iter()
            .filter(|account| account.user_id == row.user_id)
            .map(|account| PeerReference { account_id: account.account_id.to_string(), sealed: account.sealed.clone() })
            .collect(),
        parse_task_ids: tasks
            .iter()
            .filter(|(user, _)| *user == row.user_id)
            .map(|(_, task)| task.to_string())
            .collect(),
        first_find_time: Some(time(row.first_found_at)),
        last_find_time: Some(time(row.last_found_at)),
    }
}
