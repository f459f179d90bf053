//! `auth.<name>.changePassword`: another password for the user who is logged in on the connection.
//! Their other sessions end; this one goes on, with its token and its key.

use relogin_res::service::Response;
use relogin_session::{Denied, api::ChangePasswordParams};
use relogin_users::{PasswordChange, PasswordChanged, UserChange, password_rules::WeakPassword};
use tokio::sync::Notify;
use tracing::Instrument;

use super::{AuthContext, CookieKind, answer::Failure, guess, request::Request, throttle::LoginPlace};
use crate::{audit::Event, spans};

pub(super) async fn change_password(cx: &AuthContext, payload: &[u8], reply: &str) -> Result<Response, Failure> {
    let request = Request::parse(cx, payload)?;
    let connection = &request.connection;
    // First, as a login says first that somebody is logged in.
    let record = cx.sessions.on_connection(connection).await?.ok_or(Denied::NotLoggedIn)?;
    let ChangePasswordParams { current, new } = request.params()?;
    let (id, session) = (&record.user_id, record.sid);
    if record.claimed_user().is_some() {
        // An issuer of tokens knows this user, and no directory.
        return Err(Denied::PasswordNotChangeable.into());
    }
    let known_name = cx.users.username_of(id);
    cx.password_rules.check(&new, known_name.as_deref()).map_err(|weak| match weak {
        WeakPassword::TooShort(min_length) => Failure::PasswordTooShort(min_length),
        WeakPassword::TooWeak => Denied::PasswordTooWeak.into(),
    })?;

    let remote_addr = request.origin.remote_addr.as_deref();
    let audit = async |event: &str| {
        let event = Event {
            event: event.to_owned(),
            session: Some(session),
            user: Some(id.clone()),
            connection: Some(connection.clone()),
            remote_addr: remote_addr.map(str::to_owned),
            ..Event::default()
        };
        cx.sessions.audit(event).await;
    };
    let cookie = (cx.cookie != CookieKind::Off).then(|| cx.browser_cookie.digest(&request.origin)).flatten();
    let place = LoginPlace { remote_addr, cookie, connection: connection.as_str() };
    // Where only the directory knows the name, failures are counted for the id: no username begins
    // with this character.
    let name = known_name.unwrap_or_else(|| format!("\0{id}"));
    let guess = match guess::begin(cx, &name, place, reply).await {
        Ok(guess) => guess,
        Err(failure) => {
            audit("login_throttled").await;
            return Err(failure);
        }
    };
    let queued = Notify::new();
    let on_queued = || queued.notify_one();
    let change = PasswordChange { id, session, current: &current, new: &new, remote_addr };
    let changing = cx.users.change_password(change, &on_queued).instrument(spans::wait("users change_password"));
    let changed = guess::waiting(cx, reply, changing, &queued).await?;
    match changed {
        PasswordChanged::Changed => guess.settle(cx, &name, place, true).await,
        PasswordChanged::Wrong => {
            guess.settle(cx, &name, place, false).await;
            audit("password_change_failed").await;
            return Err(Denied::WrongPassword.into());
        }
        // Nobody learns from these whether `current` is right.
        PasswordChanged::Weak => return Err(Denied::PasswordTooWeak.into()),
        PasswordChanged::NotOffered => return Err(Denied::PasswordNotChangeable.into()),
    }
    audit("password_changed").await;
    let change = UserChange { id: id.clone(), is_password_new: true, keep: Some(session) };
    cx.sessions.apply_user_change(&change).await?;
    cx.users.sessions_notified(id);
    Ok(Response::null())
}
