//! What happens to a session: one pure function, [`decide`]. Knows no store, no RES and no
//! password.
//!
//! A session is in one of three states: **none** (no record), **live**, and **over** (its deadline
//! has passed, its record is still there). What each command does in each:
//!
//! | command | none | live | over |
//! |---|---|---|---|
//! | login | a new session on the connection | the attempt that made it, again: same answer · orphaned: as abandon, then decided again · else `AlreadyLoggedIn` | as expire, then decided again |
//! | relogin | refused | key not genuine: refused · else the table in [`crate::rotation`]; if the connection holds another session, it is detached from that first, then decided again | refused |
//! | refresh | refused | as relogin, but on no connection: of sessions whose key is in a cookie only, else refused | refused |
//! | prove device | refused | of sessions whose key is in a cookie only: the first key is registered · the registered one again: nothing · else refused | refused |
//! | logout | this connection cleared | removed, its connections and this one cleared | as live |
//! | logout of another session than the connection's (see below) | nothing | its token names it: removed, its connections cleared · else nothing | as live |
//! | detach | nothing | the connection is off the session | as live |
//! | abandon | nothing | no key of it was used and it is on no other connection: removed · else as detach | as live |
//! | prune | nothing | the unresponsive connections that have not relogged in since are cleared and off the session | as live |
//! | expire | nothing | nothing | removed, its connections cleared |
//! | user changed | nothing | its connections set, or, user removed: removed, its connections cleared | nothing |
//! | revoke for a user (see `machine/revoke.rs`) | `NoSuchSession` | of the user: removed, its connections cleared · else `NoSuchSession` | `NoSuchSession` |
//! | revoke, evict | nothing | removed, its connections cleared | as live |
//!
//! Which session a logout ends is said by [`ended_by_logout`]. One that names its session never
//! ends another one, and clears no connection that holds another one by now: it may have been
//! doubled or delayed until after the next login.
//!
//! and what a genuine key of a live session does, after the table in [`crate::rotation`]:
//!
//! | key use | record | connections | answer |
//! |---|---|---|---|
//! | rotate | generation + 1, deadlines moved | this one set; the others told `rotated` (or cleared: see below) | the new key |
//! | retry | deadlines moved | the others told `rotated` again (or cleared: see below); this one set | the newest key |
//! | catch up | deadlines moved | this one set (the others cleared: see below) | the newest key |
//! | retry on another connection than the generation's | the generation is this connection's, and `retried` | this one set; the one whose it was cleared; the others told `rotated` with the next generation, so that an honest one uses its key | the newest key |
//! | rotate after that, on another connection than the generation's | as rotate | as rotate; the one that retried cleared | the new key |
//! | stale retry | kept | nothing | `InvalidReloginKey` |
//! | reuse detected | removed | all told `rotated` with the next generation, then cleared | `InvalidReloginKey` |
//! | store rolled back | removed | all cleared | `InvalidReloginKey` |
//! | recover | generation of the key + 1, deadlines moved | as rotate | the new key |
//! | proof missing | kept | nothing | `InvalidReloginKey` |
//! | proof late | kept | nothing | `InvalidChallenge` |
//! | (any, the session is bound to another cookie than came along) | kept | nothing | `InvalidReloginKey` |
//! | (any that would succeed, user removed) | removed | all cleared | `InvalidReloginKey` |
//!
//! Of a session whose keys travel in a cookie, the key use is that of
//! [`crate::rotation::in_cookie`], and relogins know of several connections.
//!
//! *Cleared*: user to nulls, then no token. *Set*: token, then user. A client that sends neither
//! attempt nor proof knows nothing of several connections, so its relogin moves the session: the
//! others are told `rotated`, cleared, and leave the record. Who is cleared is off the record, too.

mod barrier;
mod device;
mod end;
mod login;
mod outcome;
mod relogin;
mod revoke;
pub mod several;
#[cfg(test)]
mod tests;
mod user;

use crate::{
    Claims, ConnectionId, Denied, Keyring, LoggedIn, Policy, Record, SessionId, Timestamp, Token, User,
    key::{SessionKeyring, jwt::Facts},
};

pub use device::ProvenDevice;
pub use end::ended_by_logout;
pub use login::Login;
pub use outcome::Outcome;
pub use relogin::{MAX_CONNECTIONS, OtherSession, Refresh, Relogin};
pub use revoke::Revoker;
pub use user::over_cap;

