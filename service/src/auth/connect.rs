//! `auth.<name>.connect`: what gateways ask before a WebSocket opens, if it is named to them as their header authentication. Gives
//! the browser its cookie, in the response.

use relogin_res::service::{AuthRequest, Meta, Payload, Response};

use super::{Desk, answer::Failure};
use crate::config::CookieKind;

pub(super) fn connect(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let mut response = Response::null();
    // On a WebSocket that is open, there is no response to set a cookie in.
    if request.is_http && desk.cookie != CookieKind::Off {
        let mut meta = Meta::default();
        meta.push_cookie(desk.browser_cookie.offer(&request.origin).map_err(|error| Failure::Ours(Box::new(error)))?);
        response.meta = Some(meta);
    }
    Ok(response)
}
