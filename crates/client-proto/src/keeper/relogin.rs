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
    Keeper, Record, Stored,
    errand::{Errand, Stage, Task, Want, is_denied},
    record::Granted,
    state::Standing,
};
use crate::{
    Diagnostic, RequestError, ShortAttempt,
    input::Turn,
    outbox::{Outbox, Purpose},
    wire,
};

/// How often a key is put into storage before that is given up: only a browser that does not do as it says needs more.
pub(super) const MAX_TRIES: u8 = 16;

/// How far apart siblings without a lock use a key that they hear of at the same moment.
const SPREAD: Duration = Duration::from_secs(1);

impl Keeper {
    pub(super) fn begin_relogin(&mut self, want: Want, turn: &mut Turn, out: &mut Outbox) {
        (self.wanted, self.retry) = (None, None);
        self.errand = Some(self.errand(Task::Relogin(want), Stage::Locking));
        self.lock.request(turn, out);
    }

    /// What storage has, for an errand that uses its key.
    pub(super) fn relogin_read(&mut self, mut errand: Errand, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        match std::mem::replace(&mut errand.stage, Stage::Claiming) {
            Stage::Claiming => self.claim(errand, stored, turn, out),
            Stage::Storing(granted) => self.store(errand, granted, &stored, turn, out),
            Stage::SecondLook => match (&stored.record, &errand.used) {
                (Some(record), Some(used)) if record.key == used.key => {
                    errand.stage = Stage::Removing;
                    let without = stored.without_record();
                    self.swap_for(errand, stored.text, without, out);
                }
                // A sibling's, who was ahead of us.
                (Some(_), _) => self.claim(errand, stored, turn, out),
                (None, _) => {
                    self.lock.release(out);
                    self.key_is_gone(turn);
                }
            },
            Stage::Removing => match &stored.record {
                Some(_) => self.claim(errand, stored, turn, out),
                None => {
                    self.lock.release(out);
                    self.refused(errand.used.as_ref(), turn);
                }
            },
            stage => {
                errand.stage = stage;
                self.errand = Some(errand);
            }
        }
    }

    /// Notes in storage that the key is being used, and how. If it is being used already, that use is repeated.
    fn claim(&mut self, mut errand: Errand, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        let Some(record) = &stored.record else {
            if stored.certain {
                self.no_key(turn);
                return self.lock.release(out);
            }
            return self.swap_for(errand, stored.text.clone(), stored.text, out);
        };
        if errand.is_met(self.standing, record) {
            self.caught_up(record, turn);
            return self.lock.release(out);
        }
        if self.can_stand_by(&errand, record) {
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
            return self.swap_for(errand, stored.text, claimed, out);
        };
        if let Standing::Attached { holding, .. } = self.standing
            && !holding.is_same_session(record.holding())
        {
            self.change_session(holding);
            self.lock.release(out);
        } else if self.here.unanswered.is_some_and(|other| !other.is_same_session(record.holding())) {
            self.hang_up = true;
            self.lock.release(out);
        } else if self.is_in_good_hands(attempt) {
            let until = self.lock.patience(turn);
            self.postpone(&errand, until);
            self.lock.release(out);
        } else {
            self.binding = Some(record.binding());
            (errand.used, errand.beside) = (stored.record, stored.pending);
            self.prove(errand, turn, out);
        }
    }

