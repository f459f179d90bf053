//! `auth.<name>.relogin`: the session of a relogin key, and the next key.

use relogin_res::service::{Response, parse_params};
use relogin_session::{ConnectionId, Denied, api::ReloginParams};

use super::{Desk, answer::Failure, private::Private, token_of};
use crate::{
    config::CookieKind,
    sessions::{Browser, Cookie},
};

pub(super) async fn relogin(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = Private::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    let params: ReloginParams = parse_params(request.params.as_deref()).map_err(|_| Denied::InvalidParams)?;
    let token = token_of(request.token.as_deref());
    let cookie = match desk.cookie {
        CookieKind::Off => Cookie::Ignored,
        CookieKind::Use | CookieKind::Require => Cookie::Brought(desk.browser_cookie.digest(&request.origin)),
    };
    let browser = Browser { remote_addr: request.origin.remote_addr.clone(), cookie };
    let logged_in = desk.sessions.relogin(connection, &params, token, browser).await??;
    Ok(Response::result(&logged_in))
}
