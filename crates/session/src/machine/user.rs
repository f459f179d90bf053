//! Applies changes of a user to a session, and ends sessions on request of an operator.

use super::{Decision, Effect, Next, Outcome, Write, end::all_cleared, set, token_of};
use crate::{Record, SessionId, Timestamp, User};

pub(super) fn changed(record: Option<&Record>, user: Option<User>, now: Timestamp) -> Decision {
    // Of one that is over, the end is about to be announced.
    let Some(record) = record.filter(|record| !record.is_expired(now)) else {
        return Decision::keep(Ok(None), Outcome::NotLoggedIn);
    };
    let Some(user) = user else { return removed(record, Outcome::UserRemoved) };
    let token = token_of(record, &user);
    let effects: Vec<Effect> =
        record.connections.iter().flat_map(|connection| set(connection, token.clone(), user.clone())).collect();
    Decision { write: Write::Keep, effects, next: Next::Reply(Ok(None)), outcome: Outcome::UserChanged }
}

/// The sessions of a user who may have `most`, given all that they have with the times of their
/// last use: those that are to end, the least recently used first. Never `newest`, which has just
/// been made.
#[must_use]
pub fn over_cap(mut sessions: Vec<(Timestamp, SessionId)>, newest: SessionId, most: usize) -> Vec<SessionId> {
    let excess = sessions.len().saturating_sub(most);
    sessions.retain(|(_, sid)| *sid != newest);
    sessions.sort_unstable();
    sessions.into_iter().take(excess).map(|(_, sid)| sid).collect()
}

pub(super) fn end(record: Option<&Record>, outcome: Outcome) -> Decision {
    match record {
        Some(record) => removed(record, outcome),
        None => Decision::keep(Ok(None), Outcome::NotLoggedIn),
    }
}

fn removed(record: &Record, outcome: Outcome) -> Decision {
    Decision { write: Write::Remove, effects: all_cleared(record), next: Next::Reply(Ok(None)), outcome }
}
