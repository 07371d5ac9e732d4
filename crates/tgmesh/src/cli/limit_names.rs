//! The limits by their names in the contract: how each is shown, and set.

use std::time::Duration;

use tgmesh_proto::quota::v1 as pb;

use super::output::duration;

/// Between the shortest and the longest of a range.
const TO: &str = "..";

/// A limit.
struct Limit {
    /// Its path in `Limits`.
    name: &'static str,
    what: &'static str,
    field: fn(&mut pb::Limits) -> Field<'_>,
}

/// Where a limit's value is.
enum Field<'a> {
    Count(&'a mut Option<i32>),
    Time(&'a mut Option<prost_types::Duration>),
    Range(&'a mut Option<pb::DurationRange>),
}

fn invite(limits: &mut pb::Limits) -> &mut pb::InviteLimits {
    limits.invite.get_or_insert_default()
}

fn message(limits: &mut pb::Limits) -> &mut pb::MessageLimits {
    limits.message.get_or_insert_default()
}

const LIMITS: &[Limit] = &[
    Limit { name: "invite.per_day", what: "invites a day", field: |l| Field::Count(&mut invite(l).per_day) },
    Limit {
        name: "invite.per_day_and_chat",
        what: "invites a day into a chat",
        field: |l| Field::Count(&mut invite(l).per_day_and_chat),
    },
    Limit {
        name: "invite.total_per_chat",
        what: "invites into a chat, ever",
        field: |l| Field::Count(&mut invite(l).total_per_chat),
    },
    Limit { name: "invite.per_hour", what: "invites an hour", field: |l| Field::Count(&mut invite(l).per_hour) },
    Limit { name: "invite.interval", what: "between two invites", field: |l| Field::Range(&mut invite(l).interval) },
    Limit {
        name: "invite.pause_after",
        what: "invites before a pause",
        field: |l| Field::Count(&mut invite(l).pause_after),
    },
    Limit { name: "invite.pause", what: "the pause", field: |l| Field::Time(&mut invite(l).pause) },
    Limit { name: "message.per_day", what: "messages a day", field: |l| Field::Count(&mut message(l).per_day) },
    Limit { name: "message.per_hour", what: "messages an hour", field: |l| Field::Count(&mut message(l).per_hour) },
    Limit {
        name: "add_contact_per_day",
        what: "contacts added a day",
        field: |l| Field::Count(&mut l.add_contact_per_day),
    },
    Limit { name: "join_chat_per_day", what: "chats joined a day", field: |l| Field::Count(&mut l.join_chat_per_day) },
    Limit {
        name: "resolve_username_per_day",
        what: "usernames looked up a day",
        field: |l| Field::Count(&mut l.resolve_username_per_day),
    },
];

/// Name, description and value of every limit; "-" where there is none.
pub(super) fn rows(limits: Option<&pb::Limits>) -> impl Iterator<Item = [String; 3]> + use<> {
    let mut limits = limits.cloned().unwrap_or_default();
    LIMITS.iter().map(move |limit| {
        let value = show((limit.field)(&mut limits)).unwrap_or_else(|| "-".to_owned());
        [limit.name.to_owned(), limit.what.to_owned(), value]
    })
}

fn show(field: Field<'_>) -> Option<String> {
    let time = |time: prost_types::Duration| time.try_into().ok().map(duration);
    match field {
        Field::Count(count) => count.map(|count| count.to_string()),
        Field::Time(value) => (*value).and_then(time),
        Field::Range(range) => {
            let range = (*range)?;
            let (shortest, longest) = (time(range.shortest?)?, time(range.longest?)?);
            Some(if shortest == longest { shortest } else { format!("{shortest} to {longest}") })
        }
    }
}

/// One limit to set, as it is written: `NAME=VALUE`.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    name: &'static str,
    value: String,
}

/// Reads `NAME=VALUE`.
pub(super) fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as invite.per_day=20")?;
    let limit = LIMITS.iter().find(|limit| limit.name == name);
    let limit = limit.ok_or_else(|| format!("there is no limit {name}: `quota limits` names them"))?;
    let setting = Setting { name: limit.name, value: value.to_owned() };
    // Told while the command line is read, with the argument that is wrong.
    put(&setting, &mut pb::Limits::default()).map(|()| setting)
}

