//! `auth.<name>.connect`: what gateways ask before a WebSocket opens, if it is named to them as their header authentication. Gives
//! the browser its cookie, in the response, and the connection a session, if the headers have a token of an issuer's.

use relogin_res::service::{AuthRequest, Meta, Response};

use super::{Desk, answer::Failure, header_login, private::Private};
use crate::config::CookieKind;

pub(super) async fn connect(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = Private::parse(payload)?;
    // Only before a WebSocket opens. A request of HTTP has a connection of its own, which would leave a session behind each time.
    if request.is_http && is_upgrade(&request) {
        header_login::on_upgrade(desk, &request).await?;
    }
    let mut response = Response::null();
    // On a WebSocket that is open, there is no response to set a cookie in.
    if request.is_http && desk.cookie != CookieKind::Off {
        let mut meta = Meta::default();
        meta.push_cookie(desk.browser_cookie.offer(&request.origin).map_err(|error| Failure::Ours(Box::new(error)))?);
        response.meta = Some(meta);
    }
    Ok(response)
}

/// True if the connection is to become a WebSocket.
fn is_upgrade(request: &AuthRequest) -> bool {
    let upgrade = request.origin.header.get("Upgrade").and_then(|values| values.first());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}
