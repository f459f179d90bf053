//! One use of the key in storage: claim it there, send it, put the successor in its place. And what follows from each answer:
//! a transient one keeps the key, a refused key gets a second look at storage.
//!
//! What is read may be stale; what follows a swap is what storage really has. So nothing is concluded from a read but that
//! a sibling is ahead, and every other conclusion begins with a swap.

use std::time::Duration;

use relogin_session::{
    Attempt, Denied,
    api::{ReloginParams, SignedChallenge},
};

use super::{
    SessionManager,
    operation::{Operation, Stage, Task, Want, is_denied},
    status::SessionStatus,
};
use crate::record::{Granted, Record, Stored};
use crate::{
    Action, Diagnostic, RequestError, ShortAttempt,
    outbox::{Outbox, Purpose},
    turn::Turn,
    wire,
};

/// How often a key is put into storage before that is given up: only a browser that does not do as it says needs more.
pub(super) const MAX_TRIES: u8 = 16;

/// How far apart siblings without a lock use a key that they hear of at the same moment.
const SPREAD: Duration = Duration::from_secs(1);

impl SessionManager {
    pub(super) fn begin_relogin(&mut self, want: Want, turn: &mut Turn, out: &mut Outbox) {
        (self.wanted, self.retry) = (None, None);
        self.operation = Some(self.operation(Task::Relogin(want), Stage::Locking));
        self.lock.request(turn, out);
    }

    /// What storage has, for an operation that uses its key.
    pub(super) fn relogin_read(&mut self, mut operation: Operation, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        match std::mem::replace(&mut operation.stage, Stage::Claiming) {
            Stage::Claiming => self.claim(operation, stored, turn, out),
            Stage::Storing(granted) => self.store(operation, granted, &stored, turn, out),
            Stage::SecondLook => match (&stored.record, &operation.used) {
                (Some(record), Some(used)) if record.key == used.key => {
                    operation.stage = Stage::Removing;
                    let without = stored.without_record();
                    self.swap_for(operation, stored.text, without, out);
                }
                // A sibling's, who was ahead of us.
                (Some(_), _) => self.claim(operation, stored, turn, out),
                (None, _) => {
                    self.lock.release(out);
                    self.key_is_gone(turn);
                }
            },
            Stage::Removing => match &stored.record {
                Some(_) => self.claim(operation, stored, turn, out),
                None => {
                    self.lock.release(out);
                    self.refused(operation.used.as_ref(), turn);
                }
            },
            stage => {
                operation.stage = stage;
                self.operation = Some(operation);
            }
        }
    }

    /// Notes in storage that the key is being used, and how. If it is being used already, that use is repeated.
    fn claim(&mut self, mut operation: Operation, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        let Some(record) = &stored.record else {
            if stored.certain {
                self.no_key(turn);
                return self.lock.release(out);
            }
            return self.swap_for(operation, stored.text.clone(), stored.text, out);
        };
        if operation.is_met(self.status, record) {
            self.caught_up(record, turn);
            return self.lock.release(out);
        }
        if self.can_stand_by(&operation, record) {
            self.displaced_by(record, turn);
            return self.lock.release(out);
        }
        let begun = record.attempt();
        let Some(attempt) = begun.filter(|_| stored.certain) else {
            let claimed = if begun.is_some() {
                stored.text.clone()
            } else {
                self.yielded_to = Some(turn.attempt);
                stored.with(&record.begun(turn.attempt))
            };
            return self.swap_for(operation, stored.text, claimed, out);
        };
        if let SessionStatus::Attached { holding, .. } = self.status
            && !holding.is_same_session(record.holding())
        {
            self.change_session(holding);
            self.lock.release(out);
        } else if self.notes.unanswered.is_some_and(|other| !other.is_same_session(record.holding())) {
            self.hang_up = true;
            self.lock.release(out);
        } else if self.is_in_good_hands(attempt) {
            let until = self.lock.patience(turn);
            self.postpone(&operation, until);
            self.lock.release(out);
        } else {
            self.binding = Some(record.binding());
            (operation.used, operation.beside) = (stored.record, stored.pending);
            self.prove(operation, turn, out);
        }
    }

    /// There is no lock to be had, for the operation that waits for it.
    pub(super) fn go_without_lock(&mut self, turn: &mut Turn, out: &mut Outbox) {
        let is_relogin = |operation: &mut Operation| matches!(operation.task, Task::Relogin(_));
        // Not at the moment at which all who have heard of that key would use it.
        if std::mem::take(&mut self.is_simultaneous)
            && let Some(operation) = self.operation.take_if(is_relogin)
        {
            let until = self.own_moment(turn);
            self.postpone(&operation, until);
            self.lock.release(out);
        } else {
            self.operation_go(out);
        }
    }

