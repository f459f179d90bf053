//! `auth.<name>.revoke` and `auth.<name>.revokeOthers`: a user ends sessions from a list of them.

use relogin_res::service::Response;
use relogin_session::api::{RevokeParams, Revoked};

use super::{AuthContext, answer::Failure, request::Request};

pub(super) async fn revoke(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let RevokeParams { id } = request.params()?;
    cx.sessions.revoke(&request.connection, id, request.origin.remote_addr.as_deref()).await??;
    Ok(Response::null())
}

pub(super) async fn revoke_others(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let revoked = cx.sessions.revoke_others(&request.connection, request.origin.remote_addr.as_deref()).await??;
    Ok(Response::result(&Revoked { revoked }))
}
