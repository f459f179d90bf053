//! Which connections have asked for a list of sessions, and what of it they do not know yet. Must
//! not look at the store, nor send anything.
//!
//! RES tells no service who has subscribed to a resource, nor that anybody no longer does. So a
//! connection whose gateway does not fetch the list again when it is told to is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_session::{ConnectionId, SessionId, UserId};
use tokio::{sync::Notify, time::Instant};

/// How many connections are told of changes; the list of the one that asked first is no longer
/// live then.
pub(in crate::sessions) const MAX_WATCHERS: usize = 65_536;

/// How many of them of one user: each change of a session costs each of them a request.
pub(in crate::sessions) const MAX_OF_USER: usize = 16;

/// How long a gateway may take to fetch a list again.
const FETCHED_WITHIN: Duration = Duration::from_secs(60);

/// The connections that have asked.
#[derive(Debug, Default)]
pub(in crate::sessions) struct Watchers {
    state: Mutex<State>,
    changed: Notify,
    urgent: Notify,
}

#[derive(Debug, Default)]
struct State {
    watchers: HashMap<ConnectionId, ListWatcher>,
    /// Those of each user, the one that asked first first.
    by_user: HashMap<UserId, Vec<ConnectionId>>,
    /// All of them, in the order in which they have asked last.
    order: BTreeMap<u64, ConnectionId>,
    last: u64,
    /// Those that have something to fetch.
    stale: BTreeSet<ConnectionId>,
}

#[derive(Debug, Default)]
struct ListWatcher {
    user: Option<UserId>,
    at: u64,
    /// When its gateway was told first to fetch what it has not fetched since.
    told: Option<Instant>,
    is_list_stale: bool,
    sessions: BTreeSet<SessionId>,
}

/// What a gateway should fetch again.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sessions) struct Stale {
    pub(in crate::sessions) connection: ConnectionId,
    /// Whether the list itself is stale.
    pub(in crate::sessions) list: bool,
    /// The sessions on it that are.
    pub(in crate::sessions) sessions: BTreeSet<SessionId>,
}

/// A change of a session.
#[derive(Clone, Copy, Debug)]
pub(in crate::sessions) struct Changed<'a> {
    pub(in crate::sessions) sid: SessionId,
    pub(in crate::sessions) user: &'a UserId,
    /// Its connections before and after.
    pub(in crate::sessions) connections: [&'a [ConnectionId]; 2],
    /// Whether it was made, or is over.
    pub(in crate::sessions) is_first_or_last: bool,
}

impl Watchers {
    /// The list of `connection`, or a session on it, is being fetched, and will be read after this.
    pub(super) fn fetching(&self, connection: &ConnectionId) {
        let mut state = self.lock();
        state.last += 1;
        let (at, State { watchers, order, .. }) = (state.last, &mut *state);
        let watcher = watchers.entry(connection.clone()).or_default();
        order.remove(&watcher.at);
        (watcher.at, watcher.told) = (at, None);
        order.insert(at, connection.clone());
        if watchers.len() > MAX_WATCHERS
            && let Some((_, first)) = state.order.pop_first()
        {
            state.forget(&first);
        }
    }

    /// Whose list it is; none if nobody is logged in on `connection`.
    pub(super) fn is_of(&self, connection: &ConnectionId, user: Option<&UserId>) {
        let mut state = self.lock();
        if state.watchers.get(connection).is_none_or(|watcher| watcher.user.as_ref() == user) {
            return;
        }
        state.leave_user(connection);
        if let Some(watcher) = state.watchers.get_mut(connection) {
            watcher.user = user.cloned();
        }
        let Some(user) = user else { return };
        let others = state.by_user.entry(user.clone()).or_default();
        others.push(connection.clone());
        if others.len() > MAX_OF_USER {
            let first = others.remove(0);
            state.forget(&first);
        }
    }

    /// A session has changed: the lists of its user are stale, and those of its connections.
    pub(in crate::sessions) fn changed(&self, changed: Changed<'_>) {
        let mut state = self.lock();
        if state.watchers.is_empty() {
            return;
        }
        let Changed { sid, user, connections: [before, after], is_first_or_last } = changed;
        let is_urgent = is_first_or_last || before != after;
        let State { watchers, by_user, stale, .. } = &mut *state;
        let concerned = by_user.get(user).into_iter().flatten().chain(before).chain(after);
        for connection in concerned {
            let Some(watcher) = watchers.get_mut(connection) else { continue };
            watcher.is_list_stale |= is_urgent;
            // A session that is new to the list is fetched with it, and one that is over is gone.
            if is_first_or_last {
                watcher.sessions.remove(&sid);
            } else {
                watcher.sessions.insert(sid);
            }
            stale.insert(connection.clone());
        }
        if !stale.is_empty() {
            self.changed.notify_one();
            if is_urgent {
                self.urgent.notify_one();
            }
        }
    }

