//! Pending logouts, as they are in storage: found there, left to a sibling for a while, and taken out when they are over.
//! Sends nothing.

use super::{
    super::{
        SessionManager,
        relogin::MAX_TRIES,
        status::{SessionStatus, StorageQuery},
    },
    PATIENCE, PendingLogout, PendingLogouts,
};
use crate::record::{Record, SessionName, Stored};
use crate::{outbox::Outbox, turn::Turn};

/// A session that is over.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) session: Option<SessionName>,
    pub(super) record: Option<Record>,
}

impl SessionManager {
    /// Storage has these logouts, which nobody may be about to finish.
    pub(in crate::manager) fn adopt(&mut self, pending: &[Record]) {
        for record in pending {
            if !self.pending_logouts.knows(record) {
                self.pending_logouts.push(PendingLogout::new(record.holding().session, Some(record.clone()), false));
            }
        }
    }

    /// Notes whether storage has logouts that a sibling should be about to finish, and until when it may.
    pub(in crate::manager) fn look_for_leftovers(&mut self, pending: &[Record], turn: &mut Turn) {
        let is_free = self.connected && !matches!(self.status, SessionStatus::Attached { .. });
        let is_left = is_free && pending.iter().any(|record| !self.pending_logouts.knows(record));
        let patience = PATIENCE.saturating_add(turn.dice.up_to(PATIENCE / 2));
        let until = turn.after(patience);
        self.notes.leftovers = is_left.then(|| self.notes.leftovers.unwrap_or(until));
    }

    /// The sibling has had its time: what storage still has of these is finished here, unless the connection has a session,
    /// which it would lose by that.
    pub(in crate::manager) fn account_for_leftovers(&mut self, turn: &Turn, out: &mut Outbox) {
        if self.notes.leftovers.is_some_and(|due| due <= turn.now) {
            self.notes.leftovers = None;
            if !matches!(self.status, SessionStatus::Attached { .. }) {
                self.queries.look(StorageQuery::Leftovers, out);
            }
        }
    }

    /// Takes what is over out of storage.
    pub(in crate::manager) fn clear_over(&mut self, out: &mut Outbox) {
        if !self.pending_logouts.over.is_empty() {
            self.queries.look(StorageQuery::Over { tries: 0 }, out);
        }
    }

    /// What storage has, for that.
    pub(in crate::manager) fn over_read(&mut self, tries: u8, stored: Stored, out: &mut Outbox) {
        match stored.without(|pending| self.pending_logouts.over.iter().any(|over| over.is_of(pending))) {
            Some(left) if tries < MAX_TRIES => {
                self.queries.swap(StorageQuery::Over { tries: tries + 1 }, stored.text, left, out);
            }
            _ => self.pending_logouts.over.clear(),
        }
    }
}

impl PendingLogouts {
    /// Whether this pending logout is among them, or over.
    pub(super) fn knows(&self, pending: &Record) -> bool {
        self.queue.iter().any(|ending| ending.record.as_ref().is_some_and(|record| record.key == pending.key))
            || self.over.iter().any(|over| over.is_of(pending))
    }
}

impl Over {
    pub(super) fn is_of(&self, pending: &Record) -> bool {
        self.session.is_some() && self.session == pending.holding().session
            || self.record.as_ref().is_some_and(|record| record.key == pending.key)
    }
}
