//! Limits how many of many similar things are reported singly: the rest is counted, and the count
//! reported once a second. Pure: the time is an argument. Must not know what is reported.

use std::time::{Duration, Instant};

/// A token bucket that counts what it does not let through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trickle {
    /// How many may pass at once.
    spare: u32,
    /// The time up to which `spare` is filled.
    filled: Instant,
    /// How many were folded since the count was last reported.
    folded: u64,
    /// When the first of those happened.
    since: Instant,
}

/// How many pass at once after a silence.
pub(crate) const BURST: u32 = 50;

/// One more passes after this much time.
const REFILL: Duration = Duration::from_millis(500);

/// How long folded ones wait until their count is reported.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

impl Trickle {
    /// Nothing has happened before `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { spare: BURST, filled: now, folded: 0, since: now }
    }

    /// One more has happened. True if it may be reported singly; otherwise it is counted.
    pub(crate) fn passes(&mut self, now: Instant) -> bool {
        let refills = now.saturating_duration_since(self.filled).as_millis() / REFILL.as_millis();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        self.spare = self.spare.saturating_add(refills).min(BURST);
        // A full bucket's clock starts now, the others' goes on.
        self.filled = if self.spare == BURST { now } else { self.filled + REFILL * refills };
        if self.spare > 0 {
            self.spare -= 1;
            return true;
        }
        if self.folded == 0 {
            self.since = now;
        }
        self.folded += 1;
        false
    }

    /// When the count is to be reported; none if all were reported singly.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.folded > 0).then(|| self.since + PAUSE)
    }

    /// The count, which starts again.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_some_and_all_are_counted() {
        let start = Instant::now();
        let mut trickle = Trickle::new(start);
        let (mut passed, mut reported, mut summaries) = (0, 0, 0);
        // A thousand a second, for a minute.
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            if trickle.due().is_some_and(|due| due <= now) {
                reported += trickle.take();
                summaries += 1;
            }
            passed += u64::from(trickle.passes(now));
        }
        reported += trickle.take();
        assert_eq!(passed + reported, 60_000);
        assert!((165..=170).contains(&passed), "{passed}");
        assert!((58..=60).contains(&summaries), "{summaries}");

        let later = start + Duration::from_secs(120);
        assert!(trickle.due().is_none());
        assert_eq!((0..100).filter(|_| trickle.passes(later)).count(), BURST as usize);
    }

    #[test]
    fn one_a_second_is_never_folded() {
        let start = Instant::now();
        let mut trickle = Trickle::new(start);
        assert!((0..1000).all(|second| trickle.passes(start + Duration::from_secs(second))));
    }
}
