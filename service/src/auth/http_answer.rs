//! Answers to HTTP requests that need no call behind their header authentication, or go before it.
//! Must not know what was asked.

use relogin_res::{
    Error,
    service::{Meta, Response},
};
use relogin_session::Denied;

use super::{AuthContext, answer::Failure};

/// The header that keeps a response from being stored or shared.
pub(super) fn not_stored() -> Meta {
    let mut meta = Meta::default();
    meta.header.insert("Cache-Control".to_owned(), vec!["no-store".to_owned()]);
    meta
}

/// There is no session for this request.
pub(super) fn unknown_session(cx: &AuthContext) -> Result<Response, Failure> {
    if cx.peers.is_met() {
        // Not 401, which would end the session: the other instance may know it.
        return Err(Denied::InvalidReloginKey.into());
    }
    Ok(refusal(401, Denied::InvalidReloginKey))
}

pub(super) fn refusal(status: u16, denied: Denied) -> Response {
    refused(status, Error::new(denied.code(), denied.to_string()))
}

/// A status with nothing else to say.
pub(super) fn denied(status: u16) -> Response {
    refused(status, Meta::error_of(status))
}

fn refused(status: u16, error: Error) -> Response {
    let meta = Meta { status: Some(status), ..Meta::default() };
    Response { meta: Some(meta), ..Response::error(error) }
}
