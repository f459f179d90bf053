//! The trait of user directories: who may log in. Must not depend on sessions or RES.

pub mod announced;
pub mod cost;
pub mod demo;
pub mod directory;
pub mod edit;
pub mod exec;
pub mod file;
pub mod follow;
pub mod foreign;
pub mod hash_memory;
pub mod known;
pub mod list;
pub mod nats;
pub mod password;
pub mod prepare;
pub mod removals;

use async_trait::async_trait;
use relogin_session::{SessionId, User, UserId, api::Password};
use thiserror::Error;

/// Why a user directory cannot answer now: never the caller's fault.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// So many password checks wait already that this one is not taken.
    #[error("too many password checks are waiting")]
    Busy,
    /// The directory or its password hashing failed.
    #[error("the user directory failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What somebody logs in with.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// As [`prepare::prepared_username`] gives it; compared as it is.
    pub username: &'a str,
    /// What was typed.
    pub password: &'a Password,
    /// Where the login comes from, `ip:port`, as the gateway says.
    pub remote_addr: Option<&'a str>,
}

/// What credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are this user's, who may log in.
    Right(User),
    /// They let nobody in. With the id of the user whose name it is, where the directory tells.
    Wrong(Option<UserId>),
}

/// Knows users and their passwords.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// Whose credentials they are. An unknown or disabled user takes as long as a wrong password. A check that takes longer
    /// than gateways wait for an answer calls `queued` first, once.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<Verdict, DirectoryError>;

    /// The user of this id as the directory has them now; none if they are removed or disabled.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError>;

    /// How many credentials it can look at at a time; more would only wait there.
    fn at_once(&self) -> usize {
        256
    }
}

/// Something has happened to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChange {
    /// To whom. What they are like now, and whether they are there at all, is for [`UserDirectory::find`] to say.
    pub id: UserId,
    /// True if they have another password, so that sessions from before are to end.
    pub is_password_new: bool,
    /// The session in which they have changed it, which is to stay.
    pub keep: Option<SessionId>,
}

/// Is told of users to whom something has happened.
#[async_trait]
pub trait UserListener: Send + Sync {
    /// Does what follows from the change. Doing it again does no harm.
    ///
    /// # Errors
    /// What failed; it should be told again then.
    async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
