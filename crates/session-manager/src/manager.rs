//! The session manager's interface: takes inputs, hands out actions and events. When the relogin key
//! is used, what becomes of the answer, and what the page can say of the session: docs/protocol.md,
//! section 4. Must not decide whether a key is stolen, and must not know sockets or resources.
//!
//! Everything that it sends (login, relogin, logout) is an *operation*, and operations run one at a time, so that a queued
//! refresh, a reconnect and a logout never cross each other. What storage holds is read afresh for each of them, and changed
//! only by swaps, so that tabs need no lock to agree.

mod challenge;
mod legacy;
mod login;
mod operation;
mod pending_logouts;
mod reasons;
mod relogin;
mod status;
mod storage;

use std::{collections::VecDeque, time::Duration};

use relogin_session::{Attempt, User};

use self::{
    login::Login,
    operation::{Operation, Want},
    pending_logouts::PendingLogouts,
    status::{ConnectionNotes, Gate, PendingQueries, SessionStatus, StorageQuery, TheftEvidence},
};
use crate::{
    Action, Backoff, Binding, Config, Diagnostic, EndReason, Event, Input, LockId, ObservedUser, RequestError,
    SessionState, Token, Turn,
    last_reported::LastReported,
    lock::Lock,
    outbox::{Outbox, Purpose},
    record::Holding,
    schedule::Schedule,
};

/// Keeps a user logged in.
///
/// The contract with its driver: call [`handle`](Self::handle) for each thing that happens, then take all actions from
/// [`poll_action`](Self::poll_action) and carry them out in their order, then take all events from
/// [`poll_event`](Self::poll_event), then set one timer to [`poll_timeout`](Self::poll_timeout), replacing the one before.
/// What storage and the device are asked for ([`ReadStorage`](Action::ReadStorage), [`SwapStorage`](Action::SwapStorage),
/// [`MakeDevice`](Action::MakeDevice), [`Sign`](Action::Sign)) is answered as soon as its action is polled, before any other
/// input and before the actions behind it are carried out. Inputs never fail and never panic; answers to requests and
/// locks that are no more are ignored.
#[derive(Clone, Debug)]
pub struct SessionManager {
    config: Config,
    out: Outbox,
    /// Not handed out yet.
    diagnostics: VecDeque<Diagnostic>,
    last_reported: LastReported,
    /// Whether the browser says that there is no network.
    is_offline: bool,
    started: bool,
    status: SessionStatus,
    /// Who is logged in on this connection, as the user model says.
    observed_user: ObservedUser,
    /// Who was logged in when the user logged out: not to be shown until the user model has caught up.
    leaving_user: Option<User>,
    /// Whom to show while it is not known whether they are still logged in.
    presumed_user: Option<User>,
    /// What the session's key needs beside it.
    binding: Option<Binding>,
    /// Whether the connection takes requests.
    connected: bool,
    gate: Gate,
    notes: ConnectionNotes,
    evidence: TheftEvidence,
    queries: PendingQueries,
    lock: Lock,
    operation: Option<Operation>,
    /// How many there have been.
    operations: u32,
    /// That the key is to be used, and why.
    wanted: Option<Want>,
    /// Not before this time.
    retry: Option<Duration>,
    /// A sibling has put a key into storage, and told all others at the same moment.
    is_simultaneous: bool,
    /// The use of a key that is our own, or that a sibling was given time to bring to its end.
    yielded_to: Option<Attempt>,
    /// Waits between relogins that follow the loss of the user; none before the first, which goes out at once.
    losses: Option<Backoff>,
    logins: Vec<Login>,
    /// Whether a connection was given up so that they need not wait for the key that could not be used on it.
    login_first: bool,
    pending_logouts: PendingLogouts,
    schedule: Schedule,
    hang_up: bool,
    /// Whether the user looks at this page.
    attended: bool,
}

