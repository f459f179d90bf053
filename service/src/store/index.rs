//! What embedded stores keep in memory to find sessions by connection, by user and by deadline. Knows no disk and no revisions.
//!
//! A million sessions are to fit in 400 MB beside the database's own cache, so nothing of a record is kept here but these
//! three: some 190 bytes a session with one connection.

use std::collections::{BTreeSet, HashMap};

use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};

/// Finds sessions by what is in their records.
#[derive(Debug, Default)]
pub(super) struct Index {
    connections: HashMap<ConnectionId, SessionId>,
    users: BTreeSet<(UserId, SessionId)>,
    deadlines: BTreeSet<(Timestamp, SessionId)>,
}

impl Index {
    /// Takes a session up.
    pub(super) fn insert(&mut self, record: &Record) {
        for connection in &record.connections {
            self.connections.insert(connection.clone(), record.sid);
        }
        self.users.insert((record.user_id.clone(), record.sid));
        self.deadlines.insert((record.deadline(), record.sid));
    }

    /// Forgets a session, which was inserted with this very record.
    pub(super) fn remove(&mut self, record: &Record) {
        for connection in &record.connections {
            // Another session may have taken it up already, when several records change at once.
            if self.connections.get(connection) == Some(&record.sid) {
                self.connections.remove(connection);
            }
        }
        self.users.remove(&(record.user_id.clone(), record.sid));
        self.deadlines.remove(&(record.deadline(), record.sid));
    }

    /// The session that `connection` is on.
    pub(super) fn session_on(&self, connection: &ConnectionId) -> Option<SessionId> {
        self.connections.get(connection).copied()
    }

    /// The sessions of `user`.
    pub(super) fn sessions_of(&self, user: &UserId) -> Vec<SessionId> {
        let all = (user.clone(), SessionId([0; 16]))..=(user.clone(), SessionId([u8::MAX; 16]));
        self.users.range(all).map(|&(_, sid)| sid).collect()
    }

    /// At most `limit` sessions whose deadline is at or before `until`, earliest first.
    pub(super) fn overdue(&self, until: Timestamp, limit: usize) -> Vec<SessionId> {
        self.deadlines.range(..=(until, SessionId([u8::MAX; 16]))).take(limit).map(|&(_, sid)| sid).collect()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }
}

/// True if a deadline appeared that is earlier than all before.
pub(super) fn is_earlier(after: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    after.is_some_and(|after| before.is_none_or(|before| after < before))
}
