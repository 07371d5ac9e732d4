//! Limits of one level, and what results from several.
//!
//! [`Limits::default`] is the one place where the numbers of the product stand.

use std::time::Duration;

use prost::Message as _;
use serde::{Deserialize, Deserializer};
use service_kit::clock::{duration_from_proto, duration_to_proto};
use tgmesh_proto::quota::v1 as wire;

use super::zone::Zone;

/// A range of durations, of which one is drawn at random each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Shortest.
    pub shortest: Duration,
    /// Longest; not below the shortest.
    pub longest: Duration,
}

impl Range {
    /// Whether it makes anybody wait.
    pub fn is_none(&self) -> bool {
        self.longest.is_zero()
    }
}

/// Limits on invites. `None` is not limited at this level; the configuration
/// writes it `"off"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteLimits {
    /// Invites of one account in a calendar day. Default 30.
    #[serde(deserialize_with = "or_off")]
    pub per_day: Option<u32>,
    /// Invites of one account into one chat in a calendar day. Default 15.
    #[serde(deserialize_with = "or_off")]
    pub per_day_and_chat: Option<u32>,
    /// Successful invites of one account into one chat, for ever. Default 200.
    #[serde(deserialize_with = "or_off")]
    pub total_per_chat: Option<u32>,
    /// Invites of one account within a rolling hour. Default off.
    #[serde(deserialize_with = "or_off")]
    pub per_hour: Option<u32>,
    /// Time between two invites of one account, as `shortest_ms` and `longest_ms`.
    /// Default 10 to 15 minutes; zeros turn it off.
    #[serde(deserialize_with = "some")]
    pub interval: Option<Range>,
    /// After this many invites since the last pause the account rests. Default 3.
    #[serde(deserialize_with = "or_off")]
    pub pause_after: Option<u32>,
    /// The extra rest, on top of the interval, in milliseconds. Default 45 minutes.
    #[serde(rename = "pause_ms", deserialize_with = "some_millis")]
    pub pause: Option<Duration>,
}

impl Default for InviteLimits {
    fn default() -> Self {
        Self {
            per_day: Some(30),
            per_day_and_chat: Some(15),
            total_per_chat: Some(200),
            per_hour: None,
            interval: Some(Range { shortest: Duration::from_secs(10 * 60), longest: Duration::from_secs(15 * 60) }),
            pause_after: Some(3),
            pause: Some(Duration::from_secs(45 * 60)),
        }
    }
}

/// Limits on messages to strangers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageLimits {
    /// Messages of one account in a calendar day. Default 40.
    #[serde(deserialize_with = "or_off")]
    pub per_day: Option<u32>,
    /// Messages of one account within a rolling hour. Default 10.
    #[serde(deserialize_with = "or_off")]
    pub per_hour: Option<u32>,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { per_day: Some(40), per_hour: Some(10) }
    }
}

/// Limits of one level.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Invites.
    pub invite: InviteLimits,
    /// Messages to strangers.
    pub message: MessageLimits,
    /// Contacts added by one account in a calendar day. Default 15.
    #[serde(deserialize_with = "or_off")]
    pub add_contact_per_day: Option<u32>,
    /// Chats joined by one account in a calendar day. Default 5.
    #[serde(deserialize_with = "or_off")]
    pub join_chat_per_day: Option<u32>,
    /// Usernames looked up by one account in a calendar day. Default 200.
    #[serde(deserialize_with = "or_off")]
    pub resolve_username_per_day: Option<u32>,
    /// Whose calendar days are meant, by its IANA name: the deployment's, and of
    /// no level below it. Default UTC.
    #[serde(rename = "day_zone")]
    pub zone: Zone,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            invite: InviteLimits::default(),
            message: MessageLimits::default(),
            add_contact_per_day: Some(15),
            join_chat_per_day: Some(5),
            resolve_username_per_day: Some(200),
            zone: Zone::UTC,
        }
    }
}

impl Limits {
    /// No limits: what a level says that says nothing.
    pub const NONE: Self = Self {
        invite: InviteLimits {
            per_day: None,
            per_day_and_chat: None,
            total_per_chat: None,
            per_hour: None,
            interval: None,
            pause_after: None,
            pause: None,
        },
        message: MessageLimits { per_day: None, per_hour: None },
        add_contact_per_day: None,
        join_chat_per_day: None,
        resolve_username_per_day: None,
        zone: Zone::UTC,
    };

