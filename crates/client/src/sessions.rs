//! The list of a user's sessions, and how they end some of them. Must not depend on how the session
//! is kept.

use relogin_client_proto::{ListedSession, SessionId};
use serde::Deserialize;
use serde_json::json;

use crate::{Client, Collection, Error};

/// Result of `revokeOthers`.
#[derive(Deserialize)]
struct Revoked {
    revoked: usize,
}

impl Client {
    /// Subscribes to the list of all sessions of the user who is logged in, this one among them. It
    /// stays up to date over reconnects.
    ///
    /// # Errors
    /// [`Error::Request`] if nobody is logged in, or the gateway or the service does not answer.
    pub async fn sessions(&self) -> Result<Collection<ListedSession>, Error> {
        self.collection(&[self.shared().session.as_str(), ".sessions.{cid}"].concat()).await
    }

    /// Ends a session on the list. For the one that is current there is [`Client::logout`], which
    /// also forgets its key.
    ///
    /// # Errors
    /// [`Error::Request`] if the user has no such session (code `session.noSuchSession`), has to
    /// log in again first (`session.loginTooOld`), or the service does not answer.
    pub async fn revoke(&self, session: SessionId) -> Result<(), Error> {
        self.auth(self.shared().session.as_str(), "revoke", json!({ "id": session })).await
    }

    /// Ends all sessions of the user but this one, and returns how many.
    ///
    /// # Errors
    /// [`Error::Request`] if nobody is logged in, the user has to log in again first
    /// (`session.loginTooOld`), or the service does not answer.
    pub async fn revoke_others(&self) -> Result<usize, Error> {
        let Revoked { revoked } = self.auth(self.shared().session.as_str(), "revokeOthers", ()).await?;
        Ok(revoked)
    }
}
