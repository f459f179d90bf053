//! The trait of session stores. Must not depend on clocks, the rules or RES.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod copy;
mod index;
pub mod jetstream;
pub mod memory;
pub mod sled;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use relogin_host::durations::DurationCounts;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId, record::RecordError};
use thiserror::Error;
use tokio::sync::mpsc;

/// A number that every write of a record increases; writes name the one on which they were decided.
/// Where a store may lose what it has acknowledged, one that it has given out before is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A loaded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The session.
    pub record: Record,
    /// The revision for [`SessionStore::replace`] and [`SessionStore::remove`].
    pub revision: Revision,
}

/// A change that another process may have made.
#[derive(Clone, Copy, Debug)]
pub struct SessionChange<'a> {
    /// The session.
    pub sid: SessionId,
    /// Its user.
    pub user: &'a UserId,
    /// Its connections before and after.
    pub connections: [&'a [ConnectionId]; 2],
    /// Whether it was made, or is over.
    pub is_first_or_last: bool,
}

/// The size of a store, and how long its writes have taken: for metrics, not for decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions, those included that are over and not disposed of yet.
    pub sessions: usize,
    /// Connections that are on a session.
    pub connections: usize,
    /// Writes that are not durable yet.
    pub pending_writes: usize,
    /// How long it took to make writes durable. Writes that are made durable together count once.
    pub syncs: DurationCounts,
    /// Bytes that the sessions take where they are kept. None if there is no such place, or it does
    /// not say.
    pub bytes: Option<u64>,
}

/// What is called with each [`SessionChange`].
pub type ChangeListener = Box<dyn Fn(SessionChange<'_>) + Send + Sync>;

/// A part of an export. Of one session there may be several: the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// A session.
    Session(Arc<Stored>),
    /// This session has ended.
    Ended(SessionId),
}

/// The result of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The sessions that are stored and cannot be read, in the order of their ids.
    pub unreadable: Vec<SessionId>,
}

/// Why a store could not carry out a call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The record has been changed or removed since it was loaded, or a new one already exists.
    /// Decide again.
    #[error("the session was changed concurrently")]
    Conflict,
    /// The write would put a connection on a second session. Detach it from the first, then decide
    /// again.
    #[error("the connection already has session {0}")]
    ConnectionTaken(SessionId),
    /// A stored record cannot be read.
    #[error("cannot read session {0}")]
    Record(SessionId, #[source] RecordError),
    /// Another process has the store's folder open.
    #[error("the data folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The store's folder was written by a later version of Relogin. Nothing was changed.
    #[error(
        "{} has format {format}, of relogin {by}, and this is relogin {}, which knows formats up to {known}; start relogin \
         {by} or later, or restore a backup from before the upgrade into another folder",
        .folder.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        format: u32,
        /// The version that first opened it so.
        by: String,
        /// The newest format that is known here.
        known: u32,
    },
    /// Space on the disk, descriptors or memory are short. Nothing was changed; the store keeps
    /// retrying by itself.
    #[error("the session store accepts no writes at the moment")]
    Shortage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder of the store is not as the store left it. `relogin store repair` keeps what
    /// can be read.
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
#[non_exhaustive]
pub enum Damage {
    /// It does not exist.
    #[error("it is missing")]
    Missing,
    /// Its checksum is wrong.
    #[error("its content is not what was written")]
    Unreadable,
    /// A part of the write-ahead log is missing.
    #[error("frame {found} of the journal follows where frame {expected} should: what was written in between is lost")]
    Gap {
        /// The number of the first missing frame.
        expected: u64,
        /// The number of the next frame that exists.
        found: u64,
    },
    /// The database does not open, or cannot be read.
    #[error("cannot read the database")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database lacks what the index knows.
    #[error("the database lacks session {0}, or its newest revision")]
    Lacks(SessionId),
}

/// How many sessions are sent at once.
const EXPORTED_AT_ONCE: usize = 256;

