//! Passwords that users have changed through this process, until whoever follows the users file has
//! seen them there: the sessions are notified of them by whoever changed them, and the session in
//! which that was done stays. Must not depend on the file.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use relogin_session::{SessionId, UserId};

use crate::{
    list::Users,
    password::{PasswordHash, PasswordMark},
};

/// The changes that are not seen yet.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges(Mutex<HashMap<UserId, OwnChange>>);

/// A password that a user has changed.
#[derive(Clone, Debug)]
pub(crate) struct OwnChange {
    pub(crate) old: PasswordHash,
    pub(crate) new: PasswordHash,
    /// The session in which it was changed.
    pub(crate) keep: SessionId,
    /// True once the user's sessions were notified.
    pub(crate) is_applied: bool,
}

/// What is to be known of an own change where the file's changes are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenChange {
    pub(crate) mark: PasswordMark,
    pub(crate) session: SessionId,
    pub(crate) is_applied: bool,
}

impl OwnChanges {
    /// Before it is written.
    pub(crate) fn begin(&self, id: &UserId, change: OwnChange) {
        self.lock().insert(id.clone(), change);
    }

    /// It was not written after all.
    pub(crate) fn take_back(&self, id: &UserId) {
        self.lock().remove(id);
    }

    /// The user's sessions were notified.
    pub(crate) fn applied(&self, id: &UserId) {
        if let Some(change) = self.lock().get_mut(id) {
            change.is_applied = true;
        }
    }

    /// `users` was read from the file, maybe before these changes were written: makes them in it.
    pub(crate) fn make_in(&self, mut users: Users) -> Users {
        for (id, OwnChange { old, new, .. }) in &*self.lock() {
            if let Some(changed) = users.with_hash(id, old, new.clone()) {
                users = changed;
            }
        }
        users
    }

    /// Those that `users` has. A change whose sessions are notified is forgotten with this.
    pub(crate) fn seen_in(&self, users: &Users) -> HashMap<UserId, SeenChange> {
        let mut seen = HashMap::new();
        self.lock().retain(|id, change| {
            let mark = change.new.mark();
            let is_seen = users.with_id(id).is_some_and(|entry| entry.password.mark() == mark);
            if is_seen {
                seen.insert(id.clone(), SeenChange { mark, session: change.keep, is_applied: change.is_applied });
            }
            !is_seen
        });
        seen
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, OwnChange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
