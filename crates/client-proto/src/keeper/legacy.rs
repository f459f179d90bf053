//! Tabs that share the session of a legacy service, which is on one connection at a time (docs/protocol.md, section 4): it goes
//! to the tab that the user looks at, and the others stand by. Sends nothing itself.

use super::{
    Keeper, Record,
    errand::{Errand, Task, Want},
    state::Standing,
};
use crate::{input::Turn, outbox::Outbox};

impl Keeper {
    /// Whether `record` shows that a sibling has used the key of the legacy session that this connection has held.
    pub(super) fn is_ahead(&self, record: &Record) -> bool {
        let holding = record.holding();
        self.here.held.is_some_and(|held| held.is_same_session(holding) && held.generation < holding.generation)
    }

    /// A sibling has made `record`, and has the session now: taken back if the user looks at this page. Else it is the
    /// sibling's to use the key, and ours if that does not.
    pub(super) fn displaced_by(&mut self, record: &Record, turn: &mut Turn) {
        (self.here.displaced, self.here.held) = (true, Some(record.holding()));
        self.signs.taken = false;
        if self.attended {
            // Unless that is about to be done.
            if !self.errand.as_ref().is_some_and(|errand| matches!(errand.task, Task::Relogin(Want::Resume))) {
                self.regain(turn);
            }
            return;
        }
        self.wanted = None;
        if let (Standing::Resuming, Some(user)) = (self.standing, self.here.lost_user.take()) {
            self.believed = Some(user);
        }
        self.schedule.stand_by(turn.since, turn);
    }

    /// Whether the errand, which has found `record` in storage, may leave it to the sibling that made it.
    pub(super) fn can_stand_by(&self, errand: &Errand, record: &Record) -> bool {
        match errand.task {
            Task::Relogin(Want::Resume) => !self.attended && (self.here.displaced || self.is_ahead(record)),
            Task::Relogin(_) => self.is_ahead(record),
            _ => false,
        }
    }

    /// Whether the user looks at this page.
    pub(crate) fn attention(&mut self, attended: bool, turn: &mut Turn, out: &mut Outbox) {
        self.attended = attended;
        if attended && self.here.displaced && self.errand.is_none() {
            self.want(Want::Resume);
            self.retry = None;
            self.pump(turn, out);
        }
    }
}
