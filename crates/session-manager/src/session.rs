//! The session status: whether there is a key, who is logged in by it, and whether it is to be
//! used. Must not know connections, storage or operations.

use std::time::Duration;

use relogin_session::User;

use crate::{
    Backoff, Binding, Diagnostic, EndReason, Turn,
    evidence::TheftEvidence,
    record::{Granted, Holding, Record},
    schedule::Schedule,
};

/// Whether there is a session, as far as this tab knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SessionStatus {
    /// Storage was not looked at yet.
    #[default]
    Unread,
    /// There is no key.
    Nobody(Option<EndReason>),
    /// There is a key, which has not been used on this connection.
    Resuming,
    /// The connection holds the session. `stored`: as far as we know, storage has its key.
    Attached { holding: Holding, stored: bool },
}

/// Why the key is to be used; the greater, the more pressing. Only the last one cannot be met by a
/// sibling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// It is time: unless storage has a newer key than this connection knew of then, which had this
    /// generation.
    Refresh(u64),
    /// Somebody made this generation: unless storage has it.
    Reach(u64),
    /// This connection does not hold the session.
    Resume,
}

/// That the key is to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) want: Want,
    pub(crate) not_before: Option<Duration>,
    /// A sibling has put the key into storage, and notified all others at the same moment.
    pub(crate) is_simultaneous: bool,
}

/// A key that was granted, and put into storage unless something newer was there.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The newest key of the session that is known.
    pub(crate) record: Record,
    pub(crate) granted: Granted,
    /// Whether storage has `record`.
    pub(crate) is_stored: bool,
    /// Storage has the key of another session.
    pub(crate) is_beside: bool,
    /// When it was asked for: the key cannot be older.
    pub(crate) sent: Duration,
}

/// Of the session of a legacy service, which is on one connection at a time (docs/protocol.md,
/// section 4): it goes to the tab that the user looks at, and the others stand by. Ends with the
/// connection.
#[derive(Clone, Debug, Default)]
struct LegacyNotes {
    /// The session that this connection has held, with the newest generation that was seen of it.
    held: Option<Holding>,
    /// A sibling has used the key since: the session is on its connection now.
    is_displaced: bool,
    /// Who was shown when the session was lost.
    lost_user: Option<User>,
}

/// The session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) status: SessionStatus,
    /// Whom to show while it is not known whether they are still logged in.
    pub(crate) presumed_user: Option<User>,
    /// What its key needs beside it.
    pub(crate) binding: Option<Binding>,
    /// That the key is to be used, and why.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) schedule: Schedule,
    /// Not handed out yet.
    pub(crate) log: Vec<Diagnostic>,
    evidence: TheftEvidence,
    legacy: LegacyNotes,
    /// Waits between relogins that follow the loss of the user; none before the first, which goes
    /// out at once.
    losses: Option<Backoff>,
    /// Whether the user looks at this page.
    is_attended: bool,
}

impl Session {
    /// One of which nothing is known. `refresh`: how often the key of a legacy service is used.
    pub(crate) fn new(refresh: Duration) -> Self {
        Self {
            status: SessionStatus::Unread,
            presumed_user: None,
            binding: None,
            wanted: None,
            schedule: Schedule::new(refresh),
            log: Vec::new(),
            evidence: TheftEvidence::default(),
            legacy: LegacyNotes::default(),
            losses: None,
            is_attended: true,
        }
    }

    pub(crate) fn note(&mut self, diagnostic: Diagnostic) {
        self.log.push(diagnostic);
    }

    /// What the connection holds.
    pub(crate) fn held(&self) -> Option<Holding> {
        if let SessionStatus::Attached { holding, .. } = self.status { Some(holding) } else { None }
    }

    /// The key is to be used.
    pub(crate) fn want(&mut self, want: Want) {
        let wanted = self.wanted.get_or_insert(Wanted { want, not_before: None, is_simultaneous: false });
        wanted.want = wanted.want.max(want);
    }

    /// The key is to be used, but not before `until`.
    pub(crate) fn want_later(&mut self, want: Want, until: Duration) {
        self.want(want);
        self.wait_until(Some(until));
    }

    /// The session is to be resumed at once.
    pub(crate) fn want_now(&mut self) {
        self.want(Want::Resume);
        self.wait_until(None);
    }

    /// If the key is to be used, not before `until`; `None`: now.
    pub(crate) fn wait_until(&mut self, until: Option<Duration>) {
        if let Some(wanted) = &mut self.wanted {
            wanted.not_before = until;
        }
    }

