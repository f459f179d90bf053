//! Shows operators sessions, and ends those that they choose. Must not know how they ask.

use std::sync::Arc;

use futures_util::future::join_all;
use relogin_session::{Command, SessionId, Timestamp, UserId};
use relogin_store::Stored;

use super::{Sessions, SessionsError, request::SessionRequest};

/// How many sessions are ended at once: they share the disk's syncs.
const AT_ONCE: usize = 64;

/// The place of a session among all: its deadline, and its id.
pub type SessionPlace = (Timestamp, SessionId);

/// Some live sessions, those that end first at the top.
#[derive(Debug)]
pub struct StoredPage {
    /// The sessions.
    pub sessions: Vec<Arc<Stored>>,
    /// After which place the next page begins; none if this is the last one.
    pub next: Option<SessionPlace>,
}

impl Sessions {
    /// At most `limit` live sessions after the place `after`, of `user` or of all. The deadline of
    /// a session that is used meanwhile moves on: it may be on two pages.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn page(
        &self,
        user: Option<&UserId>,
        after: Option<SessionPlace>,
        limit: usize,
    ) -> Result<StoredPage, SessionsError> {
        // For each page: another process may have answered the one before.
        self.store.read_barrier().await?;
        match user {
            Some(user) => self.page_of(user, after, limit).await,
            None => self.page_of_all(after, limit).await,
        }
    }

    async fn page_of_all(&self, after: Option<SessionPlace>, limit: usize) -> Result<StoredPage, SessionsError> {
        let places = self.store.page(after, limit).await?;
        let next = places.last().copied().filter(|_| places.len() == limit);
        let mut sessions = Vec::with_capacity(places.len());
        for (_, sid) in places {
            sessions.extend(self.live(sid).await?);
        }
        Ok(StoredPage { sessions, next })
    }

    async fn page_of(
        &self,
        user: &UserId,
        after: Option<SessionPlace>,
        limit: usize,
    ) -> Result<StoredPage, SessionsError> {
        let mut found = Vec::new();
        for sid in self.store.find_by_user(user).await? {
            if let Some(stored) = self.live(sid).await? {
                let place = (stored.record.deadline(), sid);
                if after.is_none_or(|after| place > after) {
                    found.push((place, stored));
                }
            }
            // There may be many, and all are in memory.
            tokio::task::consume_budget().await;
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let next = found.last().map(|(place, _)| *place).filter(|_| !is_last);
        Ok(StoredPage { sessions: found.into_iter().map(|(_, stored)| stored).collect(), next })
    }

    /// The live session `sid`.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn look_up(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, SessionsError> {
        self.store.read_barrier().await?;
        self.live(sid).await
    }

    /// Ends the session `sid` for an operator. False if there is none.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn revoke_for_operator(&self, sid: SessionId) -> Result<bool, SessionsError> {
        // One that another process is about to end counts as over.
        if self.look_up(sid).await?.is_none() {
            return Ok(false);
        }
        let reply = self.serve(&SessionRequest::OnSession(sid, Command::RevokeForOperator)).await?;
        Ok(reply.is_ok())
    }

    /// Ends at most `limit` sessions of `user` for an operator. Returns how many, and whether there
    /// are more.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error. Some may have been ended.
    pub async fn revoke_user_for_operator(&self, user: &UserId, limit: usize) -> Result<(usize, bool), SessionsError> {
        let StoredPage { sessions, next } = self.page(Some(user), None, limit).await?;
        let mut revoked = 0;
        for some in sessions.chunks(AT_ONCE) {
            let ending = some.iter().map(async |stored| {
                let request = SessionRequest::OnSession(stored.record.sid, Command::RevokeForOperator);
                self.serve(&request).await
            });
            // All of them are processed before an error of one is returned.
            for ended in join_all(ending).await {
                revoked += usize::from(ended?.is_ok());
            }
        }
        Ok((revoked, next.is_some()))
    }
}
