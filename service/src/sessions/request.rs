//! Requests to a session. Must not decide anything.

use relogin_session::{Attempt, Command, ConnectionId, Login, PresentedKey, SessionId, Token};

use super::Browser;
use crate::proof::Signed;

/// What is asked of a session, before anything is looked up for it.
pub(super) enum SessionRequest {
    Login(Login),
    Relogin {
        connection: ConnectionId,
        key: PresentedKey,
        attempt: Option<Attempt>,
        signed: Option<Signed>,
        token: Option<Token>,
        browser: Browser,
    },
    Refresh {
        key: PresentedKey,
        browser: Browser,
    },
    Logout {
        connection: ConnectionId,
        sid: Option<SessionId>,
        token: Option<SessionId>,
    },
    UserChanged {
        sid: SessionId,
    },
    /// The user on `connection` ends the session `sid` from a list.
    Revoke {
        connection: ConnectionId,
        sid: SessionId,
        remote_addr: Option<String>,
    },
    /// A command that needs nothing but its session.
    OnSession(SessionId, Command),
}

impl SessionRequest {
    pub(super) fn connection(&self) -> Option<&ConnectionId> {
        match self {
            Self::Login(Login { connection, .. })
            | Self::Relogin { connection, .. }
            | Self::Logout { connection, .. }
            | Self::Revoke { connection, .. } => Some(connection),
            Self::Refresh { .. } | Self::UserChanged { .. } | Self::OnSession(..) => None,
        }
    }

    /// Where it comes from, as far as that is known.
    pub(super) fn remote_addr(&self) -> Option<&str> {
        match self {
            Self::Login(login) => login.device.remote_addr.as_deref(),
            Self::Relogin { browser, .. } | Self::Refresh { browser, .. } => browser.remote_addr.as_deref(),
            Self::Revoke { remote_addr, .. } => remote_addr.as_deref(),
            _ => None,
        }
    }
}
