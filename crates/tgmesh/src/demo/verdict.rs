//! The judge: compares what the product claims with what the emulator recorded.
//!
//! It knows Telegram's answers and nothing of the product's code.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use service_kit::Time;
use service_kit::invariants::{CONN_1, COUNT_1, Invariant, QUOTA_1, REPORT_1, WORK_1};
use tgmesh_proto::emulator::v1 as pb;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient;
use tonic::transport::Channel;

use crate::cli::output::count;

/// The call that invites.
const INVITE: &str = "channels.inviteToChannel";
/// The call that looks a name up, and its answers that the name is nobody's.
const LOOK_UP: &str = "contacts.resolveUsername";
const NOBODY: [&str; 2] = ["USERNAME_NOT_OCCUPIED", "USERNAME_INVALID"];
/// The outcome of a target whose name is nobody's: no invite is sent. It is the only one without.
const NOT_FOUND: &str = "NOT_FOUND";
/// How much later than it was allowed a request may arrive: a commit to disk
/// and a loopback lie between, on a machine that does other things too. It
/// counts once, for the first request of a span, however many follow.
const LATE: Duration = Duration::from_millis(50);

/// The rules that must be kept.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Invites of one account into the chat in a day.
    pub(super) invites_per_chat: u32,
    /// Shortest time between two invites of one account.
    pub(super) shortest_interval: Duration,
    /// Longest of the times that are drawn.
    pub(super) longest_interval: Duration,
    /// Added to what a flood wait says.
    pub(super) flood_margin: Duration,
    /// What becomes of how many targets, in the order of their names.
    pub(super) outcomes: &'static [(&'static str, usize)],
}

/// A target, as the product tells.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) user_id: i64,
    pub(super) done: bool,
    pub(super) outcome: String,
}

/// What the product claims to have done.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    pub(super) total: i64,
    pub(super) pending: i64,
    pub(super) under_way: i64,
    pub(super) outcomes: BTreeMap<String, i64>,
    pub(super) targets: Vec<Target>,
}

/// What the emulator recorded.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    invites: Vec<pb::Call>,
    /// Look-ups that found nobody.
    nobody: usize,
    overlaps: usize,
    dropped: u64,
}

/// What the judge found of one rule.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) invariant: Invariant,
    pub(super) kept: bool,
    pub(super) detail: String,
}

/// Reads the record.
pub(super) async fn read(mut control: EmulatorServiceClient<Channel>) -> anyhow::Result<Record> {
    let mut record = Record { invites: calls(&mut control, INVITE).await?, ..Record::default() };
    let looked_up = calls(&mut control, LOOK_UP).await?;
    record.nobody = looked_up.iter().filter(|call| NOBODY.contains(&call.error.as_str())).count();
    record.overlaps = control.list_overlaps(pb::ListOverlapsRequest {}).await?.into_inner().overlaps.len();
    record.dropped = control.get_summary(pb::GetSummaryRequest {}).await?.into_inner().dropped_calls;
    Ok(record)
}

