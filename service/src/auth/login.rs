//! `auth.<name>.login`: creates a session for a username and password.

use relogin_res::service::{Origin, Response};
use relogin_session::{Denied, Device, DeviceKey, LoggedIn, Login, NewCookie, UserId, api::LoginParams};
use relogin_users::{Credentials, PasswordCheck, prepare::prepared_username};
use tokio::sync::Notify;
use tracing::Instrument;

use super::{AuthContext, CookieKind, answer::Failure, guess, request::Request, throttle::LoginPlace};
use crate::{audit::Event, proof, spans};

pub(super) async fn login(cx: &AuthContext, payload: &[u8], reply: &str) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let (connection, token) = (request.connection.clone(), request.session());
    let params = request.params::<LoginParams>();

    // Before the params, so that a user who is logged in gets that answer first; and before the
    // password check, which is expensive.
    let attempt = params.as_ref().ok().and_then(|params| params.attempt);
    if cx.sessions.is_logged_in(&connection, attempt, token).await? {
        return Err(Denied::AlreadyLoggedIn.into());
    }

    let LoginParams { username, password, attempt, label, device } = params?;
    let public_key = match device {
        // Such a session is bound to the cookie.
        Some(_) if cx.key_cookie.is_some() => None,
        Some(new) => Some(proof::admit(&new.public_key).ok_or(Denied::InvalidParams)?),
        None => None,
    };
    let username = prepared_username(&username);
    let cookie = cookie_of(cx, &request.origin)?;
    let remote_addr = request.origin.remote_addr.as_deref();
    let refused = async |event: &str, user: Option<UserId>, failure: Failure| {
        let (connection, remote_addr) = (Some(connection.clone()), remote_addr.map(str::to_owned));
        cx.sessions.audit(Event { event: event.to_owned(), user, connection, remote_addr, ..Event::default() }).await;
        Err(failure)
    };
    let browser = (cx.cookie != CookieKind::Off).then(|| cx.browser_cookie.digest(&request.origin)).flatten();
    let place = LoginPlace { remote_addr, cookie: browser, connection: connection.as_str() };
    let guess = match guess::begin(cx, &username, place, reply).await {
        Ok(guess) => guess,
        Err(failure) => return refused("login_throttled", None, failure).await,
    };
    let credentials = Credentials { username: &username, password: &password, remote_addr };
    let changes = cx.sessions.user_changes();
    let verdict = verify(cx, credentials, reply).await?;
    guess.settle(cx, &username, place, matches!(verdict, PasswordCheck::Right(_))).await;
    let user = match verdict {
        PasswordCheck::Right(user) => user,
        // The name is not recorded as it was typed, because people type passwords there.
        PasswordCheck::Wrong(user) => return refused("login_failed", user, Denied::WrongUsernamePassword.into()).await,
    };
    let device = device_of(&request.origin, public_key, label);
    let login = Login { connection: connection.clone(), user, vouched: None, attempt, device, cookie, token };
    let logged_in = cx.sessions.login(login).await??;
    if cx.sessions.user_changes() != changes {
        // The user may have been removed or have another password, and this session did not exist
        // yet when theirs were ended.
        let verdict = cx.users.verify(credentials, &|| {}).instrument(spans::wait("users verify")).await;
        if !matches!(verdict, Ok(PasswordCheck::Right(_))) {
            cx.sessions.logout(connection, None, None).await??;
            verdict?;
            return Err(Denied::WrongUsernamePassword.into());
        }
    }
    Ok(granted(cx, logged_in))
}

/// Checks the password, and asks the gateway for more time if the check has to queue.
async fn verify(cx: &AuthContext, credentials: Credentials<'_>, reply: &str) -> Result<PasswordCheck, Failure> {
    let queued = Notify::new();
    let on_queued = || queued.notify_one();
    let checking = cx.users.verify(credentials, &on_queued).instrument(spans::wait("users verify"));
    guess::waiting(cx, reply, checking, &queued).await
}

/// The cookie to which the session is bound.
pub(super) fn cookie_of(cx: &AuthContext, origin: &Origin) -> Result<Option<NewCookie>, Denied> {
    let carries_key = cx.key_cookie.is_some();
    match (cx.cookie, cx.browser_cookie.digest(origin)) {
        (CookieKind::Off, _) => Ok(None),
        (CookieKind::Use, None) if !carries_key => Ok(None),
        (_, None) => Err(Denied::CookieRequired),
        (_, Some(digest)) => Ok(Some(NewCookie { digest, carries_key })),
    }
}

/// The answer for script: without the key, if that travels in a cookie.
pub(super) fn granted(cx: &AuthContext, logged_in: LoggedIn) -> Response {
    match cx.key_cookie {
        Some(_) => Response::result(&cx.sessions.without_key(logged_in)),
        None => Response::result(&logged_in),
    }
}

/// What the request says about the device.
pub(super) fn device_of(origin: &Origin, public_key: Option<DeviceKey>, label: Option<String>) -> Device {
    let user_agent = origin.header.get("User-Agent").and_then(|values| values.first()).cloned();
    Device { public_key, user_agent, remote_addr: origin.remote_addr.clone(), label }
}
