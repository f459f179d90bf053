//! Counts malformed requests and logs them at most once a second, because anybody can send any
//! number of them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::route::Route;

/// Counts received malformed requests.
#[derive(Debug, Default)]
pub(super) struct Malformed(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    total: u64,
    unsaid: u64,
    said: Option<Instant>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl Malformed {
    /// Counts one more.
    pub(super) fn note(&self, route: &Route) {
        if let Some(Counts { total, unsaid, .. }) = self.count(Instant::now()) {
            warn!(%route, since_last = unsaid, total, "received malformed requests");
        }
    }

    /// Counts one more, and returns the counts if it is time to log them.
    fn count(&self, now: Instant) -> Option<Counts> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total += 1;
        counts.unsaid += 1;
        if counts.said.is_some_and(|said| now < said + PAUSE) {
            return None;
        }
        let due = *counts;
        (counts.unsaid, counts.said) = (0, Some(now));
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_spoken_of_once_a_second() {
        let malformed = Malformed::default();
        let start = Instant::now();
        let at = |ms| malformed.count(start + Duration::from_millis(ms)).map(|due| (due.unsaid, due.total));
        assert_eq!(at(0), Some((1, 1)));
        assert_eq!((at(1), at(500), at(999)), (None, None, None));
        assert_eq!(at(1000), Some((4, 5)));
        assert_eq!(at(1001), None);
        assert_eq!(at(60_000), Some((2, 7)));
    }
}
