//! What comes out of the [`SessionManager`](crate::SessionManager): what its driver has to do, and
//! what is reported to the page.

use std::time::Duration;

use relogin_session::User;

use crate::{Diagnostic, EndReason, PlatformAction, RequestError, RequestId, Secret, Token};

/// Something to be done, in the order in which it was polled.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a request on the current connection, at once. Answered by
    /// [`Answered`](crate::Input::Answered).
    Request(Request),
    /// A request was not answered in time: find out whether the connection still works, if that is
    /// possible.
    CheckConnection,
    /// Requests of others may go out on this connection. Until then they had better wait, so that
    /// they go out with the session resumed.
    Ready,
    /// The connection has got a session: what was refused before may be allowed now.
    Authenticated,
    /// The connection is of no use: end it, and open another one. Nothing that was sent on it is
    /// answered any more.
    Replace,
    /// The platform has something to do.
    Platform(PlatformAction),
    /// A command came to its end.
    Settle(Token, Result<(), RequestError>),
}

impl From<PlatformAction> for Action {
    fn from(action: PlatformAction) -> Self {
        Self::Platform(action)
    }
}

/// A request for an `auth` method of the session resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Under which it is answered.
    pub id: RequestId,
    /// The method's name.
    pub method: &'static str,
    /// Its params as JSON text.
    pub params: Option<Secret>,
}

/// What is reported to the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Something to log, for people who want to know why a session is as it is.
    Diagnostic(Diagnostic),
    /// The session's state is another one. The first one comes right after the start.
    State(SessionState),
    /// What the session's key needs beside it is another thing, or there is no session any more.
    Binding(Option<Binding>),
    /// The time of the next refresh is another one
    /// ([`SessionManager::refresh_due`](crate::SessionManager::refresh_due)).
    Refresh(Option<Duration>),
}

/// What the page can say of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Nobody is logged in, and nobody was.
    Anonymous,
    /// A key is stored; whether it still opens the session is not known yet.
    Resuming,
    /// This user is logged in.
    LoggedIn(User),
    /// This user was logged in when the connection was lost, and is believed to be still.
    Reconnecting(User),
    /// The session is over.
    Ended(EndReason),
}

/// What somebody needs beside the relogin key to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The device that logged in: a key that was copied opens nothing.
    Bound,
    /// Nothing: the browser could keep no device key. A key that was copied and used ends the
    /// session.
    Bearer,
}
