//! HTTP requests by which a browser registers a key of its device with its session, and proves it
//! (docs/protocol.md, section 5): `POST …/<name>/registerDevice` and `…/<name>/proveDevice`. The
//! browser makes them by itself, after the rules of Device Bound Session Credentials. They need no
//! `Origin`: whoever can sign is who they are for.
//!
//! A response's body comes from the call behind the header authentication, which sees no headers.
//! So the header authentication puts the body into the token of the request's connection.

use relogin_res::service::{Origin, Response, TokenEvent, token_subject};
use relogin_session::{LoggedIn, ReloginKey};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::{
    AuthContext,
    answer::Failure,
    http_answer::{denied, not_stored, unknown_session},
    request::Request,
};
use crate::{
    cookie::{DeviceCookie, KeyCookie},
    dbsc::{self, DeviceProof, Instructions},
};

/// The method that registers a key, also relative to the other methods' URLs.
pub(super) const REGISTER: &str = "registerDevice";
/// The method that proves it.
pub(super) const PROVE: &str = "proveDevice";

/// The token of a connection that has registered a key.
#[derive(Deserialize, Serialize)]
struct Registered {
    device: String,
    cookie: String,
}

/// The header that offers the browser of `granted` to register a key.
pub(super) fn offer(cx: &AuthContext, origin: &Origin, granted: &LoggedIn) -> Option<String> {
    cx.device_cookie.as_ref().filter(|cookie| cookie.is_for(origin))?;
    Some(dbsc::registration(REGISTER, &cx.sessions.device_offer(granted)?))
}

/// Registers a key with the session whose browser was offered that.
pub(super) async fn register(cx: &AuthContext, request: &Request, cookie: &DeviceCookie) -> Result<Response, Failure> {
    let Some(proof) = DeviceProof::read(&request.origin.header) else { return Ok(denied(400)) };
    let Some(key) = proof.key else { return Ok(denied(400)) };
    let registered = cx.sessions.register_device(&proof.challenge, &key).filter(|_| proof.is_by(&key));
    let Some((sid, identifier)) = registered else { return unknown_session(cx) };
    debug!(session = %sid, "a device key was registered; it counts once it is proven");
    let token = Some(Registered { device: identifier, cookie: cookie.name(sid) });
    let event = serde_json::to_vec(&TokenEvent { token, tid: None }).map_err(|error| Failure::Ours(Box::new(error)))?;
    let subject = token_subject(request.connection.as_str());
    cx.bus.publish(&subject, event.into()).await.map_err(|error| Failure::Ours(Box::new(error)))?;
    Ok(Response { meta: Some(not_stored()), ..Response::null() })
}

/// The body of that response: `call.<name>.registerDevice`.
pub(super) fn instructions(payload: &[u8]) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Call {
        token: Option<Registered>,
    }
    let call: Call = serde_json::from_slice(payload).map_err(|_| Failure::Malformed)?;
    let Registered { device, cookie } = call.token.ok_or_else(Failure::method_not_found)?;
    Ok(Response::result(&Instructions::new(&device, PROVE, &cookie, DeviceCookie::ATTRIBUTES)))
}

/// Gives a browser whose device has signed the cookie that shows it. One that has not is given a
/// challenge.
pub(super) async fn prove(
    cx: &AuthContext,
    request: &Request,
    key: &KeyCookie,
    cookie: &DeviceCookie,
) -> Result<Response, Failure> {
    let origin = &request.origin;
    let named = dbsc::identifier(&origin.header).map(|text| (text, cx.sessions.named_by_device(text)));
    let Some((identifier, Some(named))) = named else { return Ok(denied(400)) };
    // The browser has another session by now, and does not need this one.
    let current = key.read(origin).and_then(|text| ReloginKey::new(text.to_owned()).session());
    if current.is_some_and(|current| current != named.sid) {
        return unknown_session(cx);
    }
    let proof = DeviceProof::read(&origin.header);
    let Some(proof) = proof.filter(|proof| cx.sessions.is_device_challenge(&proof.challenge, named.sid)) else {
        let mut response = denied(403);
        let challenge = dbsc::challenge(&cx.sessions.device_challenge(named.sid), identifier);
        if let Some(meta) = &mut response.meta {
            meta.header.insert(dbsc::CHALLENGE.to_owned(), vec![challenge]);
        }
        return Ok(response);
    };
    if !proof.is_by(&named.key) {
        debug!(session = %named.sid, "a device has not signed with the key that it has registered");
        return unknown_session(cx);
    }
    match cx.sessions.device_has_signed(&named).await? {
        Ok(proof) => {
            let mut meta = not_stored();
            meta.push_cookie(cookie.hand_out(named.sid, &proof));
            Ok(Response { meta: Some(meta), ..Response::null() })
        }
        Err(_) => unknown_session(cx),
    }
}
