//! `<name>.user.<cid>`: who is logged in on a connection, readable only by that connection.

use relogin_host::errors::Chain;
use relogin_res::service::{AccessRequest, GetRequest, Payload, Response};
use relogin_session::{ConnectionId, SessionId, UserModel};
use serde::Serialize;

use tracing::debug;

use super::{AuthContext, answer::Failure};
use crate::sessions::ConnectionGuard;

/// The access result, with `get` written out even if it is false.
#[derive(Serialize)]
struct UserAccess {
    get: bool,
}

/// The result of a get.
#[derive(Serialize)]
struct Model {
    model: UserModel,
}

/// Whether the connection that asks may see the user on the connection `cid`.
pub(super) fn access(cid: &str, payload: &[u8]) -> Result<Response, Failure> {
    let request = AccessRequest::parse(payload)?;
    Ok(Response::result(&UserAccess { get: request.cid == cid }))
}

/// A connection whose user is being answered: until that is sent, this instance sends it no events.
pub(super) struct Hold<'a> {
    _guard: ConnectionGuard<'a>,
    connection: ConnectionId,
    /// The session whose user was answered.
    answered: Option<SessionId>,
}

/// Keeps events of the connection `cid` from overtaking the answer to a get.
pub(super) async fn hold<'a>(cx: &'a AuthContext, cid: &str) -> Option<Hold<'a>> {
    let connection = ConnectionId::parse(cid)?;
    Some(Hold { _guard: cx.sessions.hold(&connection).await, connection, answered: None })
}

/// The user on the held connection; none if its id is not one. A get does not say who asks: the
/// gateway keeps the answer from clients without access.
pub(super) async fn get(cx: &AuthContext, hold: Option<&mut Hold<'_>>, payload: &[u8]) -> Result<Response, Failure> {
    GetRequest::parse(payload)?;
    let user = match hold {
        Some(hold) => {
            let (session, user) = cx.sessions.session_on(&hold.connection).await?;
            hold.answered = session;
            user
        }
        None => None,
    };
    Ok(Response::result(&Model { model: user.into() }))
}

impl Hold<'_> {
    /// The answer is sent. What another instance has sent the connection before that may have come
    /// to the gateway before the answer, which drops it: then it is sent again.
    pub(super) async fn confirm(self, cx: &AuthContext) {
        if let Err(error) = cx.sessions.confirm_session(&self.connection, self.answered).await {
            debug!(connection = %self.connection, "cannot check again which user was answered: {}", Chain(&error));
        }
    }
}
