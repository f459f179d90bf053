//! Sessions on disk: one folder, no server. Must not depend on the rules or on clocks; nothing
//! outside this module knows sled.
//!
//! **Structure.** A write goes to a write-ahead log (`sled/wal.rs`) and is durable there. sled
//! has one tree, sid → revision ‖ record, and receives the newest state of changed sessions later,
//! in the background: a session that was used ten times in between is one write. The indexes, and
//! each session's newest revision, are kept in memory (`store/index.rs`).
//!
//! **A write** is checked in the caller's task, against what is durable and what is staged
//! (`sled/state.rs`), and joins the current group. One thread (`sled/writer.rs`) takes group after
//! group: one frame of the log, one fdatasync, then its contents are shown to readers and its
//! writers are answered. While the disk works the next group is collected, so the busier the store,
//! the more requests share a sync. Losers of a conflict are answered after the sync too, because
//! what they lost against is true only then.
//!
//! **Reads** show only what is durable: the index has the newest durable revision of each session,
//! and a record counts only in that revision, wherever it is found: in the cache, in the part of
//! the log that sled does not have, or in sled.
//!
//! **Checkpoints.** Once the log has grown, the writer cuts it, and the other thread
//! (`sled/checkpointer.rs`, the checkpointer) does, in this order:
//! 1. give sled the newest state of each session in the part cut off, and sync it;
//! 2. write a snapshot of the index (`sled/snapshot.rs`), sync it, and replace the old one by it;
//! 3. drop that part of the log, oldest segment first.
//!
//! So whatever is dropped from the log is durable in sled *and* in the snapshot. Each step may be
//! cut short anywhere: the log is still there, and has the whole state of each session, so it can
//! be applied again.
//!
//! **Opening** reads the snapshot, or all of sled if there is no intact one; then the log, whose
//! entries override what was found so far, later ones overriding earlier ones. They go to sled with
//! the next checkpoint. The log is synced before it is relied on: what a killed process had written
//! may be only in the page cache.
//!
//! **Power loss.** The log's last frame may be torn; nobody was answered for it. sled 0.34 appends
//! to one file, `db`. Its flush ends in `sync_file_range`, which waits for the pages but neither
//! flushes the drive's cache nor writes the file's size, so it is not a barrier; the fdatasync of
//! that file that follows is. What is not in `db`: `conf` and the names of the files, synced when
//! the store is opened; `snap.*`, created and synced by sled when it is opened, a shortcut that is
//! not needed to recover; `blobs/`, for pages of over 128 KiB, while a page has at most 17 records,
//! of usually 300 bytes and at most some 3 KiB. After a power loss sled's log contains everything
//! up to the last sync, and perhaps a part of what followed, which sled drops from the first
//! damaged message on; the write-ahead log has it. One danger remains: sled overwrites a segment
//! (512 KiB) of its log once its contents have been written again, in a segment with two others
//! flushed, but not synced, after it. So at most 1 MiB of sled's log may be written between two
//! syncs: `MAX_CHUNK` and `MAX_CHUNK_BYTES` in `sled/checkpointer.rs` ensure that.
//!
//! **Shortages and failures.** The checkpointer retries what failed for lack of a resource (space,
//! descriptors, memory), and as long as a frame finds no space its writes are refused, with nothing
//! changed. Space is reserved before it is written to: a whole segment of the log, and what sled
//! will write until the next sync. After a failed write of a frame, or a failed sync of sled's log,
//! it is unknown what is on disk, and a second sync would lie: [`SessionStore::failed`] reports it,
//! and the process ends. What is missing or damaged when the store opens is an error that names it;
//! `relogin store repair` keeps the rest.
//!
//! All of the store's own system calls go through `sled/vfs.rs`, where tests let each of them fail,
//! but for those that only say how large its files are.

mod checkpointer;
mod contents;
mod database;
mod export;
mod format;
mod opening;
mod reason;
pub mod repair;
mod salvage;
mod shared;
mod snapshot;
mod state;
mod vfs;
mod wal;
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use relogin_host::disk;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId, record::RecordError};
use tokio::sync::mpsc;

use self::{
    shared::SledShared,
    state::{Location, Outcome, Phase, State, Verdict, Write},
    vfs::{Disk, Fs, Vfs},
    wal::Sizes,
};
use super::{Damage, Export, Exported, Revision, SessionStore, StoreError, StoreStats, Stored};

