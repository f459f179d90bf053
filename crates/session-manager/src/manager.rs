//! The session manager's interface: takes inputs, hands out actions and events. When the relogin
//! key is used, what becomes of the answer, and what the page can say of the session:
//! docs/protocol.md, section 4. Must not know sockets or resources.
//!
//! Everything that it sends (login, relogin, logout) is an *operation*, and operations run one at a
//! time, so that a queued refresh, a reconnect and a logout never cross each other. What storage
//! holds is read afresh for each of them, and changed only by swaps, so that tabs need no lock to
//! agree.

mod advance;
mod next;
mod stored;

use std::time::Duration;

use self::{
    advance::{advance, answered, challenged, do_step, go_without_lock},
    next::{begin_next, look_for_orphan},
    stored::{account_for_leftovers, storage_read},
};
use crate::{
    Action, Binding, Diagnostic, Event, Input, ObservedUser, PlatformEvent, RequestError, SessionCommand,
    SessionConfig, SessionState, Turn,
    connection::Gate,
    last_reported::LastReported,
    machine::Machine,
    operation::{OperationEvent, login::LoginRequest},
    outbox::Purpose,
    queries::StorageQuery,
    session::SessionStatus,
};

/// Keeps a user logged in.
///
/// The contract with its driver: call [`handle`](Self::handle) for each thing that happens, then
/// take all actions from [`poll_action`](Self::poll_action) and carry them out in their order, then
/// take all events from [`poll_event`](Self::poll_event), then set one timer to
/// [`poll_timeout`](Self::poll_timeout), replacing the one before. What storage and the device key
/// are asked for ([`PlatformAction`](crate::PlatformAction)) is answered as soon as its action is
/// polled, before any other input and before the actions behind it are carried out. Inputs never
/// fail and never panic; answers to requests and locks that are over are ignored.
#[derive(Clone, Debug)]
pub struct SessionManager {
    machine: Machine,
    last_reported: LastReported,
}

