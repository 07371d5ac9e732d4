use super::*;
use crate::quotas::Range;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NOON: Time = Time::from_secs(20_777 * 86_400 + 12 * 3_600);

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn counted(counted: u32, reserved: u32) -> Tally {
    Tally { counted, reserved }
}

fn of(uses: &[LimitUse], limit: LimitName) -> LimitUse {
    *uses.iter().find(|found| found.limit == limit).unwrap()
}

#[test]
fn a_limit_holds_at_exactly_its_number() {
    let limits = Limits::default();
    for (used, reserved, next) in [
        (0, 0, Next::Now),
        (39, 0, Next::Now),
        (38, 1, Next::Now),
        (39, 1, Next::At(NOON.day_start() + DAY)),
        (40, 0, Next::At(NOON.day_start() + DAY)),
        (41, 0, Next::At(NOON.day_start() + DAY)),
    ] {
        let counts = Counts { day: counted(used, reserved), ..Counts::default() };
        let uses = uses(&limits, Action::Message, &counts, NOON);
        assert_eq!(of(&uses, LimitName::MessagePerDay).next, next, "{used} + {reserved}");
    }
}

#[test]
fn nothing_allowed_is_never() {
    let message = crate::quotas::MessageLimits { per_hour: Some(0), ..Limits::default().message };
    let limits = Limits { join_chat_per_day: Some(0), message, ..Limits::default() };
    let join = uses(&limits, Action::JoinChat, &Counts::default(), NOON);
    assert_eq!(next_possible(&join), Next::Never);
    let message = uses(&limits, Action::Message, &Counts::default(), NOON);
    assert_eq!(next_possible(&message), Next::Never);
}

#[test]
fn the_limit_that_lasts_longest_binds() {
    let limits = Limits::default();
    let counts = Counts {
        day: counted(40, 0),
        hour: counted(10, 0),
        hour_frees_at: Some(NOON + minutes(20)),
        ..Counts::default()
    };
    let uses = uses(&limits, Action::Message, &counts, NOON);
    assert_eq!(binding(&uses).map(|limit| limit.limit), Some(LimitName::MessagePerDay));
    assert_eq!(next_possible(&uses), Next::At(NOON.day_start() + DAY));
}

#[test]
fn limits_that_are_off_are_not_shown() {
    assert!(uses(&Limits::NONE, Action::Invite, &Counts::default(), NOON).is_empty());
    assert!(uses(&Limits::default(), Action::Read, &Counts::default(), NOON).is_empty());
    let uses = uses(&Limits::default(), Action::Invite, &Counts::default(), NOON);
    assert!(uses.iter().all(|limit| limit.limit != LimitName::InvitePerHour), "off by default");
    assert!(uses.iter().all(|limit| limit.chat_id == 0), "no chat was asked about");
}

#[test]
fn the_pause_comes_after_three() {
    let limits = InviteLimits::default();
    let drawn = minutes(12);
    let first = next_pace(&limits, None, NOON, drawn);
    let second = next_pace(&limits, Some(first), NOON, drawn);
    let third = next_pace(&limits, Some(second), NOON, drawn);
    let fourth = next_pace(&limits, Some(third), NOON, drawn);
    let waits: Vec<_> = [first, second, third, fourth].iter().map(|pace| pace.next_at.since(NOON)).collect();
    assert_eq!(waits, [minutes(12), minutes(12), minutes(57), minutes(12)]);

    let counts = Counts { pace: Some(third), ..Counts::default() };
    let uses = uses(&Limits::default(), Action::Invite, &counts, NOON);
    assert_eq!(of(&uses, LimitName::InvitePause).next, Next::At(NOON + minutes(57)));
    assert_eq!(of(&uses, LimitName::InviteInterval).next, Next::Now, "one wait has one name");
}

#[test]
fn a_drawn_time_keeps_within_the_limits_of_now() {
    let drawn = Pace { last_at: NOON, next_at: NOON + minutes(12), since_pause: 1 };
    let with = |shortest, longest| InviteLimits {
        interval: Some(Range { shortest: minutes(shortest), longest: minutes(longest) }),
        ..InviteLimits::default()
    };
    assert_eq!(paced_until(&with(10, 15), drawn), NOON + minutes(12));
    assert_eq!(paced_until(&with(20, 30), drawn), NOON + minutes(20), "tightened since");
    assert_eq!(paced_until(&with(1, 2), drawn), NOON + minutes(2), "loosened since");
    let resting = Pace { next_at: NOON + minutes(57), since_pause: 0, ..drawn };
    assert_eq!(paced_until(&with(1, 2), resting), NOON + minutes(47));
    let no_pause = InviteLimits { pause: None, ..with(10, 15) };
    assert_eq!(paced_until(&no_pause, resting), NOON + minutes(15));
}

#[test]
fn a_use_survives_the_wire() {
    let counts = Counts {
        day: counted(3, 1),
        chat: Some(ChatCounts { chat_id: -5, day: counted(15, 0), total: counted(20, 0) }),
        ..Counts::default()
    };
    for limit in uses(&Limits::default(), Action::Invite, &counts, NOON) {
        assert_eq!(LimitUse::from_wire(&limit.to_wire()), limit);
    }
}