    /// What is stale since this was called last.
    pub(super) fn take(&self, now: Instant) -> Vec<Stale> {
        let mut state = self.lock();
        let connections = std::mem::take(&mut state.stale);
        let mut stale = Vec::with_capacity(connections.len());
        for connection in connections {
            let Some(watcher) = state.watchers.get_mut(&connection) else { continue };
            if now.duration_since(*watcher.told.get_or_insert(now)) > FETCHED_WITHIN {
                state.forget(&connection);
                continue;
            }
            let (list, sessions) = (std::mem::take(&mut watcher.is_list_stale), std::mem::take(&mut watcher.sessions));
            stale.push(Stale { connection, list, sessions });
        }
        stale
    }

    /// Resolves when something is stale, even if nobody was waiting. For one task. Cancel safe.
    pub(super) async fn wanted(&self) {
        while self.lock().stale.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Resolves when some of it should not wait. For one task. Cancel safe.
    pub(super) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    #[cfg(test)]
    pub(in crate::sessions) fn len(&self) -> usize {
        self.lock().watchers.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, connection: &ConnectionId) {
        self.leave_user(connection);
        if let Some(watcher) = self.watchers.remove(connection) {
            self.order.remove(&watcher.at);
        }
        self.stale.remove(connection);
    }

    fn leave_user(&mut self, connection: &ConnectionId) {
        let Some(user) = self.watchers.get_mut(connection).and_then(|watcher| watcher.user.take()) else { return };
        if let Some(connections) = self.by_user.get_mut(&user) {
            connections.retain(|other| other != connection);
            if connections.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::tests::cid;

    const SID: SessionId = SessionId([1; 16]);

    fn asks(watchers: &Watchers, connection: &str, user: Option<i64>) {
        watchers.fetching(&cid(connection));
        watchers.is_of(&cid(connection), user.map(UserId::Number).as_ref());
    }

    fn changes(watchers: &Watchers, user: i64, before: &[ConnectionId], after: &[ConnectionId], first_or_last: bool) {
        let (user, connections) = (&UserId::Number(user), [before, after]);
        watchers.changed(Changed { sid: SID, user, connections, is_first_or_last: first_or_last });
    }

    /// Who is to fetch what: `a` the session, `a*` the list, `a+` both.
    fn stale(watchers: &Watchers) -> String {
        let names = watchers.take(Instant::now()).into_iter().map(|stale| {
            let what = match (stale.list, stale.sessions.contains(&SID)) {
                (true, true) => "+",
                (true, false) => "*",
                (false, true) => "",
                (false, false) => "?",
            };
            format!("{}{what}", stale.connection)
        });
        names.collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn those_are_told_whose_list_a_session_is_on_or_that_it_is_on() {
        let watchers = Watchers::default();
        changes(&watchers, 1, &[], &[], true);
        for (connection, user) in [("a", Some(1)), ("b", Some(2)), ("c", Some(1)), ("d", None)] {
            asks(&watchers, connection, user);
        }
        assert_eq!(stale(&watchers), "", "what was before is what they read");
        changes(&watchers, 1, &[], &[], true);
        assert_eq!(stale(&watchers), "a* c*");
        changes(&watchers, 1, &[cid("a")], &[cid("a")], false);
        assert_eq!(stale(&watchers), "a c", "only a use of its key");
        changes(&watchers, 1, &[cid("a")], &[cid("d"), cid("x")], false);
        assert_eq!(stale(&watchers), "a+ c+ d+", "it has other connections");
        changes(&watchers, 1, &[], &[], false);
        changes(&watchers, 1, &[], &[], true);
        assert_eq!(stale(&watchers), "a* c*", "used and over");
        asks(&watchers, "d", Some(1));
        asks(&watchers, "a", None);
        changes(&watchers, 1, &[], &[], true);
        assert_eq!(stale(&watchers), "c* d*");
        assert_eq!(stale(&watchers), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_not_fetched_again_is_forgotten_at_the_change_after_a_minute() {
        let watchers = Watchers::default();
        asks(&watchers, "a", Some(1));
        asks(&watchers, "b", Some(1));
        changes(&watchers, 1, &[], &[], true);
        assert_eq!(stale(&watchers), "a* b*");
        asks(&watchers, "a", Some(1));
        tokio::time::advance(FETCHED_WITHIN + Duration::from_millis(1)).await;
        changes(&watchers, 1, &[], &[], true);
        assert_eq!((stale(&watchers).as_str(), watchers.len()), ("a*", 1));
    }

    #[tokio::test]
    async fn a_bounded_number_of_connections_of_a_user_and_in_all_is_told() {
        let watchers = Watchers::default();
        for n in 0..=MAX_OF_USER {
            asks(&watchers, &format!("c{n:02}"), Some(1));
        }
        changes(&watchers, 1, &[], &[], true);
        let told = stale(&watchers);
        assert_eq!((told.split(' ').count(), told.starts_with("c01* ")), (MAX_OF_USER, true), "{told}");
        for n in 0..MAX_WATCHERS {
            asks(&watchers, &format!("d{n}"), None);
        }
        let state = watchers.lock();
        assert_eq!((state.watchers.len(), state.order.len(), state.by_user.len()), (MAX_WATCHERS, MAX_WATCHERS, 0));
    }
}