async fn calls(control: &mut EmulatorServiceClient<Channel>, method: &str) -> anyhow::Result<Vec<pb::Call>> {
    let mut found: Vec<pb::Call> = Vec::new();
    loop {
        let filter = pb::CallFilter { method: method.to_owned(), ..Default::default() };
        let after = found.last().map_or(0, |call| call.number);
        let request = pb::ListCallsRequest { filter: Some(filter), after, limit: 1_000 };
        let page = control.list_calls(request).await?.into_inner().calls;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// Judges.
pub(super) fn judge(policy: &Policy, claims: &Claims, record: &Record) -> Vec<Finding> {
    vec![
        twice(record),
        lost(claims, record),
        played(policy, claims),
        connections(record),
        limits(policy, record),
        intervals(policy, record),
        floods(policy, record),
        sums(claims),
        report(claims, record),
    ]
}

fn finding(invariant: Invariant, kept: bool, detail: String) -> Finding {
    Finding { invariant, kept, detail }
}

fn twice(record: &Record) -> Finding {
    let mut times: HashMap<(i64, i64), u32> = HashMap::new();
    for effect in record.invites.iter().flat_map(|call| &call.effects) {
        if effect.kind() == pb::EffectKind::Invited {
            *times.entry((effect.chat_id, effect.user_id)).or_default() += 1;
        }
    }
    let repeated = times.values().filter(|times| **times > 1).count();
    finding(WORK_1, repeated == 0, format!("{} people were invited, {repeated} of them more than once", times.len()))
}

fn lost(claims: &Claims, record: &Record) -> Finding {
    let asked: HashSet<i64> = record.invites.iter().flat_map(|call| call.user_ids.iter().copied()).collect();
    let unasked = claims.targets.iter().filter(|target| target.done && !asked.contains(&target.user_id));
    let (looked_up, given): (Vec<_>, Vec<_>) = unasked.partition(|target| target.outcome == NOT_FOUND);
    // A look-up names nobody that the record could know; more of them than were made there cannot be.
    let unasked = given.len() + looked_up.len().saturating_sub(record.nobody);
    let open = claims.targets.iter().filter(|target| !target.done).count();
    let known: HashSet<i64> = claims.targets.iter().map(|target| target.user_id).collect();
    let strangers = asked.difference(&known).count();
    finding(
        WORK_1,
        unasked + open + strangers == 0 && record.dropped == 0,
        format!(
            "{} targets: {open} open, {unasked} with an outcome never given, {strangers} strangers",
            claims.targets.len()
        ),
    )
}

/// What became of the targets of a claim, by outcome.
fn rows(claims: &Claims) -> BTreeMap<&str, usize> {
    let mut rows = BTreeMap::new();
    for target in claims.targets.iter().filter(|target| target.done) {
        *rows.entry(target.outcome.as_str()).or_default() += 1;
    }
    rows
}

/// A run that does nothing breaks no other rule.
fn played(policy: &Policy, claims: &Claims) -> Finding {
    let (rows, played) = (rows(claims), policy.outcomes.iter().copied().collect::<BTreeMap<_, _>>());
    let differs = rows.keys().chain(played.keys()).find(|name| rows.get(*name) != played.get(*name));
    let detail = match differs {
        None => "everybody has the outcome that the play has for them".to_owned(),
        Some(name) => {
            let number = |of: &BTreeMap<&str, usize>| of.get(name).copied().unwrap_or(0);
            format!("{name}: {} in place of {}", number(&rows), number(&played))
        }
    };
    finding(WORK_1, differs.is_none(), detail)
}

fn connections(record: &Record) -> Finding {
    let times = count(record.overlaps, "time", "times");
    let detail = format!("{times} an account was on two connections");
    finding(CONN_1, record.overlaps == 0, detail)
}

fn by_account(record: &Record) -> BTreeMap<i64, Vec<&pb::Call>> {
    let mut calls: BTreeMap<i64, Vec<&pb::Call>> = BTreeMap::new();
    for call in &record.invites {
        calls.entry(call.account_id).or_default().push(call);
    }
    calls
}

fn at(call: &pb::Call) -> Time {
    call.request_time.as_ref().map(Time::from_proto).unwrap_or_default()
}

/// By how much some span of an account's requests is shorter than that many
/// intervals: one interval that is too short shows, and many that are a little
/// too short add up.
fn ahead(interval: Duration, calls: &[&pb::Call]) -> Duration {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    // Against a clock that beats once an interval: whoever keeps it never gains on an earlier request.
    let (mut latest, mut most) = (i64::MIN, 0);
    for (beat, call) in (0_i64..).zip(calls) {
        let behind = at(call).millis() - beat.saturating_mul(interval);
        most = most.max(latest.saturating_sub(behind));
        latest = latest.max(behind);
    }
    Duration::from_millis(u64::try_from(most).unwrap_or(0))
}

fn limits(policy: &Policy, record: &Record) -> Finding {
    let calls = by_account(record);
    let most = calls.values().map(Vec::len).max().unwrap_or(0);
    let allowed = policy.invites_per_chat;
    finding(QUOTA_1, most <= allowed as usize, format!("at most {most} invites of one account, {allowed} are allowed"))
}

fn intervals(policy: &Policy, record: &Record) -> Finding {
    let calls = by_account(record);
    let ahead = calls.values().map(|calls| ahead(policy.shortest_interval, calls)).max().unwrap_or_default();
    let (ahead_ms, interval, late) = (ahead.as_millis(), policy.shortest_interval.as_millis(), LATE.as_millis());
    let detail = format!("{interval} ms required between two, {ahead_ms} ms too early ({late} pass)");
    finding(QUOTA_1, ahead <= LATE, detail)
}

/// After an answer that demands a rest, the account rests.
fn floods(policy: &Policy, record: &Record) -> Finding {
    let mut met = 0;
    let mut broken = 0;
    for calls in by_account(record).values() {
        for (index, call) in calls.iter().enumerate() {
            let next = calls.get(index + 1);
            if call.error == "PEER_FLOOD" {
                met += 1;
                broken += usize::from(next.is_some());
            } else if let Some(seconds) = call.error.strip_prefix("FLOOD_WAIT_") {
                met += 1;
                let rest = Duration::from_secs(seconds.parse().unwrap_or(0)) + policy.flood_margin;
                broken += usize::from(next.is_some_and(|next| at(next).since(at(call)) < rest));
            }
        }
    }
    finding(
        QUOTA_1,
        broken == 0,
        format!("{} Telegram demanded a rest, {broken} not kept", count(met, "time", "times")),
    )
}

fn sums(claims: &Claims) -> Finding {
    let outcomes: i64 = claims.outcomes.values().sum();
    let counted = claims.pending + claims.under_way + outcomes;
    let rows =
        rows(claims).into_iter().map(|(name, count)| (name.to_owned(), i64::try_from(count).unwrap_or(i64::MAX)));
    let rows: BTreeMap<String, i64> = rows.collect();
    let targets = i64::try_from(claims.targets.len()).unwrap_or(i64::MAX);
    finding(
        COUNT_1,
        counted == claims.total && claims.total == targets && rows == claims.outcomes,
        format!("{counted} states counted, {targets} targets listed, {} in all", claims.total),
    )
}

fn report(claims: &Claims, record: &Record) -> Finding {
    let mut last: HashMap<i64, String> = HashMap::new();
    for call in &record.invites {
        for effect in &call.effects {
            let outcome = match effect.kind() {
                pb::EffectKind::Invited => "INVITED",
                pb::EffectKind::NotInvited => "PRIVACY_RESTRICTED",
                pb::EffectKind::JoinRequested => "REQUESTED",
                _ => continue,
            };
            last.insert(effect.user_id, outcome.to_owned());
        }
        if let Some(outcome) = meaning(&call.error) {
            for user in &call.user_ids {
                last.insert(*user, outcome.to_owned());
            }
        }
    }
    let mut recorded: BTreeMap<String, i64> = BTreeMap::new();
    for outcome in last.values() {
        *recorded.entry(outcome.clone()).or_default() += 1;
    }
    // A name that nobody has is answered by the look-up, not by an invite.
    let unasked = |target: &&Target| target.outcome == NOT_FOUND && !last.contains_key(&target.user_id);
    let looked_up = claims.targets.iter().filter(unasked).count().min(record.nobody);
    let mut claimed = claims.outcomes.clone();
    if let Some(count) = claimed.get_mut(NOT_FOUND) {
        *count -= i64::try_from(looked_up).unwrap_or(0);
    }
    claimed.retain(|_, count| *count != 0);
    let differ: Vec<&String> =
        claimed.keys().chain(recorded.keys()).filter(|name| claimed.get(*name) != recorded.get(*name)).collect();
    let names: HashSet<&String> = differ.into_iter().collect();
    let mut names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.sort_unstable();
    let detail = if names.is_empty() {
        format!("the report and the record agree on {} answers", last.len())
    } else {
        format!("the report and the record differ on {}", names.join(", "))
    };
    finding(REPORT_1, names.is_empty(), detail)
}

/// What an error of Telegram's says of the user; nothing when it says something
/// of the account.
fn meaning(error: &str) -> Option<&'static str> {
    Some(match error {
        "USER_ALREADY_PARTICIPANT" => "ALREADY_MEMBER",
        "USER_PRIVACY_RESTRICTED" => "PRIVACY_RESTRICTED",
        "USER_NOT_MUTUAL_CONTACT" => "NOT_MUTUAL_CONTACT",
        "USER_ID_INVALID" => NOT_FOUND,
        "INPUT_USER_DEACTIVATED" => "INPUT_USER_DEACTIVATED",
        "USER_CHANNELS_TOO_MUCH" => "USER_CHANNELS_TOO_MUCH",
        "USER_KICKED" => "USER_KICKED",
        "USER_BLOCKED" => "USER_BLOCKED",
        "USER_BOT" => "USER_BOT",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        invites_per_chat: 15,
        shortest_interval: Duration::from_millis(600),
        longest_interval: Duration::from_millis(900),
        flood_margin: Duration::from_secs(2),
        outcomes: &[("INVITED", 2), (NOT_FOUND, 1)],
    };

    fn target(user_id: i64, outcome: &str) -> Target {
        Target { user_id, done: true, outcome: outcome.to_owned() }
    }

    fn claims(targets: Vec<Target>) -> Claims {
        let mut claims = Claims { total: i64::try_from(targets.len()).unwrap(), targets, ..Claims::default() };
        for target in &claims.targets {
            *claims.outcomes.entry(target.outcome.clone()).or_default() += 1;
        }
        claims
    }

    /// Two were invited, and a third was looked up in vain.
    fn record() -> Record {
        let mut invites = invites(1, &[700]);
        for (user_id, call) in (1..).zip(&mut invites) {
            call.user_ids = vec![user_id];
            call.effects =
                vec![pb::Effect { kind: pb::EffectKind::Invited.into(), chat_id: 9, user_id, ..Default::default() }];
        }
        Record { invites, nobody: 1, ..Record::default() }
    }

    fn broken(claims: &Claims, record: &Record) -> Vec<&'static str> {
        let findings = judge(&POLICY, claims, record);
        findings.iter().filter(|finding| !finding.kept).map(|finding| finding.invariant.name).collect()
    }

    #[test]
    fn what_was_played_is_green() {
        let told = claims(vec![target(1, "INVITED"), target(2, "INVITED"), target(3, NOT_FOUND)]);
        assert_eq!(broken(&told, &record()), [""; 0]);
        assert!(judge(&POLICY, &told, &record()).iter().all(|finding| finding.detail.len() <= 64), "80 columns");
    }

    #[test]
    fn a_run_that_invites_nobody_is_convicted() {
        for outcome in [NOT_FOUND, "NOT_ADDRESSABLE", "DO_NOT_CONTACT"] {
            let told = claims((1..=3).map(|user_id| target(user_id, outcome)).collect());
            let found = broken(&told, &Record::default());
            assert_eq!(found, ["WORK-1", "WORK-1", "REPORT-1"], "{outcome}");
        }
        assert_eq!(broken(&claims(Vec::new()), &Record::default()), ["WORK-1"]);
    }

    #[test]
    fn an_outcome_without_an_answer_of_telegrams_is_convicted() {
        for outcome in [NOT_FOUND, "NOT_ADDRESSABLE", "DO_NOT_CONTACT", "PRIVACY_RESTRICTED"] {
            let told = claims(vec![target(1, "INVITED"), target(2, "INVITED"), target(3, outcome)]);
            let unheard = Record { nobody: 0, ..record() };
            assert!(!lost(&told, &unheard).kept && !report(&told, &unheard).kept, "{outcome}");
        }
        // As many as were looked up in vain, and no more.
        let told = claims(vec![target(1, "INVITED"), target(3, NOT_FOUND), target(4, NOT_FOUND)]);
        let invited = Record { invites: record().invites[..1].to_vec(), ..record() };
        assert!(!lost(&told, &invited).kept && !report(&told, &invited).kept);
    }

    /// Invites of one account, so many milliseconds after one another.
    fn invites(account_id: i64, gaps: &[i64]) -> Vec<pb::Call> {
        let mut at = 1_000_000;
        let mut calls = Vec::new();
        for gap in [&[0], gaps].concat() {
            at += gap;
            let request_time = Some(Time::from_millis(at).to_proto());
            calls.push(pb::Call { account_id, request_time, ..Default::default() });
        }
        calls
    }

    fn keeps_limits(invites: Vec<pb::Call>) -> bool {
        let record = Record { invites, ..Record::default() };
        limits(&POLICY, &record).kept && intervals(&POLICY, &record).kept
    }

    #[test]
    fn an_interval_a_third_too_short_is_convicted() {
        assert!(!keeps_limits(invites(1, &[700, 400, 800])));
        // Whoever rested long before has earned nothing by it.
        assert!(!keeps_limits(invites(1, &[60_000, 400])));
        // However the accounts stand among each other in the record.
        let mixed = [invites(1, &[700, 800]), invites(2, &[700, 400])].concat();
        assert!(!keeps_limits(mixed));
    }

    #[test]
    fn intervals_a_little_too_short_add_up() {
        assert!(!keeps_limits(invites(1, &[570; 5])));
    }

    #[test]
    fn lateness_is_no_offence() {
        assert!(keeps_limits(invites(1, &[600, 750, 900])));
        // The second arrived 40 ms late, the third in time.
        assert!(keeps_limits(invites(1, &[640, 560, 600])));
        // Who invites at most once has no interval.
        assert!(keeps_limits(invites(1, &[])) && keeps_limits(Vec::new()));
        assert!(keeps_limits([invites(1, &[600]), invites(2, &[600])].concat()));
    }

    #[test]
    fn more_than_the_limit_is_convicted() {
        assert!(keeps_limits(invites(1, &[600; 14])));
        assert!(!keeps_limits(invites(1, &[600; 15])));
    }
}
