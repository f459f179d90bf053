//! `auth.<name>.relogin`: uses a relogin key, and answers with its successor.

use relogin_res::service::Response;
use relogin_session::{Denied, ReloginKey, api::ReloginParams, exchange};

use super::{AuthContext, answer::Failure, request::Request};
use crate::cookie::KeyCookie;

pub(super) async fn relogin(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let params: ReloginParams = request.params()?;
    if let Some(cookie) = &cx.key_cookie {
        // Boxed, so that the other case stays small.
        return Box::pin(in_cookie(cx, cookie, request, params)).await;
    }
    let (connection, token) = (request.connection.clone(), request.token.clone());
    let browser = cx.browser_of(&request, None);
    let logged_in = cx.sessions.relogin(connection, &params, token, browser).await??;
    Ok(Response::result(&logged_in))
}

/// The same, where relogin keys travel in cookies.
async fn in_cookie(
    cx: &AuthContext,
    cookie: &KeyCookie,
    request: Request,
    params: ReloginParams,
) -> Result<Response, Failure> {
    let key = cookie.read(&request.origin).map(|text| ReloginKey::new(text.to_owned()));
    let browser = cx.browser_of(&request, key.as_ref().and_then(ReloginKey::session));
    let connection = request.connection.clone();
    if exchange::named(&params.relogin_key).is_none() {
        // Script that has such a text must not use it as a key, and must not get the next key
        // there.
        let is_in_cookie = cx.sessions.parse_in_cookie(&params.relogin_key).await?.is_some();
        if is_in_cookie {
            return Err(Denied::InvalidReloginKey.into());
        }
        let logged_in = cx.sessions.relogin(connection, &params, request.token.clone(), browser).await??;
        return Ok(Response::result(&logged_in));
    }
    let logged_in = cx.sessions.held(connection, key.as_ref(), browser).await??;
    Ok(Response::result(&cx.sessions.without_key(logged_in)))
}
