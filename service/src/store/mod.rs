//! The trait of session stores. Must not depend on clocks, the rules or RES.

#[cfg(test)]
mod contract;
mod index;
pub mod memory;
pub mod sled;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId, record::RecordError};
use thiserror::Error;

/// A number that every write of a record raises; writes name the one they were decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A record as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The session.
    pub record: Record,
    /// What [`SessionStore::replace`] and [`SessionStore::remove`] must name.
    pub revision: Revision,
}

/// Why a store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The record has been changed or removed since it was loaded, or a new one exists already. Decide again.
    #[error("the session was changed concurrently")]
    Conflict,
    /// The write would put a connection onto a second session. Detach it from the first, then decide again.
    #[error("the connection already has session {0}")]
    ConnectionTaken(SessionId),
    /// A stored record cannot be read.
    #[error("cannot read session {0}")]
    Record(SessionId, #[source] RecordError),
    /// Another process has the store's folder open.
    #[error("the data folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Room on the disk, descriptors or memory are short. Nothing was changed; the store goes on trying by itself.
    #[error("the session store accepts no writes at the moment")]
    Shortage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder of the store is not what was left there. What can be read is kept by `relogin store repair`.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf, #[source] Damage),
    /// Disk or database failed.
    #[error("the session store failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store was closed.
    #[error("the session store is closed")]
    Closed,
}

/// What is wrong with a file of a store.
#[derive(Debug, Error)]
pub enum Damage {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// Its checksum is wrong.
    #[error("its content is not what was written")]
    Unreadable,
    /// A part of the journal is not there.
    #[error("frame {found} of the journal follows where frame {expected} should: what was written in between is lost")]
    Gap {
        /// The number of the first frame that is missing.
        expected: u64,
        /// The number of the next frame that is there.
        found: u64,
    },
    /// The database does not open, or cannot be read.
    #[error("cannot read the database")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database does not have what the index knows of.
    #[error("the database lacks session {0}, or its newest revision")]
    Lacks(SessionId),
}

/// Keeps sessions. Every answer speaks only of what is durable: a write returns once it would survive a power loss (the
/// memory store: at once), and a read never shows a write that has not returned.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a new session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the sid exists, [`StoreError::ConnectionTaken`] if one of its connections is on another session.
    async fn create(&self, record: Record) -> Result<Revision, StoreError>;

    /// The session `sid`, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError>;

    /// Stores the next revision of a session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `revision` is not its newest, [`StoreError::ConnectionTaken`] as with `create`.
    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError>;

    /// Removes a session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `revision` is not its newest.
    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError>;

    /// The session that `connection` is on. No connection is on two.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError>;

    /// The sessions of a user.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError>;

    /// At most `limit` sessions whose deadline is at or before `until`, earliest first.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// The earliest deadline of all sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Resolves when [`SessionStore::next_deadline`] may have become earlier since this last resolved, also if nobody was
    /// waiting then. For one task: of several that wait, one is woken. Cancel safe.
    async fn deadline_moved(&self);

    /// Whether the store can take writes now.
    ///
    /// # Errors
    /// [`StoreError`] with the reason if it cannot; [`StoreError::Shortage`] if it may later.
    async fn check(&self) -> Result<(), StoreError>;

    /// Resolves once the store can write no more and never will, for what is on disk is not known: the process should end at
    /// once, and start again. A store that cannot fail like this waits forever. Cancel safe.
    async fn failed(&self) {
        std::future::pending::<()>().await;
    }

    /// Finishes the writes under way and refuses later ones.
    ///
    /// # Errors
    /// [`StoreError`] if the last flush fails.
    async fn close(&self) -> Result<(), StoreError>;
}
