//! How campaigns look.

use std::fmt::Write as _;

use tgmesh_proto::invite::v1 as pb;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::telegram::v1::account_readiness::Right;

use super::Context;
use super::output::{Table, duration, more, name_of, word};

/// A state as a word.
pub(crate) fn state_word(state: State) -> String {
    word(state.as_str_name(), "STATE")
}

/// Whether nothing happens any more until somebody does something.
pub(crate) fn rests(state: State) -> bool {
    !matches!(state, State::Running | State::Scheduled | State::Unspecified)
}

/// Targets with an outcome, and all.
pub(crate) fn position(campaign: &pb::Campaign) -> (u64, u64) {
    let progress = campaign.progress.clone().unwrap_or_default();
    let done: i64 = progress.outcomes.iter().map(|count| count.targets).sum();
    (u64::try_from(done).unwrap_or(0), u64::try_from(progress.total).unwrap_or(0))
}

fn outcomes(counts: &[pb::OutcomeCount]) -> String {
    let counts = counts.iter().filter(|count| count.targets > 0);
    let counts: Vec<_> =
        counts.map(|count| format!("{} {}", count.targets, word(count.outcome().as_str_name(), "OUTCOME"))).collect();
    counts.join(", ")
}

fn waiting(context: &Context, waiting: &pb::Waiting) -> String {
    match &waiting.until_time {
        Some(until) => format!("{}, until {}", waiting.detail, context.when(Some(until))),
        None => waiting.detail.clone(),
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// What of a campaign is worth a line of its own when it changes.
pub(crate) fn state_key(campaign: &pb::Campaign) -> String {
    let waiting = campaign.waiting.as_ref().map(|waiting| waiting.reason);
    format!("{:?} {waiting:?}", campaign.state())
}

/// What a campaign does, in one line.
pub(crate) fn state_line(context: &Context, campaign: &pb::Campaign) -> String {
    let progress = campaign.progress.clone().unwrap_or_default();
    let mut text = format!("{}: {}", campaign.name, state_word(campaign.state()));
    let done = outcomes(&progress.outcomes);
    if !done.is_empty() {
        let _ = write!(text, ", {done}");
    }
    if let Some(reason) = &campaign.waiting {
        let _ = write!(text, ", waiting: {}", waiting(context, reason));
    }
    text
}

/// One campaign in one line.
pub(crate) fn line(campaign: Option<&pb::Campaign>) -> String {
    campaign.map_or_else(String::new, |c| format!("{}  {}: {}", c.id, c.name, state_word(c.state())))
}

/// Campaigns in columns.
pub(crate) fn table(answer: &pb::ListCampaignsResponse) -> String {
    let mut table = Table::new(&["id", "name", "chat", "state", "done", "success", "why"]);
    for campaign in &answer.campaigns {
        let progress = campaign.progress.clone().unwrap_or_default();
        let (done, total) = position(campaign);
        let waiting = campaign.waiting.as_ref().map(|waiting| waiting.detail.clone()).unwrap_or_default();
        table.row([
            campaign.id.clone(),
            campaign.name.clone(),
            campaign.chat.clone(),
            state_word(campaign.state()),
            format!("{done}/{total}"),
            percent(progress.success),
            if campaign.failure_detail.is_empty() { waiting } else { campaign.failure_detail.clone() },
        ]);
    }
    table.or("no campaigns yet: tgmesh campaign create --help\n") + &more(&answer.next_page_token)
}

/// A campaign with all that is known of it.
pub(crate) fn campaign(context: &Context, campaign: Option<&pb::Campaign>) -> String {
    let Some(campaign) = campaign else { return String::new() };
    let progress = campaign.progress.clone().unwrap_or_default();
    let (done, total) = position(campaign);
    let actions: Vec<_> =
        campaign.allowed_actions().map(|action| word(action.as_str_name(), "ALLOWED_ACTION")).collect();
    let given = |time: Option<&prost_types::Timestamp>| time.map(|time| context.when(Some(time))).unwrap_or_default();
    Table::of_pairs([
        ("id", campaign.id.clone()),
        ("name", campaign.name.clone()),
        ("chat", format!("{} ({})", campaign.chat, campaign.chat_title)),
        ("notes", campaign.description.clone()),
        ("consent", word(campaign.consent_basis().as_str_name(), "CONSENT_BASIS")),
        ("state", state_word(campaign.state())),
        ("waiting", campaign.waiting.as_ref().map(|reason| waiting(context, reason)).unwrap_or_default()),
        ("failure", campaign.failure_detail.clone()),
        ("targets", format!("{done} of {total} done, {} pending, {} under way", progress.pending, progress.under_way)),
        ("outcomes", outcomes(&progress.outcomes)),
        ("success", percent(progress.success)),
        ("created", context.when(campaign.create_time.as_ref())),
        ("started", given(campaign.start_time.as_ref())),
        ("ended", given(campaign.end_time.as_ref())),
        ("will end", given(campaign.projected_end_time.as_ref())),
        ("you may", actions.join(", ")),
    ])
}

/// What became of an audience's rows.
pub(crate) fn import(report: Option<&pb::ImportReport>) -> String {
    let Some(report) = report else { return String::new() };
    let mut text = format!("{} rows read, {} accepted", report.read, report.accepted);
    for (count, what) in [
        (report.duplicates, "duplicates"),
        (report.contacted_before, "contacted before"),
        (report.do_not_contact, "not to be contacted"),
        (report.rejected, "rejected"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text.push('\n');
    for error in report.errors.iter().take(10) {
        let _ = writeln!(text, "  line {}: {}", error.line, error.problem);
    }
    if report.errors.len() > 10 {
        let _ = writeln!(text, "  and more: --json shows up to 100");
    }
    text
}

/// What was created, or would be.
pub(crate) fn created(answer: &pb::CreateCampaignResponse) -> String {
    let campaign = answer.campaign.clone().unwrap_or_default();
    let mut text = import(answer.import_report.as_ref());
    if campaign.id.is_empty() {
        let _ = writeln!(text, "nothing was created: {} into {}", campaign.name, campaign.chat_title);
    } else {
        let _ = writeln!(text, "{}\nstart it: tgmesh campaign start {}", line(Some(&campaign)), campaign.id);
    }
    text
}

/// Every account: ready, or why not.
pub(crate) fn readiness(context: &Context, answer: &pb::CheckReadinessResponse) -> String {
    let mut text = match &answer.chat {
        Some(chat) => format!("{}: {}\n", chat.title, word(chat.kind().as_str_name(), "CHAT_KIND")),
        None => "no account can see the chat\n".to_owned(),
    };
    let mut table = Table::new(&["account", "ready", "right", "problem", "detail", "until", "left today"]);
    for account in &answer.accounts {
        let right = match account.right() {
            Right::Unspecified => "unknown",
            Right::Held => "yes",
            Right::Lacking => "no",
        };
        let problem = if account.ready { String::new() } else { word(account.problem().as_str_name(), "PROBLEM") };
        table.row([
            account.label.clone(),
            if account.ready { "yes" } else { "no" }.to_owned(),
            right.to_owned(),
            problem,
            account.detail.clone(),
            account.until_time.as_ref().map(|time| context.when(Some(time))).unwrap_or_default(),
            account.capacity_today.map(|left| left.to_string()).unwrap_or_default(),
        ]);
    }
    text += &table.or("there are no accounts: tgmesh accounts login phone NUMBER\n");
    let capacity = answer.capacity_per_day.map(|capacity| format!(", at most {capacity} invites a day"));
    let _ = writeln!(text, "{} of {} ready{}", answer.ready, answer.accounts.len(), capacity.unwrap_or_default());
    text
}

/// What became of one person.
pub(crate) fn tried(answer: &pb::TestInviteResponse) -> String {
    let outcome = answer.outcome();
    Table::of_pairs([
        ("outcome", word(outcome.as_str_name(), "OUTCOME")),
        ("telegram's error", answer.telegram_error.clone()),
        ("account", answer.account_id.clone()),
    ])
}

/// Targets in columns.
pub(crate) fn targets(answer: &pb::ListTargetsResponse) -> String {
    let mut table = Table::new(&["id", "who", "state", "outcome", "error", "attempts"]);
    for target in &answer.targets {
        let who = name_of(&target.username, &target.first_name, &target.last_name);
        let who = [who, target.display_name.clone(), target.phone.clone(), target.user_id.to_string()];
        let outcome = target.outcome();
        table.row([
            target.id.clone(),
            who.into_iter().find(|who| !matches!(who.as_str(), "-" | "" | "0")).unwrap_or_default(),
            word(target.state().as_str_name(), "STATE"),
            if outcome as i32 == 0 { String::new() } else { word(outcome.as_str_name(), "OUTCOME") },
            target.telegram_error.clone(),
            target.attempts.to_string(),
        ]);
    }
    table.or("no targets\n") + &more(&answer.next_page_token)
}

fn result(execution: &pb::Execution) -> String {
    let outcome = execution.outcome();
    let result = if outcome as i32 == 0 {
        word(execution.result().as_str_name(), "RESULT")
    } else {
        word(outcome.as_str_name(), "OUTCOME")
    };
    if execution.telegram_error.is_empty() { result } else { format!("{result} ({})", execution.telegram_error) }
}

/// One attempt in one line.
pub(crate) fn execution(execution: &pb::Execution) -> String {
    format!("{}  account {}  {}", execution.target_id, execution.account_id, result(execution))
}

/// Attempts in columns.
pub(crate) fn executions(context: &Context, answer: &pb::ListExecutionsResponse) -> String {
    let mut table = Table::new(&["time", "target", "account", "result", "took"]);
    for execution in &answer.executions {
        let took = execution.duration.and_then(|took| std::time::Duration::try_from(took).ok());
        table.row([
            context.when(execution.begin_time.as_ref()),
            execution.target_id.clone(),
            execution.account_id.clone(),
            result(execution),
            took.map(|took| format!("{} ms", took.as_millis())).unwrap_or_default(),
        ]);
    }
    table.or("no attempts yet\n") + &more(&answer.next_page_token)
}

/// A campaign, summed up.
pub(crate) fn report(context: &Context, answer: &pb::GetReportResponse) -> String {
    let mut text = campaign(context, answer.campaign.as_ref());
    let took = answer.duration.and_then(|took| took.try_into().ok()).map(duration);
    text += &Table::of_pairs([
        ("attempts", answer.attempts.to_string()),
        ("first attempt", context.when(answer.first_execution_time.as_ref())),
        ("last attempt", context.when(answer.last_execution_time.as_ref())),
        ("duration", took.unwrap_or_default()),
    ]);
    let mut accounts = Table::new(&["account", "attempts", "outcomes"]);
    for account in &answer.accounts {
        accounts.row([account.account_id.clone(), account.attempts.to_string(), outcomes(&account.outcomes)]);
    }
    let mut days = Table::new(&["day", "outcomes"]);
    for day in &answer.days {
        days.row([day.day.clone(), outcomes(&day.outcomes)]);
    }
    let mut errors = Table::new(&["telegram's error", "times"]);
    for error in &answer.errors {
        errors.row([error.telegram_error.clone(), error.count.to_string()]);
    }
    for table in [accounts.or(""), days.or(""), errors.or("")] {
        if !table.is_empty() {
            text = text + "\n" + &table;
        }
    }
    text
}
