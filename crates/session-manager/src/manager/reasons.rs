//! Why a session is over, as far as that can be known here. Sends nothing and writes nothing.

use super::SessionManager;
use crate::record::Record;
use crate::{EndReason, turn::Turn};

impl SessionManager {
    /// The key is in storage no more, and it was not we who removed it.
    pub(super) fn key_is_gone(&mut self, turn: &Turn) {
        let expired = self.schedule.is_over(turn.now);
        self.ended(if expired { EndReason::Expired } else { EndReason::LoggedOutElsewhere });
    }

    /// The service takes the key `used` no more. Why, it says to nobody, for it may be a thief who asks: what was seen of the
    /// session has to tell.
    pub(super) fn refused(&mut self, used: Option<&Record>, turn: &Turn) {
        // A bound session's key is of no use to a thief.
        let stolen = used.filter(|used| !used.bound).zip(self.evidence.rotated).is_some_and(|(used, rotated)| {
            rotated.is_same_session(used.holding()) && rotated.generation > used.generation
        });
        self.ended(match () {
            () if self.schedule.is_over(turn.now) => EndReason::Expired,
            () if stolen => EndReason::Stolen,
            () if self.evidence.taken => EndReason::LoggedOutElsewhere,
            () => EndReason::Refused,
        });
    }
}
