//! What storage says, and what it means for this tab. Writes nothing.

use super::{
    SessionManager,
    operation::{Operation, Want},
    status::{SessionStatus, StorageQuery},
};
use crate::record::{Record, Stored};
use crate::{Diagnostic, Secret, outbox::Outbox, turn::Turn};

impl SessionManager {
    /// What storage has, or had a moment ago.
    pub(super) fn storage_read(&mut self, text: Option<Secret>, turn: &mut Turn, out: &mut Outbox) {
        let Some((asked, stored)) = self.queries.answered(text) else { return };
        self.lock.be_patient(stored.record.as_ref().is_some_and(Record::is_legacy));
        match asked {
            StorageQuery::Start => {
                self.started = true;
                self.note(Diagnostic::Started(stored.record.as_ref().map(|record| record.generation)));
                self.binding = stored.record.as_ref().map(Record::binding);
                self.status =
                    if stored.record.is_some() { SessionStatus::Resuming } else { SessionStatus::Nobody(None) };
            }
            StorageQuery::Opened => {
                if stored.record.iter().chain(&stored.pending).any(|record| record.bound) {
                    self.ask_challenge(turn, out);
                }
            }
            StorageQuery::Linked => {
                // The page that logged out may be gone.
                self.adopt(&stored.pending);
                if stored.record.is_some() { self.resume() } else { self.no_key(turn) }
            }
            StorageQuery::Check => self.checked(&stored, turn, out),
            StorageQuery::Logout { token, removed } => self.logout_read(token, removed, stored, turn, out),
            StorageQuery::Leftovers => self.adopt(&stored.pending),
            StorageQuery::Over { tries } => self.over_read(tries, stored, out),
            StorageQuery::Operation(number) => {
                if let Some(operation) = self.take_operation(number) {
                    self.operation_read(operation, stored, turn, out);
                }
            }
        }
        self.pump(turn, out);
    }

    /// Another tab changed what storage has.
    pub(super) fn storage_changed(&mut self, turn: &mut Turn, out: &mut Outbox) {
        self.lock.wait_on(turn);
        self.queries.look(StorageQuery::Check, out);
    }

    /// What storage really has, when it may have changed.
    fn checked(&mut self, stored: &Stored, turn: &mut Turn, out: &mut Outbox) {
        // The sibling that we have waited for is done.
        if stored.record.as_ref().is_some_and(|record| record.attempt() != self.yielded_to) && self.retry.is_some() {
            self.retry = self.lock.is_missing().then(|| self.own_moment(turn));
        }
        self.look_for_leftovers(&stored.pending, turn);
        match (&stored.record, self.status) {
            // The connection may hold the session for a moment longer: its user model will say.
            (None, SessionStatus::Attached { .. }) => self.no_key(turn),
            // What was sent will be answered; what was not need not be.
            (None, SessionStatus::Resuming) if !self.operation.as_ref().is_some_and(Operation::is_sent) => {
                self.abort_operation(out);
                self.no_key(turn);
            }
            (Some(record), SessionStatus::Attached { holding, .. }) => {
                if holding.is_same_session(record.holding()) {
                    self.caught_up(record, turn);
                } else {
                    self.want(Want::Resume);
                    self.is_simultaneous = true;
                }
            }
            (Some(_), SessionStatus::Nobody(_)) => {
                self.resume();
                self.is_simultaneous = true;
            }
            (Some(record), SessionStatus::Resuming) if self.is_ahead(record) => self.displaced_by(record, turn),
            (None, _) | (Some(_), SessionStatus::Resuming) => {}
        }
    }

    /// Storage has a key that this connection has not used.
    pub(super) fn resume(&mut self) {
        if matches!(self.status, SessionStatus::Nobody(_)) {
            self.presumed_user = None;
        }
        self.status = SessionStatus::Resuming;
        self.want(Want::Resume);
    }

    /// Storage has no key.
    pub(super) fn no_key(&mut self, turn: &Turn) {
        self.schedule.end();
        match &mut self.status {
            SessionStatus::Attached { stored, .. } => *stored = false,
            SessionStatus::Resuming => self.key_is_gone(turn),
            SessionStatus::Nobody(_) => {}
        }
    }

    /// Storage has this key, of the session that the connection holds: a sibling was at work, or we were.
    pub(super) fn caught_up(&mut self, record: &Record, turn: &mut Turn) {
        let SessionStatus::Attached { holding, stored } = &mut self.status else { return };
        let newer = record.generation > holding.generation || !*stored;
        holding.generation = holding.generation.max(record.generation);
        *stored = true;
        let newest = holding.generation;
        if newer {
            self.note(Diagnostic::CaughtUp(newest));
        }
        if newer || self.schedule.refresh().is_none() {
            self.schedule.begin(turn.since, turn);
        }
        if self.is_ahead(record) {
            self.displaced_by(record, turn);
        }
    }
}
