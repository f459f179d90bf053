//! The time of one input, and the random bits that may be spent on it. Must not read a clock or
//! draw bits: both come from the driver.

use std::{fmt, time::Duration};

use relogin_session::Attempt;

use crate::backoff::Dice;

/// When something happened, and the random bits that may be spent on it.
#[derive(Clone, Copy)]
pub struct Moment {
    /// Time since any fixed point; never goes back. It should go on while the machine sleeps, else
    /// refreshes come late.
    pub now: Duration,
    /// Fresh from a cryptographic generator for every input: they become attempts, which no thief
    /// may guess.
    pub random: [u8; 24],
}

/// The time of one input, and what may be drawn for it. What belongs to the same input shares it.
pub struct Turn {
    /// When the input is taken in.
    pub now: Duration,
    /// When what came in happened at the earliest: before now, if it waited for a tab that was
    /// frozen.
    pub since: Duration,
    /// The attempt id of the one use of a key that an input can begin.
    pub attempt: Attempt,
    /// For delays. Made of other bits than the attempt.
    pub dice: Dice,
}

/// Tells what time it is, and whether the program was frozen meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    now: Duration,
    /// When the program fell asleep last, and until when what comes in may be as old as that.
    asleep: (Duration, Duration),
}

/// A timer that is later than this was not just slow: the tab was frozen, or the machine slept.
const LATE: Duration = Duration::from_secs(1);

impl Clock {
    /// The turn of an input. `due`: when a timer was wanted. Frozen tabs get everything at once,
    /// and late: if the timer is late, what comes in may have waited since the turn before.
    pub fn turn(&mut self, moment: Moment, due: Option<Duration>) -> Turn {
        let now = moment.now.max(self.now);
        if due.is_some_and(|due| due + LATE < now) {
            self.asleep = (self.now, now + LATE);
        }
        let (since, until) = self.asleep;
        self.now = now;
        Turn::new(moment.random, now, if now <= until { since } else { now })
    }
}

impl Turn {
    pub(crate) fn new(random: [u8; 24], now: Duration, since: Duration) -> Self {
        let [attempt @ .., a, b, c, d, e, f, g, h] = random;
        let dice = Dice::new([a, b, c, d, e, f, g, h]);
        Self { now, since, attempt: Attempt(attempt), dice }
    }

    /// The point in time that is `wait` away.
    #[must_use]
    pub fn after(&self, wait: Duration) -> Duration {
        self.now.saturating_add(wait)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The random bits become credentials.
        f.debug_struct("Moment").field("now", &self.now).finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The attempt is a credential.
        f.debug_struct("Turn").field("now", &self.now).field("since", &self.since).finish_non_exhaustive()
    }
}
