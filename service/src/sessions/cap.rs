//! Limits the number of sessions of a user: a login beyond the limit ends the one that was unused
//! for longest. [`relogin_session`] decides which one that is. Must not depend on the kind of
//! login.

use std::hash::{BuildHasher, RandomState};

use futures_util::future::join_all;
use relogin_host::errors::Chain;
use relogin_session::{Command, ConnectionId, UserId, machine::over_cap};
use tokio::sync::{Mutex, MutexGuard};

use super::{Sessions, SessionsError, request::SessionRequest};

/// The limit, and locks: of logins at the same time, one looks at the user's sessions.
pub(super) struct Cap {
    most: usize,
    /// Users share locks by chance. That costs a wait now and then, and limits the memory.
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

const LOCKS: usize = 64;

/// How many sessions are ended at once: they share the disk's syncs.
const AT_ONCE: usize = 64;

impl Cap {
    pub(super) fn new(most: usize) -> Self {
        Self { most, locks: [const { Mutex::const_new(()) }; LOCKS], hasher: RandomState::new() }
    }

    async fn lock(&self, user: &UserId) -> MutexGuard<'_, ()> {
        let slot = self.hasher.hash_one(user) % LOCKS as u64;
        self.locks[usize::try_from(slot).expect("it is less than LOCKS, which is one")].lock().await
    }
}

impl Sessions {
    /// Ends the sessions that the user of the session on `connection`, which was just created, has
    /// beyond the limit. The login stands whether or not that works: the next login tries again.
    pub(super) async fn keep_within_cap(&self, connection: &ConnectionId) {
        if let Some(cap) = &self.cap
            && let Err(error) = self.end_excess(cap, connection).await
        {
            tracing::warn!("a user has more sessions than allowed for now: {}", Chain(&error));
        }
    }

    async fn end_excess(&self, cap: &Cap, connection: &ConnectionId) -> Result<(), SessionsError> {
        // If a later login has ended it meanwhile, that one counts.
        let newest = self.store.find_by_connection(connection).await?.filter(|stored| !stored.record.is_ending());
        let Some(newest) = newest else { return Ok(()) };
        let user = &newest.record.user_id;
        if self.store.find_by_user(user).await?.len() <= cap.most {
            return Ok(());
        }
        let _lock = cap.lock(user).await;
        let mut sessions = Vec::new();
        for sid in self.store.find_by_user(user).await? {
            let Some(stored) = self.store.load(sid).await? else { continue };
            // Of logins at once at several processes the last one counts all. If each ended the
            // others' sessions, none would be left.
            let is_later_login = stored.record.generation == 1 && stored.revision > newest.revision;
            if !(self.store.is_shared() && is_later_login) {
                sessions.push((stored.record.last_seen, sid));
            }
        }
        for some in over_cap(sessions, newest.record.sid, cap.most).chunks(AT_ONCE) {
            let ending = some
                .iter()
                .map(async |&sid| self.serve(&SessionRequest::OnSession(sid, Command::Evict)).await.map(drop));
            join_all(ending).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }
}
