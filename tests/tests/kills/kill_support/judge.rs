//! The judge: compares what the product claims with what the emulator recorded.
//! It knows Telegram's answers and nothing of the product's code.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tgmesh_proto::emulator::v1 as pb;

/// What the emulator recorded.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Every call that invites.
    pub invites: Vec<pb::Call>,
    /// How many such calls arrived, those included that the record could not keep.
    pub arrived: u64,
    /// Times that a key was on two connections.
    pub overlaps: u64,
    /// Errors answered, by name.
    pub errors: HashMap<String, u64>,
    /// Who is in the chat at the end.
    pub members: BTreeSet<i64>,
}

/// A target, as the product tells.
#[derive(Debug, Clone)]
pub struct Target {
    pub user_id: i64,
    pub done: bool,
    pub outcome: String,
    pub attempts: i32,
}

/// What the product claims to have done.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    pub total: i64,
    pub pending: i64,
    pub under_way: i64,
    pub outcomes: BTreeMap<String, i64>,
    pub targets: Vec<Target>,
    /// Invites in the ledger that are not given back.
    pub ledger: i64,
}

/// Judges a campaign of people whom everybody may invite: what was broken.
pub fn campaign(claims: &Claims, record: &Record) -> Vec<String> {
    let mut broken = connections(record);
    let mut effects: BTreeMap<i64, usize> = BTreeMap::new();
    let mut calls: BTreeMap<i64, i64> = BTreeMap::new();
    for call in &record.invites {
        for user in &call.user_ids {
            *calls.entry(*user).or_default() += 1;
        }
        for effect in call.effects.iter().filter(|effect| effect.kind() == pb::EffectKind::Invited) {
            *effects.entry(effect.user_id).or_default() += 1;
        }
    }
    for (user, times) in effects.iter().filter(|(_, times)| **times > 1) {
        broken.push(format!("WORK-1: user {user} was invited {times} times"));
    }
    let known: BTreeSet<i64> = claims.targets.iter().map(|target| target.user_id).collect();
    for stranger in calls.keys().filter(|user| !known.contains(user)) {
        broken.push(format!("WORK-1: user {stranger} is no target and was invited"));
    }
    for target in &claims.targets {
        let user = target.user_id;
        let (invited, asked) = (effects.contains_key(&user), calls.get(&user).copied().unwrap_or(0));
        if !target.done {
            broken.push(format!("WORK-1: target {user} has no outcome"));
        } else if target.outcome != "INVITED" {
            broken.push(format!(
                "REPORT-1: target {user} is {}, and telegram has invited him: {invited}",
                target.outcome
            ));
        } else if !invited || !record.members.contains(&user) {
            broken.push(format!("REPORT-1: target {user} is INVITED, and telegram knows nothing of it"));
        }
        if asked > i64::from(target.attempts) {
            broken.push(format!("WORK-1: target {user} was asked {asked} times, and {} are counted", target.attempts));
        }
    }
    let outcomes: i64 = claims.outcomes.values().sum();
    let counted = claims.pending + claims.under_way + outcomes;
    let mut rows: BTreeMap<String, i64> = BTreeMap::new();
    for target in claims.targets.iter().filter(|target| target.done) {
        *rows.entry(target.outcome.clone()).or_default() += 1;
    }
    let listed = i64::try_from(claims.targets.len()).unwrap_or(i64::MAX);
    if counted != claims.total || claims.total != listed || rows != claims.outcomes {
        broken.push(format!(
            "COUNT-1: {counted} states, {listed} rows, {} targets; {rows:?}, {:?}",
            claims.total, claims.outcomes
        ));
    }
    // What was dropped cannot be judged, and nothing is innocent for want of a record.
    if record.arrived != record.invites.len() as u64 {
        broken.push(format!("RECORD: {} invites arrived, {} are on record", record.arrived, record.invites.len()));
    }
    let sent = i64::try_from(record.invites.len()).unwrap_or(i64::MAX);
    if sent > claims.ledger {
        broken.push(format!("QUOTA-1: {sent} invites reached telegram, {} are in the ledger", claims.ledger));
    }
    broken
}

