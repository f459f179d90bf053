//! Takes turns over the addresses of gateways. Must not know why a try failed, nor when the next
//! one is made.

use relogin_session_manager::Dice;

/// Which of the addresses is used, and how many have failed since one worked. A round has each of
/// them once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    count: usize,
    current: usize,
    failed: usize,
}

impl Addresses {
    pub(crate) fn new(count: usize) -> Self {
        Self { count: count.max(1), current: 0, failed: 0 }
    }

    /// Begins at any of them, so that clients are shared out.
    pub(crate) fn shuffle(&mut self, dice: &mut Dice) {
        if self.count > 1 {
            (self.current, self.failed) = (dice.pick(self.count), 0);
        }
    }

    /// The one to use.
    pub(crate) fn current(self) -> usize {
        self.current
    }

    /// The current one works. It is kept, and a new round begins with it.
    pub(crate) fn works(&mut self) {
        self.failed = 0;
    }

    /// The current one is no good any more: the next round begins with another.
    pub(crate) fn leave(&mut self) {
        self.current = (self.current + 1) % self.count;
    }

    /// The current one cannot be had, so the next one is up. False if that ends the round, as none
    /// could be had.
    pub(crate) fn fail(&mut self) -> bool {
        self.leave();
        self.failed = (self.failed + 1) % self.count;
        self.failed > 0
    }
}
