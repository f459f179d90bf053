//! `auth.<name>.headerLogin`: creates a session from a third-party token in the headers with which
//! the connection was opened. Also runs on the upgrade itself, where the connection gets its
//! session before its first message and nobody gets a key.

use relogin_res::service::{Origin, Response};
use relogin_session::{ConnectionId, Denied, Login, api::HeaderLoginParams};
use tokio::time::Instant;
use tracing::debug;

use super::{
    AuthContext,
    answer::Failure,
    login::{cookie_of, device_of, granted},
    request::Request,
};
use crate::{
    audit::Event,
    clock::{Clock, SystemClock},
    issuers::{Bearer, Issuers},
    proof,
};

pub(super) async fn header_login(cx: &AuthContext, payload: &[u8]) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let Some(issuers) = &cx.issuers else { return Err(Failure::method_not_found()) };
    let (connection, token) = (request.connection.clone(), request.session());
    let params = request.params::<HeaderLoginParams>();
    let attempt = params.as_ref().ok().and_then(|params| params.attempt);
    if cx.sessions.is_logged_in(&connection, attempt, token).await? {
        return Err(Denied::AlreadyLoggedIn.into());
    }
    let HeaderLoginParams { attempt, label, device } = params?;
    let public_key = match device {
        Some(new) => Some(proof::admit(&new.public_key).ok_or(Denied::InvalidParams)?),
        None => None,
    };
    let cookie = cookie_of(cx, &request.origin)?;
    let Bearer { user, vouched } =
        admit(cx, issuers, &connection, &request.origin, true).await?.ok_or(Denied::InvalidToken)?;
    let device = device_of(&request.origin, public_key, label);
    let vouched = Some(vouched);
    let login = Login { connection, user, vouched, attempt, device, cookie, token };
    let logged_in = cx.sessions.login(login).await??;
    Ok(granted(cx, logged_in))
}

/// The same for a connection that is about to open. An unusable token does not keep it from
/// opening.
pub(super) async fn on_upgrade(cx: &AuthContext, request: &Request) -> Result<(), Failure> {
    let Some(issuers) = &cx.issuers else { return Ok(()) };
    let connection = request.connection.clone();
    if cx.sessions.is_logged_in(&connection, None, None).await? {
        return Ok(());
    }
    match admit(cx, issuers, &connection, &request.origin, false).await {
        Ok(Some(Bearer { user, vouched })) => {
            let device = device_of(&request.origin, None, None);
            let vouched = Some(vouched);
            let login = Login { connection, user, vouched, attempt: None, device, cookie: None, token: None };
            cx.sessions.login(login).await?.map(drop)?;
            Ok(())
        }
        Ok(None) | Err(Failure::Denied(_) | Failure::TooManyAttempts(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// The claims of the token in the headers; none if there is no token. Browsers send an unusable
/// token with each connection as long as they have it, so it is audited only if somebody asked for
/// a login (`is_asked`).
async fn admit(
    cx: &AuthContext,
    issuers: &Issuers,
    connection: &ConnectionId,
    origin: &Origin,
    is_asked: bool,
) -> Result<Option<Bearer>, Failure> {
    let remote_addr = origin.remote_addr.as_deref();
    let refused = async |event: &str, failure: Failure| {
        let (connection, remote_addr) = (Some(connection.clone()), remote_addr.map(str::to_owned));
        cx.sessions.audit(Event { event: event.to_owned(), connection, remote_addr, ..Event::default() }).await;
        Err(failure)
    };
    let guess = match cx.throttle.admit_token(remote_addr, Instant::now()) {
        Ok(guess) => guess,
        Err(wait) => return refused("login_throttled", Failure::TooManyAttempts(wait)).await,
    };
    // The times in third-party tokens are times of day.
    let wall = SystemClock.now();
    match issuers.admit(&origin.header, cx.origins.may_use_cookies(origin), wall) {
        Ok(mut bearer) => {
            if let Some(until) = bearer.as_mut().and_then(|bearer| bearer.vouched.until.as_mut()) {
                *until = cx.sessions.now().plus(until.since(wall));
            }
            Ok(bearer)
        }
        Err(refusal) => {
            debug!(%connection, "refused a token: {refusal}");
            // An expired token, for example, is not a guess.
            if !refusal.is_of_a_genuine_token() {
                cx.throttle.forged(guess, Instant::now());
            } else if !is_asked {
                return Err(Denied::InvalidToken.into());
            }
            refused("login_failed", Denied::InvalidToken.into()).await
        }
    }
}
