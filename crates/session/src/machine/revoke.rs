//! A user ends one of their sessions from a list of them, or an operator does. Which connection
//! asks is known; what the session to be ended is called comes from a stranger.

use super::{Decision, Next, Outcome, Rules, Write, end::all_cleared};
use crate::{Denied, Record, SessionId, Timestamp, UserId};

/// The session on whose connection another one is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoker {
    /// The session.
    pub sid: SessionId,
    /// Its user.
    pub user_id: UserId,
    /// When that user logged in.
    pub logged_in: Timestamp,
}

impl Revoker {
    /// The one with this record, if it is live.
    #[must_use]
    pub fn of(record: &Record, now: Timestamp) -> Option<Self> {
        (!record.is_expired(now)).then(|| Self {
            sid: record.sid,
            user_id: record.user_id.clone(),
            logged_in: record.created,
        })
    }

    /// True if the login was too long ago to end other sessions.
    #[must_use]
    pub fn is_too_old(&self, rules: &Rules, now: Timestamp) -> bool {
        rules.policy.revoke_within.is_some_and(|within| now.since(self.logged_in) > within)
    }
}

/// Somebody else's session is answered like one that does not exist: nobody learns which it is. The
/// login's age is looked at before either, so that it says nothing about the session.
pub(super) fn revoke(record: Option<&Record>, by: Option<&Revoker>, rules: &Rules, now: Timestamp) -> Decision {
    let Some(by) = by else { return Decision::keep(Err(Denied::NotLoggedIn), Outcome::NotLoggedIn) };
    let is_own = record.is_some_and(|record| record.sid == by.sid);
    // A logout is always permitted.
    if !is_own && by.is_too_old(rules, now) {
        return Decision::keep(Err(Denied::LoginTooOld), Outcome::LoginTooOld);
    }
    match record.filter(|record| record.user_id == by.user_id && !record.is_expired(now)) {
        Some(record) => ended(record, Outcome::RevokedByUser),
        None => Decision::keep(Err(Denied::NoSuchSession), Outcome::NoSuchSession),
    }
}

/// Operators are told whether there was a session, so that they notice a mistyped id.
pub(super) fn for_operator(record: Option<&Record>, now: Timestamp) -> Decision {
    match record.filter(|record| !record.is_expired(now)) {
        Some(record) => ended(record, Outcome::RevokedByOperator),
        None => Decision::keep(Err(Denied::NoSuchSession), Outcome::NoSuchSession),
    }
}

fn ended(record: &Record, outcome: Outcome) -> Decision {
    Decision { write: Write::Remove, effects: all_cleared(record), next: Next::Reply(Ok(None)), outcome }
}
