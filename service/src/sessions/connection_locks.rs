//! Connection locks: a connection is changed by one request at a time, from the store's write to
//! the last event, so that gateways get events in the order in which changes were stored. Otherwise
//! a token could arrive after its successor. Must not know what the changes are.
//!
//! Applies to this process only. Between processes, the store's revisions decide who writes, and
//! what events that have crossed leave behind is corrected (`several.rs`).

use std::hash::{BuildHasher, RandomState};

use relogin_session::ConnectionId;
use tokio::sync::{Mutex, MutexGuard};

/// A lock for each connection. Connections share locks by chance. That costs a wait now and then,
/// and limits the memory.
pub(super) struct ConnectionLocks {
    slots: Box<[Mutex<()>]>,
    // Keyed at random, so that nobody can choose cids that share a lock.
    hasher: RandomState,
}

/// The guard of some connections; released on drop.
pub struct ConnectionGuard<'a> {
    locks: &'a ConnectionLocks,
    slots: Vec<usize>,
    _held: Vec<MutexGuard<'a, ()>>,
}

const SLOTS: usize = 4096;

impl ConnectionLocks {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }

    /// Waits until nobody changes any of `connections`.
    pub(super) async fn take(&self, connections: impl IntoIterator<Item = &ConnectionId>) -> ConnectionGuard<'_> {
        let mut slots: Vec<_> = connections.into_iter().map(|connection| self.slot(connection)).collect();
        // Everybody locks in the same order, so there is no deadlock.
        slots.sort_unstable();
        slots.dedup();
        let mut held = Vec::with_capacity(slots.len());
        for &slot in &slots {
            held.push(self.slots[slot].lock().await);
        }
        ConnectionGuard { locks: self, slots, _held: held }
    }

    fn slot(&self, connection: &ConnectionId) -> usize {
        let hash = self.hasher.hash_one(connection) % SLOTS as u64;
        usize::try_from(hash).expect("it is less than SLOTS, which is one")
    }
}

impl std::fmt::Debug for ConnectionGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionGuard").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl ConnectionGuard<'_> {
    /// True if the guard covers all of `connections`.
    pub(super) fn covers<'a>(&self, connections: impl IntoIterator<Item = &'a ConnectionId>) -> bool {
        connections.into_iter().all(|connection| self.slots.binary_search(&self.locks.slot(connection)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn cid(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn one_at_a_time() {
        let locks = ConnectionLocks::new();
        let (a, b) = (cid("a"), cid("b"));
        let shares = |other: &ConnectionId| [&a, &b].iter().any(|taken| locks.slot(taken) == locks.slot(other));
        let c = (0..).map(|n| cid(&format!("c{n}"))).find(|c| !shares(c)).unwrap();
        let first = locks.take([&a, &b, &a]).await;
        assert!(first.covers([&b]) && !first.covers([&c]) && first.covers([]));
        let mut second = pin!(locks.take([&b]));
        assert!(poll!(second.as_mut()).is_pending());
        let _unconcerned = locks.take([&c]).await;
        drop(first);
        second.await;
    }
}
