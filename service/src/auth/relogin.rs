//! `auth.<name>.relogin`: uses a relogin key, and answers with its successor.

use relogin_res::service::Response;
use relogin_session::{Denied, ReloginKey, api::ReloginParams, exchange};

use super::{AuthContext, answer::Failure, request::Request};

pub(super) async fn relogin(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let connection = request.connection.clone();
    let params: ReloginParams = request.params()?;
    let token = request.token.clone();
    let browser = cx.browser_of(&request);
    if let Some(cookie) = &cx.key_cookie {
        if exchange::named(&params.relogin_key).is_none() {
            // Script that has such a text must not use it as a key, and must not get the next key
            // there.
            let is_in_cookie = cx.sessions.parse_in_cookie(&params.relogin_key).await?.is_some();
            let denied = Denied::InvalidReloginKey;
            let relogin = cx.sessions.relogin(connection, &params, token, browser);
            return if is_in_cookie { Err(denied.into()) } else { Ok(Response::result(&relogin.await??)) };
        }
        let key = cookie.read(&request.origin).map(|text| ReloginKey::new(text.to_owned()));
        let logged_in = cx.sessions.held(connection, key.as_ref(), browser).await??;
        return Ok(Response::result(&cx.sessions.without_key(logged_in)));
    }
    let logged_in = cx.sessions.relogin(connection, &params, token, browser).await??;
    Ok(Response::result(&logged_in))
}
