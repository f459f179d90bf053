//! The session manager's state, and the changes that concern several parts of it: connecting and
//! disconnecting, replacing a connection, breaking an operation off. Must not decide what is next.

use crate::{
    Action, ObservedUser, RequestError, SessionConfig, Turn,
    connection::ConnectionNotes,
    lock::Lock,
    logins::WaitingLogins,
    operation::{
        Operation,
        login::{BrokenOff, LoginRequest},
    },
    outbox::{Outbox, Purpose},
    pending_logouts::PendingLogouts,
    phase::Phase,
    queries::{PendingQueries, StorageQuery},
    record::Record,
    session::{Session, SessionStatus},
};

/// The session manager without its interface.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) config: SessionConfig,
    pub(crate) out: Outbox,
    pub(crate) phase: Phase,
    pub(crate) session: Session,
    pub(crate) queries: PendingQueries,
    pub(crate) lock: Lock,
    pub(crate) logins: WaitingLogins,
    pub(crate) pending_logouts: PendingLogouts,
    /// Whether the browser says that there is no network.
    pub(crate) is_offline: bool,
}

impl Machine {
    pub(crate) fn new(config: SessionConfig) -> Self {
        Self {
            out: Outbox::default(),
            phase: Phase::Disconnected,
            session: Session::new(config.refresh),
            queries: PendingQueries::default(),
            lock: Lock::new(config.lock_timeout, config.relogin_timeout),
            logins: WaitingLogins::default(),
            pending_logouts: PendingLogouts::default(),
            is_offline: false,
            config,
        }
    }

    /// Whether what is sent has a fair chance of arriving; a refresh waits for that.
    pub(crate) fn is_promising(&self) -> bool {
        self.phase.is_connected() && !self.is_offline
    }

    /// Whether the pending logouts concern this connection: it holds what is to end, or is to take
    /// it up next.
    pub(crate) fn is_ending(&self) -> bool {
        self.pending_logouts.is_attached() || self.session.held().is_none() && !self.pending_logouts.is_empty()
    }

    /// Whether the user that the user model names is to be shown: not one whom nobody has logged
    /// in, as far as the page knows.
    pub(crate) fn is_shown(&self) -> bool {
        let Some(connection) = self.phase.connection() else { return false };
        let is_accounted = match self.session.status {
            SessionStatus::Attached { .. } | SessionStatus::Resuming | SessionStatus::Unread => true,
            SessionStatus::Nobody(_) => {
                !connection.is_used || self.phase.operation().is_some_and(|operation| !operation.is_overtaken())
            }
        };
        is_accounted && connection.leaving_user.is_none() && !self.is_ending()
    }

    /// A connection opens.
    pub(crate) fn opening(&mut self) {
        self.disconnected();
        self.phase = Phase::Opening(ConnectionNotes::default());
        self.queries.read(StorageQuery::Opening, &mut self.out);
    }

    /// The connection takes requests: use the key before anything else goes out, if there is one.
    pub(crate) fn connected(&mut self) {
        if self.phase.is_connected() {
            self.disconnected();
        }
        self.phase.connect();
        self.is_offline = false;
        self.queries.look(StorageQuery::Connected, &mut self.out);
    }

    /// The connection is lost, and with it what was held on it.
    pub(crate) fn disconnected(&mut self) {
        self.out.disconnected();
        if self.phase.is_connected() {
            self.break_off();
            self.session.disconnected();
            self.pending_logouts.connection_lost(&mut self.out);
        }
        self.phase = Phase::Disconnected;
    }

    /// The connection is of no use any more.
    pub(crate) fn replace_connection(&mut self) {
        self.disconnected();
        self.out.push(Action::Replace);
    }

    /// Gives up what has not been answered, and puts back what has not been sent.
    pub(crate) fn break_off(&mut self) {
        let Some(operation) = self.phase.finish() else { return };
        self.lock.release(&mut self.out);
        if let Operation::Login(login) = operation {
            let token = login.token();
            match login.break_off() {
                BrokenOff::Done => self.out.settle(token, Ok(())),
                BrokenOff::Lost => self.out.settle(token, Err(RequestError::ConnectionLost)),
                BrokenOff::NotSent(request) => self.logins.push_front(request),
            }
        }
    }

    /// Waits with a login for its turn.
    pub(crate) fn login(&mut self, login: LoginRequest) {
        self.logins.push(login);
        // The old session first, or this would be refused.
        self.pending_logouts.hurry();
    }

    /// Asks for a challenge, unless one is under way.
    pub(crate) fn ask_challenge(&mut self, turn: &Turn) {
        if self.phase.connection_mut().is_some_and(|connection| connection.challenges.ask(turn.now)) {
            let deadline = turn.after(self.config.relogin_timeout);
            self.out.send(Purpose::Challenge, "challenge", None, deadline);
        }
    }

    /// The user model, whenever it may have changed.
    pub(crate) fn observe(&mut self, user: ObservedUser, turn: &mut Turn) {
        let is_busy = self.phase.operation().is_some();
        let Some(connection) = self.phase.connection_mut() else { return };
        if connection.observed_user == user {
            return;
        }
        let before = std::mem::replace(&mut connection.observed_user, user.clone());
        match user {
            ObservedUser::Somebody(user) => {
                if connection.leaving_user.as_ref().is_some_and(|leaving| *leaving != user) {
                    connection.leaving_user = None;
                }
                if self.is_shown() {
                    self.session.presumed_user = Some(user);
                }
            }
            // The user logged out here: no more than was to be expected.
            ObservedUser::Nobody if connection.leaving_user.take().is_some() => {}
            // Maybe the operation's own doing: it is looked at again when that is over.
            ObservedUser::Nobody if is_busy => {
                if before != ObservedUser::Unknown {
                    connection.has_lost_user = true;
                    self.session.user_lost_meanwhile();
                }
            }
            ObservedUser::Nobody => self.session.user_lost(turn),
            ObservedUser::Unknown => {}
        }
    }

    /// The session that the connection holds is to end, and nobody asked for that here.
    pub(crate) fn end_held(&mut self) {
        if let Some(connection) = self.phase.connection_mut() {
            connection.user_leaves();
        }
        let session = self.session.held().and_then(|holding| holding.session);
        self.pending_logouts.add_held(session, None);
    }

    /// Takes what is over out of storage.
    pub(crate) fn clear_over(&mut self) {
        if !self.pending_logouts.is_cleared() {
            self.queries.look(StorageQuery::Over { tries: 0 }, &mut self.out);
        }
    }

    /// Whether a sibling is about to finish some of these logouts of storage: on a connection that
    /// is free for it, they would be ours to finish.
    pub(crate) fn has_leftovers(&self, pending: &[Record]) -> bool {
        let is_free = self.phase.is_connected() && self.session.held().is_none();
        is_free && pending.iter().any(|record| !self.pending_logouts.knows(record))
    }
}