impl SessionManager {
    /// One that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self { machine: Machine::new(config), last_reported: LastReported::default() }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, turn: &mut Turn) {
        self.take_in(input, turn);
        self.begin_next(turn);
        self.tick(turn);
        self.begin_next(turn);
        // Behind what comes first on the connection.
        let machine = &mut self.machine;
        if let Some(connection) = machine.phase.connection_mut()
            && connection.gate == Gate::Opening
        {
            connection.gate = Gate::Open;
            machine.out.push(Action::Ready);
        }
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.machine.out.next()
    }

    /// The next thing to report to the page, until `None`: only what has changed since it was last.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.machine.session.log.is_empty() {
            return Some(Event::Diagnostic(self.machine.session.log.remove(0)));
        }
        // Before storage was looked at, there is nothing to say of a session.
        if self.machine.session.status == SessionStatus::Unread {
            return None;
        }
        let (state, binding, due) = (self.state(), self.binding(), self.refresh_due());
        self.last_reported.next(state, binding, due)
    }

    /// When [`PlatformEvent::Timer`] is due, on the clock of [`Turn::now`], if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let machine = &self.machine;
        let refresh = machine.session.schedule.refresh().filter(|_| machine.is_promising());
        let leftovers = machine.phase.connection().and_then(|connection| connection.leftovers);
        let (next, logins) = (next::next_deadline(machine), machine.logins.next_deadline());
        let (lock, requests) = (machine.lock.next_deadline(), machine.out.next_deadline());
        [next, refresh, logins, leftovers, lock, requests].into_iter().flatten().min()
    }

    /// What the page can say of the session.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let Machine { phase, session, .. } = &self.machine;
        if let Some(connection) = phase.connection()
            && let ObservedUser::Somebody(user) = &connection.observed_user
            && self.machine.is_shown()
        {
            return SessionState::LoggedIn(user.clone());
        }
        match (session.status, &session.presumed_user) {
            (SessionStatus::Nobody(None), _) => SessionState::Anonymous,
            (SessionStatus::Nobody(Some(ended)), _) => SessionState::Ended(ended),
            (_, Some(user)) => SessionState::Reconnecting(user.clone()),
            (_, None) => SessionState::Resuming,
        }
    }

    /// What somebody needs beside the session's relogin key to use it; `None` if there is no
    /// session, as far as is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.machine.session.binding
    }

    /// How often the session's relogin key has been exchanged, its first one counting; `None` while
    /// this connection does not hold the session.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.machine.session.held().map(|holding| holding.generation)
    }

    /// When the relogin key will be used next, on the clock of [`Turn::now`]; `None` if it need not
    /// be.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Duration> {
        self.machine.session.schedule.refresh()
    }

    fn take_in(&mut self, input: Input, turn: &mut Turn) {
        let machine = &mut self.machine;
        match input {
            Input::Start => machine.queries.read(StorageQuery::Start, &mut machine.out),
            Input::Stop => {
                machine.disconnected();
                machine.logins.refuse(&RequestError::ConnectionLost, &mut machine.out);
                machine.pending_logouts.give_up(&mut machine.out);
            }
            Input::Opening => machine.opening(),
            Input::Connected => machine.connected(),
            Input::Disconnected => machine.disconnected(),
            Input::Heard => machine.is_offline = false,
            Input::Answered(id, result) => {
                machine.is_offline = false;
                match machine.out.answered(id) {
                    Some(Purpose::Operation) => answered(machine, result, turn),
                    Some(Purpose::Challenge) => challenged(machine, result, turn),
                    None => {}
                }
            }
            Input::User(user) => machine.observe(user, turn),
            Input::Rotated(generation) => machine.session.rotated(generation),
            Input::Platform(event) => self.take_in_event(event, turn),
            Input::Command(token, SessionCommand::Login { username, password }) => {
                let deadline = turn.after(machine.config.login_timeout);
                machine.login(LoginRequest { token, username, password, deadline, is_second_try: false });
            }
            Input::Command(token, SessionCommand::Logout) => {
                machine.logins.refuse(&RequestError::Superseded, &mut machine.out);
                // What can be read at once is removed at once: the page may be about to go.
                machine.queries.read(StorageQuery::Logout { token, removed: None }, &mut machine.out);
            }
        }
    }

    fn take_in_event(&mut self, event: PlatformEvent, turn: &mut Turn) {
        let machine = &mut self.machine;
        match event {
            PlatformEvent::StorageRead(text) => storage_read(machine, text, turn),
            PlatformEvent::Device(device) => advance(machine, OperationEvent::Device(device), turn),
            PlatformEvent::Signed(signature) => advance(machine, OperationEvent::Signed(signature), turn),
            PlatformEvent::StorageChanged => {
                machine.lock.wait_on(turn);
                machine.queries.look(StorageQuery::Check, &mut machine.out);
            }
            PlatformEvent::LockGranted(id) => {
                if machine.lock.granted(id) {
                    advance(machine, OperationEvent::Locked, turn);
                }
            }
            PlatformEvent::LockRefused(id) => {
                if machine.lock.refused(id) {
                    machine.session.note(Diagnostic::WithoutLock);
                    go_without_lock(machine, turn);
                }
            }
            PlatformEvent::Wake => self.wake(),
            PlatformEvent::Online => {
                machine.is_offline = false;
                self.wake();
            }
            PlatformEvent::Offline => machine.is_offline = true,
            PlatformEvent::Attention(is_attended) => {
                if machine.session.attend(is_attended) && machine.phase.operation().is_none() {
                    machine.session.want_now();
                }
            }
            PlatformEvent::Timer => {}
        }
    }

    /// The page came back: what waits for a better time has waited long enough, and signs of
    /// siblings may have been missed.
    fn wake(&mut self) {
        let machine = &mut self.machine;
        machine.session.wait_until(None);
        machine.pending_logouts.hurry();
        if machine.session.status != SessionStatus::Unread {
            machine.queries.look(StorageQuery::Check, &mut machine.out);
        }
    }

    /// Does what is due.
    fn tick(&mut self, turn: &mut Turn) {
        let machine = &mut self.machine;
        while let Some(purpose) = machine.out.timed_out(turn.now) {
            match purpose {
                Purpose::Operation => answered(machine, Err(RequestError::TimedOut), turn),
                Purpose::Challenge => challenged(machine, Err(RequestError::TimedOut), turn),
            }
            // Is it the service that is slow, or is nobody there?
            machine.out.push(Action::CheckConnection);
        }
        if machine.lock.tick(turn, &mut machine.out) {
            machine.session.note(Diagnostic::WithoutLock);
            advance(machine, OperationEvent::Locked, turn);
        }
        machine.logins.refuse_late(turn.now, &mut machine.out);
        if machine.is_promising() && machine.session.schedule.refresh().is_some_and(|due| due <= turn.now) {
            machine.session.refresh();
        }
        look_for_orphan(machine, turn);
        account_for_leftovers(machine, turn);
    }

    fn begin_next(&mut self, turn: &mut Turn) {
        if let Some(step) = begin_next(&mut self.machine, turn) {
            do_step(&mut self.machine, step, turn);
        }
    }
}
