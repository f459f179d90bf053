//! Who may log in: the trait that every user directory fulfils. Knows no sessions and no RES.

pub mod demo;
pub mod directory;
pub mod edit;
pub mod file;
pub mod list;
pub mod password;

use async_trait::async_trait;
use relogin_session::{User, UserId};
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

/// Knows users and their passwords.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// The user, if there is one of this name (without regard to case) and the password is theirs. An unknown user takes as
    /// long as a wrong password. Password checks that have to queue call `queued` first, once.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn verify(
        &self,
        username: &str,
        password: &str,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<Option<User>, DirectoryError>;

    /// The user of this id as the directory has them now.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError>;
}
