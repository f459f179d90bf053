//! Sessions on disk: one folder, no server. Knows no rules and no clock; nothing outside knows sled.
//!
//! **Shape.** One sled tree: sid → revision ‖ record. What sessions are found by is kept in memory and made anew at
//! start (`store/index.rs`), so that a write is one key and there is nothing that could disagree after a crash.
//!
//! **Group commit.** One thread writes. It takes all writes that wait, checks each one's revision and connections against
//! what is stored and what came before it in the group, applies those that stand, makes the group durable with one flush
//! and one fdatasync, and answers them all. While the disk works the next group gathers, so the busier the store, the more
//! requests share a sync. Applied one by one and in order rather than as a sled batch: sled recovers a prefix of its log,
//! and a group cut short is a number of writes that nobody was told of; a batch would cost two more log writes.
//!
//! **Reads** never show what is not durable: before a group is applied, the records it changes are hidden behind what they
//! were (`View::hidden`), and shown once it is on disk. Losers of a race are answered after the sync too, since what
//! they lost against is only then true.
//!
//! **Power loss.** sled 0.34 appends to one file, `db`. Its flush ends in `sync_file_range`, which waits for the pages but
//! neither flushes the drive's cache nor writes the file's size, so it alone is no barrier; fdatasync of that file is, and
//! comes after it. What is not in `db`: `conf` and the names of the files, synced when the store is opened; `snap.*`, made
//! and synced by sled when it is opened, a shortcut that is not needed to recover; `blobs/`, for pages of over 128 KiB, and
//! a page has 17 records at most, of 300 bytes as a rule and some 3 KiB at most. After a power loss the log holds all up to
//! the last sync, and perhaps a part of what followed, which sled drops from the first damaged message on: nobody was told
//! of it. One thing could still hurt: sled overwrites a segment (512 KiB) of its log once what was in it has been written
//! again, in a segment with two others flushed, but not synced, behind it. So a group must not write 1 MiB of log: that is
//! what `MAX_GROUP` and `MAX_GROUP_BYTES` in `sled/writer.rs` see to.
//! A sync that fails leaves unknown what is on disk, and a second one would lie: the store refuses all writes from then on.

mod disk;
mod writer;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::JoinHandle,
};

use async_trait::async_trait;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

use self::{
    disk::Disk,
    writer::{Job, Write, Writer},
};
use super::{Revision, SessionStore, StoreError, Stored, index::Index};

/// Keeps sessions in a folder.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    /// None once the store was closed: the writer ends when the last sender is gone.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Why the store cannot write.
#[derive(Debug, Error)]
#[error("the thread that writes sessions has stopped")]
struct WriterStopped;

/// How many writes may wait for the disk before those who bring more have to.
const MAX_WAITING: usize = 1024;

impl SledStore {
    /// Opens the store in `folder`, which is made if it is not there. Blocks, for as long as it takes to read all sessions.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::Backend`] if it cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Box::new(File::sync_data))
    }

    /// Opens the store with another barrier than fdatasync.
    fn open_with(folder: &Path, barrier: Barrier) -> Result<Self, StoreError> {
        let disk = Disk::open(folder, barrier)?;
        let mut index = Index::default();
        let mut last = Revision::default();
        for found in disk.scan() {
            match found {
                Ok(stored) => {
                    last = last.max(stored.revision);
                    index.insert(&stored.record);
                }
                // One damaged record must not lock everybody else out. It stays on disk, for whoever can read it.
                Err(error @ StoreError::Record(..)) => tracing::error!(error = %crate::errors::Chain(&error)),
                Err(error) => return Err(error),
            }
        }
        tracing::info!(sessions = index.len(), folder = %folder.display(), "session store opened");
        let view = View { tree: Some(disk.tree().clone()), index, hidden: HashMap::new() };
        let shared =
            Arc::new(Shared { view: RwLock::new(view), deadline_moved: Notify::new(), failed: OnceLock::new() });
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let writer = Writer::new(disk, shared.clone(), waiting, last);
        let writer = std::thread::Builder::new()
            .name("relogin-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Backend(Box::new(error)))?;
        Ok(Self { shared, jobs: Mutex::new(Some(jobs)), writer: Mutex::new(Some(writer)) })
    }

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let jobs = self.jobs()?;
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Backend(Box::new(WriterStopped));
        jobs.send(Job { write, answer }).await.map_err(|_| stopped())?;
        // Who waits for an answer does not keep the store from closing.
        drop(jobs);
        answered.await.map_err(|_| stopped())?
    }

    fn jobs(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }
}

/// What makes the log durable: fdatasync, or what a test puts in its place.
type Barrier = Box<dyn Fn(&File) -> io::Result<()> + Send>;

/// What the writer and all readers have in common.
#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
    deadline_moved: Notify,
    /// Why nothing can be written any more.
    failed: OnceLock<::sled::Error>,
}

/// What is durable.
#[derive(Debug)]
struct View {
    /// None once the store was closed.
    tree: Option<::sled::Tree>,
    index: Index,
    /// Records that the tree has in a newer state than is durable, as they were before.
    hidden: HashMap<SessionId, Option<Stored>>,
}

impl Shared {
    /// For reading. Held over the read from the tree: the writer hides what it changes under the lock, so whatever is not
    /// hidden stays as it is until the lock is released.
    fn read(&self) -> RwLockReadGuard<'_, View> {
        // The writer changes the view in steps that cannot panic.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            None => Ok(()),
            Some(error) => Err(StoreError::Backend(Box::new(error.clone()))),
        }
    }
}

impl View {
    fn open(&self) -> Result<&Self, StoreError> {
        if self.tree.is_some() { Ok(self) } else { Err(StoreError::Closed) }
    }

    fn load(&self, sid: SessionId) -> Result<Option<Stored>, StoreError> {
        let tree = self.tree.as_ref().ok_or(StoreError::Closed)?;
        match self.hidden.get(&sid) {
            Some(before) => Ok(before.clone()),
            None => disk::read(tree, sid),
        }
    }
}

#[async_trait]
impl SessionStore for SledStore {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.write(Write { sid: record.sid, revision: None, next: Some(record) }).await
    }

    // Reads are not moved off the async threads: they come from sled's cache or the page cache, in microseconds.
    async fn load(&self, sid: SessionId) -> Result<Option<Stored>, StoreError> {
        self.shared.read().load(sid)
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        self.write(Write { sid: record.sid, revision: Some(revision), next: Some(record) }).await
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.write(Write { sid, revision: Some(revision), next: None }).await.map(|_| ())
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Stored>, StoreError> {
        let view = self.shared.read();
        match view.open()?.index.session_on(connection) {
            Some(sid) => view.load(sid),
            None => Ok(None),
        }
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.read().open()?.index.sessions_of(user))
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.read().open()?.index.overdue(until, limit))
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.shared.read().open()?.index.next_deadline())
    }

    async fn deadline_moved(&self) {
        self.shared.deadline_moved.notified().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.shared.check()?;
        if self.jobs()?.is_closed() { Err(StoreError::Backend(Box::new(WriterStopped))) } else { Ok(()) }
    }

    async fn close(&self) -> Result<(), StoreError> {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let ended = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                return Err(StoreError::Backend(Box::new(WriterStopped)));
            }
        }
        self.shared.check()
    }
}

#[cfg(test)]
mod tests;
