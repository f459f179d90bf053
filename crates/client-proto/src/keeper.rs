//! What keeps a session in the browser: docs/protocol.md, section 4. Says when the relogin key is used, what becomes of the
//! answer, and what the page can say of the session. Never decides whether a key is stolen, and knows no sockets.
//!
//! Everything that it sends (login, relogin, logout) is an *errand*, and errands run one at a time, so that a queued
//! refresh, a reconnect and a logout never cross each other. What storage holds is read afresh for each of them, and changed
//! only by swaps, so that tabs need no lock to agree.

mod challenge;
mod ending;
mod errand;
mod legacy;
mod lock;
mod login;
mod reasons;
mod record;
mod relogin;
mod schedule;
mod state;
mod storage;

use std::time::Duration;

use relogin_res::ResourceId;
use relogin_session::{Attempt, User};

pub use self::record::{AdoptedKey, stored_key};
use self::{
    ending::Endings,
    errand::{Errand, Want},
    lock::Lock,
    record::{Holding, Stored},
    schedule::Schedule,
    state::{Asked, Here, Questions, Signs, Standing},
};
pub(crate) use self::{login::Login, record::Record, state::Seen};
use crate::{
    Action, Binding, Config, Diagnostic, EndReason, LockId, RequestError, SessionState, Token, backoff::Backoff,
    input::Turn, outbox::Outbox,
};

/// Keeps the session.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    session: ResourceId,
    relogin_timeout: Duration,
    started: bool,
    standing: Standing,
    /// Who is logged in on this connection, as the user model says.
    seen: Seen,
    /// Who was logged in when the user logged out: not to be shown until the user model has caught up.
    leaving: Option<User>,
    /// Whom to show while it is not known whether they are still logged in.
    believed: Option<User>,
    /// What the session's key needs beside it.
    binding: Option<Binding>,
    /// Whether the connection takes requests.
    linked: bool,
    /// Whether other requests may go out on this connection: the session is resumed, or cannot be for now.
    settled: bool,
    here: Here,
    signs: Signs,
    questions: Questions,
    lock: Lock,
    errand: Option<Errand>,
    /// How many there have been.
    errands: u32,
    /// That the key is to be used, and why.
    wanted: Option<Want>,
    /// Not before this time.
    retry: Option<Duration>,
    /// A sibling has put a key into storage, and told all others at the same moment.
    hinted: bool,
    /// The use of a key that is our own, or that a sibling was given time to bring to its end.
    yielded_to: Option<Attempt>,
    /// Waits between relogins that follow the loss of the user; none before the first, which goes out at once.
    losses: Option<Backoff>,
    logins: Vec<Login>,
    /// Whether a connection was given up so that they need not wait for the key that could not be used on it.
    login_first: bool,
    endings: Endings,
    schedule: Schedule,
    gained: bool,
    hang_up: bool,
    /// Not handed out yet.
    diagnostics: Vec<Diagnostic>,
    /// Whether the user looks at this page.
    attended: bool,
}

