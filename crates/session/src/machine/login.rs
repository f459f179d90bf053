//! Login: makes a session. The password was checked before.

use super::{Decision, NewCookie, Outcome, Rules, Vouched, Write, grant, key_deadline, set, token_of};
use crate::{Attempt, ConnectionId, Denied, Device, MadeBy, Record, SessionId, Timestamp, User};

/// What a login brings.
pub(super) struct Fresh {
    pub(super) connection: ConnectionId,
    pub(super) user: User,
    pub(super) sid: SessionId,
    pub(super) salt: [u8; 16],
    pub(super) attempt: Option<Attempt>,
    pub(super) device: Device,
    pub(super) cookie: Option<NewCookie>,
    pub(super) vouched: Option<Vouched>,
}

pub(super) fn login(record: Option<&Record>, fresh: Fresh, rules: &Rules, now: Timestamp) -> Decision {
    match record {
        Some(live) if !live.is_expired(now) => repeated(live, fresh, rules, now),
        _ => created(fresh, rules, now),
    }
}

fn created(fresh: Fresh, rules: &Rules, now: Timestamp) -> Decision {
    let Fresh { connection, user, sid, salt, attempt, device, cookie, vouched } = fresh;
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
        reply: Ok(Some(grant(&record, rules, now))),
        outcome: Outcome::LoggedIn,
        write: Write::Create(record),
    }
}

/// A live session is on the connection already. If this very login made it, then its reply came too late, and the token and
/// the user may have been lost on the way too: everything is said again.
fn repeated(live: &Record, fresh: Fresh, rules: &Rules, now: Timestamp) -> Decision {
    let Fresh { connection, user, attempt, .. } = fresh;
    let same_login = live.generation == 1
        && attempt.is_some()
        && attempt == live.made_by.attempt
        && connection == live.made_by.connection
        && user.id == live.user_id;
    if !same_login {
        return Decision::keep(Err(Denied::AlreadyLoggedIn), Outcome::AlreadyLoggedIn);
    }
    Decision {
        write: Write::Keep,
        effects: set(&connection, token_of(live, &user), user).into(),
        reply: Ok(Some(grant(live, rules, now))),
        outcome: Outcome::Replayed,
    }
}
