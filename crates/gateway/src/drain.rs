//! When which connection is closed while the gateway is being drained. Must not close any.

use std::{collections::VecDeque, time::Duration};

use relogin_gateway_proto::{ConnectionKey, time_to_come_back};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// Connections that are closed one after the other, at a steady pace.
pub(crate) struct Drain {
    waiting: VecDeque<ConnectionKey>,
    count: usize,
    start: Instant,
    /// How long all of them take.
    time: Duration,
    /// Dropped when it is over.
    _done: oneshot::Sender<()>,
}

impl Drain {
    /// Closes all of `keys` within this time; sooner, if they are so few that they could come back
    /// in less.
    pub(crate) fn new(
        keys: impl Iterator<Item = ConnectionKey>,
        within: Duration,
        start: Instant,
        done: oneshot::Sender<()>,
    ) -> Self {
        let waiting: VecDeque<_> = keys.collect();
        let count = waiting.len();
        Self { waiting, count, start, time: within.min(time_to_come_back(count)), _done: done }
    }

    /// Those whose turn it is by now, but not more than `most`.
    pub(crate) fn due(&mut self, now: Instant, most: usize) -> Vec<ConnectionKey> {
        let mut due = Vec::new();
        while due.len() < most && self.next_turn() <= now {
            let Some(key) = self.waiting.pop_front() else { break };
            due.push(key);
        }
        due
    }

    /// Whether all had their turn.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    fn next_turn(&self) -> Instant {
        let before = self.count - self.waiting.len();
        self.start + self.time.mul_f64(before as f64 / self.count.max(1) as f64)
    }
}

/// Returns when it is the turn of the next connection, or all had theirs.
pub(crate) async fn next(drain: Option<&Drain>) {
    match drain {
        Some(drain) => sleep_until(drain.next_turn()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many have had their turn after each of these times.
    async fn left(count: u64, within: Duration, after: &[Duration]) -> Vec<usize> {
        let start = Instant::now();
        let (done, mut is_done) = oneshot::channel();
        let mut drain = Drain::new((0..count).map(ConnectionKey), within, start, done);
        let mut left = 0;
        let counts = after.iter().map(|after| {
            left += drain.due(start + *after, usize::MAX).len();
            left
        });
        let counts = counts.collect();
        assert!(is_done.try_recv().is_err());
        assert!(drain.is_over());
        drop(drain);
        assert_eq!(is_done.await.ok(), None);
        counts
    }

    #[tokio::test]
    async fn many_leave_over_the_whole_time_and_a_few_at_once() {
        let [ms, s] = [Duration::from_millis, Duration::from_secs];
        let many = left(100_000, s(5), &[s(0), s(1), ms(2500), s(4), s(5)]).await;
        assert!(
            many.iter().zip([1, 20_000, 50_000, 80_000, 100_000]).all(|(left, at)| left.abs_diff(at) <= 1),
            "{many:?}"
        );
        assert_eq!(left(10, s(5), &[ms(4)]).await, [10]);
        assert_eq!(left(100_000, s(0), &[s(0)]).await, [100_000]);
        assert_eq!(left(0, s(5), &[s(0)]).await, [0]);
        let paced = left(2500, s(60), &[ms(500), s(1)]).await;
        assert!(paced[0].abs_diff(1250) <= 1 && paced[1] == 2500, "not longer than they take to come back: {paced:?}");
    }
}
