//! Time as a parameter.
//!
//! Everything that asks for the time or waits takes a [`Clock`], so that tests
//! decide when it passes and a whole process can run accelerated. Wall time is
//! kept as whole milliseconds since the epoch, the unit of every database
//! column and cursor.

use std::fmt;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// The first point in time.
    pub const ZERO: Self = Self(0);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1_000)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The first moment of the calendar day (UTC) this lies in.
    pub const fn day_start(self) -> Self {
        Self(self.0.div_euclid(86_400_000) * 86_400_000)
    }

    /// As a `SystemTime`.
    pub fn to_system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    /// As the wire writes it.
    pub fn to_proto(self) -> prost_types::Timestamp {
        let nanos = self.0.rem_euclid(1_000) * 1_000_000;
        prost_types::Timestamp { seconds: self.secs(), nanos: i32::try_from(nanos).unwrap_or(0) }
    }

    /// From what the wire says; parts of a millisecond are dropped.
    pub fn from_proto(proto: &prost_types::Timestamp) -> Self {
        Self(proto.seconds.saturating_mul(1_000).saturating_add(i64::from(proto.nanos) / 1_000_000))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// A duration as the wire says it; negative ones are zero.
pub fn duration_from_proto(proto: &prost_types::Duration) -> Duration {
    Duration::try_from(*proto).unwrap_or_default()
}

/// A duration as the wire writes it.
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// What a sleep returns.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the time and waits.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time. May jump; never used to measure how long something took.
    fn now(&self) -> Time;

    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A clock that many share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, or one that runs `factor` times as fast.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: tokio::time::Instant,
    start_wall: SystemTime,
    factor: f64,
}

impl SystemClock {
    /// The machine's clock.
    pub fn shared() -> SharedClock {
        Self::accelerated(1.0)
    }

    /// A clock that starts at the machine's time and runs `factor` times as
    /// fast. Only for runs in which every process shares it.
    pub fn accelerated(factor: f64) -> SharedClock {
        #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
        let (start, start_wall) = (tokio::time::Instant::now(), SystemTime::now());
        Arc::new(Self { start, start_wall, factor })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        #[expect(clippy::float_cmp, reason = "1.0 is represented exactly and set, never computed")]
        if self.factor == 1.0 {
            #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
            return SystemTime::now().into();
        }
        (self.start_wall + self.monotonic()).into()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed().mul_f64(self.factor)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration.div_f64(self.factor)))
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: tokio::sync::watch::Sender<Time>,
    start: Time,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Time) -> Arc<Self> {
        Arc::new(Self { now: tokio::sync::watch::Sender::new(start), start })
    }

    /// Lets time pass, and wakes the sleeps that are over.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now + duration);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.now.borrow()
    }

    fn monotonic(&self) -> Duration {
        self.now().since(self.start)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut watch = self.now.subscribe();
        let until = self.now() + duration;
        Box::pin(async move {
            // The sender lives in the clock; when it is gone nothing waits for time any more.
            let _ = watch.wait_for(|now| *now >= until).await;
        })
    }
}

/// A new identifier: a UUIDv7 whose time is the clock's, so that identifiers
/// sort by creation even under an accelerated clock.
pub fn new_id(clock: &dyn Clock) -> uuid::Uuid {
    let mut random = [0; 10];
    // The operating system's generator fails only where nothing else would work either.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let millis = u64::try_from(clock.now().millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_survives_the_wire() {
        for millis in [0, 1, 999, 1_000, 1_763_654_400_123] {
            let time = Time::from_millis(millis);
            assert_eq!(Time::from_proto(&time.to_proto()), time);
        }
    }

    #[test]
    fn identifiers_carry_the_clock() {
        let clock = ManualClock::new(Time::from_secs(1_000_000));
        let first = new_id(&*clock);
        clock.advance(Duration::from_millis(1));
        assert!(first < new_id(&*clock));
        assert_eq!(first.get_version_num(), 7);
    }

    #[tokio::test]
    async fn manual_sleep_ends_when_time_has_passed() {
        let clock = ManualClock::new(Time::ZERO);
        let sleep = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(9));
        assert!(!sleep.is_finished());
        clock.advance(Duration::from_secs(1));
        sleep.await.unwrap();
    }
}
