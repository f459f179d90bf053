//! Infers why a session has ended whose key the service refuses, from what was seen of the session.
//! Must not ask anybody: the service does not say it, because a thief may be asking.
//!
//! `session.rs` collects the evidence: from the event `rotated` (`Session::rotated`; the diagnostic
//! `MadeElsewhere`), and from a user model that lost its user (`Session::user_lost`; `UserLost`).
//! When the service detects reuse, it sends `rotated` with a generation that nobody has made, one
//! above the newest; the audit trail has none with that number. Only the key of a bearer session
//! can be stolen so: bound keys, and those of cookie sessions, end as `Refused` or otherwise. A
//! sibling that made a generation and could not store it before the session was ended otherwise
//! leaves the same evidence: then a page says `Stolen` without a theft. A thief who made one leaves
//! it, too, without `reuse_detected` if the session was ended otherwise. So does a retry on another
//! connection, which is announced to the others as a generation that nobody has made. A page that
//! got neither, because there was no connection, says `Refused` (or `Expired`), even if the service
//! has detected the reuse (`reuse_detected` in its audit trail).

use crate::{
    EndReason,
    record::{Holding, Record},
};

/// The evidence against the session since its key was last good.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TheftEvidence {
    /// The service has announced this generation, and storage does not have it.
    pub(crate) rotated: Option<Holding>,
    /// The service took the user away.
    pub(crate) is_user_taken: bool,
}

impl TheftEvidence {
    /// Why the key `used` was refused. `has_expired`: whether it is past its deadline.
    pub(crate) fn reason(self, used: &Record, has_expired: bool) -> EndReason {
        // A bound session's key is of no use to a thief.
        let is_stolen = self
            .rotated
            .filter(|_| !used.bound)
            .is_some_and(|rotated| rotated.is_same_session(used.holding()) && rotated.generation > used.generation);
        match () {
            () if has_expired => EndReason::Expired,
            () if is_stolen => EndReason::Stolen,
            () if self.is_user_taken => EndReason::LoggedOutElsewhere,
            () => EndReason::Refused,
        }
    }
}
