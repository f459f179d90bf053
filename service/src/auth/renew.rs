//! `auth.<name>.renew`: the method that gateways call for each connection with one of the service's
//! tokens when `system.tokenReset` asks them to. The answer proves that the connection exists; a
//! connection whose session is gone is cleared.

use relogin_res::service::Response;

use super::{AuthContext, answer::Failure, request::Request};

pub(super) async fn renew(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    if let Some(session) = request.session() {
        cx.sessions.renew(&request.connection, session).await?;
    }
    Ok(Response::null())
}
