//! The time of day, as the sessions see it. The one place that reads the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use relogin_session::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock from before 1970 is no clock: nothing expires until it is set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Follows the runtime's time, which a test pauses and moves.
    #[derive(Debug)]
    pub(crate) struct RuntimeClock(tokio::time::Instant);

    impl RuntimeClock {
        /// The time that it is when the clock is made.
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
}
