//! What a process notes about connections and sessions that others may notify, too. Must not look
//! at the store.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_session::{ConnectionId, SessionId};
use relogin_store::{Revision, Stored};
use tokio::{sync::Notify, time::Instant};

/// How long the process that has marked a session as ended may take to notify its connections and
/// to remove it, before others do.
pub(crate) const ENDING: Duration = Duration::from_secs(10);

/// For how long notified connections are remembered, and how many at most. Longer than it takes
/// until others notice that an instance has vanished.
const LATELY: Duration = Duration::from_secs(60);
pub(in crate::sessions) const MAX_NOTIFIED: usize = 65_536;

/// Sessions that others have marked as ended, and since when this process knows it.
#[derive(Debug, Default)]
pub(in crate::sessions) struct Endings(Mutex<HashMap<SessionId, (Revision, Instant)>>);

impl Endings {
    /// True if another process is expected to announce the end of this session.
    pub(super) fn is_published_by_another(&self, stored: &Stored) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (revision, since) = seen.entry(stored.record.sid).or_insert((stored.revision, now));
        if *revision != stored.revision {
            (*revision, *since) = (stored.revision, now);
        }
        now.duration_since(*since) < ENDING
    }

    /// Forgets those that were seen long ago.
    pub(super) fn forget_old(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (_, since)| since.elapsed() < ENDING * 6);
    }
}

/// The connections that this process has notified lately, oldest first.
#[derive(Debug, Default)]
pub(in crate::sessions) struct RecentlyNotified(Mutex<VecDeque<(Instant, ConnectionId)>>);

impl RecentlyNotified {
    pub(super) fn add<'a>(&self, connections: impl Iterator<Item = &'a ConnectionId>) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        sent.extend(connections.map(|connection| (now, connection.clone())));
        let surplus = sent.len().saturating_sub(MAX_NOTIFIED);
        let old = sent.iter().take_while(|(since, _)| now.duration_since(*since) > LATELY).count();
        sent.drain(..surplus.max(old));
    }

    pub(super) fn connections(&self) -> HashSet<ConnectionId> {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|(since, _)| since.elapsed() <= LATELY).map(|(_, connection)| connection.clone()).collect()
    }
}

/// The connections that were sent something that was not checked yet, and the session that each
/// knows.
#[derive(Debug, Default)]
pub(in crate::sessions) struct Unconfirmed {
    sent: Mutex<HashMap<ConnectionId, Option<SessionId>>>,
    pub(super) added: Notify,
    pub(super) is_urgent: Notify,
}

impl Unconfirmed {
    pub(in crate::sessions) fn add(&self, sent: impl IntoIterator<Item = (ConnectionId, Option<SessionId>)>) {
        let mut unconfirmed = self.lock();
        for (connection, session) in sent {
            if unconfirmed.len() < MAX_NOTIFIED {
                unconfirmed.insert(connection, session);
            }
        }
        self.added.notify_one();
    }

    /// Adds those that are to be checked without delay. False if there is no room for all.
    pub(super) fn add_urgent(&self, sent: &HashMap<&ConnectionId, Option<SessionId>>) -> bool {
        let mut unconfirmed = self.lock();
        if unconfirmed.len() + sent.len() > MAX_NOTIFIED {
            return false;
        }
        unconfirmed.extend(sent.iter().map(|(&connection, session)| (connection.clone(), *session)));
        self.added.notify_one();
        self.is_urgent.notify_one();
        true
    }

    pub(super) fn remove<'a>(&self, connections: impl Iterator<Item = &'a ConnectionId>) {
        let mut unconfirmed = self.lock();
        if !unconfirmed.is_empty() {
            for connection in connections {
                unconfirmed.remove(connection);
            }
        }
    }

    pub(in crate::sessions) fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Option<SessionId>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
