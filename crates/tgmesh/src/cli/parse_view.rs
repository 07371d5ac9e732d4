//! How parse tasks look.

use std::fmt::Write as _;

use tgmesh_proto::parsing::v1 as pb;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::skip_count::Reason;

use super::Context;
use super::output::{Table, count, duration, more, word};

/// A state as a word.
pub(crate) fn state_word(state: State) -> String {
    word(state.as_str_name(), "STATE")
}

/// Whether nothing happens any more until somebody does something.
pub(crate) fn rests(state: State) -> bool {
    matches!(state, State::Paused | State::Completed | State::Cancelled | State::Failed)
}

/// How many people were left out, and why.
pub(crate) fn left_out(people: i64, reason: Reason) -> String {
    let (one, many) = match reason {
        Reason::Bot => ("bot", "bots"),
        Reason::Admin => ("admin", "admins"),
        Reason::NoUsername => ("without a username", "without a username"),
        Reason::NoPhone => ("without a phone number", "without a phone number"),
        other => return format!("{people} {}", word(other.as_str_name(), "REASON")),
    };
    count(people, one, many)
}

/// How far a task is, and of how much, when that is known.
pub(crate) fn position(task: &pb::ParseTask) -> (u64, Option<u64>) {
    let progress = task.progress.clone().unwrap_or_default();
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    (number(progress.read), progress.total.filter(|total| *total > 0).map(number))
}

fn title(task: &pb::ParseTask) -> String {
    match &task.chat {
        Some(chat) if !chat.title.is_empty() => format!("{} ({})", task.source, chat.title),
        _ => task.source.clone(),
    }
}

/// What of a task is worth a line of its own when it changes.
pub(crate) fn state_key(task: &pb::ParseTask) -> String {
    let waiting = task.waiting.as_ref().map(|waiting| waiting.reason);
    format!("{:?} {waiting:?}", task.state())
}

/// What a task does, in one line.
pub(crate) fn state_line(context: &Context, task: &pb::ParseTask) -> String {
    let progress = task.progress.clone().unwrap_or_default();
    let mut text = format!("{}: {}, {} results", title(task), state_word(task.state()), progress.results);
    if let Some(waiting) = &task.waiting {
        let _ = write!(text, ", waiting: {}", waiting.detail);
        if waiting.until_time.is_some() {
            let _ = write!(text, " until {}", context.when(waiting.until_time.as_ref()));
        }
    } else if let Some(left) = progress.time_left.and_then(|left| left.try_into().ok()) {
        let _ = write!(text, ", about {} left", duration(left));
    }
    text
}

/// One task in one line.
pub(crate) fn line(task: Option<&pb::ParseTask>) -> String {
    task.map_or_else(String::new, |task| format!("{}  {}: {}", task.id, title(task), state_word(task.state())))
}

/// Tasks in columns.
pub(crate) fn table(context: &Context, answer: &pb::ListParseTasksResponse) -> String {
    let mut table = Table::new(&["id", "source", "kind", "state", "read", "results", "why"]);
    for task in &answer.parse_tasks {
        let progress = task.progress.clone().unwrap_or_default();
        let total = progress.total.map(|total| format!("/{total}")).unwrap_or_default();
        let waiting = task.waiting.as_ref().map(|waiting| waiting.detail.clone()).unwrap_or_default();
        // A completed task that read less than was reported says why.
        let lacks = task.completeness.as_ref().filter(|said| !said.complete);
        let lacks = lacks.map(|said| said.notice.clone()).unwrap_or_default();
        table.row([
            task.id.clone(),
            task.source.clone(),
            word(task.kind().as_str_name(), "PARSE_KIND"),
            state_word(task.state()),
            format!("{}{total}", progress.read),
            progress.results.to_string(),
            if task.failure_detail.is_empty() { waiting + &lacks } else { task.failure_detail.clone() },
        ]);
    }
    table.or(&context.hint("no parse tasks yet: tgmesh parse start SOURCE\n")) + &more(&answer.next_page_token)
}

/// What was created, or would be.
pub(crate) fn created(answer: &pb::CreateParseTasksResponse) -> String {
    let mut text = String::new();
    for task in &answer.parse_tasks {
        let _ = writeln!(text, "{}", line(Some(task)));
    }
    if answer.previews.is_empty() {
        return text;
    }
    let mut table = Table::new(&["source", "chat", "kind", "reported", "cap", "takes about", "problem"]);
    for preview in &answer.previews {
        let chat = preview.chat.clone().unwrap_or_default();
        let estimate = preview.estimate.and_then(|estimate| estimate.try_into().ok()).map(duration);
        table.row([
            preview.source.clone(),
            chat.title.clone(),
            word(chat.kind().as_str_name(), "CHAT_KIND"),
            preview.total.map(|total| total.to_string()).unwrap_or_default(),
            if preview.cap > 0 { preview.cap.to_string() } else { String::new() },
            estimate.unwrap_or_default(),
            preview.failure_reason.clone(),
        ]);
    }
    text + &table.or("")
}

/// A task with all that is known of it.
pub(crate) fn task(context: &Context, task: Option<&pb::ParseTask>) -> String {
    let Some(task) = task else { return String::new() };
    let progress = task.progress.clone().unwrap_or_default();
    let completeness = task.completeness.clone().unwrap_or_default();
    let skipped: Vec<_> =
        progress.skipped.iter().filter(|skip| skip.count > 0).map(|skip| left_out(skip.count, skip.reason())).collect();
    let waiting = task.waiting.clone().unwrap_or_default();
    let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let actions: Vec<_> = task.allowed_actions().map(|action| word(action.as_str_name(), "ALLOWED_ACTION")).collect();
    Table::of_pairs([
        ("id", task.id.clone()),
        ("source", title(task)),
        ("kind", word(task.kind().as_str_name(), "PARSE_KIND")),
        ("state", state_word(task.state())),
        ("waiting", waiting.detail),
        ("failure", task.failure_detail.clone()),
        ("read", format!("{}{total}", progress.read)),
        ("results", format!("{} ({} new contacts)", progress.results, progress.new)),
        ("left out", skipped.join(", ")),
        ("requests", progress.requests.to_string()),
        ("completeness", completeness.notice),
        ("created", context.when(task.create_time.as_ref())),
        ("ended", task.end_time.as_ref().map(|time| context.when(Some(time))).unwrap_or_default()),
        ("you may", actions.join(", ")),
    ])
}