    /// What results from this level and one below it: of each limit the tightest.
    #[must_use]
    pub fn tightened(&self, below: &Self) -> Self {
        let (a, b) = (&self.invite, &below.invite);
        Self {
            invite: InviteLimits {
                per_day: fewest(a.per_day, b.per_day),
                per_day_and_chat: fewest(a.per_day_and_chat, b.per_day_and_chat),
                total_per_chat: fewest(a.total_per_chat, b.total_per_chat),
                per_hour: fewest(a.per_hour, b.per_hour),
                interval: slowest(a.interval, b.interval),
                pause_after: fewest(a.pause_after, b.pause_after),
                pause: a.pause.max(b.pause),
            },
            message: MessageLimits {
                per_day: fewest(self.message.per_day, below.message.per_day),
                per_hour: fewest(self.message.per_hour, below.message.per_hour),
            },
            add_contact_per_day: fewest(self.add_contact_per_day, below.add_contact_per_day),
            join_chat_per_day: fewest(self.join_chat_per_day, below.join_chat_per_day),
            resolve_username_per_day: fewest(self.resolve_username_per_day, below.resolve_username_per_day),
            zone: self.zone.clone(),
        }
    }

    /// The first contradiction: the path of the field, and what is wrong.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        match self.invite.interval {
            Some(range) if range.longest < range.shortest => {
                Some(("invite.interval.longest", "must not be below the shortest"))
            }
            _ => None,
        }
    }

    /// As the table `limits` keeps it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.to_wire(String::new()).encode_to_vec()
    }

    /// From the table `limits`.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        wire::Limits::decode(bytes).map(|limits| Self::from_wire(&limits))
    }

    /// As the wire writes it.
    pub fn to_wire(&self, etag: String) -> wire::Limits {
        let (invite, message) = (&self.invite, &self.message);
        wire::Limits {
            invite: Some(wire::InviteLimits {
                per_day: number(invite.per_day),
                per_day_and_chat: number(invite.per_day_and_chat),
                total_per_chat: number(invite.total_per_chat),
                per_hour: number(invite.per_hour),
                interval: invite.interval.map(|range| wire::DurationRange {
                    shortest: Some(duration_to_proto(range.shortest)),
                    longest: Some(duration_to_proto(range.longest)),
                }),
                pause_after: number(invite.pause_after),
                pause: invite.pause.map(duration_to_proto),
            }),
            message: Some(wire::MessageLimits { per_day: number(message.per_day), per_hour: number(message.per_hour) }),
            add_contact_per_day: number(self.add_contact_per_day),
            join_chat_per_day: number(self.join_chat_per_day),
            resolve_username_per_day: number(self.resolve_username_per_day),
            etag,
        }
    }

    /// From what the wire says. The contract's rules have refused negative numbers.
    pub fn from_wire(limits: &wire::Limits) -> Self {
        let invite = limits.invite.unwrap_or_default();
        let message = limits.message.unwrap_or_default();
        Self {
            invite: InviteLimits {
                per_day: count(invite.per_day),
                per_day_and_chat: count(invite.per_day_and_chat),
                total_per_chat: count(invite.total_per_chat),
                per_hour: count(invite.per_hour),
                interval: invite.interval.map(|range| Range {
                    shortest: range.shortest.as_ref().map_or(Duration::ZERO, duration_from_proto),
                    longest: range.longest.as_ref().map_or(Duration::ZERO, duration_from_proto),
                }),
                pause_after: count(invite.pause_after),
                pause: invite.pause.as_ref().map(duration_from_proto),
            },
            message: MessageLimits { per_day: count(message.per_day), per_hour: count(message.per_hour) },
            add_contact_per_day: count(limits.add_contact_per_day),
            join_chat_per_day: count(limits.join_chat_per_day),
            resolve_username_per_day: count(limits.resolve_username_per_day),
            zone: Zone::UTC,
        }
    }

    /// Sets the field at `path` to what `new` says of it; `false` when there is
    /// no such field.
    pub fn set(&mut self, path: &str, new: &Self) -> bool {
        match path {
            "*" => *self = Self { zone: self.zone.clone(), ..new.clone() },
            "invite" => self.invite = new.invite.clone(),
            "invite.per_day" => self.invite.per_day = new.invite.per_day,
            "invite.per_day_and_chat" => self.invite.per_day_and_chat = new.invite.per_day_and_chat,
            "invite.total_per_chat" => self.invite.total_per_chat = new.invite.total_per_chat,
            "invite.per_hour" => self.invite.per_hour = new.invite.per_hour,
            "invite.interval" => self.invite.interval = new.invite.interval,
            "invite.pause_after" => self.invite.pause_after = new.invite.pause_after,
            "invite.pause" => self.invite.pause = new.invite.pause,
            "message" => self.message = new.message.clone(),
            "message.per_day" => self.message.per_day = new.message.per_day,
            "message.per_hour" => self.message.per_hour = new.message.per_hour,
            "add_contact_per_day" => self.add_contact_per_day = new.add_contact_per_day,
            "join_chat_per_day" => self.join_chat_per_day = new.join_chat_per_day,
            "resolve_username_per_day" => self.resolve_username_per_day = new.resolve_username_per_day,
            _ => return false,
        }
        true
    }
}

fn fewest(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn slowest(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Range { shortest: a.shortest.max(b.shortest), longest: a.longest.max(b.longest) }),
        (one, other) => one.or(other),
    }
}

fn number(count: Option<u32>) -> Option<i32> {
    count.map(|count| i32::try_from(count).unwrap_or(i32::MAX))
}