/// What does not change from request to request.
#[derive(Debug)]
pub struct Rules {
    /// How long things live.
    pub policy: Policy,
    /// The server's secrets.
    pub keyring: Keyring,
}

/// What is asked of a session.
#[derive(Clone, Debug)]
pub enum Command {
    /// A user logs in. The record, if any, is the session that the connection holds now.
    Login {
        /// Who logs in, and from where.
        login: Login,
        /// The id of the session to be made: fresh random bits.
        sid: SessionId,
        /// The salt of the session to be made: fresh random bits.
        salt: [u8; 16],
        /// When this process began: a session last used before that may be orphaned.
        began: Timestamp,
    },
    /// A client uses its relogin key. The record is the session that the key names.
    Relogin(Relogin),
    /// A browser brings the key of its cookie outside of any connection, for the next one. The
    /// record is the session that the key names.
    Refresh(Refresh),
    /// A browser has proven that it holds a device key (see `machine/device.rs`). The record is the
    /// session that it registered the key for.
    ProveDevice(ProvenDevice),
    /// The user logs out on `connection`. The record is the session that [`ended_by_logout`] names.
    Logout {
        /// The connection that logs out.
        connection: ConnectionId,
        /// The session that is to end; none from legacy clients, who mean the connection's.
        sid: Option<SessionId>,
        /// The session that the connection holds by the store.
        held: Option<SessionId>,
        /// The session that the connection's token names.
        token: Option<SessionId>,
    },
    /// `connection` is about to hold another session: let go of this one. The connection is not
    /// notified, since the events of the other session take the place of all events of this one.
    Detach {
        /// The connection that leaves.
        connection: ConnectionId,
    },
    /// `connection` leaves an orphaned session (see [`Record::is_orphaned`]).
    Abandon {
        /// The connection that leaves.
        connection: ConnectionId,
    },
    /// Connections have been asked whether they are still there.
    Prune {
        /// Those that have not answered.
        unresponsive: Vec<ConnectionId>,
        /// The connection whose relogin was the reason to ask: the last one to use the key then.
        asked_by: ConnectionId,
    },
    /// A deadline may have passed.
    Expire,
    /// The session's user may have another name or role by now, or be no more.
    UserChanged {
        /// The user as the directory has them now; none if removed or disabled.
        user: Option<User>,
    },
    /// The session is to end, wherever it is used: its user has another password, say.
    Revoke,
    /// An operator ends the session.
    RevokeForOperator,
    /// A user ends one of their sessions from a list. The record is the session that they name.
    RevokeForUser {
        /// The session on whose connection the user asks; none if there is none.
        by: Option<Revoker>,
    },
    /// The session is to end, because its user has more than they may have: see [`over_cap`].
    Evict,
}

/// An issuer of tokens says who a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// What it says.
    pub claims: Claims,
    /// When the session is to end at the latest, if the issuer is to decide that.
    pub until: Option<Timestamp>,
}

/// The cookie that a session is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCookie {
    /// Its digest.
    pub digest: [u8; 32],
    /// Whether the session's keys are to travel in a cookie beside it.
    pub carries_key: bool,
}

/// What is to be done: first the write, then the effects in their order, then what is next.
#[derive(Debug)]
pub struct Decision {
    /// What the store is to do, under the revision that the record was loaded with.
    pub write: Write,
    /// Events for gateways, in this order, once the write is on disk.
    pub effects: Vec<Effect>,
    /// What follows.
    pub next: Next,
    /// What happened, for the log and the audit trail.
    pub outcome: Outcome,
}

/// What follows once a decision is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The client is answered.
    Reply(Reply),
    /// Something stood in the command's way, and is gone now: decide again, on what is stored by
    /// then.
    DecideAgain,
}

/// The answer to a client; `Ok(None)` is a null result.
pub type Reply = Result<Option<LoggedIn>, Denied>;

/// A change of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing changes.
    Keep,
    /// A new session.
    Create(Record),
    /// The record's next revision.
    Replace(Record),
    /// The session is over.
    Remove,
}

/// An event for gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Token event: the connection's access token from now on (`None`: none), with the sid as token
    /// id.
    SetToken(ConnectionId, Option<Token>),
    /// Change event on the connection's user model (`None`: all members null).
    SetUser(ConnectionId, Option<User>),
    /// Custom event `rotated` on the connection's user model.
    Rotated(ConnectionId, u64),
}