/// Judges the rows of a parse task: what was broken.
pub fn rows(rows: &[i64], counted: i64, expected: &BTreeSet<i64>) -> Vec<String> {
    let mut broken = Vec::new();
    let found: BTreeSet<i64> = rows.iter().copied().collect();
    if found.len() != rows.len() {
        broken.push(format!("PARSE-1: {} rows are there twice", rows.len() - found.len()));
    }
    let (missing, strange) = (expected.difference(&found).count(), found.difference(expected).count());
    if missing + strange > 0 {
        broken.push(format!("PARSE-1: {missing} members are missing, {strange} rows are nobody's"));
    }
    if usize::try_from(counted).ok() != Some(rows.len()) {
        broken.push(format!("COUNT-1: {counted} results are counted, {} are there", rows.len()));
    }
    broken
}

/// Judges the connections: what was broken.
pub fn connections(record: &Record) -> Vec<String> {
    let mut broken = Vec::new();
    if record.overlaps > 0 {
        broken.push(format!("CONN-1: {} times a key was on two connections", record.overlaps));
    }
    // AUTH_KEY_UNREGISTERED only tells that a key which is logged out never was in.
    if let Some(count) = record.errors.get("AUTH_KEY_DUPLICATED") {
        broken.push(format!("CONN-1: {count} times telegram answered that a key is dead"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(user: i64) -> pb::Call {
        let effect =
            pb::Effect { kind: pb::EffectKind::Invited.into(), user_id: user, chat_id: 1, ..Default::default() };
        pb::Call { user_ids: vec![user], effects: vec![effect], ..Default::default() }
    }

    fn innocent() -> (Claims, Record) {
        let target = |user_id| Target { user_id, done: true, outcome: "INVITED".to_owned(), attempts: 1 };
        let claims = Claims {
            total: 3,
            outcomes: BTreeMap::from([("INVITED".to_owned(), 3)]),
            targets: (1..=3).map(target).collect(),
            ledger: 3,
            ..Default::default()
        };
        let invites = (1..=3).map(call).collect();
        let record = Record { invites, arrived: 3, members: (1..=3).collect(), ..Default::default() };
        (claims, record)
    }

    /// Breaks one rule, and expects that it is named.
    #[track_caller]
    fn convicts(rule: &str, break_it: impl FnOnce(&mut Claims, &mut Record)) {
        let (mut claims, mut record) = innocent();
        assert_eq!(campaign(&claims, &record), Vec::<String>::new());
        break_it(&mut claims, &mut record);
        let broken = campaign(&claims, &record);
        assert!(broken.iter().any(|found| found.starts_with(rule)), "{rule} is not among {broken:?}");
    }

    #[test]
    fn the_judge_convicts_a_doubled_effect() {
        convicts("WORK-1", |claims, record| {
            record.invites.push(call(2));
            // Even when all the books say so.
            claims.targets[1].attempts = 2;
            claims.ledger = 4;
        });
        convicts("WORK-1", |_, record| record.invites.push(call(9)));
    }

    #[test]
    fn the_judge_convicts_what_is_lost() {
        convicts("WORK-1", |claims, _| claims.targets[0].done = false);
        convicts("REPORT-1", |_, record| drop(record.invites.pop()));
        convicts("REPORT-1", |_, record| {
            record.members.remove(&3);
        });
        convicts("REPORT-1", |claims, _| claims.targets[0].outcome = "ALREADY_MEMBER".to_owned());
    }

    #[test]
    fn the_judge_convicts_wrong_counts() {
        convicts("COUNT-1", |claims, _| claims.pending = 1);
        convicts("COUNT-1", |claims, _| drop(claims.targets.pop()));
        convicts("QUOTA-1", |claims, _| claims.ledger = 2);
        convicts("WORK-1", |claims, _| claims.targets[0].attempts = 0);
    }

    #[test]
    fn the_judge_convicts_a_record_that_has_lost_calls() {
        convicts("RECORD", |_, record| record.arrived = 4);
    }

    #[test]
    fn the_judge_convicts_a_second_connection() {
        convicts("CONN-1", |_, record| record.overlaps = 1);
        convicts("CONN-1", |_, record| {
            record.errors.insert("AUTH_KEY_DUPLICATED".to_owned(), 1);
        });
    }

    #[test]
    fn the_judge_convicts_rows_that_are_there_twice_or_not_at_all() {
        let expected = BTreeSet::from([1, 2, 3]);
        assert_eq!(rows(&[3, 1, 2], 3, &expected), Vec::<String>::new());
        for (found, counted) in [(&[1, 2, 3, 3][..], 4), (&[1, 2], 2), (&[1, 2, 3, 4], 4), (&[1, 2, 3], 4)] {
            assert!(!rows(found, counted, &expected).is_empty(), "{found:?}");
        }
    }
}
