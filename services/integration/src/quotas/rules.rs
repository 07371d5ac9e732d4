//! What the limits say of an action, given what the ledger counts. No I/O.

use std::time::Duration;

use service_kit::Time;
use tgmesh_proto::quota::v1::{Action, LimitName, LimitUsage};

use super::limits::{InviteLimits, Limits};

/// The rolling hour.
pub const HOUR: Duration = Duration::from_secs(60 * 60);

/// When something becomes possible. Later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// It is.
    Now,
    /// Then.
    At(Time),
    /// Not by waiting.
    Never,
}

impl Next {
    /// The time, if there is one to name.
    pub fn time(self) -> Option<Time> {
        match self {
            Self::At(time) => Some(time),
            Self::Now | Self::Never => None,
        }
    }
}

/// Entries of the ledger that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Settled as counted.
    pub counted: u32,
    /// Reserved, not settled yet.
    pub reserved: u32,
}

impl Tally {
    /// Both: a limit must hold whatever becomes of the reserved ones.
    pub fn sum(self) -> u32 {
        self.counted.saturating_add(self.reserved)
    }
}

/// What the ledger says of one chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChatCounts {
    /// The chat.
    pub chat_id: i64,
    /// Within the calendar day.
    pub day: Tally,
    /// Successes, for ever.
    pub total: Tally,
}

/// When the next action of a kind may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// When the last one was reserved.
    pub last_at: Time,
    /// The time that was drawn for the next.
    pub next_at: Time,
    /// How many since the last pause; 0 when the next time includes one.
    pub since_pause: u32,
}

/// What the ledger says of one Telegram user's actions of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Within the calendar day.
    pub day: Tally,
    /// Within the rolling hour.
    pub hour: Tally,
    /// When the count of the hour falls below its limit; only when it is used up.
    pub hour_frees_at: Option<Time>,
    /// For the chat in question, if there is one.
    pub chat: Option<ChatCounts>,
    /// Absent before the first action.
    pub pace: Option<Pace>,
}

/// How much of one limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub limit: LimitName,
    /// The chat, for limits that are per chat; 0 otherwise.
    pub chat_id: i64,
    /// What counts towards it.
    pub tally: Tally,
    /// How many are allowed; `None` for a time between actions.
    pub allowed: Option<u32>,
    /// When the counting period ends.
    pub end: Option<Time>,
    /// When this limit allows the next action.
    pub next: Next,
}

impl LimitUse {
    /// Whether it forbids the action now.
    pub fn is_exceeded(&self) -> bool {
        self.next != Next::Now
    }

    /// How many it leaves; `None` for a time between actions.
    pub fn left(&self) -> Option<u32> {
        self.allowed.map(|allowed| allowed.saturating_sub(self.tally.sum()))
    }

    /// As the wire writes it.
    pub fn to_wire(self) -> LimitUsage {
        LimitUsage {
            limit: self.limit.into(),
            chat_id: self.chat_id,
            used: number(self.tally.counted),
            reserved: number(self.tally.reserved),
            allowed: self.allowed.map(number),
            end_time: self.end.map(Time::to_proto),
            next_possible_time: self.next.time().map(Time::to_proto),
        }
    }

