//! Tabs that share the session of a legacy service, which is on one connection at a time (docs/protocol.md, section 4): it goes
//! to the tab that the user looks at, and the others stand by. Sends nothing itself.

use super::{
    SessionManager,
    operation::{Operation, Task, Want},
    status::SessionStatus,
};
use crate::record::Record;
use crate::{outbox::Outbox, turn::Turn};

impl SessionManager {
    /// Whether `record` shows that a sibling has used the key of the legacy session that this connection has held.
    pub(super) fn is_ahead(&self, record: &Record) -> bool {
        let holding = record.holding();
        self.notes.held.is_some_and(|held| held.is_same_session(holding) && held.generation < holding.generation)
    }

    /// A sibling has made `record`, and has the session now: taken back if the user looks at this page. Else it is the
    /// sibling's to use the key, and ours if that does not.
    pub(super) fn displaced_by(&mut self, record: &Record, turn: &mut Turn) {
        (self.notes.displaced, self.notes.held) = (true, Some(record.holding()));
        self.evidence.taken = false;
        if self.attended {
            // Unless that is about to be done.
            if !self.operation.as_ref().is_some_and(|operation| matches!(operation.task, Task::Relogin(Want::Resume))) {
                self.regain(turn);
            }
            return;
        }
        self.wanted = None;
        if let (SessionStatus::Resuming, Some(user)) = (self.status, self.notes.lost_user.take()) {
            self.presumed_user = Some(user);
        }
        self.schedule.stand_by(turn.since, turn);
    }

    /// Whether the operation, which has found `record` in storage, may leave it to the sibling that made it.
    pub(super) fn can_stand_by(&self, operation: &Operation, record: &Record) -> bool {
        match operation.task {
            Task::Relogin(Want::Resume) => !self.attended && (self.notes.displaced || self.is_ahead(record)),
            Task::Relogin(_) => self.is_ahead(record),
            _ => false,
        }
    }

    /// Whether the user looks at this page.
    pub(super) fn attention(&mut self, attended: bool, turn: &mut Turn, out: &mut Outbox) {
        self.attended = attended;
        if attended && self.notes.displaced && self.operation.is_none() {
            self.want(Want::Resume);
            self.retry = None;
            self.pump(turn, out);
        }
    }
}
