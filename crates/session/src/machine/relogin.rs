//! Relogin: uses a key. What the key means is looked up in [`crate::rotation`]; this file does it.

use super::{Decision, Effect, Next, Outcome, Rules, Write, cleared, end, grant_with, key_deadline, set, token_of};
use crate::{
    Attempt, ConnectionId, Denied, Record, SessionId, Timestamp, Token, User,
    key::{PresentedKey, SessionKeyring},
    rotation::{KeyUse, Proof, in_cookie, rotation},
};

/// How many connections a session has at most: the longest unused one leaves for the next. RES
/// tells no service when a connection ends, so without a bound each reload of a page would leave
/// one behind for as long as the session lives.
pub const MAX_CONNECTIONS: usize = 32;

/// A use of a relogin key.
#[derive(Clone, Debug)]
pub struct Relogin {
    /// The connection that relogins.
    pub connection: ConnectionId,
    /// The key, taken apart.
    pub key: PresentedKey,
    /// The client's id of this use of the key.
    pub attempt: Option<Attempt>,
    /// Whether the device key signed.
    pub proof: Proof,
    /// Digest of the cookie that the connection has.
    pub cookie: Option<[u8; 32]>,
    /// Where the connection comes from, `ip:port`.
    pub remote_addr: Option<String>,
    /// The session's user as the directory has it now; none if removed.
    pub user: Option<User>,
    /// The token that the gateway holds for the connection.
    pub token: Option<Token>,
    /// What the connection has to do with other sessions than the key's.
    pub other: OtherSession,
}

/// What a connection that relogins has to do with other sessions than the key's.
#[derive(Clone, Debug, Default)]
pub enum OtherSession {
    /// Nothing.
    #[default]
    None,
    /// It holds this one.
    Held(Box<Record>),
    /// It was detached from one for this relogin, and was not notified of that yet.
    Left,
}

impl OtherSession {
    /// That of a connection that the store has on `held`, and that has `left` a session for this
    /// relogin with a key of `sid`.
    #[must_use]
    pub fn than(sid: SessionId, held: Option<&Record>, left: bool) -> Self {
        match held {
            Some(held) if held.sid != sid => Self::Held(Box::new(held.clone())),
            None if left => Self::Left,
            _ => Self::None,
        }
    }
}

/// How long a key that travels in a cookie is kept at least, in milliseconds, where refreshes leave
/// it that time.
const MIN_AGE: u64 = 60_000;

impl Relogin {
    /// True if the client knows of several connections on one session.
    fn knows_of_others(&self, record: &Record) -> bool {
        self.attempt.is_some() || self.proof == Proof::Valid || record.in_cookie
    }
}

pub(super) fn relogin(record: Option<&Record>, used: Relogin, rules: &Rules, now: Timestamp) -> Decision {
    let left = matches!(used.other, OtherSession::Left).then(|| used.connection.clone());
    let mut decision = key_used(record, used, rules, now);
    if let (Some(connection), Some(Err(_))) = (left, decision.reply()) {
        // It holds nothing now, and its gateway still has the token of the session that it left.
        decision.effects.extend(cleared(&connection));
    }
    decision
}

fn key_used(record: Option<&Record>, mut used: Relogin, rules: &Rules, now: Timestamp) -> Decision {
    let Some((record, keyring)) = opened(record, &used.key, rules, now) else {
        return refused(Outcome::Refused);
    };
    let verdict = if record.in_cookie {
        in_cookie(record, used.key.generation, is_young(record, rules, now), used.proof)
    } else {
        rotation(record, used.key.generation, &used.connection, used.attempt, used.proof)
    };
    // Before anything else that a stolen key could bring about: without its cookie it does not even
    // end the session.
    if !matches!(verdict, KeyUse::ProofMissing | KeyUse::ProofLate) && !record.takes_cookie(used.cookie) {
        return refused(Outcome::CookieMismatch);
    }
    let outcome = match verdict {
        KeyUse::Rotate => Outcome::Rotated,
        KeyUse::Retry => Outcome::Retried,
        KeyUse::CatchUp => Outcome::CaughtUp,
        KeyUse::ReuseDetected => return reuse_detected(record),
        KeyUse::StoreRolledBack => return disposed(record, Outcome::StoreRolledBack),
        KeyUse::Recover => Outcome::Recovered,
        KeyUse::StaleRetry => return refused(Outcome::StaleRetry),
        KeyUse::ProofMissing => return refused(Outcome::ProofMissing),
        KeyUse::ProofLate => return late(),
    };
    let Some(user) = used.user.take() else { return disposed(record, Outcome::UserRemoved) };
    match &used.other {
        OtherSession::Held(other) => end::detach(Some(other), &used.connection).then_again(),
        OtherSession::None | OtherSession::Left => resumed(record, &keyring, &used, user, outcome, rules, now),
    }
}

