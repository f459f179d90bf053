//! What a session manager tells JavaScript, and asks of it.

use relogin_session::UserId;
use serde::Serialize;
use serde_json::Value as Json;
use tsify::Tsify;

use super::value;
use crate::SessionState;

/// Something that has happened, or is to be done.
#[derive(Debug, Serialize, Tsify)]
#[serde(tag = "type", rename_all = "camelCase")]
#[tsify(missing_as_null)]
pub enum SessionEvent {
    /// Send this auth request of the session resource, at once; it is answered by its id.
    Request {
        /// The id.
        id: f64,
        /// The method, without the resource.
        method: String,
        /// What it is given.
        #[serde(serialize_with = "value::plain")]
        #[tsify(type = "unknown")]
        params: Json,
    },
    /// Requests of others may go out on this connection.
    Ready,
    /// The connection is of no use: end it, and open another one.
    Replace,
    /// What can be said of the session is another thing.
    Status {
        /// The new one.
        status: SessionStatus,
    },
    /// How the session is bound is another thing.
    Binding {
        /// The new one; null without a session.
        binding: Option<Binding>,
    },
    /// The time of the key's next use is another one.
    Refresh {
        /// Milliseconds until then; null if it need not be used.
        #[serde(rename = "refreshIn")]
        refresh_in: Option<f64>,
    },
    /// The session manager has seen or done something.
    Diagnostic {
        /// What, in words. No key is in it.
        line: String,
    },
}

/// What can be said of a session.
///
/// `resuming`: a key is in storage (or that is not known yet), and was not used yet: no time for a login
/// form. `anonymous`: nobody is logged in, and nobody was. `reconnecting`: the user was logged in when the
/// connection was lost, and is believed to be still.
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
    /// As the service has it.
    #[tsify(type = "number | string")]
    pub id: Id,
    /// The name to show.
    pub name: String,
    /// What services decide access by.
    pub role: String,
}

/// A user's id.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A number. As JavaScript has it.
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

/// Why a session has ended. `refused`: the service takes its key no more, and does not say why.
#[derive(Debug, Serialize, Tsify)]
#[tsify(type = r#""loggedOut" | "loggedOutElsewhere" | "expired" | "stolen" | "refused""#)]
pub struct EndReason(&'static str);

impl From<crate::EndReason> for EndReason {
    fn from(reason: crate::EndReason) -> Self {
        Self(reason.name())
    }
}

/// `bound`: the key is worth nothing without this browser. `bearer`: the browser could keep no device key.
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