    /// From what the wire says; for answers that were stored.
    pub fn from_wire(usage: &LimitUsage) -> Self {
        let whole = |number: i32| u32::try_from(number).unwrap_or(0);
        Self {
            limit: usage.limit(),
            chat_id: usage.chat_id,
            tally: Tally { counted: whole(usage.used), reserved: whole(usage.reserved) },
            allowed: usage.allowed.map(whole),
            end: usage.end_time.as_ref().map(Time::from_proto),
            next: usage.next_possible_time.as_ref().map_or(Next::Now, |time| Next::At(Time::from_proto(time))),
        }
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The actions that limits count within an hour.
pub(crate) fn per_hour(limits: &Limits, action: Action) -> Option<u32> {
    match action {
        Action::Invite => limits.invite.per_hour,
        Action::Message => limits.message.per_hour,
        _ => None,
    }
}

/// The actions that limits count within a calendar day.
pub(crate) fn per_day(limits: &Limits, action: Action) -> Option<u32> {
    match action {
        Action::Invite => limits.invite.per_day,
        Action::Message => limits.message.per_day,
        Action::AddContact => limits.add_contact_per_day,
        Action::JoinChat => limits.join_chat_per_day,
        Action::ResolveUsername => limits.resolve_username_per_day,
        Action::Read | Action::Unspecified => None,
    }
}

/// Whether the limits space the actions out.
pub(crate) fn is_paced(limits: &Limits, action: Action) -> bool {
    action == Action::Invite
        && (limits.invite.interval.is_some_and(|range| !range.is_none()) || rest(&limits.invite).is_some())
}

/// Whether any limit of the action is per chat.
pub(crate) fn is_per_chat(limits: &Limits, action: Action) -> bool {
    action == Action::Invite && (limits.invite.per_day_and_chat.is_some() || limits.invite.total_per_chat.is_some())
}

/// Whether any limit of the action is set.
pub(crate) fn is_limited(limits: &Limits, action: Action) -> bool {
    per_day(limits, action).is_some()
        || per_hour(limits, action).is_some()
        || is_paced(limits, action)
        || is_per_chat(limits, action)
}

/// The extra pause and after how many, when both are set.
fn rest(limits: &InviteLimits) -> Option<(u32, Duration)> {
    limits.pause_after.zip(limits.pause).filter(|(_, pause)| !pause.is_zero())
}

/// Each limit of the action that is set, and how much of it is used.
pub fn uses(limits: &Limits, action: Action, counts: &Counts, now: Time) -> Vec<LimitUse> {
    let mut uses = Vec::with_capacity(6);
    let day_end = limits.zone.day(now).end;
    let mut counted = |limit, chat_id, tally: Tally, allowed: Option<u32>, end: Option<Time>, frees: Option<Time>| {
        let Some(allowed) = allowed else { return };
        let next = match frees {
            _ if tally.sum() < allowed => Next::Now,
            Some(time) if allowed > 0 => Next::At(time),
            _ => Next::Never,
        };
        uses.push(LimitUse { limit, chat_id, tally, allowed: Some(allowed), end, next });
    };
    let (day, hour) = (counts.day, counts.hour);
    let of_day = per_day(limits, action);
    let of_hour = per_hour(limits, action);
    // Without its time the hour frees at the latest in an hour: never too early.
    let frees = counts.hour_frees_at.or(Some(now + HOUR));
    match action {
        Action::Invite => {
            counted(LimitName::InvitePerDay, 0, day, of_day, Some(day_end), Some(day_end));
            counted(LimitName::InvitePerHour, 0, hour, of_hour, frees.filter(|_| hour.sum() > 0), frees);
            if let Some(chat) = counts.chat {
                let (per_day, total) = (limits.invite.per_day_and_chat, limits.invite.total_per_chat);
                let limit = LimitName::InvitePerDayAndChat;
                counted(limit, chat.chat_id, chat.day, per_day, Some(day_end), Some(day_end));
                counted(LimitName::InviteTotalPerChat, chat.chat_id, chat.total, total, None, None);
            }
            uses.extend(spaced(&limits.invite, counts.pace, now));
        }
        Action::Message => {
            counted(LimitName::MessagePerDay, 0, day, of_day, Some(day_end), Some(day_end));
            counted(LimitName::MessagePerHour, 0, hour, of_hour, frees.filter(|_| hour.sum() > 0), frees);
        }
        Action::AddContact => {
            counted(LimitName::AddContactPerDay, 0, day, of_day, Some(day_end), Some(day_end));
        }
        Action::JoinChat => counted(LimitName::JoinChatPerDay, 0, day, of_day, Some(day_end), Some(day_end)),
        Action::ResolveUsername => {
            counted(LimitName::ResolveUsernamePerDay, 0, day, of_day, Some(day_end), Some(day_end));
        }
        Action::Read | Action::Unspecified => {}
    }
    uses
}

/// The limits that are a time between actions.
fn spaced(limits: &InviteLimits, pace: Option<Pace>, now: Time) -> Vec<LimitUse> {
    let waits = pace.map(|pace| (paced_until(limits, pace), pace)).filter(|(until, _)| *until > now);
    let entry = |limit, tally, waiting: bool| {
        let until = waits.filter(|_| waiting).map(|(until, _)| until);
        LimitUse { limit, chat_id: 0, tally, allowed: None, end: until, next: until.map_or(Next::Now, Next::At) }
    };
    let resting = pace.is_some_and(|pace| pace.since_pause == 0) && rest(limits).is_some();
    let mut uses = Vec::new();
    if limits.interval.is_some_and(|range| !range.is_none()) {
        let used = u32::from(waits.is_some());
        uses.push(entry(LimitName::InviteInterval, Tally { counted: used, reserved: 0 }, !resting));
    }
    if let Some((after, _)) = rest(limits) {
        let used = pace.map_or(0, |pace| if resting && waits.is_some() { after } else { pace.since_pause });
        uses.push(entry(LimitName::InvitePause, Tally { counted: used, reserved: 0 }, resting));
    }
    uses
}

/// When the next action may go. The time that was drawn holds within what the
/// limits of now allow: changed limits hold from the next action on, whether
/// they became tighter or looser since the draw.
fn paced_until(limits: &InviteLimits, pace: Pace) -> Time {
    let range = limits.interval.unwrap_or(super::Range { shortest: Duration::ZERO, longest: Duration::ZERO });
    let pause = rest(limits).filter(|_| pace.since_pause == 0).map_or(Duration::ZERO, |(_, pause)| pause);
    let (first, last) = (pace.last_at + range.shortest + pause, pace.last_at + range.longest + pause);
    pace.next_at.clamp(first, last.max(first))
}

/// The pace after one more action at `now`. `drawn` is the interval drawn for
/// this time.
pub(crate) fn next_pace(limits: &InviteLimits, pace: Option<Pace>, now: Time, drawn: Duration) -> Pace {
    let since = pace.map_or(0, |pace| pace.since_pause).saturating_add(1);
    match rest(limits) {
        Some((after, pause)) if since >= after => Pace { last_at: now, next_at: now + drawn + pause, since_pause: 0 },
        _ => Pace { last_at: now, next_at: now + drawn, since_pause: since },
    }
}

/// The limit that forbids the action for longest, if any does.
pub fn binding(uses: &[LimitUse]) -> Option<&LimitUse> {
    uses.iter().filter(|limit| limit.is_exceeded()).max_by_key(|limit| limit.next)
}

/// When all limits allow the action.
pub fn next_possible(uses: &[LimitUse]) -> Next {
    uses.iter().map(|limit| limit.next).max().unwrap_or(Next::Now)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
