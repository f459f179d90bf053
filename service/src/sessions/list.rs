//! A user's list of their sessions, and how they end some of them. Must not know RES, nor what is
//! decided.
//!
//! **Live by fetching again.** Who has fetched a list is told that it is stale, with
//! `system.reset`, and its gateway fetches it and makes events of the difference. So several
//! processes need not agree who sends events, and none is lost or doubled. A reset is sent while
//! the connection is locked, and so is a list read and answered: it does not overtake the answer.

mod watchers;

use std::sync::Arc;

use futures_util::future::join_all;
use relogin_session::{ConnectionId, Denied, Record, SessionId, Write, api::ListedSession, machine::Revoker};
use relogin_store::Stored;
use tokio::time::Instant;

use self::watchers::Stale;
pub(super) use self::watchers::{Changed, Watchers};
use super::{Sessions, SessionsError, request::SessionRequest};

/// How many sessions are ended at once: they share the disk's syncs.
const AT_ONCE: usize = 64;

/// How many connections are told at once that their lists are stale.
const TOLD_AT_ONCE: usize = 128;

impl Sessions {
    /// The live sessions of the user on `connection`, the newest login first; none if nobody is
    /// logged in there. `connection` must be held ([`Sessions::hold`]) until they are answered.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn list_on(&self, connection: &ConnectionId) -> Result<Vec<SessionId>, SessionsError> {
        let Some(own) = self.watched(connection).await? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for sid in self.store.find_by_user(&own.user_id).await? {
            if let Some(stored) = self.live(sid).await? {
                listed.push((std::cmp::Reverse(stored.record.created), sid));
            }
        }
        listed.sort_unstable();
        Ok(listed.into_iter().map(|(_, sid)| sid).collect())
    }

    /// What the list on `connection` shows of a session; none if it is not on it. `connection` must
    /// be held.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn listed_on(
        &self,
        connection: &ConnectionId,
        sid: SessionId,
    ) -> Result<Option<ListedSession>, SessionsError> {
        let Some(own) = self.watched(connection).await? else { return Ok(None) };
        let stored = self.live(sid).await?.filter(|stored| stored.record.user_id == own.user_id);
        Ok(stored.map(|stored| stored.record.listed(Some(connection))))
    }

    /// Ends the session `sid` of the user on `connection`. [`Denied::NoSuchSession`] if the user
    /// has none of that id.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn revoke(
        &self,
        connection: &ConnectionId,
        sid: SessionId,
        remote_addr: Option<&str>,
    ) -> Result<Result<(), Denied>, SessionsError> {
        let (connection, remote_addr) = (connection.clone(), remote_addr.map(str::to_owned));
        let reply = self.serve(&SessionRequest::Revoke { connection, sid, remote_addr }).await?;
        Ok(reply.map(drop))
    }

    /// Ends all sessions of the user on `connection` but the one on it, and returns how many.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error. Some may have been ended.
    pub async fn revoke_others(
        &self,
        connection: &ConnectionId,
        remote_addr: Option<&str>,
    ) -> Result<Result<usize, Denied>, SessionsError> {
        let Some(own) = self.on_connection(connection).await? else { return Ok(Err(Denied::NotLoggedIn)) };
        let now = self.clock.now();
        if Revoker::of(&own, now).is_some_and(|by| by.is_too_old(&self.rules(), now)) {
            return Ok(Err(Denied::LoginTooOld));
        }
        let mut others = self.store.find_by_user(&own.user_id).await?;
        others.retain(|sid| *sid != own.sid);
        let mut revoked = 0;
        for some in others.chunks(AT_ONCE) {
            let ending = some.iter().map(|&sid| self.revoke(connection, sid, remote_addr));
            // All of them are processed before an error of one is returned.
            for ended in join_all(ending).await {
                match ended? {
                    Ok(()) => revoked += 1,
                    // It has ended by itself.
                    Err(Denied::NoSuchSession) => {}
                    Err(denied) => return Ok(Err(denied)),
                }
            }
        }
        Ok(Ok(revoked))
    }

    /// Resolves when lists are stale, even if nobody was waiting. For one task. Cancel safe.
    pub(crate) async fn lists_wanted(&self) {
        self.watchers.wanted().await;
    }

    /// Resolves when some of them should not wait for others. For one task. Cancel safe.
    pub(crate) async fn lists_urgent(&self) {
        self.watchers.urgent().await;
    }

    /// Has gateways fetch the lists that are stale.
    ///
    /// # Errors
    /// [`SessionsError`] if the bus fails. Then all is fetched again as soon as it works.
    pub(crate) async fn tell_stale_lists(&self) -> Result<(), SessionsError> {
        for some in self.watchers.take(Instant::now()).chunks(TOLD_AT_ONCE) {
            let connections: Vec<_> = some.iter().map(|stale| stale.connection.clone()).collect();
            let _guard = self.connection_locks.take(&connections).await;
            let mut stale = Vec::new();
            for Stale { connection, list, sessions } in some {
                stale.extend(list.then_some((connection, None)));
                stale.extend(sessions.iter().map(|sid| (connection, Some(*sid))));
            }
            self.events.reset_lists(stale).await?;
        }
        Ok(())
    }

    /// Has gateways fetch all lists: another process has vanished, and has told nobody what was
    /// stale.
    ///
    /// # Errors
    /// [`SessionsError`] if the bus fails.
    pub(crate) async fn tell_all_lists(&self) -> Result<(), SessionsError> {
        Ok(self.events.reset_all_lists().await?)
    }

    /// Has what other processes write make lists stale.
    pub(crate) fn follow_store(&self) {
        let watchers = Arc::clone(&self.watchers);
        self.store.on_change(Box::new(move |change| {
            watchers.changed(Changed {
                sid: change.sid,
                user: change.user,
                connections: change.connections,
                is_first_or_last: change.is_first_or_last,
            });
        }));
    }

    /// Notes that a session has changed, for the lists that it is on.
    pub(super) fn note_for_lists(&self, before: Option<&Record>, write: &Write) {
        let after = match write {
            Write::Create(next) | Write::Replace(next) => Some(next),
            Write::Remove => None,
            Write::Keep => return,
        };
        let Some(Record { sid, user_id, .. }) = after.or(before) else { return };
        let connections = [before, after].map(|record| record.map_or(&[][..], |record| &record.connections));
        let is_first_or_last = !matches!(write, Write::Replace(_));
        self.watchers.changed(Changed { sid: *sid, user: user_id, connections, is_first_or_last });
    }

    /// The session on `connection`, which has a list from now on.
    async fn watched(&self, connection: &ConnectionId) -> Result<Option<Record>, SessionsError> {
        // Before anything is read, so that no change is missed.
        self.watchers.fetching(connection);
        let own = self.on_connection(connection).await?;
        self.watchers.is_of(connection, own.as_ref().map(|own| &own.user_id));
        Ok(own)
    }

    /// The session `sid`, if it is there and not over.
    pub(super) async fn live(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, SessionsError> {
        let stored = self.store.load(sid).await?;
        Ok(stored.filter(|stored| !stored.record.is_expired(self.clock.now())))
    }
}