impl SessionManager {
    /// One that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            out: Outbox::default(),
            diagnostics: VecDeque::new(),
            last_reported: LastReported::default(),
            is_offline: false,
            started: false,
            status: SessionStatus::Resuming,
            observed_user: ObservedUser::Unknown,
            leaving_user: None,
            presumed_user: None,
            binding: None,
            connected: false,
            gate: Gate::Closed,
            notes: ConnectionNotes::default(),
            evidence: TheftEvidence::default(),
            queries: PendingQueries::default(),
            lock: Lock::new(config.lock_timeout, config.relogin_timeout),
            operation: None,
            operations: 0,
            wanted: None,
            retry: None,
            is_simultaneous: false,
            yielded_to: None,
            losses: None,
            logins: Vec::new(),
            login_first: false,
            pending_logouts: PendingLogouts::default(),
            schedule: Schedule::new(config.refresh),
            hang_up: false,
            attended: true,
            config,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, turn: &mut Turn) {
        let mut out = std::mem::take(&mut self.out);
        self.take_in(input, turn, &mut out);
        self.tick(turn, &mut out);
        if std::mem::take(&mut self.hang_up) {
            self.disconnected(&mut out);
            out.push(Action::Replace);
        }
        // Behind what comes first on the connection.
        if self.gate == Gate::Opening {
            self.gate = Gate::Open;
            out.push(Action::Ready);
        }
        self.out = out;
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.actions.pop_front()
    }

    /// The next thing to tell the page, until `None`: only what is otherwise than it was told last.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(diagnostic) = self.diagnostics.pop_front() {
            return Some(Event::Diagnostic(diagnostic));
        }
        // Before storage was looked at, there is nothing to say of a session.
        if !self.started {
            return None;
        }
        let (state, binding, due) = (self.state(), self.binding, self.refresh_due());
        self.last_reported.next(state, binding, due)
    }

    /// When [`Input::Timer`] is wanted, on the clock of [`Turn::now`]; `None`: never, as things are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let pending = match self.wanted {
            _ if !self.connected || self.operation.is_some() => None,
            _ if self.pending_logouts.is_attached() => None,
            Some(_) => self.retry,
            None => self.orphan_deadline(),
        };
        let is_idle = self.connected && self.operation.is_none();
        let logout = self.pending_logouts.retry().filter(|_| is_idle && self.is_ending());
        let refresh = self.schedule.refresh().filter(|_| self.is_promising());
        let logins = self.logins.iter().map(|login| login.deadline).min();
        let (lock, requests) = (self.lock.next_deadline(), self.out.next_deadline());
        [pending, logout, refresh, logins, self.notes.leftovers, lock, requests].into_iter().flatten().min()
    }

    /// What the page can say of the session.
    #[must_use]
    pub fn state(&self) -> SessionState {
        if let ObservedUser::Somebody(user) = &self.observed_user
            && self.is_shown()
        {
            return SessionState::LoggedIn(user.clone());
        }
        match (self.status, &self.presumed_user) {
            (SessionStatus::Nobody(None), _) => SessionState::Anonymous,
            (SessionStatus::Nobody(Some(ended)), _) => SessionState::Ended(ended),
            (_, Some(user)) => SessionState::Reconnecting(user.clone()),
            (_, None) => SessionState::Resuming,
        }
    }

    /// What somebody needs beside the session's relogin key to use it; `None` if there is no session, as far as is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.binding
    }

    /// How often the session's relogin key has been exchanged, its first one counting; `None` while this connection does not hold
    /// the session.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        match self.status {
            SessionStatus::Attached { holding, .. } => Some(holding.generation),
            _ => None,
        }
    }

    /// When the relogin key will be used next, on the clock of [`Turn::now`]; `None` if it need not be.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Duration> {
        self.schedule.refresh()
    }

    fn take_in(&mut self, input: Input, turn: &mut Turn, out: &mut Outbox) {
        match input {
            Input::Start => self.queries.read(StorageQuery::Start, out),
            Input::Stop => {
                self.disconnected(out);
                self.refuse_logins(&RequestError::ConnectionLost, out);
                self.pending_logouts.give_up(out);
            }
            Input::Opening => self.queries.read(StorageQuery::Opened, out),
            Input::Connected => self.connected(out),
            Input::Disconnected => self.disconnected(out),
            Input::Heard => self.is_offline = false,
            Input::Answered(id, result) => {
                self.is_offline = false;
                match out.answered(id) {
                    Some(Purpose::Operation) => self.answered(result, turn, out),
                    Some(Purpose::Challenge) => self.challenged(result, turn, out),
                    None => {}
                }
            }
            Input::User(user) => self.user(user, turn, out),
            Input::Rotated(generation) => self.rotated(generation, turn, out),
            Input::StorageRead(text) => self.storage_read(text, turn, out),
            Input::Device(device) => self.device(device, turn, out),
            Input::Signed(signature) => self.signed(signature, turn, out),
            Input::StorageChanged => self.storage_changed(turn, out),
            Input::LockGranted(id) => self.lock_granted(id, out),
            Input::LockRefused(id) => self.lock_refused(id, turn, out),
            Input::Wake => self.wake(out),
            Input::Attention(attended) => self.attention(attended, turn, out),
            Input::Online => {
                self.is_offline = false;
                self.wake(out);
            }
            Input::Offline => self.is_offline = true,
            Input::Timer => {}
            Input::Login { token, username, password } => {
                let timeout = self.config.request_timeout;
                let login = Login::new(token, username, password, turn.after(timeout), timeout);
                self.login(login, turn, out);
            }
            Input::Logout(token) => self.logout(token, out),
        }
    }

    /// Whether what is sent has a fair chance of arriving; a refresh waits for that.
    fn is_promising(&self) -> bool {
        self.connected && !self.is_offline
    }

    fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push_back(diagnostic);
    }

    /// Requests of others may go out: the session is resumed, or cannot be for now.
    fn open_gate(&mut self) {
        if self.gate == Gate::Closed {
            self.gate = Gate::Opening;
        }
    }

    /// The connection takes requests: use the key before anything else goes out, if there is one.
    fn connected(&mut self, out: &mut Outbox) {
        if self.connected {
            self.disconnected(out);
        }
        (self.connected, self.gate, self.is_offline) = (true, Gate::Closed, false);
        self.queries.look(StorageQuery::Linked, out);
    }

    /// The connection is lost, and with it what was held on it. The session itself is presumed_user in.
    fn disconnected(&mut self, out: &mut Outbox) {
        self.notes = ConnectionNotes::default();
        out.disconnected();
        if !std::mem::take(&mut self.connected) {
            return;
        }
        (self.gate, self.hang_up) = (Gate::Closed, false);
        self.abort_operation(out);
        (self.wanted, self.retry) = (None, None);
        self.schedule.pause();
        (self.observed_user, self.leaving_user) = (ObservedUser::Unknown, None);
        match self.status {
            SessionStatus::Attached { stored: true, .. } => self.status = SessionStatus::Resuming,
            SessionStatus::Attached { stored: false, .. } => self.ended(EndReason::LoggedOutElsewhere),
            _ => {}
        }
        self.pending_logouts.connection_lost(out);
    }

    fn lock_granted(&mut self, id: LockId, out: &mut Outbox) {
        if self.lock.granted(id) {
            self.is_simultaneous = false;
            self.operation_go(out);
        }
    }

    fn lock_refused(&mut self, id: LockId, turn: &mut Turn, out: &mut Outbox) {
        if self.lock.refused(id) {
            self.note(Diagnostic::WithoutLock);
            self.go_without_lock(turn, out);
        }
    }

    /// The user model, whenever it may have changed.
    fn user(&mut self, seen: ObservedUser, turn: &mut Turn, out: &mut Outbox) {
        if self.observed_user == seen {
            return;
        }
        let before = std::mem::replace(&mut self.observed_user, seen);
        match &self.observed_user {
            ObservedUser::Somebody(user) => {
                if self.leaving_user.as_ref().is_some_and(|leaving_user| leaving_user != user) {
                    self.leaving_user = None;
                }
                if self.is_shown() {
                    self.presumed_user = Some(user.clone());
                }
            }
            // The user logged out here: no more than was to be expected.
            ObservedUser::Nobody if self.leaving_user.take().is_some() => {}
            // Maybe the operation's own doing: it is looked at again when that is over.
            ObservedUser::Nobody if self.operation.is_some() => {
                if before != ObservedUser::Unknown {
                    (self.notes.lost_meanwhile, self.evidence.taken) = (true, true);
                    self.notes.lost_user = self.presumed_user.take();
                }
            }
            ObservedUser::Nobody => self.lost_user(turn),
            ObservedUser::Unknown => {}
        }
        self.pump(turn, out);
    }

    /// Another connection of the session has made a new generation.
    fn rotated(&mut self, generation: u64, turn: &mut Turn, out: &mut Outbox) {
        if let SessionStatus::Attached { holding, stored: true } = self.status
            && holding.generation < generation
        {
            self.note(Diagnostic::MadeElsewhere { generation, known: holding.generation });
            self.evidence.rotated = Some(Holding { generation, ..holding });
            self.want(Want::Reach(generation));
            self.pump(turn, out);
        }
    }

    fn login(&mut self, login: Login, turn: &mut Turn, out: &mut Outbox) {
        self.logins.push(login);
        // The old session first, or this would be refused.
        self.pending_logouts.hurry();
        self.pump(turn, out);
    }

    fn logout(&mut self, token: Token, out: &mut Outbox) {
        self.refuse_logins(&RequestError::Superseded, out);
        // What can be read at once is removed at once: the page may be about to go.
        self.queries.read(StorageQuery::Logout { token, removed: None }, out);
    }

    /// The page came back: what waits for a better time has waited long enough, and evidence of siblings may have been missed.
    fn wake(&mut self, out: &mut Outbox) {
        self.retry = None;
        self.pending_logouts.hurry();
        if self.started {
            self.queries.look(StorageQuery::Check, out);
        }
    }

    /// Does what is due.
    fn tick(&mut self, turn: &mut Turn, out: &mut Outbox) {
        while let Some(purpose) = out.timed_out(turn.now) {
            match purpose {
                Purpose::Operation => self.answered(Err(RequestError::TimedOut), turn, out),
                Purpose::Challenge => self.challenged(Err(RequestError::TimedOut), turn, out),
            }
            // Is it the service that is slow, or is nobody there?
            out.push(Action::CheckConnection);
        }
        if self.lock.tick(turn, out) {
            self.note(Diagnostic::WithoutLock);
            self.operation_go(out);
        }
        self.refuse_late_logins(turn, out);
        if self.is_promising() && self.schedule.refresh().is_some_and(|due| due <= turn.now) {
            self.schedule.pause();
            // It stayed logged in for a whole round: the next loss is a first one again.
            self.losses = None;
            self.want(Want::Refresh);
        }
        self.look_for_orphan(turn);
        self.account_for_leftovers(turn, out);
        self.pump(turn, out);
    }

    /// Whether the user that the user model names is to be shown: not one whom nobody has logged in, as far as the page knows.
    fn is_shown(&self) -> bool {
        let accounted = match self.status {
            SessionStatus::Attached { .. } | SessionStatus::Resuming => true,
            SessionStatus::Nobody(_) => {
                !self.notes.used || self.operation.as_ref().is_some_and(|operation| !operation.void)
            }
        };
        accounted && self.leaving_user.is_none() && !self.is_ending()
    }

    fn want(&mut self, want: Want) {
        self.wanted = Some(self.wanted.map_or(want, |wanted| wanted.max(want)));
    }

    fn ended(&mut self, why: EndReason) {
        self.note(Diagnostic::Ended(why));
        self.status = SessionStatus::Nobody(Some(why));
        self.schedule.end();
        (self.presumed_user, self.binding, self.wanted, self.retry) = (None, None, None, None);
        self.evidence = TheftEvidence::default();
        (self.notes.displaced, self.notes.lost_user) = (false, None);
    }

    /// The user model says that nobody is logged in any more. With a key at hand, that is no logout of this browser's:
    /// the key is tried at once, so that a stolen session ends and an innocent one goes on.
    fn lost_user(&mut self, turn: &mut Turn) {
        match self.status {
            SessionStatus::Attached { stored: true, .. } => {
                self.note(Diagnostic::UserLost);
                self.status = SessionStatus::Resuming;
                // A sibling has the session, and the user does not look at this page.
                if self.notes.displaced && !self.attended {
                    self.presumed_user = self.presumed_user.take().or(self.notes.lost_user.take());
                    return;
                }
                self.notes.lost_user = self.presumed_user.take().or(self.notes.lost_user.take());
                self.evidence.taken = true;
                self.schedule.pause();
                self.regain(turn);
            }
            SessionStatus::Attached { stored: false, .. } => self.key_is_gone(turn),
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