    /// A sibling has put a key into storage, and notified all others at the same moment: it is to
    /// be used.
    pub(crate) fn want_with_all_others(&mut self) {
        self.want(Want::Resume);
        if let Some(wanted) = &mut self.wanted {
            wanted.is_simultaneous = true;
        }
    }

    /// The use of the key that is due, if one is.
    pub(crate) fn due(&self, now: Duration) -> Option<Wanted> {
        self.wanted.filter(|wanted| wanted.not_before.is_none_or(|until| until <= now))
    }

    /// It is time for a refresh.
    pub(crate) fn refresh(&mut self) {
        self.schedule.pause();
        // It stayed logged in for a whole round: the next loss is a first one again.
        self.losses = None;
        self.want(Want::Refresh(self.held().map_or(0, |holding| holding.generation)));
    }

    /// Storage has a key that this connection has not used.
    pub(crate) fn resume(&mut self) {
        if let SessionStatus::Nobody(_) = self.status {
            self.presumed_user = None;
        }
        self.status = SessionStatus::Resuming;
        self.want(Want::Resume);
    }

    /// Storage has another session than the connection, which is to be left.
    pub(crate) fn change(&mut self) {
        self.status = SessionStatus::Resuming;
        self.presumed_user = None;
        self.want(Want::Resume);
    }

    /// The connection is lost, and with it what was held on it. The session itself is assumed to be
    /// alive.
    pub(crate) fn disconnected(&mut self) {
        self.legacy = LegacyNotes::default();
        self.wanted = None;
        self.schedule.pause();
        match self.status {
            SessionStatus::Attached { stored: true, .. } => self.status = SessionStatus::Resuming,
            SessionStatus::Attached { stored: false, .. } => self.ended(EndReason::LoggedOutElsewhere),
            _ => {}
        }
    }

    pub(crate) fn ended(&mut self, why: EndReason) {
        self.note(Diagnostic::Ended(why));
        self.status = SessionStatus::Nobody(Some(why));
        self.schedule.end();
        (self.presumed_user, self.binding, self.wanted) = (None, None, None);
        self.evidence = TheftEvidence::default();
        (self.legacy.is_displaced, self.legacy.lost_user) = (false, None);
        if why == EndReason::LoggedOut {
            self.losses = None;
        }
    }

    /// Storage has no key.
    pub(crate) fn no_key(&mut self, now: Duration) {
        self.schedule.end();
        match &mut self.status {
            SessionStatus::Attached { stored, .. } => *stored = false,
            SessionStatus::Resuming => self.key_is_gone(now),
            SessionStatus::Unread | SessionStatus::Nobody(_) => {}
        }
    }

    /// The key is no longer in storage, and it was not we who removed it.
    pub(crate) fn key_is_gone(&mut self, now: Duration) {
        let expired = self.schedule.is_over(now);
        self.ended(if expired { EndReason::Expired } else { EndReason::LoggedOutElsewhere });
    }

    /// The service no longer takes the key `used`.
    pub(crate) fn refused(&mut self, used: &Record, now: Duration) {
        let has_expired = self.schedule.is_over(now);
        self.ended(self.evidence.reason(used, has_expired));
    }

    /// The connection holds the session by a key that was granted.
    pub(crate) fn attached(&mut self, attached: &Attached, turn: &mut Turn) {
        let Attached { record, granted, is_stored, sent, .. } = attached;
        let holding = record.holding();
        self.status = SessionStatus::Attached { holding, stored: *is_stored };
        self.legacy = LegacyNotes { held: Some(holding).filter(|_| record.is_legacy()), ..LegacyNotes::default() };
        self.binding = Some(record.binding());
        self.schedule.granted(granted, turn.now);
        self.evidence.is_user_taken = false;
        if *is_stored {
            self.evidence.explained_by(holding);
            // From when it was sent: the answer may have waited for a tab that was frozen.
            self.schedule.begin(*sent, turn);
        } else {
            self.schedule.end();
        }
        self.wanted = self.wanted.filter(|wanted| wanted.want > Want::Reach(holding.generation));
        self.wait_until(None);
    }

    /// Another connection of the session has made a new generation.
    pub(crate) fn rotated(&mut self, generation: u64) {
        if let SessionStatus::Attached { holding, stored: true } = self.status
            && holding.generation < generation
        {
            self.note(Diagnostic::MadeElsewhere { generation, known: holding.generation });
            self.evidence.rotated = Some(Holding { generation, ..holding });
            self.want(Want::Reach(generation));
        }
    }

