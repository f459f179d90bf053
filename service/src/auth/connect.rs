//! `auth.<name>.connect`: the header authentication that gateways call before a WebSocket opens and
//! before an HTTP request. Sets the browser's cookie, resumes the session whose key is in a cookie,
//! and creates a session if the headers contain a third-party token.

use relogin_res::service::{AuthRequest, Meta, Response};
use relogin_session::{Denied, ReloginKey};

use super::{
    AuthContext, CookieKind,
    answer::Failure,
    cookie_refresh::{self, CookieAction},
    header_login,
    request::Request,
};
use crate::cookie::KeyCookie;

pub(super) async fn connect(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    // An open WebSocket has no response that could set a cookie.
    if !request.is_http {
        return Ok(Response::null());
    }
    if !is_upgrade(&request) {
        let action = request.origin.uri.as_deref().and_then(|uri| CookieAction::of(uri, &cx.name));
        return match (action, &cx.key_cookie) {
            (Some(action), Some(cookie)) => cookie_refresh::carry_out(cx, &request, action, cookie).await,
            _ => Ok(Response::null()),
        };
    }
    let mut meta = Meta::default();
    if cx.cookie != CookieKind::Off {
        meta.push_cookie(cx.browser_cookie.offer(&request.origin).map_err(|error| Failure::Ours(Box::new(error)))?);
    }
    if let Some(cookie) = &cx.key_cookie
        && let Some(set) = resume(cx, &request, cookie).await?
    {
        meta.push_cookie(set);
    }
    // Only before a WebSocket opens. An HTTP request has a connection of its own, which would leave
    // a session behind each time.
    header_login::on_upgrade(cx, &request).await?;
    Ok(Response { meta: Some(meta).filter(|meta| !meta.header.is_empty()), ..Response::null() })
}

/// Puts the session of the key in the cookie on the connection. Returns the cookie with the newest
/// key, or none if there was nothing to resume: then the connection opens all the same, with nobody
/// logged in. If that is for lack of a fresh signature alone, the cookie of the last one is
/// removed: then the browser has its device sign before the next request.
async fn resume(cx: &AuthContext, request: &Request, cookie: &KeyCookie) -> Result<Option<String>, Failure> {
    let origin = &request.origin;
    let Some(text) = cookie.read(origin).filter(|_| cx.origins.may_use_cookies(origin)) else { return Ok(None) };
    let key = ReloginKey::new(text.to_owned());
    let sid = key.session();
    Ok(match cx.sessions.by_cookie(request.connection.clone(), &key, cx.browser_of(request, sid)).await? {
        Ok(granted) => Some(cookie.hand_out(granted.relogin_key.expose(), granted.expires_in, origin)),
        Err(Denied::InvalidChallenge) => {
            sid.and_then(|sid| cx.device_cookie.as_ref().map(|device| device.take_away(sid)))
        }
        Err(_) => None,
    })
}

fn is_upgrade(request: &AuthRequest) -> bool {
    let upgrade = request.origin.header.get("Upgrade").into_iter().flatten();
    upgrade.into_iter().any(|to| to.eq_ignore_ascii_case("websocket"))
}
