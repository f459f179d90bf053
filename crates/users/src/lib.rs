//! Who may log in: the trait of user directories, and the directories of Relogin. Must not depend
//! on stores of sessions, or on RES but for reading JSON.
//!
//! [`UserDirectory`] is implemented over a users file ([`mod@file`], [`follow`], [`edit`],
//! [`directory`]), a service on NATS ([`nats`]) and a program ([`exec`]). [`password`] hashes and
//! checks passwords, [`password_rules`] says which new ones are accepted, [`prepare`] makes one
//! text of the spellings of a name or a password.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod change_spool;
pub mod cost;
pub mod demo;
pub mod directory;
pub mod edit;
pub mod exec;
pub mod external;
pub mod file;
pub mod follow;
pub mod hash_memory;
pub mod last_seen;
pub mod list;
pub mod nats;
mod own_changes;
pub mod password;
pub mod password_rules;
pub mod prepare;
pub mod removals;
pub mod shared;

use async_trait::async_trait;
use relogin_session::{Secret, SessionId, User, UserId};
use thiserror::Error;

/// Why a user directory cannot answer now: never the caller's fault.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Too many password checks are waiting.
    #[error("too many password checks are waiting")]
    Busy,
    /// The directory or its password hashing failed.
    #[error("the user directory failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The credentials of a login.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// As [`prepare::prepared_username`] returns it; compared as it is.
    pub username: &'a str,
    /// As typed.
    pub password: &'a Secret,
    /// Where the login comes from, `ip:port`, as the gateway reports it.
    pub remote_addr: Option<&'a str>,
}

/// The result of checking credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// They are this user's, who may log in.
    Right(User),
    /// They are refused. With the id of the user whose name it is, if the directory reports it.
    Wrong(Option<UserId>),
}

/// A user who is logged in wants another password.
#[derive(Clone, Copy, Debug)]
pub struct PasswordChange<'a> {
    /// The user.
    pub id: &'a UserId,
    /// The session in which they ask for it.
    pub session: SessionId,
    /// Their password, as typed.
    pub current: &'a Secret,
    /// The one that they want, as typed.
    pub new: &'a Secret,
    /// Where the request comes from, `ip:port`, as the gateway reports it.
    pub remote_addr: Option<&'a str>,
}

/// What became of a [`PasswordChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChanged {
    /// The user has the new password. Their other sessions are to end; then call
    /// [`UserDirectory::sessions_notified`].
    Changed,
    /// `current` is not their password.
    Wrong,
    /// The directory does not accept the new one.
    Weak,
    /// Passwords of this directory cannot be changed here.
    NotOffered,
}

/// Knows users and their passwords.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// Checks credentials. An unknown or disabled user takes as long as a wrong password. A check
    /// that takes longer than gateways wait for an answer calls `queued` first, once.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError>;

    /// The current state of the user with this id; none if they are removed or disabled.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError>;

    /// Gives a user another password, if `current` is theirs. Calls `queued` as
    /// [`UserDirectory::verify`] does. Whether the new one is a good one is checked before.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    async fn change_password(
        &self,
        _change: PasswordChange<'_>,
        _queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordChanged, DirectoryError> {
        Ok(PasswordChanged::NotOffered)
    }

    /// The sessions of a user who has changed their password were notified of it.
    fn sessions_notified(&self, _id: &UserId) {}

    /// The name by which the user logs in, prepared, if the directory has it at hand.
    fn username_of(&self, _id: &UserId) -> Option<String> {
        None
    }

    /// The user who logs in by this name, however it is typed, if the directory has that at hand.
    fn id_of(&self, _username: &str) -> Option<UserId> {
        None
    }

    /// How many credentials it can check at a time; more would only wait there.
    fn at_once(&self) -> usize {
        256
    }
}

/// A change of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChange {
    /// The user. Their current state, and whether they exist, is reported by
    /// [`UserDirectory::find`].
    pub id: UserId,
    /// True if they have another password, so that earlier sessions must end.
    pub is_password_new: bool,
    /// The session in which they have changed it, which stays.
    pub keep: Option<SessionId>,
}

/// Is notified of changes of users.
#[async_trait]
pub trait UserListener: Send + Sync {
    /// Applies the change. Repeating it does no harm.
    ///
    /// # Errors
    /// What failed; the change should be repeated then.
    async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
