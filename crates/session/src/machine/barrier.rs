//! What a store that several processes share needs around a decision: a read barrier before it, and
//! which effects must reach a gateway before others. Must not decide about sessions.

use super::{Decision, Effect, Next, Write};

impl Decision {
    /// True if nothing comes of the decision unless what it was made on is the newest: its only
    /// write is refused otherwise, and comes before all events.
    #[must_use]
    pub fn is_proven_by_its_write(&self) -> bool {
        matches!(self.write, Write::Replace(_)) && !self.effects.iter().any(|effect| effect.leaves(&self.effects))
    }

    /// True if connections may be checked after the answer: when a key is answered. A refusal ends
    /// something, and a login may have to be withdrawn.
    #[must_use]
    pub fn may_be_confirmed_later(&self) -> bool {
        self.is_proven_by_its_write() && matches!(self.next, Next::Reply(Ok(Some(_))))
    }
}

impl Effect {
    /// True if it is published before its session is stored as ended. By it a client knows a theft
    /// from any other end, and once the end is stored another process may refuse its key.
    #[must_use]
    pub fn precedes_the_end(&self) -> bool {
        matches!(self, Self::Rotated(..))
    }

    /// True if it is for a connection that one of `effects` clears.
    #[must_use]
    pub fn leaves(&self, effects: &[Self]) -> bool {
        let (Self::SetToken(on, _) | Self::SetUser(on, _) | Self::Rotated(on, _)) = self;
        effects.iter().any(|effect| matches!(effect, Self::SetToken(cleared, None) if cleared == on))
    }
}
