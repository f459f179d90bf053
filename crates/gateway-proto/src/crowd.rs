//! How long many clients should take to come back. Must not depend on connections.

use std::time::Duration;

/// How many clients may come back in a second: about half of what a gateway and its session service
/// take in (docs/performance.md, `storm`).
const PER_SECOND: u64 = 2500;

/// Within which time as many clients as `connections` should come back after they have lost a
/// gateway, each at random.
#[must_use]
pub fn time_to_come_back(connections: usize) -> Duration {
    Duration::from_millis((connections as u64).saturating_mul(1000) / PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_come_back_at_once_and_a_hundred_thousand_within_forty_seconds() {
        assert_eq!(time_to_come_back(0), Duration::ZERO);
        assert_eq!(time_to_come_back(100), Duration::from_millis(40));
        assert_eq!(time_to_come_back(100_000), Duration::from_secs(40));
        assert!(time_to_come_back(usize::MAX) > Duration::from_secs(86_400));
    }
}
