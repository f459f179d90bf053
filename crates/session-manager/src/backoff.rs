//! The delay before the next try: exponential, with full jitter. Must not draw random values: they
//! are arguments.
//!
//! Whatever is tried again uses it: reconnects (`connection.rs` of relogin-client-proto, which also
//! says when they start over), refused subscriptions, pending logouts, relogins after the user was
//! lost again and again (`session.rs`), and uses of a key, which `schedule.rs` cuts to the key's
//! life.

use std::time::Duration;

/// The longest first bound that is accepted, from a gateway or from an option.
const LONGEST: Duration = Duration::from_secs(300);
/// After this many doublings the delay exceeds the cap.
const DOUBLINGS: u32 = (Backoff::CAP.as_millis() / Backoff::BASE.as_millis()).ilog2() + 1;

/// Counts consecutive failures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Longest delay of the first try. It is jittered too, so that a restarted gateway is not
    /// overrun.
    pub const BASE: Duration = Duration::from_millis(250);
    /// Longest delay of all.
    pub const CAP: Duration = Duration::from_secs(30);

    /// The delay before the next try: uniform between zero and a bound that doubles with each try.
    pub fn next(&mut self, dice: &mut Dice) -> Duration {
        self.next_within(Self::BASE, dice)
    }

    /// The same, but the first bound is `first`, or the usual one if that is longer: for a crowd
    /// that has to come back one after the other. The second bound is twice that, and so are all
    /// later ones once they exceed the usual cap.
    pub fn next_within(&mut self, first: Duration, dice: &mut Dice) -> Duration {
        let first = first.clamp(Self::BASE, LONGEST);
        let bound = Self::CAP.max(first * 2).min(first * 2_u32.pow(self.failures.min(DOUBLINGS)));
        self.failures = self.failures.saturating_add(1);
        // Never zero: a timer that is due when it is set would look like a busy loop.
        dice.up_to(bound).max(Duration::from_millis(1))
    }

    /// The delay before a try that is not urgent: the same as after many failures.
    pub fn longest(&mut self, dice: &mut Dice) -> Duration {
        self.failures = self.failures.max(DOUBLINGS);
        self.next(dice)
    }

    /// A try succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The jitter that one input may draw: the bits of its [`Moment`](crate::Moment), stretched
/// (SplitMix64). No secret may come from it.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of these bits.
    pub fn new(seed: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(seed))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `count` things, from zero on. Of none: zero.
    pub fn pick(&mut self, count: usize) -> usize {
        // As 64 bits are many more than there are things, none of them is preferred.
        (self.roll() % (count.max(1) as u64)) as usize
    }

    /// A length of time from zero up to `bound`, in whole milliseconds.
    pub fn up_to(&mut self, bound: Duration) -> Duration {
        // By hand: `as_millis` counts with 128 bits, whose division the page would have to
        // download.
        let ms = bound.as_secs().saturating_mul(1000).saturating_add(bound.subsec_millis().into());
        Duration::from_millis(self.roll() % ms.saturating_add(1))
    }

    /// `time`, a tenth more or less.
    pub fn about(&mut self, time: Duration) -> Duration {
        time.saturating_sub(time / 10).saturating_add(self.up_to(time / 5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_fill_their_range_and_the_range_doubles_up_to_the_cap() {
        let bounds_ms = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        let mut longest = [Duration::ZERO; 10];
        let mut shortest = [Duration::MAX; 10];
        for seed in 0..2000_u64 {
            let (mut backoff, mut dice) = (Backoff::default(), Dice::new(seed.to_le_bytes()));
            for n in 0..10 {
                let wait = backoff.next(&mut dice);
                longest[n] = longest[n].max(wait);
                shortest[n] = shortest[n].min(wait);
            }
        }
        for (n, bound) in bounds_ms.map(Duration::from_millis).into_iter().enumerate() {
            assert!(longest[n] <= bound && longest[n] > bound * 9 / 10, "try {n}: {:?}", longest[n]);
            assert!(shortest[n] < bound / 10, "try {n}: {:?}", shortest[n]);
        }
    }

    #[test]
    fn a_crowd_has_a_longer_first_wait_that_doubles_once() {
        let check = |first: Duration, bounds_ms: [u64; 4]| {
            let mut longest = [Duration::ZERO; 4];
            for seed in 0..2000_u64 {
                let (mut backoff, mut dice) = (Backoff::default(), Dice::new(seed.to_le_bytes()));
                for longest in &mut longest {
                    *longest = backoff.next_within(first, &mut dice).max(*longest);
                }
            }
            for (longest, bound) in longest.into_iter().zip(bounds_ms.map(Duration::from_millis)) {
                assert!(longest <= bound && longest > bound * 9 / 10, "{first:?}: {longest:?} of {bound:?}");
            }
        };
        check(Duration::from_secs(40), [40_000, 80_000, 80_000, 80_000]);
        check(Duration::from_secs(8), [8000, 16_000, 30_000, 30_000]);
        check(Duration::ZERO, [250, 500, 1000, 2000]);
        check(Duration::MAX, [300_000, 600_000, 600_000, 600_000]);
    }

    #[test]
    fn each_of_several_is_picked() {
        let picked = |count| (0..100_u64).map(|seed| Dice::new(seed.to_le_bytes()).pick(count)).collect::<Vec<_>>();
        for which in 0..3 {
            assert!(picked(3).iter().filter(|picked| **picked == which).count() > 20, "{which}");
        }
        assert!(picked(1).iter().chain(&picked(0)).all(|picked| *picked == 0));
    }

    #[test]
    fn a_success_starts_over_and_any_number_of_failures_is_fine() {
        let (mut backoff, mut dice) = (Backoff { failures: u32::MAX }, Dice::new([3; 8]));
        assert!(backoff.next(&mut dice) <= Backoff::CAP);
        backoff.reset();
        assert!(backoff.next(&mut dice) <= Backoff::BASE);
    }

    #[test]
    fn about_stays_within_a_tenth() {
        let minute = Duration::from_secs(60);
        for seed in 0..1000_u64 {
            let time = Dice::new(seed.to_le_bytes()).about(minute);
            assert!((Duration::from_secs(54)..=Duration::from_secs(66)).contains(&time), "{time:?}");
        }
        assert_eq!(Dice::new([0; 8]).about(Duration::ZERO), Duration::ZERO);
        assert!(Dice::new([9; 8]).about(Duration::MAX) > Duration::MAX / 2);
    }
}
