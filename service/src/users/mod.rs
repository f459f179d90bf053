//! Who may log in: the trait that every user directory fulfils. Knows no sessions and no RES.

pub mod cost;
pub mod demo;
pub mod directory;
pub mod edit;
pub mod exec;
pub mod file;
pub mod foreign;
pub mod list;
pub mod nats;
pub mod password;

use async_trait::async_trait;
use relogin_session::{User, UserId, api::Password};
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
    /// Compared without regard to case.
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
}
