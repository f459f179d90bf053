//! Decides when a user who is missing from the users file counts as removed. Pure: the time is an argument. Must not know files or
//! sessions.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use relogin_session::UserId;
use tokio::time::Instant;

/// How long a user has to be missing, from a file that nobody writes into meanwhile, to count as removed. A file that is copied over
/// another is empty for a moment, and then has some of its users; the pauses of a copy over a network are shorter than this.
pub const AGREEMENT: Duration = Duration::from_secs(5);

/// How many looks have to agree on it. Of two looks, the second may come before the writer has got on, however far they are apart:
/// after a machine was halted, everything goes on at once.
const LOOKS: u32 = 3;

/// Users who are missing from the file, but do not count as removed yet.
#[derive(Debug, Default)]
pub struct PendingRemovals(HashMap<UserId, Missing>);

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    looks: u32,
}

impl PendingRemovals {
    /// Takes in who is missing by a look at the file, and gives those of them who count as removed: who have been missing for long
    /// enough. If the file `is_being_written`, that begins with this look.
    pub fn look(
        &mut self,
        missing: impl IntoIterator<Item = UserId>,
        is_being_written: bool,
        now: Instant,
    ) -> HashSet<UserId> {
        let before = std::mem::take(&mut self.0);
        let mut removed = HashSet::new();
        for id in missing {
            let before = before.get(&id).filter(|_| !is_being_written);
            let Missing { since, looks } = before.copied().unwrap_or(Missing { since: now, looks: 0 });
            let looks = looks + 1;
            if looks >= LOOKS && now.duration_since(since) >= AGREEMENT {
                removed.insert(id);
            } else {
                self.0.insert(id, Missing { since, looks });
            }
        }
        removed
    }

    /// Nothing could be seen of the file: what was seen before says nothing of what is there now.
    pub fn forget(&mut self) {
        let now = self.0.values().map(|missing| missing.since).max();
        for missing in self.0.values_mut() {
            // Begins with the next look; who was missing is still to be looked for.
            *missing = Missing { since: now.unwrap_or(missing.since), looks: 0 };
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nobody is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
