//! `auth.<name>.logout`: the end of the connection's session.

use relogin_res::service::{AuthRequest, Payload, Response};
use relogin_session::{ConnectionId, Token};

use super::{Desk, answer::Failure};

pub(super) async fn logout(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    // Where the store has no session for the connection, its token may still name one.
    let token: Option<Token> = request.token.and_then(|token| serde_json::from_str(token.get()).ok());
    desk.sessions.logout(connection, token.map(|token| token.sid)).await?;
    Ok(Response::null())
}