/// Stores sessions in a folder.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<SledShared>,
    folder: PathBuf,
    /// One export at a time.
    exporting: tokio::sync::Mutex<()>,
    /// Empty once the store was closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SledStore {
    /// Opens the store in `folder`, which is created if it does not exist. Blocks as long as it
    /// takes to read the index.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::Damaged`] if something
    /// is missing or cannot be read, [`StoreError::Backend`] if the disk cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Arc::new(Disk), Sizes::USUAL)
    }

    /// Locks the folder of a store that is not to be opened, as long as the result is there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open.
    pub fn lock(folder: &Path) -> Result<File, StoreError> {
        database::lock(folder, &Fs::new(Arc::new(Disk)))
    }

    /// Opens the store with a substitute for the disk.
    fn open_with(folder: &Path, vfs: Arc<dyn Vfs>, sizes: Sizes) -> Result<Self, StoreError> {
        let (shared, threads) = opening::open(folder, Fs::new(vfs), sizes)?;
        Ok(Self {
            shared,
            folder: folder.to_owned(),
            exporting: tokio::sync::Mutex::default(),
            threads: Mutex::new(threads),
        })
    }

    async fn write(
        &self,
        sid: SessionId,
        revision: Option<Revision>,
        next: Option<Record>,
    ) -> Result<Revision, StoreError> {
        let encode = |record: Record| {
            let encoded = record.encode().map_err(|error| StoreError::Record(sid, error))?;
            Ok::<_, StoreError>((record, encoded))
        };
        match self.stage(Write { sid, revision, next: next.map(encode).transpose()? })? {
            Outcome::Now(result) => result,
            Outcome::Later(end, result) => match end.wait().await {
                Verdict::Durable => result,
                Verdict::Refused(reason) => Err(reason.as_shortage()),
                // A writer that gives up on a group has failed, and has reported that.
                Verdict::GivenUp => self.shared.check().and(Err(StoreError::Closed)),
            },
        }
    }

    fn stage(&self, write: Write) -> Result<Outcome, StoreError> {
        let mut state = self.state()?;
        self.shared.check()?;
        if state.phase != Phase::Open {
            return Err(StoreError::Closed);
        }
        if let Some(reason) = &state.refusing {
            return Err(reason.as_shortage());
        }
        if state.damaged.contains(&write.sid) {
            drop(state);
            return self.load_now(write.sid).and(Err(StoreError::Conflict));
        }
        let was_idle = state.is_idle();
        let outcome = state.stage(write);
        let is_idle = state.is_idle();
        drop(state);
        if was_idle && !is_idle {
            // After the tasks that run already: what they are about to write goes with the same
            // sync.
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.notify() });
        }
        Ok(outcome)
    }

    /// The state, if the store was not closed.
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, StoreError> {
        let state = self.shared.lock();
        if state.phase == Phase::Closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    fn load_now(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        let mut expected = None;
        loop {
            let (revision, read) = {
                let state = self.state()?;
                match state.find(sid) {
                    Location::Nothing => return Ok(None),
                    Location::Session(stored) => return Ok(Some(stored)),
                    Location::Value(revision, value) => {
                        drop(state);
                        (Some(revision), database::decode(&value).map(Some).map_err(|e| StoreError::Record(sid, e))?)
                    }
                    Location::Database(revision) => {
                        let tree = state.tree.clone().ok_or(StoreError::Closed)?;
                        drop(state);
                        (revision, database::read(&tree, &self.folder, sid)?)
                    }
                }
            };
            match read {
                Some(stored) if Some(stored.revision) == revision => {
                    let stored = Arc::new(stored);
                    self.shared.lock().keep(&stored);
                    return Ok(Some(stored));
                }
                // It has changed between the lookup in the index and the one in sled. That does not
                // happen twice to the same session.
                _ if expected != Some(revision) => expected = Some(revision),
                _ if revision.is_none() => return Err(StoreError::Record(sid, RecordError::Empty)),
                _ => return Err(StoreError::Damaged(database::log_path(&self.folder), Damage::Lacks(sid))),
            }
        }
    }
}

#[async_trait]
impl SessionStore for SledStore {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.write(record.sid, None, Some(record)).await
    }

    // Reads are not moved off the async threads: they come from memory, sled's cache or the page
    // cache, in microseconds.
    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.load_now(sid)
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        self.write(record.sid, Some(revision), Some(record)).await
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.write(sid, Some(revision), None).await.map(|_| ())
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        loop {
            let Some(sid) = self.state()?.index.session_on(connection) else { return Ok(None) };
            // It may have left the session between the two lookups.
            if let Some(stored) = self.load_now(sid)?
                && stored.record.is_on(connection)
            {
                return Ok(Some(stored));
            }
        }
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.state()?.index.sessions_of(user))
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.state()?.index.overdue(until, limit))
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state()?.index.next_deadline())
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        Ok(self.state()?.index.page(after, limit))
    }

    async fn count(&self) -> Result<usize, StoreError> {
        Ok(self.state()?.index.len())
    }

    async fn deadline_moved(&self) {
        self.shared.deadline_moved.notified().await;
    }

    async fn export(&self, to: mpsc::Sender<Vec<Export>>) -> Result<Exported, StoreError> {
        let _alone = self.exporting.lock().await;
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || export::run(&shared, &to)).await.map_err(database::failed)?
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.shared.check()?;
        let state = self.shared.lock();
        match &state.refusing {
            _ if state.phase != Phase::Open => Err(StoreError::Closed),
            Some(reason) => Err(reason.as_shortage()),
            None => Ok(()),
        }
    }

    async fn failed(&self) {
        self.shared.failed().await;
    }

    async fn stats(&self) -> StoreStats {
        let folder = self.folder.clone();
        let bytes = tokio::task::spawn_blocking(move || disk::usage(&folder).ok()).await.ok().flatten();
        let state = self.shared.lock();
        StoreStats {
            sessions: state.index.len(),
            connections: state.index.connections(),
            pending_writes: state.pending_writes(),
            syncs: self.shared.syncs.counts(),
            bytes,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.begin_closing();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // A thread that panicked has reported it: the store has failed.
        let ended = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        tokio::select! {
            ended = tokio::task::spawn_blocking(ended) => ended.map_err(database::failed)?,
            // It may wait for sled, and sled for a write that failed.
            () = self.shared.failed() => {}
        }
        self.shared.check()
    }
}

impl SledStore {
    fn begin_closing(&self) {
        let mut state = self.shared.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.shared.notify();
    }
}

impl Drop for SledStore {
    /// The threads end by themselves.
    fn drop(&mut self) {
        self.begin_closing();
    }
}

#[cfg(test)]
mod tests;
