//! What the session manager sends: operations, of which one runs at a time. Each is a struct that
//! takes an [`OperationEvent`] and returns what is [`Next`]. Operations must not change what the
//! session manager knows, and must not know each other.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod proof;
pub(crate) mod relogin;
#[cfg(test)]
pub(crate) mod table;

use relogin_res::error::code;
use relogin_session::{Denied, api::PublicKey};

use self::{
    login::{Login, LoginOutcome},
    logout::{Logout, LogoutOutcome},
    relogin::{Relogin, ReloginOutcome},
};
use crate::{
    Diagnostic, RequestError, Secret, Signature, Turn,
    connection::ConnectionNotes,
    lock::Lock,
    record::{Granted, Record, Stored},
    session::Session,
};

/// How often a key is put into storage before that is given up: only a browser that does not do as
/// it says needs more.
pub(crate) const MAX_TRIES: u8 = 16;

/// The operation that runs.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Uses the key in storage.
    Relogin(Relogin),
    /// Logs in for a caller.
    Login(Login),
    /// Brings a logout to its end.
    Logout(Logout),
}

/// What an operation has waited for.
#[derive(Clone, Debug)]
pub(crate) enum OperationEvent {
    /// The storage lock is ours, or not worth waiting for any longer.
    Locked,
    /// What storage has.
    Stored(Stored),
    /// The device's public key, if the browser can keep one.
    Device(Option<PublicKey>),
    /// A challenge has come, or cannot be had.
    Challenged(Result<(), RequestError>),
    /// The device has signed, or not.
    Signed(Signature),
    /// The answer to a login or to the use of a key.
    Answered(Result<Granted, RequestError>),
    /// The answer to a logout; `None`: it was done.
    LoggedOut(Option<RequestError>),
}

/// What is next.
#[derive(Debug)]
pub(crate) enum Next<Outcome> {
    /// The operation goes on: this is to be done.
    Do(Step),
    /// The event was not for it.
    Wait,
    /// The operation is over, and came to this.
    Over(Outcome),
}

/// What an operation wants done; its result comes back as an [`OperationEvent`].
#[derive(Debug)]
pub(crate) enum Step {
    /// Read storage; what it says may be stale.
    Read,
    /// Put `to` in the place of `from`; what storage says then is not stale.
    Swap { from: Option<Secret>, to: Option<Secret> },
    /// Find the device's key, or make one.
    MakeDevice,
    /// Ask for a challenge, unless one was asked for.
    AskChallenge,
    /// Have the device sign this.
    Sign(Secret),
    /// Send a request, and log it.
    Send(Call),
}

/// A request of an operation.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    /// JSON text.
    pub(crate) params: Option<String>,
    pub(crate) note: Diagnostic,
}

/// What operations may look at. They change nothing of it but what the lock knows of uses by
/// siblings.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) turn: &'a mut Turn,
    pub(crate) session: &'a Session,
    pub(crate) connection: &'a ConnectionNotes,
    pub(crate) lock: &'a mut Lock,
}

/// What an operation came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Relogin(ReloginOutcome),
    Login(LoginOutcome),
    Logout(LogoutOutcome),
}

impl Operation {
    pub(crate) fn handle(&mut self, event: OperationEvent, facts: &mut Facts<'_>) -> Next<Outcome> {
        match self {
            Self::Relogin(relogin) => relogin.handle(event, facts).map(Outcome::Relogin),
            Self::Login(login) => login.handle(event, facts).map(Outcome::Login),
            Self::Logout(logout) => logout.handle(event, facts).map(Outcome::Logout),
        }
    }

    /// The key that it uses, with the attempt.
    pub(crate) fn used(&self) -> Option<&Record> {
        match self {
            Self::Relogin(relogin) => relogin.used(),
            Self::Login(_) => None,
            Self::Logout(logout) => logout.used(),
        }
    }

    /// Whether the service may have got it.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Self::Relogin(relogin) => relogin.is_sent(),
            Self::Login(login) => login.is_sent(),
            Self::Logout(logout) => logout.is_sent(),
        }
    }

    /// The user logs out: if the answer is still to come, it must leave no trace.
    pub(crate) fn overtake(&mut self) {
        match self {
            Self::Relogin(relogin) => relogin.overtake(),
            Self::Login(login) => login.overtake(),
            // Nothing that a logout does is undone by another.
            Self::Logout(_) => {}
        }
    }

    /// Whether the user has logged out since it was sent.
    pub(crate) fn is_overtaken(&self) -> bool {
        match self {
            Self::Relogin(relogin) => relogin.is_overtaken(),
            Self::Login(login) => login.is_overtaken(),
            Self::Logout(_) => false,
        }
    }
}

impl<T> Next<T> {
    pub(crate) fn map<U>(self, outcome: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Self::Do(step) => Next::Do(step),
            Self::Wait => Next::Wait,
            Self::Over(over) => Next::Over(outcome(over)),
        }
    }
}

/// True for the service's `denied`.
pub(crate) fn is_denied(error: &RequestError, denied: Denied) -> bool {
    matches!(error, RequestError::Refused(error) if error.is(denied.code()))
}

/// True if what was sent may still be on its way.
pub(crate) fn is_unanswered(error: &RequestError) -> bool {
    match error {
        RequestError::TimedOut => true,
        RequestError::Refused(error) => error.is(code::TIMEOUT),
        _ => false,
    }
}

/// True if nothing was decided: it may go better the next time.
pub(crate) fn is_transient(error: &RequestError) -> bool {
    !matches!(error, RequestError::Refused(error) if !error.is_system())
}