    /// Some time soon, by chance: where there is no lock, siblings do not do the same thing at one moment.
    pub(super) fn own_moment(&self, turn: &mut Turn) -> Duration {
        let wait = turn.dice.up_to(SPREAD);
        turn.after(wait)
    }

    /// True if a sibling is likely to be at it, who is about to store the successor. The lock would tell; where there is none,
    /// each use that somebody else has begun is given as much time as a lock.
    fn is_in_good_hands(&mut self, attempt: Attempt) -> bool {
        self.yielded_to.replace(attempt) != Some(attempt) && self.lock.is_without()
    }

    pub(super) fn send_key(
        &mut self,
        mut operation: Operation,
        proof: Option<SignedChallenge>,
        turn: &Turn,
        out: &mut Outbox,
    ) {
        let Some(used) = &operation.used else { return };
        // A legacy service may refuse params that it does not know. The attempt in storage is for our siblings to see.
        let attempt = used.attempt().filter(|_| !used.is_legacy());
        let sent = Diagnostic::KeySent {
            generation: used.generation,
            attempt: attempt.map(ShortAttempt::from),
            proof: proof.is_some(),
        };
        let relogin_params = ReloginParams { relogin_key: used.key.clone(), attempt, proof };
        let deadline = turn.after(self.config.relogin_timeout);
        out.send(Purpose::Operation, "relogin", Some(wire::relogin(&relogin_params)), deadline);
        (operation.stage, operation.sent) = (Stage::Sent, turn.now);
        self.notes.used = true;
        self.operation = Some(operation);
        self.note(sent);
    }

    pub(super) fn relogin_answered(
        &mut self,
        mut operation: Operation,
        result: Result<Granted, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let used = operation.used_text();
        match result {
            result if operation.void => {
                self.lock.release(out);
                self.void_answered(operation.used.as_ref(), result);
            }
            Ok(granted) => {
                let new = granted.record.text(&operation.beside);
                operation.stage = Stage::Storing(granted);
                self.swap_for(operation, used, Some(new), out);
            }
            Err(error) if is_denied(&error, Denied::InvalidReloginKey) => {
                operation.stage = Stage::SecondLook;
                self.swap_for(operation, used.clone(), used, out);
            }
            Err(error) => self.use_failed(&operation, &error, turn, out),
        }
    }

    /// Nothing was decided. The key and its attempt stay where they are: whatever became of this use, the next one repeats it.
    pub(super) fn use_failed(
        &mut self,
        operation: &Operation,
        error: &RequestError,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        // Whatever it was, it may have been the challenge.
        self.notes.challenges.forget();
        if matches!(operation.task, Task::EndRelogin) {
            return self.end_later(error, turn, out);
        }
        self.lock.release(out);
        let retry = self.schedule.retry(turn);
        self.postpone(operation, retry);
    }

    fn postpone(&mut self, operation: &Operation, until: Duration) {
        if let Task::Relogin(want) = operation.task {
            self.want(want);
            self.retry = Some(until);
        }
    }

    /// What storage has after the successor was put over its predecessor only: neither over a sibling's newer key or another
    /// session's, nor where a logout has left nothing.
    fn store(
        &mut self,
        mut operation: Operation,
        granted: Granted,
        stored: &Stored,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let new = &granted.record;
        if stored.record.as_ref().is_some_and(|old| old.is_before(new)) && operation.tries < MAX_TRIES {
            // Not as we had it, but older all the same.
            let text = stored.with(new);
            operation.stage = Stage::Storing(granted);
            operation.tries += 1;
            return self.swap_for(operation, stored.text.clone(), text, out);
        }
        self.leaving_user = None;
        match &stored.record {
            Some(old) if old.holding().is_same_session(new.holding()) => {
                let newest = if old.generation > new.generation { old } else { new };
                self.attached(newest, &granted, !old.is_before(new), operation.sent, turn, out);
            }
            Some(_) => {
                self.attached(new, &granted, false, operation.sent, turn, out);
                self.want(Want::Resume);
            }
            None => self.attached(new, &granted, false, operation.sent, turn, out),
        }
        self.lock.release(out);
    }

    /// The connection holds the session of `record`; `stored`: storage has that key, or a newer one.
    pub(super) fn attached(
        &mut self,
        record: &Record,
        granted: &Granted,
        stored: bool,
        sent: Duration,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let holding = record.holding();
        self.status = SessionStatus::Attached { holding, stored };
        self.notes.held = Some(holding).filter(|_| record.is_legacy());
        (self.notes.displaced, self.notes.lost_user) = (false, None);
        self.binding = Some(record.binding());
        self.schedule.granted(granted, turn.now);
        self.evidence.taken = false;
        if stored {
            // From when it was sent: the answer may have waited for a tab that was frozen.
            self.schedule.begin(sent, turn);
        } else {
            self.schedule.end();
        }
        self.wanted = self.wanted.filter(|want| *want > Want::Reach(holding.generation));
        self.retry = None;
        out.push(Action::Authenticated);
    }
}
