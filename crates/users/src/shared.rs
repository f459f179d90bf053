//! What the follower of a users file needs where several instances use the same sessions, each with
//! a users file of its own. Must not depend on where they share it, or how they find each other.

use std::fmt;

use async_trait::async_trait;

/// Why what instances share cannot be read or written now.
pub type SharedError = Box<dyn std::error::Error + Send + Sync>;

/// What was last seen of the users, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// As [`crate::last_seen::LastSeenUsers::to_json`] writes it; none: nothing yet.
    pub text: Option<Vec<u8>>,
    /// What the next write has to name; 0 if there never was any.
    pub revision: u64,
}

/// Where all instances find what was last seen of their users, and which list each has.
#[async_trait]
pub trait SharedLastSeen: fmt::Debug + Send + Sync {
    /// What is kept.
    ///
    /// # Errors
    /// [`SharedError`] if nobody can say now.
    async fn read(&self) -> Result<Kept, SharedError>;

    /// Keeps `text` in the place of what has this `revision`, and returns that of the new one; none
    /// if another instance has written meanwhile.
    ///
    /// # Errors
    /// [`SharedError`] if it was not written, or nobody can say whether.
    async fn write(&self, text: Vec<u8>, revision: u64) -> Result<Option<u64>, SharedError>;

    /// Shows the others which list this instance has (none: it cannot say), and returns true if all
    /// that are known to run have shown the same.
    fn is_agreed(&self, digest: Option<&str>) -> bool;

    /// True if another instance has left, since this was last asked, that had shown another list
    /// than this or none.
    fn has_another_left(&self, digest: &str) -> bool;
}
