//! `auth.<name>.logout`: ends the connection's session, or the one that is named.

use relogin_res::service::Response;
use relogin_session::api::LogoutParams;

use super::{AuthContext, answer::Failure, request::Request};

pub(super) async fn logout(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let params: LogoutParams = request.params()?;
    // If the store has no session for the connection, its token may still name one.
    cx.sessions.logout(request.connection.clone(), params.sid, request.session()).await??;
    Ok(Response::null())
}
