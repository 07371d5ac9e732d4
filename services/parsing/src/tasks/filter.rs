//! Who is kept, and the rules of filters that the contract cannot state.

use service_kit::Time;
use tgmesh_proto::parsing::v1::skip_count::Reason;
use tgmesh_proto::parsing::v1::{ParseFilter, ParseKind};
use tgmesh_proto::telegram::v1::LastSeen;

use crate::person::Person;

/// What is wrong with a filter, by the field's path: it must fit the kind.
pub fn check(filter: &ParseFilter, kind: ParseKind) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if kind == ParseKind::Members {
        let given = [
            ("since_time", filter.since_time.is_some()),
            ("until_time", filter.until_time.is_some()),
            ("last_messages", filter.last_messages != 0),
            ("min_activity", filter.min_activity != 0),
        ];
        for (field, _) in given.iter().filter(|(_, given)| *given) {
            wrong.push((format!("filter.{field}"), "is not for MEMBERS, who have no messages".to_owned()));
        }
    }
    if let (Some(since), Some(until)) = (&filter.since_time, &filter.until_time)
        && Time::from_proto(since) >= Time::from_proto(until)
    {
        wrong.push(("filter.until_time".to_owned(), "must be later than filter.since_time".to_owned()));
    }
    wrong
}

/// Why a person is left out; `None` when he is kept. The first reason that
/// applies counts, so that reasons sum to the people left out.
pub fn skip(person: &Person, filter: &ParseFilter) -> Option<Reason> {
    if person.deleted && !filter.include_deleted {
        return Some(Reason::Deleted);
    }
    if person.bot && !filter.include_bots {
        return Some(Reason::Bot);
    }
    if person.admin && !filter.include_admins {
        return Some(Reason::Admin);
    }
    if filter.has_username && person.username.is_empty() {
        return Some(Reason::NoUsername);
    }
    if filter.has_phone && person.phone.is_empty() {
        return Some(Reason::NoPhone);
    }
    if filter.premium && !person.premium {
        return Some(Reason::NotPremium);
    }
    // From the most recent to the longest ago, the contract's numbers grow; 0 is
    // "not told", which is never recent enough.
    let asked = filter.last_seen_within;
    if asked != LastSeen::Unspecified as i32 && (person.last_seen == 0 || person.last_seen > asked) {
        return Some(Reason::LastSeen);
    }
    None
}

/// Whether a message lies in the time asked for.
pub fn in_time(sent_at: Time, filter: &ParseFilter) -> bool {
    filter.since_time.as_ref().is_none_or(|since| sent_at >= Time::from_proto(since))
        && filter.until_time.as_ref().is_none_or(|until| sent_at < Time::from_proto(until))
}

/// Whether it can only be decided at the end who is kept.
pub fn decides_at_end(filter: &ParseFilter) -> bool {
    // Everybody found has one message at least.
    filter.min_activity > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Person {
        Person { user_id: 1, username: "ann".into(), phone: "+49151234567".into(), last_seen: 2, ..Default::default() }
    }

    fn time(secs: i64) -> prost_types::Timestamp {
        Time::from_secs(secs).to_proto()
    }

    #[test]
    fn each_condition_leaves_out_for_its_reason() {
        let all = ParseFilter::default();
        assert_eq!(skip(&person(), &all), None);
        let seen = |within: LastSeen| ParseFilter { last_seen_within: within as i32, ..all };
        for (person, filter, expected) in [
            (Person { bot: true, ..person() }, all, Some(Reason::Bot)),
            (Person { bot: true, ..person() }, ParseFilter { include_bots: true, ..all }, None),
            (Person { admin: true, ..person() }, all, Some(Reason::Admin)),
            (Person { admin: true, ..person() }, ParseFilter { include_admins: true, ..all }, None),
            (Person { deleted: true, ..person() }, all, Some(Reason::Deleted)),
            (Person { deleted: true, ..person() }, ParseFilter { include_deleted: true, ..all }, None),
            (Person { username: String::new(), ..person() }, all, None),
            (
                Person { username: String::new(), ..person() },
                ParseFilter { has_username: true, ..all },
                Some(Reason::NoUsername),
            ),
            (
                Person { phone: String::new(), ..person() },
                ParseFilter { has_phone: true, ..all },
                Some(Reason::NoPhone),
            ),
            (person(), ParseFilter { premium: true, ..all }, Some(Reason::NotPremium)),
            (Person { premium: true, ..person() }, ParseFilter { premium: true, ..all }, None),
            (person(), seen(LastSeen::Online), Some(Reason::LastSeen)),
            (person(), seen(LastSeen::Recently), None),
            (person(), seen(LastSeen::Month), None),
            (Person { last_seen: 0, ..person() }, seen(LastSeen::LongAgo), Some(Reason::LastSeen)),
            (Person { last_seen: 5, ..person() }, seen(LastSeen::Month), Some(Reason::LastSeen)),
        ] {
            assert_eq!(skip(&person, &filter), expected, "{person:?} by {filter:?}");
        }
    }

    #[test]
    fn a_deleted_bot_counts_once() {
        let both = Person { bot: true, deleted: true, admin: true, ..person() };
        assert_eq!(skip(&both, &ParseFilter::default()), Some(Reason::Deleted));
    }

    #[test]
    fn filters_of_messages_are_refused_for_members_each_by_its_path() {
        let filter = ParseFilter {
            since_time: Some(time(1)),
            until_time: Some(time(2)),
            last_messages: 3,
            min_activity: 4,
            ..Default::default()
        };
        let paths: Vec<String> = check(&filter, ParseKind::Members).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["filter.since_time", "filter.until_time", "filter.last_messages", "filter.min_activity"]);
        assert!(check(&filter, ParseKind::MessageAuthors).is_empty());
    }

    #[test]
    fn a_time_must_not_end_before_it_begins() {
        for (since, until, good) in [(1, 2, true), (2, 2, false), (3, 2, false)] {
            let filter =
                ParseFilter { since_time: Some(time(since)), until_time: Some(time(until)), ..Default::default() };
            assert_eq!(check(&filter, ParseKind::MessageAuthors).is_empty(), good, "{since}..{until}");
        }
    }

    #[test]
    fn a_time_includes_its_beginning_and_not_its_end() {
        let filter = ParseFilter { since_time: Some(time(10)), until_time: Some(time(20)), ..Default::default() };
        let inside = |secs| in_time(Time::from_secs(secs), &filter);
        assert_eq!([inside(9), inside(10), inside(19), inside(20)], [false, true, true, false]);
    }
}
