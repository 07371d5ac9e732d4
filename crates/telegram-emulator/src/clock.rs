//! The emulator's clock: one injected source of time for message ids, dates and expiries.
//!
//! Real time (socket timers) is derived from it by a factor, so that an accelerated world also closes silent
//! connections sooner. Nothing else in this crate may ask the system for the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from. Share one source with the clients when the clock is accelerated: clients drop
/// messages whose ids are more than 30 s ahead or 300 s behind their own clock.
pub type TimeSource = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The system's own clock; the only place that reads it.
#[expect(clippy::disallowed_methods, reason = "the one place where the emulator reads the system's clock")]
pub fn system_time_source() -> TimeSource {
    Arc::new(SystemTime::now)
}

/// A [`TimeSource`] with the arithmetic that the protocol needs.
#[derive(Clone)]
pub(crate) struct Clock {
    source: TimeSource,
    /// Seconds of the emulated world per real second; always positive.
    factor: f64,
}

impl Clock {
    pub(crate) fn new(source: TimeSource, factor: f64) -> Self {
        let factor = if factor.is_finite() && factor > 0.0 { factor } else { 1.0 };
        Self { source, factor }
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.source)()
    }

    /// Seconds since the epoch, as TL dates carry them.
    pub(crate) fn unix(&self) -> i32 {
        i32::try_from(self.since_epoch().as_secs()).unwrap_or(i32::MAX)
    }

    /// Duration since the epoch; zero for a source that lies before it.
    pub(crate) fn since_epoch(&self) -> Duration {
        self.now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The real instant that lies a span of emulated time ahead.
    #[expect(clippy::disallowed_methods, reason = "socket timers run in real time, derived from the emulated one")]
    pub(crate) fn instant_after(&self, emulated: Duration) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.real(emulated)
    }

    /// How long a span of emulated time lasts in reality.
    pub(crate) fn real(&self, emulated: Duration) -> Duration {
        Duration::try_from_secs_f64(emulated.as_secs_f64() / self.factor).unwrap_or(emulated)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("factor", &self.factor).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_shrinks_by_the_factor() {
        let clock = Clock::new(Arc::new(|| UNIX_EPOCH + Duration::from_secs(100)), 25.0);
        assert_eq!(clock.unix(), 100);
        assert_eq!(clock.real(Duration::from_secs(75)), Duration::from_secs(3));
    }

    #[test]
    fn a_senseless_factor_means_real_time() {
        let clock = Clock::new(system_time_source(), -1.0);
        assert_eq!(clock.real(Duration::from_secs(7)), Duration::from_secs(7));
    }
}
