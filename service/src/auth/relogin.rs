//! `auth.<name>.relogin`: uses a relogin key, and answers with its successor.

use relogin_res::service::{Response, parse_params};
use relogin_session::{ConnectionId, Denied, ReloginKey, api::ReloginParams, exchange};

use super::{Desk, answer::Failure, private::Private, token_of};

pub(super) async fn relogin(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = Private::parse(payload, &desk.proxies)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    let params: ReloginParams = parse_params(request.params.as_deref()).map_err(|_| Denied::InvalidParams)?;
    let token = token_of(request.token.as_deref());
    let browser = desk.browser_of(&request);
    if let Some(cookie) = &desk.key_cookie {
        if exchange::named(&params.relogin_key).is_none() {
            // Script that has such a text must not use it as a key, and must not get the next key
            // there.
            let is_in_cookie = desk.sessions.parse_in_cookie(&params.relogin_key).await?.is_some();
            let denied = Denied::InvalidReloginKey;
            let relogin = desk.sessions.relogin(connection, &params, token, browser);
            return if is_in_cookie { Err(denied.into()) } else { Ok(Response::result(&relogin.await??)) };
        }
        let key = cookie.read(&request.origin).map(|text| ReloginKey::new(text.to_owned()));
        let logged_in = desk.sessions.held(connection, key.as_ref(), browser).await??;
        return Ok(Response::result(&desk.sessions.without_key(logged_in)));
    }
    let logged_in = desk.sessions.relogin(connection, &params, token, browser).await??;
    Ok(Response::result(&logged_in))
}