fn count(number: Option<i32>) -> Option<u32> {
    number.map(|number| u32::try_from(number).unwrap_or(0))
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn some_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    millis(deserializer).map(Some)
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Range>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Millis {
        shortest_ms: u64,
        longest_ms: u64,
    }
    let Millis { shortest_ms, longest_ms } = Millis::deserialize(deserializer)?;
    if longest_ms < shortest_ms {
        return Err(serde::de::Error::custom("longest_ms must not be below shortest_ms"));
    }
    Ok(Some(Range { shortest: Duration::from_millis(shortest_ms), longest: Duration::from_millis(longest_ms) }))
}

/// A number, or `"off"`: a configuration file has no word for "none".
pub(super) fn or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    struct OrOff;

    impl serde::de::Visitor<'_> for OrOff {
        type Value = Option<u32>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number, 0 or more, or \"off\"")
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
            let fits = u32::try_from(number);
            fits.map(Some).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
            let fits =
                u64::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self));
            self.visit_u64(fits?)
        }

        fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
            if word == "off" { Ok(None) } else { Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)) }
        }
    }

    deserializer.deserialize_any(OrOff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_level_only_tightens() {
        let mut below = Limits::NONE;
        below.invite.per_day = Some(100);
        below.message.per_hour = Some(2);
        below.invite.per_hour = Some(7);
        below.invite.interval =
            Some(Range { shortest: Duration::from_secs(60), longest: Duration::from_secs(60 * 60) });
        let both = Limits::default().tightened(&below);
        assert_eq!(both.invite.per_day, Some(30), "looser has no effect");
        assert_eq!(both.message.per_hour, Some(2));
        assert_eq!(both.invite.per_hour, Some(7), "set where the level above says nothing");
        let interval = both.invite.interval.unwrap();
        assert_eq!((interval.shortest.as_secs(), interval.longest.as_secs()), (600, 3_600));
        assert_eq!(Limits::default().tightened(&Limits::NONE), Limits::default());
    }

    #[test]
    fn levels_commute() {
        let mut other = Limits::NONE;
        other.invite.pause = Some(Duration::from_secs(1));
        other.join_chat_per_day = Some(1);
        let all = Limits::default();
        assert_eq!(all.tightened(&other), other.tightened(&all));
    }

    #[test]
    fn the_zone_is_the_deployments() {
        let berlin = Limits { zone: Zone::named("Europe/Berlin").unwrap(), ..Limits::default() };
        assert_eq!(berlin.tightened(&Limits::NONE).zone, berlin.zone);
        let mut changed = berlin.clone();
        assert!(changed.set("*", &Limits::NONE));
        assert_eq!(changed.zone, berlin.zone);
    }

    #[test]
    fn limits_survive_the_wire_and_the_table() {
        for limits in [Limits::default(), Limits::NONE] {
            assert_eq!(Limits::from_wire(&limits.to_wire("7".to_owned())), limits);
            assert_eq!(Limits::from_bytes(&limits.to_bytes()).unwrap(), limits);
        }
    }

    #[test]
    fn configuration_says_every_field_and_no_other() {
        let read = |text: &str| serde_json::from_str::<InviteLimits>(text);
        let text = r#"{"per_day": "off", "per_day_and_chat": 15, "total_per_chat": 200, "per_hour": 4,
            "interval": {"shortest_ms": 1, "longest_ms": 2}, "pause_after": 3, "pause_ms": 5}"#;
        let limits = read(text).unwrap();
        assert_eq!((limits.per_day, limits.per_day_and_chat, limits.per_hour), (None, Some(15), Some(4)));
        assert_eq!(limits.interval.unwrap().longest, Duration::from_millis(2));
        for (from, to, why) in [
            (r#""per_hour": 4,"#, "", "missing field `per_hour`"),
            ("per_hour", "per_week", "unknown field"),
            ("\"off\"", "\"many\"", "expected a whole number, 0 or more, or \"off\""),
            ("\"off\"", "-3", "expected a whole number, 0 or more, or \"off\""),
            (r#""longest_ms": 2"#, r#""longest_ms": 0"#, ""),
        ] {
            let error = read(&text.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn every_field_of_the_contract_can_be_set() {
        let pool_paths = [
            "invite.per_day",
            "invite.per_day_and_chat",
            "invite.total_per_chat",
            "invite.per_hour",
            "invite.interval",
            "invite.pause_after",
            "invite.pause",
            "message.per_day",
            "message.per_hour",
            "add_contact_per_day",
            "join_chat_per_day",
            "resolve_username_per_day",
        ];
        let mut full = Limits::default();
        full.invite.per_hour = Some(1);
        let mut limits = Limits::NONE;
        for path in pool_paths {
            let before = limits.clone();
            assert!(limits.set(path, &full), "{path}");
            assert_ne!(limits, before, "{path} changes nothing");
        }
        assert_eq!(limits, full);
        assert!(!limits.set("etag", &full));
        assert!(!limits.set("invite.interval.shortest", &full));
    }
}
