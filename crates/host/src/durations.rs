//! How long something took, how often, counted by two atomic adds: for metrics. Must not know what
//! is timed, or who shows it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Durations, counted in buckets. From a sync of a fast disk to a login that waits for its turn.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; Self::BOUNDS.len() + 1],
    /// In nanoseconds, enough for centuries.
    sum: AtomicU64,
}

/// [`Durations`] as they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationCounts {
    /// How many took up to each of [`Durations::BOUNDS`], and more than the one before; last:
    /// longer.
    pub buckets: [u64; Durations::BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// The upper bounds of the buckets, in microseconds.
    pub const BOUNDS: [u64; 16] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 15_000_000,
    ];

    /// Counts one.
    pub fn add(&self, duration: Duration) {
        let bucket = Self::BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < duration);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(duration.as_nanos().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> DurationCounts {
        DurationCounts {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            sum: Duration::from_nanos(self.sum.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_it_fits() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 1_000, 15_000_000, 15_000_001] {
            durations.add(Duration::from_micros(micros));
        }
        let counts = durations.counts();
        let mut expected = [0; Durations::BOUNDS.len() + 1];
        for (bucket, count) in [(0, 2), (1, 1), (3, 1), (15, 1), (16, 1)] {
            expected[bucket] = count;
        }
        assert_eq!(counts.buckets, expected);
        assert_eq!(counts.sum, Duration::from_micros(30_001_202));
    }
}