    /// There is no lock to be had, for the errand that waits for it.
    pub(super) fn go_without_lock(&mut self, turn: &mut Turn, out: &mut Outbox) {
        let is_relogin = |errand: &mut Errand| matches!(errand.task, Task::Relogin(_));
        // Not at the moment at which all who have heard of that key would use it.
        if std::mem::take(&mut self.hinted)
            && let Some(errand) = self.errand.take_if(is_relogin)
        {
            let until = self.own_moment(turn);
            self.postpone(&errand, until);
            self.lock.release(out);
        } else {
            self.errand_go(out);
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
        mut errand: Errand,
        proof: Option<SignedChallenge>,
        turn: &Turn,
        out: &mut Outbox,
    ) {
        let Some(used) = &errand.used else { return };
        // A legacy service may refuse params that it does not know. The attempt in storage is for our siblings to see.
        let attempt = used.attempt().filter(|_| !used.is_legacy());
        let sent = Diagnostic::KeySent {
            generation: used.generation,
            attempt: attempt.map(ShortAttempt::from),
            proof: proof.is_some(),
        };
        let relogin_params = ReloginParams { relogin_key: used.key.clone(), attempt, proof };
        self.send(
            Purpose::Session,
            "relogin",
            Some(&wire::relogin(&relogin_params)),
            turn.after(self.relogin_timeout),
            out,
        );
        (errand.stage, errand.sent) = (Stage::Sent, turn.now);
        self.here.used = true;
        self.errand = Some(errand);
        self.note(sent);
    }

    pub(super) fn relogin_answered(
        &mut self,
        mut errand: Errand,
        result: Result<Granted, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let used = errand.used_text();
        match result {
            result if errand.void => {
                self.lock.release(out);
                self.void_answered(errand.used.as_ref(), result);
            }
            Ok(granted) => {
                let new = granted.record.text(&errand.beside);
                errand.stage = Stage::Storing(granted);
                self.swap_for(errand, used, Some(new), out);
            }
            Err(error) if is_denied(&error, Denied::InvalidReloginKey) => {
                errand.stage = Stage::SecondLook;
                self.swap_for(errand, used.clone(), used, out);
            }
            Err(error) => self.use_failed(&errand, &error, turn, out),
        }
    }

    /// Nothing was decided. The key and its attempt stay where they are: whatever became of this use, the next one repeats it.
    pub(super) fn use_failed(&mut self, errand: &Errand, error: &RequestError, turn: &mut Turn, out: &mut Outbox) {
        // Whatever it was, it may have been the challenge.
        self.here.challenges.forget();
        if matches!(errand.task, Task::EndRelogin) {
            return self.end_later(error, turn, out);
        }
        self.lock.release(out);
        let retry = self.schedule.retry(turn);
        self.postpone(errand, retry);
    }

    fn postpone(&mut self, errand: &Errand, until: Duration) {
        if let Task::Relogin(want) = errand.task {
            self.want(want);
            self.retry = Some(until);
        }
    }

    /// What storage has after the successor was put over its predecessor only: neither over a sibling's newer key or another
    /// session's, nor where a logout has left nothing.
    fn store(&mut self, mut errand: Errand, granted: Granted, stored: &Stored, turn: &mut Turn, out: &mut Outbox) {
        let new = &granted.record;
        if stored.record.as_ref().is_some_and(|old| old.is_before(new)) && errand.tries < MAX_TRIES {
            // Not as we had it, but older all the same.
            let text = stored.with(new);
            errand.stage = Stage::Storing(granted);
            errand.tries += 1;
            return self.swap_for(errand, stored.text.clone(), text, out);
        }
        self.leaving = None;
        match &stored.record {
            Some(old) if old.holding().is_same_session(new.holding()) => {
                let newest = if old.generation > new.generation { old } else { new };
                self.attached(newest, &granted, !old.is_before(new), errand.sent, turn);
            }
            Some(_) => {
                self.attached(new, &granted, false, errand.sent, turn);
                self.want(Want::Resume);
            }
            None => self.attached(new, &granted, false, errand.sent, turn),
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
    ) {
        let holding = record.holding();
        self.standing = Standing::Attached { holding, stored };
        self.here.held = Some(holding).filter(|_| record.is_legacy());
        (self.here.displaced, self.here.lost_user) = (false, None);
        self.binding = Some(record.binding());
        self.schedule.granted(granted, turn.now);
        self.signs.taken = false;
        if stored {
            // From when it was sent: the answer may have waited for a tab that was frozen.
            self.schedule.begin(sent, turn);
        } else {
            self.schedule.end();
        }
        self.wanted = self.wanted.filter(|want| *want > Want::Reach(holding.generation));
        (self.retry, self.gained) = (None, true);
    }
}
