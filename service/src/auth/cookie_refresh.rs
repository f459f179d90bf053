//! HTTP requests that exchange the key in a browser's cookie (docs/protocol.md, section 5): `POST
//! …/<name>/refresh` and `…/<name>/logout`. Everything is done in the header authentication that
//! gateways call first, because only that sees headers. The call itself has nothing left to do.

use relogin_res::Error;
use relogin_res::service::{Access, AuthRequest, Meta, Response};
use relogin_session::{Denied, LoggedIn, ReloginKey};

use super::{AuthContext, CookieKind, answer::Failure, request::Request};
use crate::{
    cookie::KeyCookie,
    sessions::{Browser, Cookie},
};

/// The header with the exchange text that script was given in place of a key.
const EXCHANGE_HEADER: &str = "X-Relogin";

/// What an HTTP request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieAction {
    /// A cookie with the next key, or the first one.
    Refresh,
    /// The end of the session, and the removal of the cookie.
    Logout,
}

impl CookieAction {
    /// Parses the path of `uri`, if it is one of the service's.
    pub(super) fn of(uri: &str, name: &str) -> Option<Self> {
        let path = uri.split(['?', '#']).next()?;
        let (path, method) = path.rsplit_once('/')?;
        if path.rsplit('/').next() != Some(name) {
            return None;
        }
        match method {
            "refresh" => Some(Self::Refresh),
            "logout" => Some(Self::Logout),
            _ => None,
        }
    }
}

/// The result of access requests for these methods.
pub(super) fn access() -> Response {
    Response::result(&Access { get: false, call: "refresh,logout".to_owned() })
}

/// Carries out an HTTP request.
pub(super) async fn carry_out(
    cx: &AuthContext,
    request: &Request,
    action: CookieAction,
    cookie: &KeyCookie,
) -> Result<Response, Failure> {
    let origin = &request.origin;
    if !cx.origins.may_use_cookies(origin) {
        return Ok(refusal(403, Meta::error_of(403)));
    }
    let presented = cookie.read(origin).map(|text| ReloginKey::new(text.to_owned()));
    let mut meta = Meta::default();
    meta.header.insert("Cache-Control".to_owned(), vec!["no-store".to_owned()]);
    match action {
        CookieAction::Refresh => {
            let shown = origin
                .header
                .get(EXCHANGE_HEADER)
                .and_then(|shown| shown.first())
                .map(|text| ReloginKey::new(text.clone()));
            let granted = cx.sessions.refresh(presented.as_ref(), shown.as_ref(), cx.browser_of(request)).await?.ok();
            let Some(LoggedIn { relogin_key, expires_in, .. }) = granted else {
                let denied = Denied::InvalidReloginKey;
                if cx.peers.is_met() {
                    // Not 401, which would end the session: the other instance may know it.
                    return Err(denied.into());
                }
                return Ok(refusal(401, Error::new(denied.code(), denied.to_string())));
            };
            meta.push_cookie(cookie.hand_out(relogin_key.expose(), expires_in, origin));
        }
        CookieAction::Logout => {
            if let Some(key) = presented {
                cx.sessions.logout_by_key(request.connection.clone(), &key, cx.browser_of(request).cookie).await?;
            }
            meta.push_cookie(cookie.take_away(origin));
        }
    }
    Ok(Response { meta: Some(meta), ..Response::null() })
}

impl AuthContext {
    /// What is known of the browser that sends a request.
    pub(super) fn browser_of(&self, request: &AuthRequest) -> Browser {
        let cookie = match self.cookie {
            CookieKind::Off => Cookie::Ignored,
            CookieKind::Use | CookieKind::Require => Cookie::Presented(self.browser_cookie.digest(&request.origin)),
        };
        Browser { remote_addr: request.origin.remote_addr.clone(), cookie }
    }
}

fn refusal(status: u16, error: Error) -> Response {
    let meta = Meta { status: Some(status), ..Meta::default() };
    Response { meta: Some(meta), ..Response::error(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_wanted() {
        for (uri, action) in [
            ("/api/session/refresh", Some(CookieAction::Refresh)),
            ("/session/logout?x=/session/refresh", Some(CookieAction::Logout)),
            ("/api/session/login", None),
            ("/api/other/refresh", None),
            ("/api/session/refresh/", None),
            ("/refresh", None),
            ("", None),
            ("/?/session/refresh", None),
        ] {
            assert_eq!(CookieAction::of(uri, "session"), action, "{uri}");
        }
    }
}
