//! Decides when a user who is missing from the users file counts as removed, and when instances
//! count as agreed on their users. Pure: the time is an argument. Must not depend on files or
//! sessions.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use relogin_session::UserId;
use tokio::time::Instant;

/// How long a user must be missing, from a file that nobody writes to in the meantime, to count as
/// removed. A file that is copied over another is empty for a moment, and then has some of its
/// users; the pauses of a copy over a network are shorter than this.
pub const AGREEMENT: Duration = Duration::from_secs(5);

/// How many looks have to agree. Of two looks, the second may come before the writer has made
/// progress, however far apart they are: after a machine was halted, everything resumes at once.
const LOOKS: u32 = 3;

/// Users who are missing from the file, but do not count as removed yet.
#[derive(Debug, Default)]
pub struct PendingRemovals(HashMap<UserId, Looked>);

/// Since when a user has been missing, and at how many looks in a row.
#[derive(Clone, Copy, Debug)]
struct Looked {
    since: Instant,
    looks: u32,
}

impl PendingRemovals {
    /// Records who is missing at a look at the file, and returns those who count as removed,
    /// because they have been missing for long enough. If the file `is_being_written`, that time
    /// starts with this look.
    pub fn look(
        &mut self,
        missing: impl IntoIterator<Item = UserId>,
        is_being_written: bool,
        now: Instant,
    ) -> HashSet<UserId> {
        let before = std::mem::take(&mut self.0);
        let mut removed = HashSet::new();
        for id in missing {
            let before = before.get(&id).filter(|before| !is_being_written && before.looks > 0);
            let mut looked = before.copied().unwrap_or(Looked { since: now, looks: 0 });
            looked.looks += 1;
            if looked.is_certain(now) {
                removed.insert(id);
            } else {
                self.0.insert(id, looked);
            }
        }
        removed
    }

    /// The file could not be read, so earlier looks say nothing about its content now: the time
    /// starts with the next look.
    pub fn begin_again(&mut self) {
        for missing in self.0.values_mut() {
            missing.looks = 0;
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

/// Whether all instances have had the same users for long enough.
#[derive(Debug, Default)]
pub struct Agreement(Option<Looked>);

impl Agreement {
    /// Records whether they have the same at this look, and returns true if that has been so for
    /// [`AGREEMENT`]. An instance that starts has not heard of all others at its first look.
    pub fn look(&mut self, is_agreed: bool, now: Instant) -> bool {
        if !is_agreed {
            self.0 = None;
            return false;
        }
        let agreed = self.0.get_or_insert(Looked { since: now, looks: 0 });
        agreed.looks = agreed.looks.saturating_add(1);
        agreed.is_certain(now)
    }
}

impl Looked {
    fn is_certain(&self, now: Instant) -> bool {
        self.looks >= LOOKS && now.duration_since(self.since) >= AGREEMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second at who is missing; `None`: nothing can be seen. Gives when they counted
    /// as removed.
    fn removed_at(looks: impl IntoIterator<Item = Option<bool>>) -> Vec<u64> {
        let (mut pending, begin, id) = (PendingRemovals::default(), Instant::now(), UserId::Number(1));
        let seconds = (0..).zip(looks);
        let removed = seconds.filter(|&(second, look)| match look {
            Some(is_missing) => {
                let missing = is_missing.then(|| id.clone());
                !pending.look(missing, false, begin + Duration::from_secs(second)).is_empty()
            }
            None => {
                pending.begin_again();
                false
            }
        });
        removed.map(|(second, _)| second).take(1).collect()
    }

    #[test]
    fn a_user_missing_for_long_enough_is_removed_and_no_sooner() {
        let (missing, there, unseen) = (Some(true), Some(false), None);
        assert_eq!(removed_at([missing; 10]), [5]);
        assert_eq!(removed_at([[missing; 5].as_slice(), &[there], &[missing; 10]].concat()), [11]);
        assert_eq!(removed_at([[missing; 5].as_slice(), &[unseen], &[missing; 10]].concat()), [11]);
        assert_eq!(removed_at([there; 10]), [0; 0]);
    }

    #[test]
    fn while_the_file_is_written_nobody_is_removed() {
        let (mut pending, begin) = (PendingRemovals::default(), Instant::now());
        for second in 0..100 {
            let now = begin + Duration::from_secs(second);
            assert!(pending.look([UserId::Number(1)], second % 5 == 0, now).is_empty(), "{second}");
        }
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn a_machine_that_was_halted_between_two_looks_removes_nobody() {
        let (mut pending, begin) = (PendingRemovals::default(), Instant::now());
        assert!(pending.look([UserId::Number(1)], false, begin).is_empty());
        assert!(pending.look([UserId::Number(1)], false, begin + Duration::from_secs(3600)).is_empty());
    }
}
