//! The pace of reads: so long between two, and so many in a minute.
//!
//! Kept in memory, per account: after a restart the first read goes at once,
//! which is one read sooner than the profile says, and no more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use service_kit::clock::{SharedClock, duration_to_proto};
use tgmesh_proto::telegram::v1::{ReadPace, SpeedProfile};
use uuid::Uuid;

use super::limits::or_off;

/// The bound per minute is on any 60 seconds, not on those of the wall clock.
const MINUTE: Duration = Duration::from_secs(60);

/// How fast reads of one profile follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Between two reads, in milliseconds; 0 for no pause.
    pub interval_ms: u64,
    /// Most reads in any 60 seconds. `None` is not bounded; the configuration
    /// writes it `"off"`.
    #[serde(deserialize_with = "or_off")]
    pub per_minute: Option<u32>,
}

impl Speed {
    /// Time between two reads over a longer while: the tighter of both bounds.
    fn pace(self) -> Duration {
        let of_minute = self.per_minute.map_or(Duration::ZERO, |bound| MINUTE / bound.max(1));
        of_minute.max(Duration::from_millis(self.interval_ms))
    }
}

/// How fast reads follow one another, by profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedConfig {
    /// Default 2.0 s, 20 a minute.
    pub safe: Speed,
    /// Default 0.8 s, 40 a minute.
    pub medium: Speed,
    /// Default 0.2 s, 90 a minute.
    pub fast: Speed,
}

impl Default for SpeedConfig {
    fn default() -> Self {
        Self {
            safe: Speed { interval_ms: 2_000, per_minute: Some(20) },
            medium: Speed { interval_ms: 800, per_minute: Some(40) },
            fast: Speed { interval_ms: 200, per_minute: Some(90) },
        }
    }
}

impl SpeedConfig {
    fn of(&self, profile: SpeedProfile) -> Speed {
        match profile {
            SpeedProfile::Safe => self.safe,
            SpeedProfile::Medium | SpeedProfile::Unspecified => self.medium,
            SpeedProfile::Fast => self.fast,
        }
    }
}

/// When an account read, within the last minute.
#[derive(Debug, Default)]
struct Track {
    reads: VecDeque<Duration>,
}

impl Track {
    /// When the next read may go.
    fn due(&self, interval: Duration, per_minute: Option<u32>) -> Duration {
        let after_last = self.reads.back().map_or(Duration::ZERO, |last| *last + interval);
        // Nothing at all in a minute would be for ever: one is the least.
        let bound = per_minute.map_or(usize::MAX, |bound| usize::try_from(bound.max(1)).unwrap_or(usize::MAX));
        let in_window = self.reads.len().checked_sub(bound).and_then(|first| self.reads.get(first));
        after_last.max(in_window.map_or(Duration::ZERO, |first| *first + MINUTE))
    }

    fn note(&mut self, now: Duration) {
        self.reads.push_back(now);
        while self.reads.front().is_some_and(|first| *first + MINUTE <= now) {
            self.reads.pop_front();
        }
    }
}

/// Spaces the reads of each account out.
#[derive(Debug)]
pub struct Pacing {
    clock: SharedClock,
    config: SpeedConfig,
    accounts: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Track>>>>,
}

impl Pacing {
    /// With these speeds.
    pub fn new(clock: SharedClock, config: SpeedConfig) -> Self {
        Self { clock, config, accounts: Mutex::default() }
    }

    /// Returns when the account's next read may go; who asked first goes first.
    /// A read whose caller gives up while it waits does not count.
    pub async fn pace(&self, account_id: Uuid, profile: SpeedProfile) {
        let speed = self.config.of(profile);
        let track = self.track(account_id);
        // Held while waiting: the lock is the queue, and it is fair.
        let mut track = track.lock().await;
        let due = track.due(Duration::from_millis(speed.interval_ms), speed.per_minute);
        loop {
            let now = self.clock.monotonic();
            if now >= due {
                track.note(now);
                return;
            }
            let sleep = self.clock.sleep(due.saturating_sub(now));
            // A manual clock may have moved while the sleep was made.
            if self.clock.monotonic() < due {
                sleep.await;
            }
        }
    }