/// The limits with these settings, and the fields that they set.
pub(super) fn collect(settings: &[Setting]) -> Result<(pb::Limits, Vec<String>), String> {
    let mut limits = pb::Limits::default();
    settings.iter().try_for_each(|setting| put(setting, &mut limits))?;
    Ok((limits, settings.iter().map(|setting| setting.name.to_owned()).collect()))
}

fn put(setting: &Setting, limits: &mut pb::Limits) -> Result<(), String> {
    let Some(limit) = LIMITS.iter().find(|limit| limit.name == setting.name) else { return Ok(()) };
    let off = setting.value == "off";
    match (limit.field)(limits) {
        _ if off => {}
        Field::Count(count) => {
            *count = Some(setting.value.parse().map_err(|_| "expected a number, or \"off\"".to_owned())?);
        }
        Field::Time(value) => *value = Some(time(&setting.value)?),
        Field::Range(range) => {
            let (shortest, longest) = setting.value.split_once(TO).unwrap_or((&setting.value, &setting.value));
            *range = Some(pb::DurationRange { shortest: Some(time(shortest)?), longest: Some(time(longest)?) });
        }
    }
    Ok(())
}

/// Reads `90s`, `45min`, `2h`, or a sum such as `1h30min`.
fn time(text: &str) -> Result<prost_types::Duration, String> {
    let wrong = || "expected a time such as 90s, 45min or 2h, a range as 10min..15min, or \"off\"".to_owned();
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_and_more = &rest[digits..];
        let end = unit_and_more.find(|c: char| c.is_ascii_digit()).unwrap_or(unit_and_more.len());
        let unit = match &unit_and_more[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return Err(wrong()),
        };
        sum = unit.checked_mul(number).and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
        rest = &unit_and_more[end..];
    }
    if text.is_empty() { Err(wrong()) } else { prost_types::Duration::try_from(sum).map_err(|_| wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &[&str]) -> Result<(pb::Limits, Vec<String>), String> {
        let settings: Result<Vec<_>, _> = text.iter().map(|text| setting(text)).collect();
        collect(&settings?)
    }

    #[test]
    fn limits_are_set_as_they_are_shown() {
        let (limits, fields) =
            set(&["invite.per_day=20", "invite.interval=10min..1h30min", "message.per_hour=off"]).unwrap();
        assert_eq!(fields, ["invite.per_day", "invite.interval", "message.per_hour"]);
        let shown: Vec<_> = rows(Some(&limits)).filter(|[_, _, value]| value != "-").collect();
        assert_eq!(
            shown,
            [
                ["invite.per_day", "invites a day", "20"],
                ["invite.interval", "between two invites", "10 min to 1 h 30 min"]
            ]
        );
        let (limits, _) = set(&["invite.pause=45min", "invite.interval=600ms"]).unwrap();
        let invite = limits.invite.unwrap();
        assert_eq!(invite.pause.unwrap().seconds, 2_700);
        let interval = invite.interval.unwrap();
        assert_eq!((interval.shortest.unwrap().nanos, interval.longest.unwrap().nanos), (600_000_000, 600_000_000));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, what) in [
            ("invite.per_day", "NAME=VALUE"),
            ("invite.speed=1", "no limit invite.speed"),
            ("invite.per_day=many", "a number"),
            ("invite.pause=45", "a time"),
            ("invite.pause=", "a time"),
            ("invite.interval=1h..", "a time"),
            ("invite.interval=5 weeks", "a time"),
        ] {
            assert!(set(&[text]).unwrap_err().contains(what), "{text}");
        }
    }
}
