//! A clock that never jumps: first the arithmetic, then the same on the system's clocks.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_host::errors::Chain;
use relogin_session::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Clock, SystemClock,
    saved::{self, Saved},
    since_boot,
};

/// A clock that goes with a monotonic clock and follows the time of day slowly. Does not read
/// clocks: their readings are arguments.
///
/// If the time of day is ahead, it runs faster by [`FASTER`], which is how much the monotonic clock
/// itself may be adjusted by a time server: so no deadline passes noticeably faster than the
/// monotonic clock. If the time of day is behind, it runs slower by [`SLOWER`], and never backward.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// Nanoseconds since 1970.
    time: u64,
    /// The last reading of the monotonic clock.
    seen: Duration,
}

/// One part in this many is gained while the time of day is ahead.
pub const FASTER: u64 = 2_000;

/// One part in this many is lost while the time of day is behind.
pub const SLOWER: u64 = 10;

const NANOS_A_MILLI: u64 = 1_000_000;

impl Steady {
    /// A clock that shows `time` while the monotonic clock shows `monotonic`.
    #[must_use]
    pub fn new(time: Timestamp, monotonic: Duration) -> Self {
        Self { time: time.0.saturating_mul(NANOS_A_MILLI), seen: monotonic }
    }

    /// The time when the monotonic clock shows `monotonic` and the time of day is `wall`.
    pub fn now(&mut self, monotonic: Duration, wall: Timestamp) -> Timestamp {
        // Readings of two threads may arrive in a different order than they were taken in.
        let passed = nanos(monotonic.saturating_sub(self.seen));
        self.seen = self.seen.max(monotonic);
        let straight = self.time.saturating_add(passed);
        let wall = wall.0.saturating_mul(NANOS_A_MILLI);
        self.time = if wall > straight {
            straight.saturating_add((passed / FASTER).min(wall - straight))
        } else {
            straight - (passed / SLOWER).min(straight - wall)
        };
        Timestamp(self.time / NANOS_A_MILLI)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A [`Steady`] clock on the system's clocks, which continues from the previous process's clock.
#[derive(Debug)]
pub struct SteadyClock {
    steady: Mutex<Steady>,
    /// Where its state is saved; none if nothing outlives the process.
    path: Option<PathBuf>,
}

/// How often the state is saved.
const SAVE: Duration = Duration::from_secs(60);

/// A difference from the time of day that is worth a log line, in milliseconds.
const APART: u64 = 60_000;

impl SteadyClock {
    /// A clock that continues from the state at `path`, or starts with the time of day.
    #[must_use]
    pub fn start(path: Option<PathBuf>) -> Self {
        let saved = path.as_deref().and_then(saved::read);
        let (wall, monotonic) = (SystemClock.now(), since_boot());
        let time = saved.map_or(wall, |saved| saved.went_on(wall, monotonic, saved::boot_id().as_deref()));
        let apart = time.0.abs_diff(wall.0);
        if apart > APART {
            let apart = humantime::format_duration(Duration::from_secs(apart / 1_000));
            let where_ = if time < wall { "behind" } else { "ahead of" };
            info!(
                "the session clock is {apart} {where_} the time of day, which was changed; deadlines follow the session clock"
            );
        }
        Self { steady: Mutex::new(Steady::new(time, monotonic)), path }
    }

    /// Saves the state every minute, and once more when it is told to stop.
    pub async fn keep(&self, stop: CancellationToken) {
        let Some(path) = &self.path else { return stop.cancelled().await };
        let mut tick = interval(SAVE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fails = false;
        loop {
            let is_last = tokio::select! {
                _ = tick.tick() => false,
                () = stop.cancelled() => true,
            };
            let saved = self.saved();
            let path = path.clone();
            match tokio::task::spawn_blocking(move || saved::write(&path, &saved)).await {
                Ok(Ok(())) => fails = false,
                // Only the state of the clock would be lost, if the time of day were set before the
                // next start.
                Ok(Err(error)) if !fails => {
                    warn!("cannot save the session clock: {}", Chain(&error));
                    fails = true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            if is_last {
                return;
            }
        }
    }

    fn saved(&self) -> Saved {
        let (wall, monotonic) = (SystemClock.now(), since_boot());
        // Rounded up: the time shown is truncated to milliseconds, and the next process must not
        // show less.
        let time = Timestamp(self.steady().now(monotonic, wall).0 + 1);
        Saved { time, wall, since_boot: saved::millis(monotonic), boot: saved::boot_id() }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn steady(&self) -> MutexGuard<'_, Steady> {
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let wall = SystemClock.now();
        let mut steady = self.steady();
        steady.now(since_boot(), wall)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    /// Some day of 2026.
    const TODAY: u64 = 1_790_000_000_000;

    /// A machine's two clocks, and the steady one over them.
    struct Machine {
        steady: Steady,
        monotonic: u64,
        wall: u64,
    }

    impl Machine {
        fn new(wall: u64) -> Self {
            Self { steady: Steady::new(Timestamp(wall), Duration::from_millis(5_000)), monotonic: 5_000, wall }
        }

        /// Lets time pass, looking each second; the time after it.
        fn pass(&mut self, ms: u64) -> u64 {
            let mut left = ms;
            while left > 0 {
                let step = left.min(1_000);
                (self.monotonic, self.wall, left) = (self.monotonic + step, self.wall + step, left - step);
                self.now();
            }
            self.now()
        }

        fn now(&mut self) -> u64 {
            self.steady.now(Duration::from_millis(self.monotonic), Timestamp(self.wall)).0
        }
    }

    #[test]
    fn a_clock_that_is_not_set_is_followed_to_the_millisecond() {
        let mut machine = Machine::new(TODAY);
        assert_eq!(machine.pass(HOUR), TODAY + HOUR);
    }

    #[test]
    fn a_mistake_of_a_day_that_lasts_seconds_costs_nothing() {
        let mut machine = Machine::new(TODAY);
        machine.wall += 26 * HOUR;
        let now = machine.pass(13_000);
        assert!((TODAY + 13_000..TODAY + 13_010).contains(&now), "{now}");
        machine.wall -= 26 * HOUR;
        assert_eq!(machine.pass(1_000), TODAY + 14_000, "and is made good");

        machine.wall -= 26 * HOUR;
        let now = machine.pass(13_000);
        assert!(now >= TODAY + 14_000 + 13_000 * 9 / 10, "{now}");
        machine.wall += 26 * HOUR;
        assert_eq!(machine.pass(HOUR), TODAY + 27_000 + HOUR);
    }

    #[test]
    fn setting_a_clock_that_began_years_ago_passes_no_deadline() {
        let mut machine = Machine::new(TODAY - 3 * YEAR);
        machine.wall = TODAY;
        let now = machine.pass(DAY);
        assert!((TODAY - 3 * YEAR + DAY..TODAY - 3 * YEAR + DAY + DAY / FASTER + 1).contains(&now), "{now}");
    }

    #[test]
    fn a_machine_that_slept_has_not_stood_still() {
        let mut machine = Machine::new(TODAY);
        (machine.monotonic, machine.wall) = (machine.monotonic + 3 * HOUR, machine.wall + 3 * HOUR);
        assert_eq!(machine.now(), TODAY + 3 * HOUR);
    }

    proptest! {
        /// Whatever is done to the time of day.
        #[test]
        fn no_deadline_passes_faster_than_the_monotonic_clock(
            start in 0..2 * TODAY,
            steps in prop::collection::vec((0..DAY, 0..4 * TODAY), 1..50),
        ) {
            let mut machine = Machine::new(start);
            let (mut before, mut passed) = (machine.now(), 0);
            for (step, wall) in steps {
                machine.wall = wall;
                (machine.monotonic, passed) = (machine.monotonic + step, passed + step);
                let now = machine.now();
                prop_assert!(now >= before, "back");
                prop_assert!(now <= start + passed + passed / FASTER + 1, "too fast");
                prop_assert!(now + 1 >= start + passed - passed / SLOWER, "too slow");
                before = now;
            }
        }

        /// It gets to the time of day in the end, and stays there.
        #[test]
        fn small_differences_go_away(ahead in 0..10_000_u64, behind in 0..10_000_u64) {
            let mut machine = Machine::new(TODAY);
            machine.wall = TODAY + ahead - behind.min(TODAY);
            let wall = machine.wall;
            machine.steady.now(Duration::from_millis(machine.monotonic), Timestamp(wall));
            prop_assert_eq!(machine.pass(10_000 * FASTER), wall + 10_000 * FASTER);
        }
    }

    #[test]
    fn many_looks_show_the_same_as_few() {
        let mut often = Steady::new(Timestamp(TODAY), Duration::ZERO);
        for micros in 0..1_000_000 {
            often.now(Duration::from_micros(micros), Timestamp(TODAY + micros / 1_000));
        }
        // The time of day has whole milliseconds.
        let now = often.now(Duration::from_secs(1), Timestamp(TODAY + 1_000)).0;
        assert!((TODAY + 999..=TODAY + 1_000).contains(&now), "{now}");
        // A reading that was taken before another and comes after it.
        assert_eq!(often.now(Duration::from_millis(900), Timestamp(TODAY + 900)).0, now);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_continues_in_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let clock = SteadyClock::start(Some(path.clone()));
        // As if the time of day had been three years behind when this process began, and was set
        // since.
        *clock.steady() = Steady::new(Timestamp(SystemClock.now().0 - 3 * YEAR), since_boot());
        let stop = CancellationToken::new();
        stop.cancel();
        clock.keep(stop).await;
        let before = clock.now();
        let next = SteadyClock::start(Some(path.clone())).now();
        assert!(next >= before && next.0 - before.0 < HOUR, "{before:?} {next:?}");
        std::fs::write(&path, "{").unwrap();
        assert!(SteadyClock::start(Some(path)).now().0.abs_diff(SystemClock.now().0) < HOUR);
        assert!(SteadyClock::start(None).now().0.abs_diff(SystemClock.now().0) < HOUR);
    }
}
