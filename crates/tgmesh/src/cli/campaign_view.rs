//! How campaigns look.

use std::fmt::Write as _;

use tgmesh_proto::invite::v1 as pb;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::telegram::v1::account_readiness::{Problem, Right};

use super::Context;
use super::names::Names;
use super::output::{Table, count, duration, more, name_of, word};

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
pub(crate) fn table(context: &Context, answer: &pb::ListCampaignsResponse) -> String {
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
    table.or(&context.hint("no campaigns yet: tgmesh campaign create --help\n")) + &more(&answer.next_page_token)
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
        ("audience", campaign.audience_notice.clone()),
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
    let mut text = format!("{} read, {} accepted", count(report.read, "row", "rows"), report.accepted);
    for (rows, what) in [
        (report.duplicates, "duplicates"),
        (report.contacted_before, "contacted before"),
        (report.do_not_contact, "not to be contacted"),
        (report.rejected, "rejected"),
    ] {
        if rows > 0 {
            let _ = write!(text, ", {rows} {what}");
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
pub(crate) fn created(context: &Context, answer: &pb::CreateCampaignResponse) -> String {
    let campaign = answer.campaign.clone().unwrap_or_default();
    let mut text = import(answer.import_report.as_ref());
    if !campaign.audience_notice.is_empty() {
        let _ = writeln!(text, "not all of the audience: {}", campaign.audience_notice);
    }
    if campaign.id.is_empty() {
        let _ = writeln!(text, "nothing was created: this was a dry run for {}", campaign.chat_title);
    } else {
        let start = context.hint("start it: tgmesh campaign start ");
        let _ = writeln!(text, "{}\n{start}{}", line(Some(&campaign)), campaign.id);
    }
    text
}

/// How long so many targets take at least, by what the limits allow in a day.
pub(crate) fn estimate(targets: i64, readiness: &pb::CheckReadinessResponse) -> Option<String> {
    let a_day = i64::from(readiness.capacity_per_day?);
    let accounts = count(readiness.ready, "account", "accounts");
    Some(match a_day {
        _ if targets <= 0 => return None,
        0 => "no account is ready to invite now: `tgmesh campaign check CHAT` says why".to_owned(),
        _ if targets <= a_day => format!("the limits allow {a_day} invites a day with {accounts}: within a day"),
        _ => format!(
            "about {} days at {a_day} a day, which the limits allow {accounts}: `tgmesh quota limits` shows them",
            (targets + a_day - 1) / a_day
        ),
    })
}

/// What an account would need, where Telegram names no error.
fn remedy(problem: Problem) -> &'static str {
    match problem {
        Problem::NoRights => "needs the admin right to add users; an admin of the chat grants it",
        Problem::NotAMember => "must join the chat first",
        Problem::SessionLost => "must log in again",
        Problem::PurposeNotAllowed => "not used for invites: accounts update --purposes",
        Problem::ChatNotVisible => "must be let into the chat first",
        _ => "",
    }
}

/// Every account: ready, or why not.
pub(crate) fn readiness(context: &Context, answer: &pb::CheckReadinessResponse) -> String {
    let mut text = match &answer.chat {
        Some(chat) => format!("{}: {}\n", chat.title, word(chat.kind().as_str_name(), "CHAT_KIND")),
        // Those that cannot be asked see nothing: that says nothing of the chat.
        None if answer.accounts.iter().all(|account| account.problem() == Problem::ChatNotVisible) => {
            "no account can see the chat\n".to_owned()
        }
        None => "nobody could look at the chat\n".to_owned(),
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
            if account.detail.is_empty() { remedy(account.problem()).to_owned() } else { account.detail.clone() },
            account.until_time.as_ref().map(|time| context.when(Some(time))).unwrap_or_default(),
            account.capacity_today.map(|left| left.to_string()).unwrap_or_default(),
        ]);
    }
    text += &table.or(&context.hint("there are no accounts: tgmesh accounts login phone NUMBER\n"));
    let capacity = answer.capacity_per_day.map(|capacity| format!(", at most {capacity} invites a day"));
    let _ = writeln!(text, "{} of {} ready{}", answer.ready, answer.accounts.len(), capacity.unwrap_or_default());
    text
}

/// What became of one person.
pub(crate) fn tried(names: &Names, answer: &pb::TestInviteResponse) -> String {
    let outcome = answer.outcome();
    Table::of_pairs([
        ("outcome", word(outcome.as_str_name(), "OUTCOME")),
        ("Telegram's error", answer.telegram_error.clone()),
        ("account", names.of(&answer.account_id).to_owned()),
    ])
}

/// Who a target is.
pub(crate) fn who(target: &pb::Target) -> String {
    let name = name_of(&target.username, &target.first_name, &target.last_name);
    let who = [name, target.display_name.clone(), target.phone.clone(), target.user_id.to_string()];
    who.into_iter().find(|who| !matches!(who.as_str(), "-" | "" | "0")).unwrap_or_default()
}

/// Targets in columns.
pub(crate) fn targets(answer: &pb::ListTargetsResponse) -> String {
    let mut table = Table::new(&["id", "who", "state", "outcome", "error", "attempts"]);
    for target in &answer.targets {
        let outcome = target.outcome();
        table.row([
            target.id.clone(),
            who(target),
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
pub(crate) fn execution(names: &Names, execution: &pb::Execution) -> String {
    let (target, account) = (names.of(&execution.target_id), names.of(&execution.account_id));
    format!("{target}  by {account}  {}", result(execution))
}

/// Attempts in columns.
pub(crate) fn executions(context: &Context, names: &Names, answer: &pb::ListExecutionsResponse) -> String {
    let mut table = Table::new(&["time", "target", "account", "result", "took"]);
    for execution in &answer.executions {
        let took = execution.duration.and_then(|took| std::time::Duration::try_from(took).ok());
        table.row([
            context.when(execution.begin_time.as_ref()),
            names.of(&execution.target_id).to_owned(),
            names.of(&execution.account_id).to_owned(),
            result(execution),
            took.map(|took| format!("{} ms", took.as_millis())).unwrap_or_default(),
        ]);
    }
    table.or("no attempts yet\n") + &more(&answer.next_page_token)
}

/// A campaign, summed up.
pub(crate) fn report(context: &Context, names: &Names, answer: &pb::GetReportResponse) -> String {
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
        accounts.row([
            names.of(&account.account_id).to_owned(),
            account.attempts.to_string(),
            outcomes(&account.outcomes),
        ]);
    }
    let mut days = Table::new(&["day", "outcomes"]);
    for day in &answer.days {
        days.row([day.day.clone(), outcomes(&day.outcomes)]);
    }
    let mut errors = Table::new(&["Telegram's error", "times"]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_estimated_by_what_a_day_allows() {
        let ready =
            |ready, capacity_per_day| pb::CheckReadinessResponse { ready, capacity_per_day, ..Default::default() };
        let text = |targets, readiness| estimate(targets, &readiness).unwrap_or_default();
        assert!(text(1_906, ready(1, Some(15))).starts_with("about 128 days at 15 a day"));
        assert!(text(15, ready(1, Some(15))).contains("15 invites a day with 1 account: within a day"));
        assert!(text(16, ready(2, Some(15))).starts_with("about 2 days"));
        assert!(text(16, ready(0, Some(0))).contains("campaign check"));
        assert_eq!((text(16, ready(2, None)), text(0, ready(2, Some(15)))), (String::new(), String::new()));
    }
}
