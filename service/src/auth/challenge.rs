//! `auth.<name>.challenge`: the challenge that a device signs for its next relogin on the
//! connection.

use relogin_res::service::{AuthRequest, Payload, Response};
use relogin_session::ConnectionId;

use super::{Desk, answer::Failure};

pub(super) fn challenge(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    Ok(Response::result(&desk.sessions.challenge(&connection)))
}
