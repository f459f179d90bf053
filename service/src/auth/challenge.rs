//! `auth.<name>.challenge`: the challenge that a device signs for its next relogin on the
//! connection.

use relogin_res::service::Response;

use super::{AuthContext, answer::Failure, request::Request};

pub(super) fn challenge(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    Ok(Response::result(&cx.sessions.challenge(&request.connection)))
}