/// Decides what `command` does to the session `record`. Safe to run again on a newer record after a
/// conflict.
#[must_use]
pub fn decide(record: Option<&Record>, command: Command, rules: &Rules, now: Timestamp) -> Decision {
    match command {
        Command::Login { login, sid, salt, began } => match record {
            Some(record) => login::on_session(record, login, began, rules, now),
            None => login::created(login, sid, salt, rules, now),
        },
        Command::Relogin(used) => relogin::relogin(record, used, rules, now),
        Command::Refresh(used) => relogin::refresh(record, used, rules, now),
        Command::ProveDevice(proven) => device::prove(record, &proven, now),
        Command::Logout { connection, sid, held, token } => end::logout(record, &connection, sid, held, token),
        Command::Detach { connection } => end::detach(record, &connection),
        Command::Abandon { connection } => end::abandon(record, &connection),
        Command::Prune { unresponsive, asked_by } => end::prune(record, &unresponsive, &asked_by),
        Command::Expire => end::expire(record, now),
        Command::UserChanged { user } => user::changed(record, user, now),
        Command::RevokeForUser { by } => revoke::revoke(record, by.as_ref(), rules, now),
        Command::RevokeForOperator => revoke::for_operator(record, now),
        Command::Revoke => user::end(record, Outcome::Revoked),
        Command::Evict => user::end(record, Outcome::Evicted),
    }
}

impl Decision {
    /// The answer to the client; `None` if the command is to be decided again.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match &self.next {
            Next::Reply(reply) => Some(reply),
            Next::DecideAgain => None,
        }
    }

    /// Nothing is written and nobody notified.
    fn keep(reply: Reply, outcome: Outcome) -> Self {
        Self { write: Write::Keep, effects: Vec::new(), next: Next::Reply(reply), outcome }
    }

    /// The same, of a session that stood in a command's way.
    fn then_again(self) -> Self {
        Self { next: Next::DecideAgain, ..self }
    }
}

/// The connection holds the session from now on.
fn set(connection: &ConnectionId, token: Token, user: User) -> [Effect; 2] {
    [Effect::SetToken(connection.clone(), Some(token)), Effect::SetUser(connection.clone(), Some(user))]
}

/// The connection holds no session from now on.
fn cleared(connection: &ConnectionId) -> [Effect; 2] {
    [Effect::SetUser(connection.clone(), None), Effect::SetToken(connection.clone(), None)]
}

/// The token of a connection on the session.
fn token_of(record: &Record, user: &User) -> Token {
    Token { sid: record.sid, user_id: record.user_id.clone(), role: user.role.clone() }
}

/// The events that show `connection` the session `record` of `user`, or no session.
#[must_use]
pub fn events_for(connection: &ConnectionId, held: Option<(&Record, User)>) -> [Effect; 2] {
    match held {
        Some((record, user)) => set(connection, token_of(record, &user), user),
        None => cleared(connection),
    }
}

/// The answer that hands out the newest key.
#[must_use]
pub fn grant(record: &Record, rules: &Rules, now: Timestamp) -> LoggedIn {
    grant_with(&rules.keyring.of_session(&record.salt), record, rules, now)
}

/// The same, with the session's keyring.
fn grant_with(keyring: &SessionKeyring<'_>, record: &Record, rules: &Rules, now: Timestamp) -> LoggedIn {
    let expires_in = record.deadline().since(now);
    LoggedIn {
        relogin_key: keyring.hand_out(Facts {
            sid: record.sid,
            generation: record.generation,
            user: &record.user_id,
            made: record.made,
            // Not the record's deadline, which retries move: what is handed out again is to be the
            // same.
            expires: key_deadline(record.session_deadline, rules, record.made),
        }),
        generation: record.generation,
        expires_in,
        // Near the end of the session there is nothing to refresh for after it.
        refresh_in: rules.policy.refresh.min(expires_in),
        bound: record.is_bound(),
    }
}

/// The idle deadline of a key that is given out now.
fn key_deadline(session_deadline: Timestamp, rules: &Rules, now: Timestamp) -> Timestamp {
    now.plus(rules.policy.key_lifetime).min(session_deadline)
}