/// A use of the key in a browser's cookie outside of any connection, for the next one.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The key, taken apart.
    pub key: PresentedKey,
    /// Whether the browser's device has signed.
    pub proof: Proof,
    /// Digest of the browser's other cookie.
    pub cookie: Option<[u8; 32]>,
    /// Where the browser is, `ip:port`.
    pub remote_addr: Option<String>,
    /// The session's user as the directory has it now; none if removed.
    pub user: Option<User>,
}

/// As a relogin by cookie, but nobody is put on the session.
pub(super) fn refresh(record: Option<&Record>, used: Refresh, rules: &Rules, now: Timestamp) -> Decision {
    let record = record.filter(|record| record.in_cookie);
    let Some((record, keyring)) = opened(record, &used.key, rules, now) else {
        return refused(Outcome::Refused);
    };
    if !record.takes_cookie(used.cookie) {
        return refused(Outcome::CookieMismatch);
    }
    let outcome = match in_cookie(record, used.key.generation, is_young(record, rules, now), used.proof) {
        KeyUse::Rotate => Outcome::Rotated,
        KeyUse::Recover => Outcome::Recovered,
        KeyUse::ReuseDetected => return reuse_detected(record),
        KeyUse::StoreRolledBack => return disposed(record, Outcome::StoreRolledBack),
        KeyUse::ProofMissing => return refused(Outcome::ProofMissing),
        KeyUse::ProofLate => return late(),
        _ => Outcome::CaughtUp,
    };
    if used.user.is_none() {
        return disposed(record, Outcome::UserRemoved);
    }
    let mut next = record.clone();
    next.seen(used.remote_addr, now);
    next.key_deadline = key_deadline(record.session_deadline, rules, now);
    if matches!(outcome, Outcome::Rotated | Outcome::Recovered) {
        next.generation = used.key.generation;
        next.rotate(record.made_by.connection.clone(), None, now);
    }
    let reply = Next::Reply(Ok(Some(grant_with(&keyring, &next, rules, now))));
    Decision { effects: Vec::new(), next: reply, outcome, write: Write::Replace(next) }
}

/// The session and its keyring, if it is live and the key genuine.
fn opened<'a>(
    record: Option<&'a Record>,
    key: &PresentedKey,
    rules: &'a Rules,
    now: Timestamp,
) -> Option<(&'a Record, SessionKeyring<'a>)> {
    let record = record.filter(|record| record.sid == key.sid && !record.is_expired(now))?;
    let keyring = rules.keyring.of_session(&record.salt);
    keyring.verify(key).then_some((record, keyring))
}

/// True if the newest key is not to be replaced yet. Browsers write their cookies to disk with a
/// delay: what a crash takes away must not be more than one key.
fn is_young(record: &Record, rules: &Rules, now: Timestamp) -> bool {
    now.since(record.made) < MIN_AGE.min(rules.policy.refresh / 2)
}

fn refused(outcome: Outcome) -> Decision {
    Decision::keep(Err(Denied::InvalidReloginKey), outcome)
}

/// The next request may bring the proof.
fn late() -> Decision {
    Decision::keep(Err(Denied::InvalidChallenge), Outcome::ProofMissing)
}

/// The owner's client is to know why: it is sent a generation that no storage has. To the thief
/// that says nothing which the end of the session does not.
fn reuse_detected(record: &Record) -> Decision {
    let next = record.generation.saturating_add(1);
    let rotated = record.connections.iter().map(|connection| Effect::Rotated(connection.clone(), next));
    let effects = rotated.chain(end::all_cleared(record)).collect();
    Decision { effects, ..disposed(record, Outcome::ReuseDetected) }
}

