//! Counts a log line that strangers can cause any number of times, and writes it at most once a
//! second. Must not know what the line says.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Counts events, and says when it is time to log them.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<Counts>);

/// How often something has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Since the process started.
    pub total: u64,
    /// Since the last line.
    pub since_last: u64,
    last: Option<Instant>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl LogThrottle {
    /// Counts one more, and returns the counts if a line is due.
    pub fn count(&self) -> Option<Counts> {
        let now = Instant::now();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total += 1;
        counts.since_last += 1;
        if counts.last.is_some_and(|last| now < last + PAUSE) {
            return None;
        }
        let due = *counts;
        (counts.since_last, counts.last) = (0, Some(now));
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_due_once_a_second() {
        let throttle = LogThrottle::default();
        let after = async |ms| {
            tokio::time::advance(Duration::from_millis(ms)).await;
            throttle.count().map(|due| (due.since_last, due.total))
        };
        assert_eq!(after(0).await, Some((1, 1)));
        assert_eq!((after(1).await, after(499).await, after(499).await), (None, None, None));
        assert_eq!(after(1).await, Some((4, 5)));
        assert_eq!(after(1).await, None);
        assert_eq!(after(60_000).await, Some((2, 7)));
    }
}
