//! Sessions on disk: one folder, no server. Knows no rules and no clock; nothing outside knows sled.
//!
//! **Shape.** What is written goes to a journal (`sled/journal.rs`) and is durable there. sled has one tree, sid → revision ‖
//! record, and gets the newest state of what has changed later, in the background: a session that was used ten times
//! meanwhile is one write. What sessions are found by, and each one's newest revision, is kept in memory (`store/index.rs`).
//!
//! **A write** is checked in the caller's own task, against what is durable and what is staged (`sled/state.rs`), and joins
//! the group that gathers. One thread (`sled/writer.rs`) takes group after group: one frame of the journal, one fdatasync, then
//! what is in it is shown to readers and its writers are answered. While the disk works the next group gathers, so the busier
//! the store, the more requests share a sync. Losers of a race are answered after the sync too, since what they lost against
//! is only then true.
//!
//! **Reads** show only what is durable: the index has the newest durable revision of each session, and a record counts only
//! in that revision, wherever it is found: among those decoded lately, in what the journal has and sled has not, in sled.
//!
//! **Settling.** Once the journal has grown, the writer cuts it, and the other thread (`sled/settler.rs`) does, in this order:
//! 1. give sled the newest state of each session that is in the part cut off, and have it synced;
//! 2. write a snapshot of the index (`sled/snapshot.rs`), have it synced, and put it in the old one's place;
//! 3. drop that part of the journal, oldest segment first.
//!
//! So whatever is dropped from the journal is durable in sled *and* in the snapshot, and each of the three may be cut short
//! anywhere: the journal is still there, and it says of each session all there is to say, so it can be applied once more.
//!
//! **Opening** reads the snapshot, or all of sled if there is none that is whole; then the journal, whose entries count more
//! than what was found so far, each one more than those before it. What it has goes to sled with the next settlement.
//! The journal is synced before it is believed: what a killed process had written may be in the page cache only.
//!
//! **Power loss.** The journal's last frame may be torn; nobody was told of it. sled 0.34 appends to one file, `db`. Its
//! flush ends in `sync_file_range`, which waits for the pages but neither flushes the drive's cache nor writes the file's size,
//! so it alone is no barrier; fdatasync of that file is, and comes after it. What is not in `db`: `conf` and the names of
//! the files, synced when the store is opened; `snap.*`, made and synced by sled when it is opened, a shortcut that is not
//! needed to recover; `blobs/`, for pages of over 128 KiB, and a page has 17 records at most, of 300 bytes as a rule and some
//! 3 KiB at most. After a power loss sled's log holds all up to the last sync, and perhaps a part of what followed, which sled
//! drops from the first damaged message on: the journal has it. One thing could still hurt: sled overwrites a segment
//! (512 KiB) of its log once what was in it has been written again, in a segment with two others flushed, but not synced,
//! behind it. So no more than 1 MiB of log may be written between two syncs: that is what `MAX_CHUNK` and `MAX_CHUNK_BYTES`
//! in `sled/settler.rs` see to.
//!
//! **Shortages and failures.** What could not be had (room, descriptors, memory) is tried again by the settler, and as long as a
//! frame finds no room its writes are refused: nothing has changed then. Room is taken before it is written to: a segment of the
//! journal as a whole, and what sled is going to write until the next sync. After a frame's write or any sync of sled's log that
//! fails, nobody knows what is on disk, and a second sync would lie: [`SessionStore::failed`] says so, and the process ends. What
//! is missing or damaged when the store opens is an error that names it; `relogin store repair` keeps the rest.
//!
//! All calls of the store's own go through `sled/vfs.rs`, where tests let each of them fail.

mod database;
mod journal;
mod opening;
pub mod repair;
mod salvage;
mod settler;
mod shared;
mod snapshot;
mod state;
mod vfs;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId, record::RecordError};

use self::{
    journal::Sizes,
    shared::Shared,
    state::{Found, Outcome, Phase, State, Verdict, Write},
    vfs::{Disk, Fs, Vfs},
};
use super::{Damage, Revision, SessionStore, StoreError, Stored};

/// Keeps sessions in a folder.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    folder: PathBuf,
    /// Empty once the store was closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SledStore {
    /// Opens the store in `folder`, which is made if it is not there. Blocks, for as long as it takes to read the index.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::Damaged`] if something is missing or cannot be read,
    /// [`StoreError::Backend`] if the disk does not let it be read or written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Arc::new(Disk), Sizes::USUAL)
    }

    /// Opens the store with something in the disk's place.
    fn open_with(folder: &Path, vfs: Arc<dyn Vfs>, sizes: Sizes) -> Result<Self, StoreError> {
        let (shared, threads) = opening::open(folder, Fs::new(vfs), sizes)?;
        Ok(Self { shared, folder: folder.to_owned(), threads: Mutex::new(threads) })
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
                // Whoever gives up on a group has failed, and said so.
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
            // Behind those who run already: what they are about to write goes with the same sync.
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
                    Found::Nothing => return Ok(None),
                    Found::Session(stored) => return Ok(Some(stored)),
                    Found::Value(revision, value) => {
                        drop(state);
                        (Some(revision), database::decode(&value).map(Some).map_err(|e| StoreError::Record(sid, e))?)
                    }
                    Found::Database(revision) => {
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
                // It has changed between the look into the index and the one into sled. Not twice to the same.
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

    // Reads are not moved off the async threads: they come from memory, sled's cache or the page cache, in microseconds.
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
            // It may have left the session between the two looks.
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

    async fn deadline_moved(&self) {
        self.shared.deadline_moved.notified().await;
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

    async fn close(&self) -> Result<(), StoreError> {
        self.begin_closing();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // A thread that panicked has said so: the store has failed.
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
