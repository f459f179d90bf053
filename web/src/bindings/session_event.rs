//! The events that a session manager passes to JavaScript. Must not depend on how they are passed.

use relogin_session::UserId;
use serde::Serialize;
use serde_json::Value as Json;
use tsify::Tsify;

use super::value;
use crate::SessionState;

/// Something that has happened, or that JavaScript has to do.
#[derive(Debug, Serialize, Tsify)]
#[serde(tag = "type", rename_all = "camelCase")]
#[tsify(missing_as_null)]
pub enum SessionEvent {
    /// Send this auth request to the session resource at once, and report its outcome by its id.
    Request {
        /// The id.
        id: f64,
        /// The method's name.
        method: String,
        /// The method's params.
        #[serde(serialize_with = "value::plain")]
        #[tsify(type = "unknown")]
        params: Json,
    },
    /// Other requests may be sent on this connection.
    Ready,
    /// This connection cannot be used: close it, and open another one.
    Replace,
    /// The session's status has changed.
    Status {
        /// The new status.
        status: SessionStatus,
    },
    /// The session's binding has changed.
    Binding {
        /// The new binding; null without a session.
        binding: Option<Binding>,
    },
    /// The time of the key's next use has changed.
    Refresh {
        /// Milliseconds until then; null if none is due.
        #[serde(rename = "refreshIn")]
        refresh_in: Option<f64>,
    },
    /// The session manager has seen or done something.
    Diagnostic {
        /// A line of text, without any key.
        line: String,
    },
}

/// The status of a session.
///
/// `resuming`: there is a key in storage, or that is not known yet, and it has not been used: do
/// not show a login form yet. `anonymous`: nobody is logged in, and nobody was. `reconnecting`: the
/// user was logged in when the connection was lost, and is assumed to be still.
#[derive(Debug, Serialize, Tsify)]
#[serde(tag = "state", rename_all = "camelCase")]
#[expect(missing_docs, reason = "said above, where TypeScript shows it")]
pub enum SessionStatus {
    Resuming,
    Anonymous,
    LoggedIn { user: User },
    Reconnecting { user: User },
    Ended { reason: EndReason },
}

impl From<SessionState> for SessionStatus {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Resuming => Self::Resuming,
            SessionState::Anonymous => Self::Anonymous,
            SessionState::LoggedIn(user) => Self::LoggedIn { user: user.into() },
            SessionState::Reconnecting(user) => Self::Reconnecting { user: user.into() },
            SessionState::Ended(reason) => Self::Ended { reason: reason.into() },
        }
    }
}

/// Who is logged in.
#[derive(Debug, Serialize, Tsify)]
pub struct User {
    /// The user's id at the service.
    #[tsify(type = "number | string")]
    pub id: Id,
    /// The name to display.
    pub name: String,
    /// The role, by which services grant access.
    pub role: String,
}

/// A user's id.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A number, as JavaScript represents it.
    Number(f64),
    /// A text.
    Text(String),
}

impl From<crate::User> for User {
    fn from(user: crate::User) -> Self {
        let id = match user.id {
            UserId::Number(number) => Id::Number(number as f64),
            UserId::Text(text) => Id::Text(text),
        };
        Self { id, name: user.name, role: user.role }
    }
}

/// Why a session has ended. `refused`: the service no longer accepts the key, for an unknown
/// reason.
#[derive(Debug, Serialize, Tsify)]
#[tsify(type = r#""loggedOut" | "loggedOutElsewhere" | "expired" | "stolen" | "refused""#)]
pub struct EndReason(&'static str);

impl From<crate::EndReason> for EndReason {
    fn from(reason: crate::EndReason) -> Self {
        Self(reason.name())
    }
}

/// `bound`: the key is useless without this browser's device key. `bearer`: the browser could not
/// keep a device key, and whoever has the key can use it.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "said above, where TypeScript shows it")]
pub enum Binding {
    Bound,
    Bearer,
}

impl From<crate::Binding> for Binding {
    fn from(binding: crate::Binding) -> Self {
        match binding {
            crate::Binding::Bound => Self::Bound,
            crate::Binding::Bearer => Self::Bearer,
        }
    }
}
