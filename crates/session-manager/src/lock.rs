//! The storage lock: requested, waited for, then stolen. Must not decide what is done with it.
//!
//! It is an optimisation: correctness does not rest on it, except with a legacy service, where a
//! second use of a key ends the session. There the lock is waited for until its holder's use must
//! be over.
//!
//! Tabs that wait for one frozen tab have often begun at the same moment. So each waits for a
//! random time, and again when storage shows that the holder is at work after all: otherwise they
//! would steal from each other, one after the other.

use std::time::Duration;

use relogin_session::Attempt;

use crate::{LockId, PlatformAction, outbox::Outbox, turn::Turn};

/// How far apart siblings without a lock use a key that they see at the same moment.
const SPREAD: Duration = Duration::from_secs(1);

/// Our share of the lock.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    next: u32,
    timeout: Duration,
    /// How long one use of a key may take.
    use_timeout: Duration,
    /// Whether a use by a sibling must not be repeated: what it has waited for may only be lost.
    is_patient: bool,
    state: State,
    /// There was none to be had, when it was last asked for.
    is_missing: bool,
    /// The use of a key that is our own, or that a sibling was given time to bring to its end.
    yielded_to: Option<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Requested, and waited for until the deadline. `is_stealing`: it was waited for once already.
    Waiting {
        id: LockId,
        deadline: Duration,
        is_stealing: bool,
    },
    Held(LockId),
    /// Worked without: there is none to be had, or it was stolen from us.
    Without,
}

impl Lock {
    pub(crate) fn new(timeout: Duration, use_timeout: Duration) -> Self {
        Self {
            next: 0,
            timeout,
            use_timeout,
            is_patient: false,
            state: State::Free,
            is_missing: false,
            yielded_to: None,
        }
    }

    /// Whether the session is a legacy service's, from the next wait on.
    pub(crate) fn be_patient(&mut self, is_patient: bool) {
        self.is_patient = is_patient;
    }

    /// We begin this use of the key.
    pub(crate) fn note_own_use(&mut self, attempt: Attempt) {
        self.yielded_to = Some(attempt);
    }

    /// Whether this use of the key, which storage has now, is another one than we have begun or
    /// waited for.
    pub(crate) fn is_other_use(&self, attempt: Option<Attempt>) -> bool {
        self.yielded_to != attempt
    }

    /// True if this use of the key is likely to be a sibling's, who is about to store the
    /// successor. The lock would tell; where there is none, each use that somebody else has begun
    /// is given as much time as a lock, once.
    pub(crate) fn yields_to(&mut self, attempt: Attempt) -> bool {
        self.yielded_to.replace(attempt) != Some(attempt) && self.state == State::Without
    }

    /// A random time soon: without a lock, siblings must not do the same thing at one moment.
    pub(crate) fn random_moment(turn: &mut Turn) -> Duration {
        let wait = turn.dice.up_to(SPREAD);
        turn.after(wait)
    }

    /// Whether tabs have no lock to take turns by.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Asks for the lock. One of the next three functions will say when to go on.
    pub(crate) fn request(&mut self, turn: &mut Turn, out: &mut Outbox) {
        let id = self.ask(turn, false);
        out.push(PlatformAction::RequestLock(id));
    }

    /// The lock's holder is not frozen: it is worth waiting for.
    pub(crate) fn wait_on(&mut self, turn: &mut Turn) {
        if let State::Waiting { is_stealing: false, .. } = self.state {
            let until = self.deadline(turn);
            if let State::Waiting { deadline, .. } = &mut self.state {
                *deadline = until.max(*deadline);
            }
        }
    }

    /// True if it is time to go on: the lock is ours.
    pub(crate) fn granted(&mut self, granted: LockId) -> bool {
        match self.state {
            State::Waiting { id, .. } if id == granted => {
                (self.state, self.is_missing) = (State::Held(id), false);
                true
            }
            // Given back already.
            _ => false,
        }
    }

    /// True if it is time to go on, without a lock.
    pub(crate) fn refused(&mut self, refused: LockId) -> bool {
        match self.state {
            State::Waiting { id, is_stealing, .. } if id == refused => {
                (self.state, self.is_missing) = (State::Without, !is_stealing);
                true
            }
            State::Held(id) if id == refused => {
                self.state = State::Without;
                false
            }
            _ => false,
        }
    }

    /// True if it is time to go on, without a lock. Steals before that.
    pub(crate) fn tick(&mut self, turn: &mut Turn, out: &mut Outbox) -> bool {
        let State::Waiting { id, deadline, is_stealing } = self.state else { return false };
        if turn.now < deadline {
            return false;
        }
        out.push(PlatformAction::ReleaseLock(id));
        if is_stealing {
            self.state = State::Without;
            return true;
        }
        let id = self.ask(turn, true);
        out.push(PlatformAction::StealLock(id));
        false
    }

    /// Gives the lock back, or stops asking for it.
    pub(crate) fn release(&mut self, out: &mut Outbox) {
        if let State::Waiting { id, .. } | State::Held(id) = std::mem::replace(&mut self.state, State::Free) {
            out.push(PlatformAction::ReleaseLock(id));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    fn ask(&mut self, turn: &mut Turn, is_stealing: bool) -> LockId {
        let id = LockId(self.next);
        self.next = self.next.wrapping_add(1);
        self.state = State::Waiting { id, deadline: self.deadline(turn), is_stealing };
        id
    }

    /// Until when a lock that is requested now is waited for.
    pub(crate) fn deadline(&self, turn: &mut Turn) -> Duration {
        let extra = turn.dice.up_to(self.timeout / 2);
        // Before and after its use the holder has storage to wait for.
        let of_use = if self.is_patient { self.use_timeout.saturating_add(self.timeout) } else { Duration::ZERO };
        turn.after(self.timeout.saturating_add(extra).saturating_add(of_use))
    }
}