    /// How fast an account reads over a longer while, by speed.
    pub fn paces(&self) -> Vec<ReadPace> {
        let speeds = [SpeedProfile::Safe, SpeedProfile::Medium, SpeedProfile::Fast];
        let pace = |speed: SpeedProfile| {
            let interval = Some(duration_to_proto(self.config.of(speed).pace()));
            ReadPace { speed: speed.into(), interval }
        };
        speeds.map(pace).to_vec()
    }

    fn track(&self, account_id: Uuid) -> Arc<tokio::sync::Mutex<Track>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if !accounts.contains_key(&account_id) {
            // Accounts that have not read for a minute may read at once, as new ones do.
            let now = self.clock.monotonic();
            accounts.retain(|_, track| {
                Arc::strong_count(track) > 1
                    || track
                        .try_lock()
                        .map_or(true, |track| track.reads.back().is_some_and(|last| *last + MINUTE > now))
            });
        }
        accounts.entry(account_id).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::Time;
    use service_kit::clock::{Clock as _, ManualClock};

    /// Lets every task run until it waits.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// How many reads go within so many seconds, a tenth at a time.
    async fn reads_within(profile: SpeedProfile, secs: u64) -> Vec<Duration> {
        let clock = ManualClock::new(Time::ZERO);
        let pacing = Arc::new(Pacing::new(clock.clone(), SpeedConfig::default()));
        let times = Arc::new(Mutex::new(Vec::new()));
        let (task_times, task_clock) = (times.clone(), clock.clone());
        let reader = tokio::spawn(async move {
            loop {
                pacing.pace(Uuid::nil(), profile).await;
                task_times.lock().unwrap().push(task_clock.monotonic());
            }
        });
        settle().await;
        for _ in 0..secs * 10 {
            clock.advance(Duration::from_millis(100));
            settle().await;
        }
        reader.abort();
        let times = times.lock().unwrap();
        times.clone()
    }

    #[tokio::test]
    async fn keeps_the_interval_and_the_minute() {
        for (profile, interval, per_minute) in
            [(SpeedProfile::Safe, 2_000, 20), (SpeedProfile::Medium, 800, 40), (SpeedProfile::Fast, 200, 90)]
        {
            let times = reads_within(profile, 150).await;
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(interval)), "{profile:?}");
            for (index, first) in times.iter().enumerate() {
                let within = times[index..].iter().filter(|time| **time < *first + MINUTE).count();
                assert!(within <= per_minute, "{profile:?}: {within} reads in a minute");
            }
            assert!(times.len() >= per_minute * 2, "{profile:?}: only {} reads", times.len());
        }
    }

    #[tokio::test]
    async fn a_read_that_was_given_up_does_not_count() {
        let clock = ManualClock::new(Time::ZERO);
        let pacing = Pacing::new(clock.clone(), SpeedConfig::default());
        let id = Uuid::nil();
        pacing.pace(id, SpeedProfile::Safe).await;
        for _ in 0..100 {
            let given_up = tokio::time::timeout(Duration::ZERO, pacing.pace(id, SpeedProfile::Safe)).await;
            assert!(given_up.is_err());
        }
        clock.advance(Duration::from_secs(2));
        pacing.pace(id, SpeedProfile::Safe).await;
    }

    #[tokio::test]
    async fn accounts_do_not_wait_for_each_other() {
        let clock = ManualClock::new(Time::ZERO);
        let pacing = Pacing::new(clock.clone(), SpeedConfig::default());
        for id in 1..=100 {
            pacing.pace(Uuid::from_u128(id), SpeedProfile::Safe).await;
        }
        clock.advance(MINUTE);
        pacing.pace(Uuid::nil(), SpeedProfile::Safe).await;
        assert_eq!(pacing.accounts.lock().unwrap().len(), 1, "idle accounts are forgotten");
    }

    #[tokio::test]
    async fn a_profile_without_bounds_never_waits() {
        let clock = ManualClock::new(Time::ZERO);
        let speed: Speed = serde_json::from_str(r#"{"interval_ms": 0, "per_minute": "off"}"#).unwrap();
        let pacing = Pacing::new(clock.clone(), SpeedConfig { fast: speed, ..SpeedConfig::default() });
        for _ in 0..1_000 {
            // The clock stands still: whoever waited would wait for ever.
            pacing.pace(Uuid::nil(), SpeedProfile::Fast).await;
        }
    }
}