fn disposed(record: &Record, outcome: Outcome) -> Decision {
    let reply = Next::Reply(Err(Denied::InvalidReloginKey));
    Decision { write: Write::Remove, effects: end::all_cleared(record), next: reply, outcome }
}

fn resumed(
    record: &Record,
    keyring: &SessionKeyring<'_>,
    used: &Relogin,
    user: User,
    outcome: Outcome,
    rules: &Rules,
    now: Timestamp,
) -> Decision {
    let connection = &used.connection;
    let has_moved = outcome == Outcome::Retried && *connection != record.made_by.connection;
    let (staying, leaving) = others(record, used, outcome);
    let mut next = record.clone();
    next.seen(used.remote_addr.clone(), now);
    next.key_deadline = key_deadline(record.session_deadline, rules, now);
    next.connections.clone_from(&staying);
    next.connections.push(connection.clone());
    if matches!(outcome, Outcome::Rotated | Outcome::Recovered) {
        next.generation = used.key.generation;
        next.rotate(connection.clone(), used.attempt, now);
    } else if has_moved {
        next.made_by.connection.clone_from(connection);
        next.made_by.retried = true;
    }

    let token = token_of(record, &user);
    let held = used.token.as_ref();
    // A connection that is not on the record may have been cleared after its gateway sent this
    // request, token and all.
    let in_place = record.is_on(connection) && held == Some(&token);
    // The user has another role than when the token was given out, and so has every connection of
    // the session.
    let outdated = held.is_some_and(|held| held.sid == token.sid && *held != token);
    let mut effects = Vec::new();
    // First of all: a crash must not come between a thief's token and what lets the owner find out.
    // A repetition may come because of such a crash, so it notifies them again. (Of keys in a
    // cookie no script could tell whether its browser has them.)
    if matches!(outcome, Outcome::Rotated | Outcome::Retried | Outcome::Recovered) && !record.in_cookie {
        // Of a generation that was retried elsewhere, no storage may have what the others are told
        // of: an honest one uses the newest key at once, and so finds out who has retried.
        let announced = next.generation.saturating_add(u64::from(next.made_by.retried));
        effects.extend(staying.iter().map(|other| Effect::Rotated(other.clone(), announced)));
    }
    for other in staying.iter().filter(|_| outdated) {
        effects.extend(set(other, token.clone(), user.clone()));
    }
    effects.extend(set(connection, token, user).into_iter().skip(usize::from(in_place)));
    // From a legacy client it may be a thief, and then the owner is among those who leave.
    if !used.knows_of_others(record) && outcome == Outcome::Rotated {
        effects.extend(leaving.iter().map(|other| Effect::Rotated(other.clone(), next.generation)));
    }
    effects.extend(leaving.iter().flat_map(cleared));
    let reply = Next::Reply(Ok(Some(grant_with(keyring, &next, rules, now))));
    Decision { effects, next: reply, outcome, write: Write::Replace(next) }
}

/// The session's other connections, oldest use first: those that stay on it, and those that leave.
fn others(record: &Record, used: &Relogin, outcome: Outcome) -> (Vec<ConnectionId>, Vec<ConnectionId>) {
    let (mut staying, mut leaving) = (Vec::new(), Vec::new());
    for other in record.connections.iter().filter(|&other| *other != used.connection) {
        let side = if gives_way(record, other, outcome) { &mut leaving } else { &mut staying };
        side.push(other.clone());
    }
    let room = if used.knows_of_others(record) { MAX_CONNECTIONS - 1 } else { 0 };
    leaving.extend(staying.drain(..staying.len().saturating_sub(room)));
    (staying, leaving)
}

/// True if `other` has made the newest generation, by a request that a second pair of hands had
/// too: of the two, only the one that came last keeps the session. The other, if it is an honest
/// one, has the newest key in its storage.
fn gives_way(record: &Record, other: &ConnectionId, outcome: Outcome) -> bool {
    let is_shared = match outcome {
        Outcome::Retried => true,
        Outcome::Rotated => record.made_by.retried,
        _ => false,
    };
    is_shared && *other == record.made_by.connection
}
