//! The ends of sessions: logout, expiry, and a connection that leaves for another session.

use super::{Decision, Effect, Outcome, Write, cleared};
use crate::{ConnectionId, Record, Timestamp};

pub(super) fn logout(record: Option<&Record>, connection: &ConnectionId) -> Decision {
    // Cleared even if the session is not on it, or is gone: whoever logs out must not keep a token.
    let mut effects: Vec<_> = cleared(connection).into();
    let Some(record) = record else {
        return Decision { write: Write::Keep, effects, reply: Ok(None), outcome: Outcome::NotLoggedIn };
    };
    effects.extend(record.connections.iter().filter(|&other| other != connection).flat_map(cleared));
    Decision { write: Write::Remove, effects, reply: Ok(None), outcome: Outcome::LoggedOut }
}

pub(super) fn detach(record: Option<&Record>, connection: &ConnectionId) -> Decision {
    let Some(record) = record.filter(|record| record.is_on(connection)) else {
        return Decision::keep(Ok(None), Outcome::NotLoggedIn);
    };
    let mut next = record.clone();
    next.connections.retain(|other| other != connection);
    Decision { write: Write::Replace(next), effects: Vec::new(), reply: Ok(None), outcome: Outcome::Detached }
}

pub(super) fn expire(record: Option<&Record>, now: Timestamp) -> Decision {
    match record {
        Some(record) if record.is_expired(now) => {
            Decision { write: Write::Remove, effects: all_cleared(record), reply: Ok(None), outcome: Outcome::Expired }
        }
        Some(_) => Decision::keep(Ok(None), Outcome::StillAlive),
        None => Decision::keep(Ok(None), Outcome::NotLoggedIn),
    }
}

/// The session is over for each of its connections.
pub(super) fn all_cleared(record: &Record) -> Vec<Effect> {
    record.connections.iter().flat_map(cleared).collect()
}
