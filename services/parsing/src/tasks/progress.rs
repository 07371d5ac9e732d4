//! What a task has counted, and what that says of the time left.

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::clock::duration_to_proto;
use tgmesh_proto::parsing::v1::{ParseFilter, ParseKind, ParseProgress, SkipCount, skip_count};

use super::completeness::cap;
use super::entity::Model;

/// How many were left out, by reason. Stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<i32, i64>);

impl Skipped {
    /// From what is stored; what cannot be read counts nothing.
    pub fn parse(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// As it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Counts more.
    pub fn add(&mut self, reason: skip_count::Reason, count: i64) {
        if count != 0 {
            *self.0.entry(reason as i32).or_default() += count;
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (reason, count) in &other.0 {
            *self.0.entry(*reason).or_default() += count;
        }
    }

    /// All that were left out.
    #[cfg(test)]
    pub fn sum(&self) -> i64 {
        self.0.values().sum()
    }

    fn to_proto(&self) -> Vec<SkipCount> {
        self.0.iter().map(|(reason, count)| SkipCount { reason: *reason, count: *count }).collect()
    }
}

/// How many there are to read: what Telegram reports, as far as it shows it and
/// the filter asks for it. `None` when nobody can tell.
pub fn to_read(task: &Model, filter: &ParseFilter, chat_kind: i32) -> Option<i64> {
    let total = task.total?;
    if task.kind == ParseKind::Members as i32 {
        return Some(cap(chat_kind).map_or(total, |cap| total.min(i64::from(cap))));
    }
    if filter.since_time.is_some() || filter.until_time.is_some() {
        return None;
    }
    Some(if filter.last_messages > 0 { total.min(i64::from(filter.last_messages)) } else { total })
}

/// Time left at the speed so far. The first request goes at once: its time says
/// nothing of the pauses between all that follow, and one alone tells nothing.
pub fn time_left(read: i64, to_read: i64, requests: i64, work: Duration) -> Option<Duration> {
    let (read, left) = (u64::try_from(read).ok()?, u64::try_from(to_read.saturating_sub(read)).unwrap_or(0));
    let requests = u64::try_from(requests).ok()?;
    if read == 0 || requests < 2 || work.is_zero() {
        return None;
    }
    let interval = work.as_secs_f64() / (requests - 1) as f64;
    let seconds = interval * requests as f64 * left as f64 / read as f64;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

/// What the wire says of a task's counters.
pub fn progress(task: &Model, filter: &ParseFilter, chat_kind: i32, running: bool) -> ParseProgress {
    let work = Duration::from_millis(u64::try_from(task.work_ms).unwrap_or(0));
    let left = running
        .then(|| {
            to_read(task, filter, chat_kind)
                .and_then(|to_read| time_left(task.read_count, to_read, task.request_count, work))
        })
        .flatten();
    ParseProgress {
        total: task.total,
        read: task.read_count,
        unique: task.unique_count,
        new: task.new_count,
        media: task.media_count,
        skipped: Skipped::parse(&task.skipped).to_proto(),
        requests: task.request_count,
        results: task.result_count,
        time_left: left.map(duration_to_proto),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skip_count::Reason;

    #[test]
    fn time_left_is_from_the_speed_so_far() {
        let second = Duration::from_secs(1);
        let left = |read, requests, work| time_left(read, 1_500, requests, work);
        // A page of 100 each 2 s: the first at once, then the others.
        assert_eq!(left(100, 1, second / 20), None);
        assert_eq!(left(200, 2, second * 2), Some(second * 26));
        assert_eq!(left(400, 4, second * 6), Some(second * 22));
        assert_eq!(left(1_500, 15, second), Some(Duration::ZERO));
        assert_eq!(left(1_600, 15, second), Some(Duration::ZERO));
        assert_eq!(left(0, 3, second), None);
        assert_eq!(left(10, 2, Duration::ZERO), None);
    }

    #[test]
    fn counts_survive_storage() {
        let mut skipped = Skipped::default();
        skipped.add(Reason::Bot, 3);
        skipped.add(Reason::Activity, 0);
        let mut more = Skipped::parse(&skipped.to_json());
        assert_eq!(more, skipped);
        more.merge(&skipped);
        assert_eq!(more.sum(), 6);
        assert_eq!(Skipped::parse("").sum(), 0);
        assert_eq!(Skipped::parse("{\"1\":-").sum(), 0);
    }
}
