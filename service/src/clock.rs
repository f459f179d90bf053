//! The session clock. The only place that reads the system's clocks.
//!
//! The system's time of day can jump: a board without a battery is years behind until it finds a
//! time server, and a mistake can last for seconds. A deadline that a jump has passed cannot be
//! restored. So the session clock ([`SteadyClock`]) starts with the time of day, goes on with the
//! clock that nobody sets, and follows the time of day slowly.

pub mod saved;
pub mod steady;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relogin_session::Timestamp;
use rustix::time::{ClockId, clock_gettime};

pub use self::steady::SteadyClock;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's time of day. For times of others, as in their tokens, and for people who read it;
/// not for deadlines.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock from before 1970 was not set: nothing expires until it is.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The time since the machine was started, sleep included, because deadlines pass during sleep.
/// Nobody can set it.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // On other systems this one goes on while the machine sleeps.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Follows the runtime's time, which a test pauses and moves.
    #[derive(Debug)]
    pub(crate) struct RuntimeClock(tokio::time::Instant);

    impl RuntimeClock {
        /// The time at which the clock was created.
        pub(crate) const START: Timestamp = Timestamp(1_000_000);

        pub(crate) fn new() -> Self {
            Self(tokio::time::Instant::now())
        }
    }

    impl Clock for RuntimeClock {
        fn now(&self) -> Timestamp {
            Self::START.plus(u64::try_from(self.0.elapsed().as_millis()).unwrap())
        }
    }

    #[test]
    fn the_system_s_time_is_after_this_was_written() {
        assert!(SystemClock.now() > Timestamp(1_750_000_000_000));
    }

    #[test]
    fn the_time_since_the_boot_advances() {
        let begin = since_boot();
        assert!(begin > Duration::ZERO);
        while since_boot() == begin {}
        assert!(since_boot() > begin);
    }
}
