//! Applies changes of a user to the user's sessions. Must not know where users come from.

use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use futures_util::future::join_all;
use relogin_session::Command;
use relogin_users::{UserChange, UserListener};

use super::{Sessions, SessionsError, request::SessionRequest};

/// How many sessions are updated at once: they share the disk's syncs.
const AT_ONCE: usize = 256;

impl Sessions {
    /// A number that increases with each change of a user. A login that began before a change and
    /// ends after it may have been accepted because of something that no longer holds, and must be
    /// checked again.
    #[must_use]
    pub fn user_changes(&self) -> u64 {
        self.user_changes.load(SeqCst)
    }

    /// Tells the sessions of a user about the user's current state, and ends them if the user is
    /// removed or disabled, or has another password.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error. Some sessions may have been notified; notifying them
    /// again does no harm.
    pub async fn apply_user_change(&self, change: &UserChange) -> Result<(), SessionsError> {
        // Before the sessions are looked up, so that a login in flight is either found or checks
        // again.
        self.user_changes.fetch_add(1, SeqCst);
        self.read_barrier().await?;
        let sids = self.store.find_by_user(&change.id).await?;
        for some in sids.chunks(AT_ONCE) {
            let telling = some.iter().map(async |&sid| {
                let stays = !change.is_password_new || change.keep == Some(sid);
                let revoked = SessionRequest::OnSession(sid, Command::Revoke);
                let request = if stays { SessionRequest::UserChanged { sid } } else { revoked };
                self.serve(&request).await.map(drop)
            });
            // All of them are processed before an error of one is returned.
            join_all(telling).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }
}

#[async_trait]
impl UserListener for Sessions {
    async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.apply_user_change(change).await?)
    }
}