    /// Whether a sibling has done what was wanted: storage has a key that is new enough. It may be
    /// known already: a sibling's refresh is noticed while we wait for the lock that it holds.
    pub(crate) fn is_met(&self, want: Want, record: &Record) -> bool {
        let SessionStatus::Attached { holding, stored: true } = self.status else { return false };
        holding.is_same_session(record.holding())
            && match want {
                Want::Refresh(known) => record.generation > known,
                Want::Reach(generation) => record.generation >= generation,
                Want::Resume => false,
            }
    }

    /// Storage has this key, of the session that the connection holds: a sibling was at work, or we
    /// were. `is_resuming`: the session is being resumed already.
    pub(crate) fn caught_up(&mut self, record: &Record, is_resuming: bool, turn: &mut Turn) {
        let SessionStatus::Attached { holding, stored } = &mut self.status else { return };
        let newer = record.generation > holding.generation || !*stored;
        holding.generation = holding.generation.max(record.generation);
        *stored = true;
        let newest = holding.generation;
        self.evidence.explained_by(*holding);
        if newer {
            self.note(Diagnostic::CaughtUp(newest));
        }
        if newer || self.schedule.refresh().is_none() {
            self.schedule.begin(turn.since, turn);
        }
        if self.is_ahead(record) {
            self.displaced_by(record, is_resuming, turn);
        }
    }

    /// Whether `record` shows that a sibling has used the key of the legacy session that this
    /// connection has held.
    pub(crate) fn is_ahead(&self, record: &Record) -> bool {
        let holding = record.holding();
        self.legacy.held.is_some_and(|held| held.is_same_session(holding) && held.generation < holding.generation)
    }

    /// Whether a use of the key, for which `record` was found in storage, may be left to the
    /// sibling that made it.
    pub(crate) fn can_stand_by(&self, want: Want, record: &Record) -> bool {
        match want {
            Want::Resume => !self.is_attended && (self.legacy.is_displaced || self.is_ahead(record)),
            Want::Refresh(_) | Want::Reach(_) => self.is_ahead(record),
        }
    }

    /// A sibling has made `record`, and has the legacy session now: taken back if the user looks at
    /// this page. Else it is the sibling's to use the key, and ours if that does not.
    /// `is_resuming`: as in [`Session::caught_up`].
    pub(crate) fn displaced_by(&mut self, record: &Record, is_resuming: bool, turn: &mut Turn) {
        (self.legacy.is_displaced, self.legacy.held) = (true, Some(record.holding()));
        self.evidence.is_user_taken = false;
        if self.is_attended {
            if !is_resuming {
                self.regain(turn);
            }
            return;
        }
        self.wanted = None;
        if let (SessionStatus::Resuming, Some(user)) = (self.status, self.legacy.lost_user.take()) {
            self.presumed_user = Some(user);
        }
        self.schedule.stand_by(turn.since, turn);
    }

    /// Whether the user looks at this page. True if a session that was displaced is to be taken
    /// back by that.
    pub(crate) fn attend(&mut self, is_attended: bool) -> bool {
        self.is_attended = is_attended;
        is_attended && self.legacy.is_displaced
    }

    /// The user model lost its user while an operation ran.
    pub(crate) fn user_lost_meanwhile(&mut self) {
        self.evidence.is_user_taken = true;
        self.legacy.lost_user = self.presumed_user.take();
    }

    /// The user model says that nobody is logged in any more. With a key at hand, that is no logout
    /// of this browser's: the key is tried at once, so that a stolen session ends and an innocent
    /// one goes on.
    pub(crate) fn user_lost(&mut self, turn: &mut Turn) {
        match self.status {
            SessionStatus::Attached { stored: true, .. } => {
                self.note(Diagnostic::UserLost);
                self.status = SessionStatus::Resuming;
                let user = self.presumed_user.take().or(self.legacy.lost_user.take());
                // A sibling has the session, and the user does not look at this page.
                if self.legacy.is_displaced && !self.is_attended {
                    self.presumed_user = user;
                    return;
                }
                self.legacy.lost_user = user;
                self.evidence.is_user_taken = true;
                self.schedule.pause();
                self.regain(turn);
            }
            SessionStatus::Attached { stored: false, .. } => self.key_is_gone(turn.now),
            _ => {}
        }
    }

    /// The session is to be on this connection again: at once, but with back-off if it is lost
    /// again and again.
    fn regain(&mut self, turn: &mut Turn) {
        self.want(Want::Resume);
        let until = self.losses.as_mut().map(|losses| turn.now + losses.next(&mut turn.dice));
        self.losses.get_or_insert_default();
        self.wait_until(until);
    }
}
