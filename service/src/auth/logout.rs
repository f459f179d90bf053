//! `auth.<name>.logout`: ends the connection's session, or the one that is named.

use relogin_res::service::{AuthRequest, Payload, Response, parse_params};
use relogin_session::{ConnectionId, Denied, api::LogoutParams};

use super::{Desk, answer::Failure, token_of};

pub(super) async fn logout(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    let params: LogoutParams = parse_params(request.params.as_deref()).map_err(|_| Denied::InvalidParams)?;
    // If the store has no session for the connection, its token may still name one.
    let token = token_of(request.token.as_deref());
    desk.sessions.logout(connection, params.sid, token.map(|token| token.sid)).await??;
    Ok(Response::null())
}
