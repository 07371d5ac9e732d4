//! Why a running campaign does nothing, in an enum, counts, and one plain line.

use std::time::Duration;

use service_kit::Time;
use tgmesh_proto::invite::v1::Waiting;
use tgmesh_proto::invite::v1::waiting::{Reason, ReasonCount};
use tgmesh_proto::{ErrorReason, shortage};
use tonic::Status;

/// The reason that each key of `NO_ACCOUNT_AVAILABLE` is. The first one with a
/// count is what the campaign waits for: it ends soonest by itself.
const REASONS: &[(&str, Reason)] = &[
    (shortage::RIGHTS_UNKNOWN.0, Reason::RightsUnknown),
    ("leased", Reason::Leased),
    ("cooling_down", Reason::CoolingDown),
    ("flood_wait", Reason::FloodWait),
    ("chat_limit", Reason::ChatLimit),
    ("daily_limit", Reason::DailyLimit),
    ("restricted", Reason::Restricted),
    ("offline", Reason::Offline),
    ("paused", Reason::Paused),
    ("no_rights", Reason::NoRights),
    ("not_eligible", Reason::NotEligible),
];

/// What a refused request for an account says.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// For the campaign.
    pub waiting: Waiting,
    /// Whether other work holds accounts that could do this.
    pub contended: bool,
    /// When to ask again, if it is known.
    pub retry_after: Option<Duration>,
}

/// Reads a refusal of `AcquireLease`.
pub fn denial(status: &Status, now: Time) -> Denial {
    let failure = tgmesh_proto::status::read(status);
    let Some(failure) = failure.filter(|failure| failure.reason == ErrorReason::NoAccountAvailable) else {
        return Denial { waiting: dependency(status.message()), contended: false, retry_after: None };
    };
    let mut counts = Vec::new();
    for (key, reason) in REASONS {
        let accounts = shortage::accounts(&failure.metadata, key);
        if accounts > 0 {
            counts.push(ReasonCount { reason: *reason as i32, accounts });
        }
    }
    let contended = counts.iter().any(|count| count.reason == Reason::Leased as i32);
    let until = failure.metadata.get("earliest_time").and_then(|text| parse_time(text));
    let until = until.or_else(|| failure.retry_after.map(|delay| now + delay));
    let reason = counts.first().map_or(Reason::NotEligible as i32, |count| count.reason);
    let detail = shortage::line(&failure.metadata);
    Denial {
        waiting: Waiting { reason, until_time: until.map(Time::to_proto), counts, detail },
        contended,
        retry_after: failure.retry_after,
    }
}

/// Waiting for something that cannot be reached.
pub fn dependency(message: &str) -> Waiting {
    Waiting {
        reason: Reason::Dependency as i32,
        until_time: None,
        counts: Vec::new(),
        detail: format!("an account cannot be had: {message}"),
    }
}

/// Waiting for targets that must not, or cannot, be tried now.
pub fn targets(until: Option<Time>) -> Waiting {
    Waiting {
        reason: Reason::Targets as i32,
        until_time: until.map(Time::to_proto),
        counts: Vec::new(),
        detail: "the remaining targets must wait, or are being looked after".to_owned(),
    }
}

/// Reads a time as `2026-11-20T18:24:25.123Z`.
fn parse_time(text: &str) -> Option<Time> {
    let (date, clock) = text.split_once(['T', ' '])?;
    let (clock, offset) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) => clock.split_at(at),
        None => return None,
    };
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis: i64 = digits.parse().ok()?;
    let shift = match offset {
        "Z" | "z" => 0,
        _ => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60
        }
    };
    // Days since the epoch by the civil calendar: years begin in March, so that leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(Time::from_millis((days * 86_400 + hour * 3_600 + minute * 60 + second - shift) * 1_000 + millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::status::status;

    #[test]
    fn each_reason_is_told() {
        let order: Vec<&str> = REASONS.iter().map(|(key, _)| *key).collect();
        let keys = [&shortage::RIGHTS_UNKNOWN].into_iter().chain(shortage::SHORTAGE).map(|(key, _)| *key);
        assert_eq!(order, keys.collect::<Vec<_>>());
        for (key, reason) in REASONS {
            let refused = status(ErrorReason::NoAccountAvailable, "x").with(key, 2).with("not_eligible", 1).build();
            let denial = denial(&refused, Time::ZERO);
            assert_eq!(denial.waiting.reason(), *reason, "{key}");
            assert_eq!(denial.contended, *key == "leased");
            assert!(denial.waiting.detail.starts_with("no account is free: "));
        }
    }

    #[test]
    fn tells_until_when() {
        let refused = status(ErrorReason::NoAccountAvailable, "x").with("cooling_down", 1);
        let named = refused.clone().with("earliest_time", "2026-11-20T18:24:25.5Z").build();
        let until = denial(&named, Time::ZERO).waiting.until_time.unwrap();
        assert_eq!((until.seconds, until.nanos), (1_795_199_065, 500_000_000));
        let delayed = refused.retry_after(Some(Duration::from_secs(7))).build();
        assert_eq!(denial(&delayed, Time::from_secs(100)).waiting.until_time.unwrap().seconds, 107);
    }

    #[test]
    fn what_cannot_be_reached_is_named() {
        let refused = status(ErrorReason::DependencyUnavailable, "integration at host:1 cannot be reached").build();
        let denial = denial(&refused, Time::ZERO);
        assert_eq!(denial.waiting.reason(), Reason::Dependency);
        assert!(denial.waiting.detail.contains("host:1"));
    }

    #[test]
    fn reads_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00+01:00", Some(951_822_000_000)),
            ("2026-11-20T18:24:25.123456Z", Some(1_795_199_065_123)),
            ("2026-11-20", None),
            ("soon", None),
            ("2026-13-20T18:24:25Z", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text).map(Time::millis), expected, "{text}");
        }
    }
}
