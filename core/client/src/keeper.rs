//! What keeps a session in the browser: docs/protocol.md, section 4. Says when the relogin key is used, what becomes of the
//! answer, and what the page can say of the session. Never decides whether a key is stolen, and knows no sockets.
//!
//! Everything that it sends (login, relogin, logout) is an *errand*, and errands run one at a time, so that a queued
//! refresh, a reconnect and a logout never cross each other. What storage holds is read afresh for each of them.

mod ending;
mod errand;
mod lock;
mod record;
mod state;

use std::time::Duration;

use relogin_res::ResourceId;
use relogin_session::User;

use self::{
    ending::Ending,
    errand::{Errand, Want},
    lock::Lock,
    record::{Holding, Record, Stored},
    state::{Look, Standing},
};
pub(crate) use self::{errand::Login, state::Seen};
use crate::{
    Action, Config, Ended, LockId, RequestError, Secret, SessionState, Token, backoff::Backoff, input::Turn,
    outbox::Outbox,
};

/// A refresh that is asked for more often than this is a mistake of the service's.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// And one that is asked for later than this would outgrow the timers of browsers.
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps the session.
#[derive(Debug)]
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
    /// Whether the connection takes requests.
    linked: bool,
    /// Whether other requests may go out on this connection: the session is resumed, or cannot be for now.
    settled: bool,
    /// Why storage is being read, other than for an errand.
    look: Option<Look>,
    lock: Lock,
    errand: Option<Errand>,
    /// The user model lost its user during the errand.
    lost_meanwhile: bool,
    /// That the key is to be used, and why.
    wanted: Option<Want>,
    /// Not before this time.
    retry: Option<Duration>,
    backoff: Backoff,
    /// Waits between relogins that follow the loss of the user; none before the first, which goes out at once.
    losses: Option<Backoff>,
    logins: Vec<Login>,
    ending: Option<Ending>,
    refresh_in: Duration,
    refresh: Option<Duration>,
    gained: bool,
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
            linked: false,
            settled: false,
            look: None,
            lock: Lock::new(config.lock_timeout),
            errand: None,
            lost_meanwhile: false,
            wanted: None,
            retry: None,
            backoff: Backoff::default(),
            losses: None,
            logins: Vec::new(),
            ending: None,
            refresh_in: MAX_REFRESH,
            refresh: None,
            gained: false,
        }
    }

    /// Whether storage has been looked at, so that [`Keeper::state`] means something.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// What the page can say of the session.
    pub(crate) fn state(&self) -> SessionState {
        if let (Seen::Somebody(user), None, None) = (&self.seen, &self.leaving, &self.ending) {
            return SessionState::LoggedIn(user.clone());
        }
        match (self.standing, &self.believed) {
            (Standing::Nobody(None), _) => SessionState::Anonymous,
            (Standing::Nobody(Some(ended)), _) => SessionState::Ended(ended),
            (_, Some(user)) => SessionState::Reconnecting(user.clone()),
            (_, None) => SessionState::Resuming,
        }
    }

    /// When the key will be used next.
    pub(crate) fn refresh_due(&self) -> Option<Duration> {
        self.refresh
    }

    /// Whether other requests may go out on this connection.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the connection has got a session since this was last asked.
    pub(crate) fn take_gained(&mut self) -> bool {
        std::mem::take(&mut self.gained)
    }

    pub(crate) fn start(&mut self, out: &mut Outbox) {
        self.look = Some(Look::Start);
        out.push(Action::ReadStorage);
    }

    /// There will be no next connection for now.
    pub(crate) fn stop(&mut self, out: &mut Outbox) {
        for login in std::mem::take(&mut self.logins) {
            out.settle(login.token, Err(RequestError::ConnectionLost));
        }
        self.ending = None;
    }

    /// The connection takes requests: use the key before anything else goes out, if there is one.
    pub(crate) fn linked(&mut self, out: &mut Outbox) {
        (self.linked, self.settled) = (true, false);
        self.look = Some(Look::Linked);
        out.push(Action::ReadStorage);
    }

    /// The connection is lost, and with it what was held on it. The session itself is believed in.
    pub(crate) fn unlinked(&mut self, out: &mut Outbox) {
        if !std::mem::take(&mut self.linked) {
            return;
        }
        self.settled = false;
        self.drop_errand(out);
        (self.look, self.wanted, self.retry, self.refresh) = (None, None, None, None);
        (self.seen, self.leaving, self.lost_meanwhile) = (Seen::Unknown, None, false);
        match self.standing {
            Standing::Attached { stored: true, .. } => self.standing = Standing::Resuming,
            Standing::Attached { stored: false, .. } => self.ended(Ended::LoggedOutElsewhere),
            _ => {}
        }
        if let Some(ending) = &mut self.ending {
            ending.connection_lost(out);
            if ending.is_hopeless() {
                self.ending = None;
            }
        }
    }

    /// What storage has.
    pub(crate) fn storage_read(&mut self, text: Option<Secret>, turn: &mut Turn, out: &mut Outbox) {
        let stored = Stored::read(text);
        match self.look.take() {
            Some(Look::Start) => {
                self.started = true;
                self.standing = if stored.record.is_some() { Standing::Resuming } else { Standing::Nobody(None) };
            }
            Some(Look::Linked) if stored.record.is_some() => self.resume(),
            Some(Look::Linked) => self.no_key(),
            Some(Look::Logout(token)) => self.leave(token, stored, out),
            None => self.errand_read(stored, turn, out),
        }
        self.pump(turn, out);
    }

    /// Another tab changed what storage has. A hint: what it has is read again before anything is done with it.
    pub(crate) fn storage_changed(&mut self, text: Option<&Secret>, turn: &mut Turn, out: &mut Outbox) {
        self.lock.wait_on(turn);
        match (Record::parse(text), self.standing) {
            // The connection may hold the session for a moment longer: its user model will say.
            (None, Standing::Attached { .. }) => self.no_key(),
            // What was sent will be answered; what was not need not be.
            (None, Standing::Resuming) if !self.errand.as_ref().is_some_and(Errand::is_sent) => {
                self.wanted = None;
                self.drop_errand(out);
                self.no_key();
            }
            (None, _) => {}
            (Some(record), Standing::Attached { holding, .. }) => {
                if holding.is_same_session(record.holding()) {
                    self.caught_up(&record, turn);
                } else {
                    self.want(Want::Resume);
                }
            }
            (Some(_), Standing::Nobody(_)) => self.resume(),
            (Some(_), Standing::Resuming) => {}
        }
        self.pump(turn, out);
    }

    pub(crate) fn lock_granted(&mut self, id: LockId, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.granted(id) {
            self.errand_go(turn, out);
        }
    }

    pub(crate) fn lock_refused(&mut self, id: LockId, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.refused(id) {
            self.errand_go(turn, out);
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
                if self.ending.is_none() && self.leaving.is_none() {
                    self.believed = Some(user.clone());
                }
            }
            // The user logged out here: no more than was to be expected.
            Seen::Nobody if self.leaving.take().is_some() => {}
            // Maybe the errand's own doing: it is looked at again when that is over.
            Seen::Nobody if self.errand.is_some() => self.lost_meanwhile |= before != Seen::Unknown,
            Seen::Nobody => self.lost_user(turn),
            Seen::Unknown => {}
        }
        self.pump(turn, out);
    }

    /// Another connection of the session has made a new generation.
    pub(crate) fn rotated(&mut self, generation: u64, turn: &mut Turn, out: &mut Outbox) {
        if matches!(self.standing, Standing::Attached { holding, stored: true } if holding.generation < generation) {
            self.want(Want::Reach(generation));
            self.pump(turn, out);
        }
    }

    pub(crate) fn login(&mut self, login: Login, turn: &mut Turn, out: &mut Outbox) {
        self.logins.push(login);
        // The old session first, or this would be refused.
        if let Some(ending) = &mut self.ending {
            ending.retry = None;
        }
        self.pump(turn, out);
    }

    pub(crate) fn logout(&mut self, token: Token, out: &mut Outbox) {
        for login in std::mem::take(&mut self.logins) {
            out.settle(login.token, Err(RequestError::Superseded));
        }
        self.look = Some(Look::Logout(token));
        out.push(Action::ReadStorage);
    }

    /// The page came back: what waits for a better time has waited long enough.
    pub(crate) fn wake(&mut self) {
        self.retry = None;
        if let Some(ending) = &mut self.ending {
            ending.retry = None;
        }
    }

    /// Does what is due. `promising`: what is sent has a fair chance of arriving; a refresh waits for that.
    pub(crate) fn tick(&mut self, promising: bool, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.tick(turn, out) {
            self.errand_go(turn, out);
        }
        for login in self.logins.extract_if(.., |login| login.deadline <= turn.now) {
            out.settle(login.token, Err(RequestError::TimedOut));
        }
        if promising && self.refresh.is_some_and(|due| due <= turn.now) {
            self.refresh = None;
            // It stayed logged in for a whole round: the next loss is a first one again.
            self.losses = None;
            self.want(Want::Refresh);
        }
        self.pump(turn, out);
    }

    /// When [`Keeper::tick`] has something to do.
    pub(crate) fn next_deadline(&self, promising: bool) -> Option<Duration> {
        let pending = match (&self.ending, &self.wanted) {
            _ if !self.linked || self.errand.is_some() => None,
            (Some(ending), _) => ending.retry,
            (None, Some(_)) => self.retry,
            (None, None) => None,
        };
        let refresh = self.refresh.filter(|_| promising);
        let logins = self.logins.iter().map(|login| login.deadline).min();
        [pending, refresh, logins, self.lock.next_deadline()].into_iter().flatten().min()
    }

    fn want(&mut self, want: Want) {
        self.wanted = Some(self.wanted.map_or(want, |wanted| wanted.max(want)));
    }

    /// Storage has a key that this connection has not used.
    fn resume(&mut self) {
        if matches!(self.standing, Standing::Nobody(_)) {
            self.believed = None;
        }
        self.standing = Standing::Resuming;
        self.want(Want::Resume);
    }

    /// Storage has no key.
    fn no_key(&mut self) {
        self.refresh = None;
        match &mut self.standing {
            Standing::Attached { stored, .. } => *stored = false,
            Standing::Resuming => self.ended(Ended::LoggedOutElsewhere),
            Standing::Nobody(_) => {}
        }
    }

    fn ended(&mut self, why: Ended) {
        self.standing = Standing::Nobody(Some(why));
        (self.believed, self.refresh, self.wanted, self.retry) = (None, None, None, None);
    }

    /// The user model says that nobody is logged in any more. With a key at hand, that is no logout of this browser's:
    /// the key is tried at once, so that a stolen session ends and an innocent one goes on.
    fn lost_user(&mut self, turn: &mut Turn) {
        match self.standing {
            Standing::Attached { stored: true, .. } => {
                self.standing = Standing::Resuming;
                (self.believed, self.refresh) = (None, None);
                self.want(Want::Resume);
                self.retry = match &mut self.losses {
                    Some(losses) => Some(turn.now + losses.next(&mut turn.dice)),
                    none => {
                        *none = Some(Backoff::default());
                        None
                    }
                };
            }
            Standing::Attached { stored: false, .. } => self.ended(Ended::LoggedOutElsewhere),
            _ => {}
        }
    }

    /// Storage has this key, of the session that the connection holds: a sibling was at work, or we were.
    fn caught_up(&mut self, record: &Record, turn: &mut Turn) {
        let Standing::Attached { holding, stored } = &mut self.standing else { return };
        let newer = record.generation > holding.generation || !*stored;
        holding.generation = holding.generation.max(record.generation);
        *stored = true;
        if newer || self.refresh.is_none() {
            self.refresh = Some(turn.since + turn.dice.about(self.refresh_in));
        }
    }
}
