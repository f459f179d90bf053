//! Requests under way, and whom each answer is for. Must not depend on what is requested, or on
//! sockets.

use std::{collections::VecDeque, time::Duration};

/// Requests without an answer: the caller's token `T` of each, and when it is waited for no longer.
#[derive(Clone, Debug)]
pub(crate) struct Requests<T> {
    next_id: u64,
    /// In the order of their ids, which is that in which most are answered.
    pending: VecDeque<(u64, (T, Duration))>,
    /// No request times out before this: looking through all of them at each input would make many
    /// of them slow.
    next: Duration,
}

impl<T> Requests<T> {
    /// None under way.
    pub(crate) fn new() -> Self {
        Self { next_id: 1, pending: VecDeque::new(), next: Duration::MAX }
    }

    /// Notes a request that settles at `deadline` if nothing comes before. Returns the id to send
    /// it with; ids are never used twice, not even on another connection.
    pub(crate) fn add(&mut self, token: T, deadline: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.push_back((id, (token, deadline)));
        self.next = self.next.min(deadline);
        id
    }

    /// The answer to `id` came. `None` if nobody waits for it (any more).
    pub(crate) fn answered(&mut self, id: u64) -> Option<T> {
        let at = self.pending.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.pending.remove(at).map(|(_, (token, _))| token)
    }

    /// Takes out one request whose time is over; call until `None`. Its answer will be for
    /// `instead`.
    pub(crate) fn timed_out(&mut self, now: Duration, instead: T) -> Option<T> {
        if now < self.next {
            return None;
        }
        let found = self.pending.iter_mut().map(|(_, pending)| pending).find(|(_, deadline)| *deadline <= now);
        if let Some(pending) = found {
            return Some(std::mem::replace(pending, (instead, Duration::MAX)).0);
        }
        self.next = self.pending.iter().map(|(_, (_, deadline))| *deadline).min().unwrap_or(Duration::MAX);
        None
    }

    /// Nobody waits for the request of which this is true any more: its answer will be for
    /// `instead`.
    pub(crate) fn forget(&mut self, is_it: impl Fn(&T) -> bool, instead: T) -> bool {
        let found = self.pending.iter_mut().map(|(_, pending)| pending).find(|(token, _)| is_it(token));
        found.map(|pending| *pending = (instead, Duration::MAX)).is_some()
    }

    /// The connection is lost: takes all requests out, in the order in which they were made.
    pub(crate) fn lost(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.next = Duration::MAX;
        std::mem::take(&mut self.pending).into_iter().map(|(_, (token, _))| token)
    }

    /// When the next request may time out; a request that was answered meanwhile can make it too
    /// early.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        Some(self.next).filter(|next| *next < Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_request_settles_once() {
        let mut requests = Requests::new();
        let ids = ["a", "b", "c", "d"].map(|token| requests.add(token, if token == "c" { s(1) } else { s(2) }));
        assert_eq!(requests.next_deadline(), Some(s(1)));
        assert_eq!(requests.answered(ids[1]), Some("b"));
        assert_eq!(requests.answered(ids[1]), None);
        assert_eq!(requests.timed_out(s(1), "late"), Some("c"));
        assert_eq!(requests.timed_out(s(1), "late"), None);
        assert_eq!(requests.answered(ids[2]), Some("late"));
        assert_eq!(requests.lost().collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(requests.next_deadline(), None);
        assert!(requests.add("e", s(9)) > ids[3]);
    }

    #[test]
    fn answers_to_unknown_requests_are_ignored() {
        assert_eq!(Requests::<()>::new().answered(7), None);
    }
}
