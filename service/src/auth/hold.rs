//! A connection whose user or list of sessions is being answered: until the answer is sent, this
//! instance sends it no events, and after that what another instance may have sent too early. Must
//! not know the answer.

use relogin_host::errors::Chain;
use relogin_session::{ConnectionId, SessionId, User};
use tracing::debug;

use super::AuthContext;
use crate::sessions::{ConnectionGuard, SessionsError};

/// A held connection.
pub(super) struct Hold<'a> {
    _guard: ConnectionGuard<'a>,
    connection: ConnectionId,
    /// Once a user was answered: the session that it was of.
    answered: Option<Option<SessionId>>,
}

/// Keeps events of the connection `cid` from overtaking the answer to a request. None if that is no
/// connection id.
pub(super) async fn hold<'a>(cx: &'a AuthContext, cid: &str) -> Option<Hold<'a>> {
    let connection = ConnectionId::parse(cid)?;
    Some(Hold { _guard: cx.sessions.hold(&connection).await, connection, answered: None })
}

impl Hold<'_> {
    /// The user on the connection, to be answered.
    pub(super) async fn user(&mut self, cx: &AuthContext) -> Result<Option<User>, SessionsError> {
        let (session, user) = cx.sessions.session_on(&self.connection).await?;
        self.answered = Some(session);
        Ok(user)
    }

    /// The answer is sent. What another instance has sent the connection before that may have come
    /// to the gateway before the answer, which drops it: then it is sent again.
    pub(super) async fn confirm(self, cx: &AuthContext) {
        let Some(session) = self.answered else { return };
        if let Err(error) = cx.sessions.confirm_session(&self.connection, session).await {
            debug!(connection = %self.connection, "cannot check again which user was answered: {}", Chain(&error));
        }
    }
}
