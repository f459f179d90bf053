//! HTTP requests that exchange the key in a browser's cookie (docs/protocol.md, section 5): `POST
//! …/<name>/refresh` and `…/<name>/logout`, and those for its device (`auth/device.rs`). Everything
//! is done in the header authentication that gateways call first, because only that sees headers.
//! The call itself has nothing left to do.

use relogin_res::service::{Access, AuthRequest, Response};
use relogin_session::{Denied, LoggedIn, ReloginKey, SessionId, exchange};

use super::{
    AuthContext, CookieKind,
    answer::Failure,
    device,
    http_answer::{denied, not_stored, refusal, unknown_session},
    request::Request,
};
use crate::{
    cookie::KeyCookie,
    dbsc,
    sessions::{Browser, BrowserDevice, Cookie},
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
    /// The registration of a device key.
    RegisterDevice,
    /// The cookie of a device that has signed.
    ProveDevice,
}

/// The methods of these requests by name.
pub(super) const METHODS: [(&str, CookieAction); 4] = [
    ("refresh", CookieAction::Refresh),
    ("logout", CookieAction::Logout),
    (device::REGISTER, CookieAction::RegisterDevice),
    (device::PROVE, CookieAction::ProveDevice),
];

impl CookieAction {
    /// Parses the path of `uri`, if it is one of the service's.
    pub(super) fn of(uri: &str, name: &str) -> Option<Self> {
        let path = uri.split(['?', '#']).next()?;
        let (path, method) = path.rsplit_once('/')?;
        if path.rsplit('/').next() != Some(name) {
            return None;
        }
        METHODS.iter().find(|(name, _)| *name == method).map(|(_, action)| *action)
    }
}

/// The result of access requests for these methods.
pub(super) fn access() -> Response {
    Response::result(&Access { get: false, call: METHODS.map(|(name, _)| name).join(",") })
}

/// Carries out an HTTP request.
pub(super) async fn carry_out(
    cx: &AuthContext,
    request: &Request,
    action: CookieAction,
    cookie: &KeyCookie,
) -> Result<Response, Failure> {
    if matches!(action, CookieAction::Refresh | CookieAction::Logout) && !cx.origins.may_use_cookies(&request.origin) {
        return Ok(denied(403));
    }
    match (action, &cx.device_cookie) {
        (CookieAction::Refresh, _) => refresh(cx, request, cookie).await,
        (CookieAction::Logout, _) => logout(cx, request, cookie).await,
        (CookieAction::RegisterDevice, Some(device)) => device::register(cx, request, device).await,
        (CookieAction::ProveDevice, Some(device)) => device::prove(cx, request, cookie, device).await,
        (CookieAction::RegisterDevice | CookieAction::ProveDevice, None) => Ok(denied(404)),
    }
}

async fn logout(cx: &AuthContext, request: &Request, cookie: &KeyCookie) -> Result<Response, Failure> {
    let origin = &request.origin;
    let mut meta = not_stored();
    if let Some(text) = cookie.read(origin) {
        let key = ReloginKey::new(text.to_owned());
        let sid = key.session();
        cx.sessions.logout_by_key(request.connection.clone(), &key, cx.browser_of(request, sid).cookie).await?;
        if let (Some(sid), Some(device)) = (sid, &cx.device_cookie) {
            meta.push_cookie(device.take_away(sid));
        }
    }
    meta.push_cookie(cookie.take_away(origin));
    Ok(Response { meta: Some(meta), ..Response::null() })
}

async fn refresh(cx: &AuthContext, request: &Request, cookie: &KeyCookie) -> Result<Response, Failure> {
    let origin = &request.origin;
    let presented = cookie.read(origin).map(|text| ReloginKey::new(text.to_owned()));
    let shown = origin.header.get(EXCHANGE_HEADER).and_then(|shown| shown.first());
    let shown = shown.map(|text| ReloginKey::new(text.clone()));
    let named = shown.as_ref().and_then(exchange::named);
    let sid = named.or_else(|| presented.as_ref().and_then(ReloginKey::session));
    match cx.sessions.refresh(presented.as_ref(), shown.as_ref(), cx.browser_of(request, sid)).await? {
        Ok(granted) => {
            let mut meta = not_stored();
            if let Some(offer) = device::offer(cx, origin, &granted) {
                meta.header.insert(dbsc::REGISTRATION.to_owned(), vec![offer]);
            }
            let LoggedIn { relogin_key, expires_in, .. } = granted;
            meta.push_cookie(cookie.hand_out(relogin_key.expose(), expires_in, origin));
            Ok(Response { meta: Some(meta), ..Response::null() })
        }
        // The page asks again, and the browser has its device sign before that.
        Err(Denied::InvalidChallenge) => {
            let mut response = refusal(503, Denied::InvalidChallenge);
            if let (Some(meta), Some(sid), Some(device)) = (&mut response.meta, sid, &cx.device_cookie) {
                meta.push_cookie(device.take_away(sid));
            }
            Ok(response)
        }
        Err(_) => unknown_session(cx),
    }
}

impl AuthContext {
    /// What is known of the browser that sends a request for session `sid`.
    pub(super) fn browser_of(&self, request: &AuthRequest, sid: Option<SessionId>) -> Browser {
        let origin = &request.origin;
        let cookie = match self.cookie {
            CookieKind::Off => Cookie::Ignored,
            CookieKind::Use | CookieKind::Require => Cookie::Presented(self.browser_cookie.digest(origin)),
        };
        let device = match &self.device_cookie {
            Some(device) => BrowserDevice::Presented {
                shown: sid.and_then(|sid| device.read(sid, origin)).map(str::to_owned),
                has_skipped: dbsc::has_skipped(&origin.header),
            },
            None => BrowserDevice::Ignored,
        };
        Browser { remote_addr: origin.remote_addr.clone(), cookie, device }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_wanted() {
        for (uri, action) in [
            ("/api/session/refresh", Some(CookieAction::Refresh)),
            ("/session/logout?x=/session/refresh", Some(CookieAction::Logout)),
            ("/api/session/registerDevice", Some(CookieAction::RegisterDevice)),
            ("/api/session/proveDevice", Some(CookieAction::ProveDevice)),
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
