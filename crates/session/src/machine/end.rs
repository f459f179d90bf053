//! The ends of sessions, and of a connection's part in one: logout, expiry, a connection that
//! leaves for another session, and those that are no more.

use super::{Decision, Effect, Next, Outcome, Write, cleared};
use crate::{ConnectionId, Denied, Record, SessionId, Timestamp};

/// There is nothing to answer but that it is done.
const DONE: Next = Next::Reply(Ok(None));

/// The session that a logout is about, if there is one: the one that it names (`sid`), if that is
/// the connection's by the store (`held`) or by its token (`token`); if it names none, the one by
/// the store before the one by the token.
#[must_use]
pub fn ended_by_logout(sid: Option<SessionId>, held: Option<SessionId>, token: Option<SessionId>) -> Option<SessionId> {
    match sid {
        Some(named) => [held, token].contains(&Some(named)).then_some(named),
        None => held.or(token),
    }
}

pub(super) fn logout(
    record: Option<&Record>,
    connection: &ConnectionId,
    sid: Option<SessionId>,
    held: Option<SessionId>,
    token: Option<SessionId>,
) -> Decision {
    let ended = ended_by_logout(sid, held, token);
    if ended.is_none() && sid.is_some() {
        return Decision::keep(Err(Denied::NotLoggedIn), Outcome::NotLoggedIn);
    }
    let mut effects = Vec::new();
    // Cleared even if the session is not on it, or is gone: whoever logs out must not keep a token.
    if held.is_none() || held == ended {
        effects.extend(cleared(connection));
    }
    let Some(record) = record.filter(|record| Some(record.sid) == ended) else {
        return Decision { write: Write::Keep, effects, next: DONE, outcome: Outcome::NotLoggedIn };
    };
    effects.extend(record.connections.iter().filter(|&other| other != connection).flat_map(cleared));
    Decision { write: Write::Remove, effects, next: DONE, outcome: Outcome::LoggedOut }
}

pub(super) fn detach(record: Option<&Record>, connection: &ConnectionId) -> Decision {
    let Some(record) = record.filter(|record| record.is_on(connection)) else {
        return Decision::keep(Ok(None), Outcome::NotLoggedIn);
    };
    let mut next = record.clone();
    next.connections.retain(|other| other != connection);
    Decision { write: Write::Replace(next), effects: Vec::new(), next: DONE, outcome: Outcome::Detached }
}

pub(super) fn abandon(record: Option<&Record>, connection: &ConnectionId) -> Decision {
    // The first key of such a session was never used, and as its login was not answered, nobody has
    // it.
    let is_unheard_of = |record: &Record| record.generation == 1 && record.connections == [connection.clone()];
    if record.is_some_and(is_unheard_of) {
        return Decision { write: Write::Remove, effects: Vec::new(), next: DONE, outcome: Outcome::Abandoned };
    }
    detach(record, connection)
}

pub(super) fn prune(record: Option<&Record>, unresponsive: &[ConnectionId], asked_by: &ConnectionId) -> Decision {
    let Some(record) = record else { return Decision::keep(Ok(None), Outcome::NotLoggedIn) };
    // Whoever uses the key becomes the last of them. So those behind the one that was the last when
    // they were asked have relogged in since, be it at another process, and are there.
    let asked = record.connections.iter().position(|connection| connection == asked_by).unwrap_or_default();
    let is_leaving = |(place, connection): &(usize, ConnectionId)| *place < asked && unresponsive.contains(connection);
    let (leaving, staying): (Vec<_>, Vec<_>) = record.connections.iter().cloned().enumerate().partition(is_leaving);
    let [leaving, staying] = [leaving, staying].map(|some| some.into_iter().map(|(_, connection)| connection));
    let (leaving, staying) = (leaving.collect::<Vec<_>>(), staying.collect());
    if leaving.is_empty() {
        return Decision::keep(Ok(None), Outcome::StillAlive);
    }
    let next = Record { connections: staying, ..record.clone() };
    // One that is there after all relogins when it gets this.
    let effects = leaving.iter().flat_map(cleared).collect();
    Decision { write: Write::Replace(next), effects, next: DONE, outcome: Outcome::Pruned }
}

pub(super) fn expire(record: Option<&Record>, now: Timestamp) -> Decision {
    match record {
        Some(record) if record.is_expired(now) => {
            Decision { write: Write::Remove, effects: all_cleared(record), next: DONE, outcome: Outcome::Expired }
        }
        Some(_) => Decision::keep(Ok(None), Outcome::StillAlive),
        None => Decision::keep(Ok(None), Outcome::NotLoggedIn),
    }
}

/// The session is over for each of its connections.
pub(super) fn all_cleared(record: &Record) -> Vec<Effect> {
    record.connections.iter().flat_map(cleared).collect()
}
