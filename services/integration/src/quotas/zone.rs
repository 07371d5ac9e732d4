//! Calendar days, in the zone whose days are counted by.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use service_kit::Time;

/// A time zone of the IANA database, which is part of the binary: what a day is
/// does not depend on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A calendar day: 24 hours, or as many as a change of the clocks leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Its first moment.
    pub start: Time,
    /// The first moment of the next.
    pub end: Time,
}

impl Zone {
    /// The zone without changes.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone with this name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self, jiff::Error> {
        TimeZone::get(name).map(Self)
    }

    /// The day that a moment lies in.
    pub fn day(&self, now: Time) -> Day {
        // Only moments that no clock shows, before or after all calendars, have none.
        self.try_day(now).unwrap_or(Day { start: now, end: now })
    }

    fn try_day(&self, now: Time) -> Result<Day, jiff::Error> {
        let today = Timestamp::from_millisecond(now.millis())?.to_zoned(self.0.clone()).start_of_day()?;
        let time = |zoned: jiff::Zoned| Time::from_millis(zoned.timestamp().as_millisecond());
        Ok(Day { end: time(today.tomorrow()?.start_of_day()?), start: time(today) })
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name)
            .map_err(|_| serde::de::Error::custom(format!("\"{name}\" is no time zone of the IANA database")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_make_it() {
        for (zone, now, start, end) in [
            ("UTC", "2027-03-28T12:00:00Z", "2027-03-28T00:00:00Z", "2027-03-29T00:00:00Z"),
            // 23 hours, then 25, and a day like any other.
            ("Europe/Berlin", "2027-03-28T12:00:00Z", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
            ("Europe/Berlin", "2027-10-31T12:00:00Z", "2027-10-30T22:00:00Z", "2027-10-31T23:00:00Z"),
            ("Europe/Berlin", "2027-12-01T23:00:00Z", "2027-12-01T23:00:00Z", "2027-12-02T23:00:00Z"),
            // The clocks go from midnight to one: the day begins at one.
            ("America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
            ("Asia/Kolkata", "2026-11-20T18:29:59.999Z", "2026-11-19T18:30:00Z", "2026-11-20T18:30:00Z"),
        ] {
            let day = Zone::named(zone).unwrap().day(time(now));
            assert_eq!(day, Day { start: time(start), end: time(end) }, "{zone} {now}");
            let last = Time::from_millis(day.end.millis() - 1);
            assert_eq!(Zone::named(zone).unwrap().day(last), day, "{zone} {now}");
        }
    }

    #[test]
    fn zones_have_names() {
        assert_eq!(serde_json::from_str::<Zone>(r#""Asia/Kolkata""#).unwrap(), Zone::named("Asia/Kolkata").unwrap());
        for name in [r#""Europe/Atlantis""#, r#""""#, "1"] {
            assert!(serde_json::from_str::<Zone>(name).is_err(), "{name}");
        }
    }
}