/// Stores sessions.
///
/// # Requirements
///
/// - **Durability.** All answers are about durable state: a write returns once it would survive a
///   power loss (the memory store: at once), and a read never shows a write that has not returned.
/// - **Compare-and-swap.** A write names the revision that it was decided on, and is refused with
///   [`StoreError::Conflict`] if that is not the newest. A revision is never used twice for a
///   session id, not even after a removal.
/// - **A connection is on one session.** This is checked atomically with the write, over all
///   sessions: [`StoreError::ConnectionTaken`].
/// - **All or nothing.** A write that returns an error has changed nothing, or the store can no
///   longer write ([`SessionStore::failed`]).
///
/// # Order between processes
///
/// Several service processes may share a store that allows it. One that does not must refuse to be
/// opened twice, as sled does ([`StoreError::InUse`]). Of a shared one, revisions are all that they
/// agree on:
///
/// - A plain read may be stale, and a write decided on it is then refused. What is not decided by a
///   write needs [`SessionStore::read_barrier`] first.
/// - After [`StoreError::Conflict`] or [`StoreError::ConnectionTaken`], the next
///   [`SessionStore::load`] or [`SessionStore::find_by_connection`] of the same process shows the
///   write that won, or a later one. The service decides again on what it reads then, and gives up
///   after 32 rounds.
/// - A store that may have lost writes, and notices it, does not take revisions from before that:
///   whoever writes under one gets [`StoreError::Conflict`], also if the record is the same.
/// - That a connection is on one session is checked against what the process knows. Two processes
///   may put it on two at the same time, and [`SessionStore::find_all_by_connection`] then finds
///   both.
/// - Within a process, events follow the order of writes, because the service locks connections.
///   Between processes they may cross; the service corrects that.
/// - [`SessionStore::deadline_moved`] should also resolve for writes of other processes. Otherwise
///   only the process that wrote an earlier deadline meets it in time.
///
/// The module `contract`, behind the feature `testing`, has a test suite for what one process can
/// observe of this.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a new session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the sid exists, [`StoreError::ConnectionTaken`] if one of its
    /// connections is on another session.
    async fn create(&self, record: Record) -> Result<Revision, StoreError>;

    /// The session `sid`, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError>;

    /// Stores the next revision of a session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `revision` is not its newest, [`StoreError::ConnectionTaken`] as
    /// with `create`.
    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError>;

    /// Removes a session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `revision` is not its newest.
    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError>;

    /// The session of `connection`. No connection is on two sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError>;

    /// The sessions of `connection`, the one written last first. More than one only in a shared
    /// store, until one of the processes that wrote them has taken it off the others.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn find_all_by_connection(&self, connection: &ConnectionId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.find_by_connection(connection).await?.map(|stored| stored.record.sid).into_iter().collect())
    }

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

    /// At most `limit` sessions that come after `after` in the order of their deadlines, and then
    /// of their ids: all of them can be read in pages, each of which begins after the last one of
    /// the page before. One whose deadline is later by then is on two pages, and none is missing
    /// unless its deadline has become earlier.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError>;

    /// How many sessions there are, those whose deadline has passed included.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    async fn count(&self) -> Result<usize, StoreError>;

    /// Resolves when [`SessionStore::next_deadline`] may have become earlier since this last
    /// resolved, even if nobody was waiting at that moment. For one task: of several that wait, one
    /// is woken. Cancel safe.
    async fn deadline_moved(&self);

    /// True if other processes may write to the store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns once reads show every write that any process was told is done before this was called
    /// (a linearizable read barrier).
    ///
    /// # Errors
    /// [`StoreError`] if that is not known: reads may be stale.
    async fn read_barrier(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Has `listener` called soon after each change that another process makes, and perhaps after
    /// those of this one. It must not call the store. Only the first listener counts.
    fn on_change(&self, listener: ChangeListener) {
        // Without other processes there is nothing to tell.
        drop(listener);
    }

    /// True if the read barrier travels on the connection of the message bus: when it is passed,
    /// the servers also have everything that was published before. If not, the service flushes the
    /// bus before such a barrier.
    fn barrier_follows_bus(&self) -> bool {
        false
    }

    /// Sends all sessions to `to`, in portions, without holding up others. What was answered before
    /// the call is part of it. A store of one process shows all of them as they are at one moment
    /// before the return. In a shared one, each is as it was at some moment in between.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails, [`StoreError::Closed`] if nobody receives any more.
    async fn export(&self, to: mpsc::Sender<Vec<Export>>) -> Result<Exported, StoreError> {
        self.read_barrier().await?;
        let mut unreadable = Vec::new();
        for some in self.overdue(Timestamp::NEVER, usize::MAX).await?.chunks(EXPORTED_AT_ONCE) {
            let mut portion = Vec::with_capacity(some.len());
            for sid in some {
                match self.load(*sid).await {
                    Ok(stored) => portion.extend(stored.map(Export::Session)),
                    Err(StoreError::Record(sid, _)) => unreadable.push(sid),
                    Err(error) => return Err(error),
                }
            }
            to.send(portion).await.map_err(|_| StoreError::Closed)?;
        }
        unreadable.sort_unstable();
        Ok(Exported { unreadable })
    }

    /// Whether the store can accept writes now.
    ///
    /// # Errors
    /// [`StoreError`] with the reason if it cannot; [`StoreError::Shortage`] if it may be able to
    /// later.
    async fn check(&self) -> Result<(), StoreError>;

    /// Resolves once the store can never write again, because it is unknown what is on disk: the
    /// process must end at once, and be restarted. A store that cannot fail like this waits
    /// forever. Cancel safe.
    async fn failed(&self) {
        std::future::pending::<()>().await;
    }

    /// What metrics say of it. Zero where it does not count; it may take a second.
    async fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    /// Completes the writes in flight and refuses later ones.
    ///
    /// # Errors
    /// [`StoreError`] if the last flush fails.
    async fn close(&self) -> Result<(), StoreError>;
}
