//! A bounded map whose entries expire. When it is full, the entry that would expire first is
//! evicted. Must not know what the entries mean.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

/// Values by key, limited in number and in time.
#[derive(Debug)]
pub(super) struct ExpiringMap<T> {
    capacity: usize,
    values: HashMap<u64, (T, Instant)>,
    /// When each key expires, earliest first.
    order: BTreeSet<(Instant, u64)>,
}

impl<T: Copy> ExpiringMap<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, values: HashMap::new(), order: BTreeSet::new() }
    }

    /// The value of `key`, if it has not expired at `now`.
    pub(super) fn get(&self, key: u64, now: Instant) -> Option<T> {
        self.values.get(&key).filter(|(_, until)| now < *until).map(|(value, _)| *value)
    }

    /// Stores `value` for a time.
    pub(super) fn insert(&mut self, key: u64, value: T, now: Instant, time: Duration) {
        self.remove(key);
        while let Some(&(until, oldest)) = self.order.first()
            && (until <= now || self.values.len() >= self.capacity)
        {
            self.remove(oldest);
        }
        self.values.insert(key, (value, now + time));
        self.order.insert((now + time, key));
    }

    pub(super) fn remove(&mut self, key: u64) {
        if let Some((_, until)) = self.values.remove(&key) {
            self.order.remove(&(until, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_forgotten_in_time_and_the_earliest_for_want_of_room() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = ExpiringMap::new(3);
        for (key, seconds) in [(1, 100), (2, 10), (3, 50)] {
            table.insert(key, key, start, Duration::from_secs(seconds));
        }
        assert_eq!((table.get(2, at(9)), table.get(2, at(10))), (Some(2), None));
        table.insert(4, 4, start, Duration::from_secs(5));
        assert_eq!((table.get(2, start), table.values.len()), (None, 3), "the first to be forgotten made room");
        table.insert(1, 7, start, Duration::from_secs(1));
        assert_eq!((table.get(1, start), table.values.len()), (Some(7), 3), "what is there makes room for itself");
        table.insert(5, 5, at(60), Duration::from_secs(1));
        assert_eq!((table.values.len(), table.order.len()), (1, 1), "what is over is cleared away");
    }
}
