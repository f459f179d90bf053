//! `auth.<name>.renew`: the method that gateways call for each connection with one of the service's
//! tokens when `system.tokenReset` asks them to. The answer proves that the connection exists; a
//! connection whose session is gone is told so.

use relogin_res::service::{AuthRequest, Payload, Response};
use relogin_session::ConnectionId;

use super::{Desk, answer::Failure, token_of};

pub(super) async fn renew(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    if let Some(token) = token_of(request.token.as_deref()) {
        desk.sessions.renew(&connection, token.sid).await?;
    }
    Ok(Response::null())
}
