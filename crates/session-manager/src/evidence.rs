//! Infers why a session has ended whose key the service refuses, from what was seen of the session.
//! Must not ask anybody: the service does not say it, because a thief may be asking.
//!
//! The first row that is true counts ([`TheftEvidence::reason`]):
//!
//! | what is known | reason |
//! |---|---|
//! | the key is past its deadline | `Expired`, whatever else was seen |
//! | it is the key of a bearer session, and an event `rotated` announced a newer generation, which storage does not have | `Stolen` |
//! | the user model lost its user | `LoggedOutElsewhere` |
//! | nothing | `Refused` |
//!
//! `session.rs` collects the evidence: `Session::rotated` (diagnostic `MadeElsewhere`) and
//! `Session::user_lost` (`UserLost`). Bound keys are never `Stolen`, nor those of cookie sessions:
//! they are of no use to a thief.
//!
//! Which generations storage does not have, and whether the audit trail of the service has
//! `reuse_detected` then:
//!
//! | what has happened | reuse detected | a theft |
//! |---|---|---|
//! | thief and owner have used one key: the service sends `rotated` with a generation that nobody has made, one above the newest | yes | yes |
//! | a thief has used the newest key, and the session was ended before its owner used it | no | yes |
//! | either of these while no page was connected, which then says `Refused` or `Expired` | as above | yes |
//! | two tabs have used one key, which their storage allowed: without IndexedDB, localStorage is not in step between processes; a page may keep the key in a way of its own | yes | no |
//! | storage went back to an older key, and that was used | yes | no |
//! | a legacy client has used the key that it shares with this one | yes | no |
//! | a sibling has made a generation, and the session was ended before it was stored | no | no |
//! | a use was repeated on another connection (`retried`): it is announced to the others as a generation that nobody has made, and the session was ended before they used their key | no | no |

use crate::{
    EndReason,
    record::{Holding, Record},
};

/// The evidence against the session that is not explained yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TheftEvidence {
    /// The service has announced this generation, and storage did not have it since.
    pub(crate) rotated: Option<Holding>,
    /// The service took the user away.
    pub(crate) is_user_taken: bool,
}

impl TheftEvidence {
    /// Storage has this generation, or had it: that it was announced, or one before it, shows no
    /// theft.
    pub(crate) fn explained_by(&mut self, stored: Holding) {
        self.rotated = self.rotated.filter(|made| made.is_same_session(stored) && made.generation > stored.generation);
    }

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
