//! What storage says, and what it means for this tab. Writes nothing.

use super::{
    Keeper, Record, Stored,
    errand::{Errand, Want},
    state::{Asked, Standing},
};
use crate::{Diagnostic, Secret, input::Turn, outbox::Outbox};

impl Keeper {
    /// What storage has, or had a moment ago.
    pub(crate) fn storage_read(&mut self, text: Option<Secret>, turn: &mut Turn, out: &mut Outbox) {
        let Some((asked, stored)) = self.questions.answered(text) else { return };
        self.lock.be_patient(stored.record.as_ref().is_some_and(Record::is_legacy));
        match asked {
            Asked::Start => {
                self.started = true;
                self.note(Diagnostic::Started(stored.record.as_ref().map(|record| record.generation)));
                self.binding = stored.record.as_ref().map(Record::binding);
                self.standing = if stored.record.is_some() { Standing::Resuming } else { Standing::Nobody(None) };
            }
            Asked::Opened => {
                if stored.record.iter().chain(&stored.pending).any(|record| record.bound) {
                    self.ask_challenge(turn, out);
                }
            }
            Asked::Linked => {
                // The page that logged out may be gone.
                self.adopt(&stored.pending);
                if stored.record.is_some() { self.resume() } else { self.no_key(turn) }
            }
            Asked::Check => self.checked(&stored, turn, out),
            Asked::Logout { token, removed } => self.logout_read(token, removed, stored, turn, out),
            Asked::Leftovers => self.adopt(&stored.pending),
            Asked::Over { tries } => self.over_read(tries, stored, out),
            Asked::Errand(number) => {
                if let Some(errand) = self.take_errand(number) {
                    self.errand_read(errand, stored, turn, out);
                }
            }
        }
        self.pump(turn, out);
    }

    /// Another tab changed what storage has.
    pub(crate) fn storage_changed(&mut self, turn: &mut Turn, out: &mut Outbox) {
        self.lock.wait_on(turn);
        self.questions.look(Asked::Check, out);
    }

    /// What storage really has, when it may have changed.
    fn checked(&mut self, stored: &Stored, turn: &mut Turn, out: &mut Outbox) {
        // The sibling that we have waited for is done.
        if stored.record.as_ref().is_some_and(|record| record.attempt() != self.yielded_to) && self.retry.is_some() {
            self.retry = self.lock.is_missing().then(|| self.own_moment(turn));
        }
        self.look_for_leftovers(&stored.pending, turn);
        match (&stored.record, self.standing) {
            // The connection may hold the session for a moment longer: its user model will say.
            (None, Standing::Attached { .. }) => self.no_key(turn),
            // What was sent will be answered; what was not need not be.
            (None, Standing::Resuming) if !self.errand.as_ref().is_some_and(Errand::is_sent) => {
                self.drop_errand(out);
                self.no_key(turn);
            }
            (Some(record), Standing::Attached { holding, .. }) => {
                if holding.is_same_session(record.holding()) {
                    self.caught_up(record, turn);
                } else {
                    self.want(Want::Resume);
                    self.hinted = true;
                }
            }
            (Some(_), Standing::Nobody(_)) => {
                self.resume();
                self.hinted = true;
            }
            (Some(record), Standing::Resuming) if self.is_ahead(record) => self.displaced_by(record, turn),
            (None, _) | (Some(_), Standing::Resuming) => {}
        }
    }

    /// Storage has a key that this connection has not used.
    pub(super) fn resume(&mut self) {
        if matches!(self.standing, Standing::Nobody(_)) {
            self.believed = None;
        }
        self.standing = Standing::Resuming;
        self.want(Want::Resume);
    }

    /// Storage has no key.
    pub(super) fn no_key(&mut self, turn: &Turn) {
        self.schedule.end();
        match &mut self.standing {
            Standing::Attached { stored, .. } => *stored = false,
            Standing::Resuming => self.key_is_gone(turn),
            Standing::Nobody(_) => {}
        }
    }

    /// Storage has this key, of the session that the connection holds: a sibling was at work, or we were.
    pub(super) fn caught_up(&mut self, record: &Record, turn: &mut Turn) {
        let Standing::Attached { holding, stored } = &mut self.standing else { return };
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
