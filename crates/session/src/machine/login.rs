//! Login: makes a session. The password was checked before.

use super::{Decision, NewCookie, Next, Outcome, Rules, Vouched, Write, end, grant, key_deadline, set, token_of};
use crate::{Attempt, ConnectionId, Denied, Device, MadeBy, Record, SessionId, Timestamp, User};

/// A login by a user who has shown who they are.
#[derive(Clone, Debug)]
pub struct Login {
    /// The connection that logs in.
    pub connection: ConnectionId,
    /// Who logs in.
    pub user: User,
    /// The issuer that vouches for the user; none if a password did.
    pub vouched: Option<Vouched>,
    /// The client's id of this login.
    pub attempt: Option<Attempt>,
    /// Where the login comes from.
    pub device: Device,
    /// The cookie to bind the session to.
    pub cookie: Option<NewCookie>,
    /// The session that the connection's token names.
    pub token: Option<SessionId>,
}

impl Login {
    /// A login of which nothing else is known, for tests: the service names all fields, so that the
    /// compiler asks for a new one.
    #[must_use]
    pub fn new(connection: ConnectionId, user: User) -> Self {
        let device = Device::default();
        Self { connection, user, vouched: None, attempt: None, device, cookie: None, token: None }
    }
}

/// A session for a connection that holds none.
pub(super) fn created(login: Login, sid: SessionId, salt: [u8; 16], rules: &Rules, now: Timestamp) -> Decision {
    let Login { connection, user, vouched, attempt, device, cookie, token: _ } = login;
    let until = vouched.as_ref().and_then(|vouched| vouched.until).unwrap_or(Timestamp::NEVER);
    let session_deadline = now.plus(rules.policy.session_lifetime).min(until);
    let new = Record::new(sid, salt, user.id.clone(), connection.clone(), now);
    let record = Record {
        key_deadline: key_deadline(session_deadline, rules, now),
        session_deadline,
        device: device.bounded(),
        cookie: cookie.map(|cookie| cookie.digest),
        made_by: MadeBy { attempt, ..new.made_by.clone() },
        claims: vouched.map(|vouched| vouched.claims),
        in_cookie: cookie.is_some_and(|cookie| cookie.carries_key),
        ..new
    };
    Decision {
        effects: set(&connection, token_of(&record, &user), user).into(),
        next: Next::Reply(Ok(Some(grant(&record, rules, now)))),
        outcome: Outcome::LoggedIn,
        write: Write::Create(record),
    }
}

/// The connection holds the session `record` already.
pub(super) fn on_session(record: &Record, login: Login, began: Timestamp, rules: &Rules, now: Timestamp) -> Decision {
    if record.is_expired(now) {
        return end::expire(Some(record), now).then_again();
    }
    if made(record, &login) {
        return repeated(record, login, rules, now);
    }
    // Or else nobody could log in there until the session's deadline.
    if record.is_orphaned(login.token, began, now) {
        return end::abandon(Some(record), &login.connection).then_again();
    }
    Decision::keep(Err(Denied::AlreadyLoggedIn), Outcome::AlreadyLoggedIn)
}

/// True if this very login made the session.
fn made(record: &Record, login: &Login) -> bool {
    record.generation == 1
        && login.attempt.is_some()
        && login.attempt == record.made_by.attempt
        && login.connection == record.made_by.connection
        && login.user.id == record.user_id
}

/// The reply came too late, and the token and the user may have been lost on the way too:
/// everything is said again.
fn repeated(record: &Record, login: Login, rules: &Rules, now: Timestamp) -> Decision {
    let Login { connection, user, .. } = login;
    Decision {
        write: Write::Keep,
        effects: set(&connection, token_of(record, &user), user).into(),
        next: Next::Reply(Ok(Some(grant(record, rules, now)))),
        outcome: Outcome::Retried,
    }
}