impl Keeper {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            session: config.name,
            relogin_timeout: config.relogin_timeout,
            started: false,
            standing: Standing::Resuming,
            seen: Seen::Unknown,
            leaving: None,
            believed: None,
            binding: None,
            linked: false,
            settled: false,
            here: Here::default(),
            signs: Signs::default(),
            questions: Questions::default(),
            lock: Lock::new(config.lock_timeout, config.relogin_timeout),
            errand: None,
            errands: 0,
            wanted: None,
            retry: None,
            hinted: false,
            yielded_to: None,
            losses: None,
            logins: Vec::new(),
            login_first: false,
            endings: Endings::default(),
            schedule: Schedule::new(config.refresh),
            gained: false,
            hang_up: false,
            diagnostics: Vec::new(),
            attended: true,
        }
    }

    /// Whether storage has been looked at, so that [`Keeper::state`] means something.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// What the page can say of the session.
    pub(crate) fn state(&self) -> SessionState {
        if let Seen::Somebody(user) = &self.seen
            && self.is_shown()
        {
            return SessionState::LoggedIn(user.clone());
        }
        match (self.standing, &self.believed) {
            (Standing::Nobody(None), _) => SessionState::Anonymous,
            (Standing::Nobody(Some(ended)), _) => SessionState::Ended(ended),
            (_, Some(user)) => SessionState::Reconnecting(user.clone()),
            (_, None) => SessionState::Resuming,
        }
    }

    /// What the session's key needs beside it; `None` if there is no key, as far as we know.
    pub(crate) fn binding(&self) -> Option<Binding> {
        self.binding
    }

    /// The newest generation that this connection knows of.
    pub(crate) fn generation(&self) -> Option<u64> {
        match self.standing {
            Standing::Attached { holding, .. } => Some(holding.generation),
            _ => None,
        }
    }

    /// When the key will be used next.
    pub(crate) fn refresh_due(&self) -> Option<Duration> {
        self.schedule.refresh()
    }

    /// Whether other requests may go out on this connection.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the connection has got a session since this was last asked.
    pub(crate) fn take_gained(&mut self) -> bool {
        std::mem::take(&mut self.gained)
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn take_hang_up(&mut self) -> bool {
        std::mem::take(&mut self.hang_up)
    }

    /// Hands out what there is to log.
    pub(crate) fn diagnose(&mut self, out: &mut Outbox) {
        for diagnostic in self.diagnostics.drain(..) {
            out.push(Action::Diagnose(diagnostic));
        }
    }

    fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(crate) fn start(&mut self, out: &mut Outbox) {
        self.questions.read(Asked::Start, out);
    }

    /// There will be no next connection for now.
    pub(crate) fn stop(&mut self, out: &mut Outbox) {
        self.refuse_logins(&RequestError::ConnectionLost, out);
        self.endings.give_up(out);
    }

    /// A socket has opened, and the handshake is on its way.
    pub(crate) fn opened(&mut self, out: &mut Outbox) {
        self.questions.read(Asked::Opened, out);
    }

    /// The connection takes requests: use the key before anything else goes out, if there is one.
    pub(crate) fn linked(&mut self, out: &mut Outbox) {
        (self.linked, self.settled) = (true, false);
        self.questions.look(Asked::Linked, out);
    }

    /// The connection is lost, and with it what was held on it. The session itself is believed in.
    pub(crate) fn unlinked(&mut self, out: &mut Outbox) {
        self.here = Here::default();
        if !std::mem::take(&mut self.linked) {
            return;
        }
        (self.settled, self.hang_up) = (false, false);
        self.drop_errand(out);
        (self.wanted, self.retry) = (None, None);
        self.schedule.pause();
        (self.seen, self.leaving) = (Seen::Unknown, None);
        match self.standing {
            Standing::Attached { stored: true, .. } => self.standing = Standing::Resuming,
            Standing::Attached { stored: false, .. } => self.ended(EndReason::LoggedOutElsewhere),
            _ => {}
        }
        self.endings.connection_lost(out);
    }

    pub(crate) fn lock_granted(&mut self, id: LockId, out: &mut Outbox) {
        if self.lock.granted(id) {
            self.hinted = false;
            self.errand_go(out);
        }
    }

    pub(crate) fn lock_refused(&mut self, id: LockId, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.refused(id) {
            self.note(Diagnostic::WithoutLock);
            self.go_without_lock(turn, out);
        }
    }

    /// The user model, whenever it may have changed.
    pub(crate) fn user(&mut self, seen: Seen, turn: &mut Turn, out: &mut Outbox) {
        if self.seen == seen {
            return;
        }
        let before = std::mem::replace(&mut self.seen, seen);
        match &self.seen {
            Seen::Somebody(user) => {
                if self.leaving.as_ref().is_some_and(|leaving| leaving != user) {
                    self.leaving = None;
                }
                if self.is_shown() {
                    self.believed = Some(user.clone());
                }
            }
            // The user logged out here: no more than was to be expected.
            Seen::Nobody if self.leaving.take().is_some() => {}
            // Maybe the errand's own doing: it is looked at again when that is over.
            Seen::Nobody if self.errand.is_some() => {
                if before != Seen::Unknown {
                    (self.here.lost_meanwhile, self.signs.taken) = (true, true);
                    self.here.lost_user = self.believed.take();
                }
            }
            Seen::Nobody => self.lost_user(turn),
            Seen::Unknown => {}
        }
        self.pump(turn, out);
    }

    /// Another connection of the session has made a new generation.
    pub(crate) fn rotated(&mut self, generation: u64, turn: &mut Turn, out: &mut Outbox) {
        if let Standing::Attached { holding, stored: true } = self.standing
            && holding.generation < generation
        {
            self.note(Diagnostic::MadeElsewhere { generation, known: holding.generation });
            self.signs.rotated = Some(Holding { generation, ..holding });
            self.want(Want::Reach(generation));
            self.pump(turn, out);
        }
    }

    pub(crate) fn login(&mut self, login: Login, turn: &mut Turn, out: &mut Outbox) {
        self.logins.push(login);
        // The old session first, or this would be refused.
        self.endings.hurry();
        self.pump(turn, out);
    }

    pub(crate) fn logout(&mut self, token: Token, out: &mut Outbox) {
        self.refuse_logins(&RequestError::Superseded, out);
        // What can be read at once is removed at once: the page may be about to go.
        self.questions.read(Asked::Logout { token, removed: None }, out);
    }

    /// The page came back: what waits for a better time has waited long enough, and signs of siblings may have been missed.
    pub(crate) fn wake(&mut self, out: &mut Outbox) {
        self.retry = None;
        self.endings.hurry();
        if self.started {
            self.questions.look(Asked::Check, out);
        }
    }

    /// Does what is due. `promising`: what is sent has a fair chance of arriving; a refresh waits for that.
    pub(crate) fn tick(&mut self, promising: bool, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.tick(turn, out) {
            self.note(Diagnostic::WithoutLock);
            self.errand_go(out);
        }
        self.refuse_late_logins(turn, out);
        if promising && self.schedule.refresh().is_some_and(|due| due <= turn.now) {
            self.schedule.pause();
            // It stayed logged in for a whole round: the next loss is a first one again.
            self.losses = None;
            self.want(Want::Refresh);
        }
        self.look_for_stray(turn);
        self.account_for_leftovers(turn, out);
        self.pump(turn, out);
    }

    /// When [`Keeper::tick`] has something to do.
    pub(crate) fn next_deadline(&self, promising: bool) -> Option<Duration> {
        let pending = match self.wanted {
            _ if !self.linked || self.errand.is_some() => None,
            _ if self.endings.is_attached() => None,
            Some(_) => self.retry,
            None => self.stray_deadline(),
        };
        let ending = self.endings.retry().filter(|_| self.linked && self.errand.is_none() && self.is_ending());
        let refresh = self.schedule.refresh().filter(|_| promising);
        let logins = self.logins.iter().map(|login| login.deadline).min();
        [pending, ending, refresh, logins, self.here.leftovers, self.lock.next_deadline()].into_iter().flatten().min()
    }

    /// Whether the user that the user model names is to be shown: not one whom nobody has logged in, as far as the page knows.
    fn is_shown(&self) -> bool {
        let accounted = match self.standing {
            Standing::Attached { .. } | Standing::Resuming => true,
            Standing::Nobody(_) => !self.here.used || self.errand.as_ref().is_some_and(|errand| !errand.void),
        };
        accounted && self.leaving.is_none() && !self.is_ending()
    }

    fn want(&mut self, want: Want) {
        self.wanted = Some(self.wanted.map_or(want, |wanted| wanted.max(want)));
    }

    fn ended(&mut self, why: EndReason) {
        self.note(Diagnostic::Ended(why));
        self.standing = Standing::Nobody(Some(why));
        self.schedule.end();
        (self.believed, self.binding, self.wanted, self.retry) = (None, None, None, None);
        self.signs = Signs::default();
        (self.here.displaced, self.here.lost_user) = (false, None);
    }

    /// The user model says that nobody is logged in any more. With a key at hand, that is no logout of this browser's:
    /// the key is tried at once, so that a stolen session ends and an innocent one goes on.
    fn lost_user(&mut self, turn: &mut Turn) {
        match self.standing {
            Standing::Attached { stored: true, .. } => {
                self.note(Diagnostic::UserLost);
                self.standing = Standing::Resuming;
                // A sibling has the session, and the user does not look at this page.
                if self.here.displaced && !self.attended {
                    self.believed = self.believed.take().or(self.here.lost_user.take());
                    return;
                }
                self.here.lost_user = self.believed.take().or(self.here.lost_user.take());
                self.signs.taken = true;
                self.schedule.pause();
                self.regain(turn);
            }
            Standing::Attached { stored: false, .. } => self.key_is_gone(turn),
            _ => {}
        }
    }

    /// The session is to be on this connection again: at once, but with back-off if it is lost again and again.
    fn regain(&mut self, turn: &mut Turn) {
        self.want(Want::Resume);
        self.retry = match &mut self.losses {
            Some(losses) => Some(turn.now + losses.next(&mut turn.dice)),
            none => {
                *none = Some(Backoff::default());
                None
            }
        };
    }
}
