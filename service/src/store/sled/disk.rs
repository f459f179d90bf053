//! The database's folder: its lock, its files, and how a record is written into it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use relogin_session::{Record, SessionId, record::RecordError};

use super::{Barrier, Revision, StoreError, Stored};

/// The open database.
pub(super) struct Disk {
    tree: ::sled::Tree,
    /// The log, for the barrier: the same file that sled writes.
    log: File,
    barrier: Barrier,
    /// Last, so that it is released when the rest is closed.
    _lock: File,
}

/// How much sled may keep of the database in memory, in bytes. Records that are in no cache come from the page cache.
const CACHE: u64 = 64 * 1024 * 1024;

impl Disk {
    pub(super) fn open(folder: &Path, barrier: Barrier) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = lock(folder)?;
        let path = folder.join("sessions");
        let config = ::sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE)
            // Its background flush would write on a clock of its own and sync with nobody waiting.
            .flush_every_ms(None);
        let tree = config.open().and_then(|db| db.open_tree("sessions")).map_err(failed)?;
        tree.flush().map_err(failed)?;
        let log = OpenOptions::new().read(true).write(true).open(path.join("db")).map_err(failed)?;
        // sled does not sync what it makes but the log, nor any folder: without its name a file is lost.
        for made in [path.join("conf").as_path(), &path.join("db"), &path, folder] {
            File::open(made).and_then(|made| made.sync_all()).map_err(failed)?;
        }
        if let Some(parent) = fs::canonicalize(folder).map_err(failed)?.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        Ok(Self { tree, log, barrier, _lock: lock })
    }

    pub(super) fn tree(&self) -> &::sled::Tree {
        &self.tree
    }

    /// All records, in no order.
    pub(super) fn scan(&self) -> impl Iterator<Item = Result<Stored, StoreError>> {
        self.tree.iter().map(|entry| {
            let (key, value) = entry.map_err(failed)?;
            let sid = key.as_ref().try_into().map(SessionId).map_err(|_| failed(UnknownKey))?;
            decode(&value).map_err(|error| StoreError::Record(sid, error))
        })
    }

    /// Changes what is stored of a session; durable after the next [`Disk::sync`].
    pub(super) fn apply(&self, sid: SessionId, value: Option<&[u8]>) -> Result<(), ::sled::Error> {
        match value {
            Some(value) => self.tree.insert(sid.0, value).map(|_| ()),
            None => self.tree.remove(sid.0).map(|_| ()),
        }
    }

    /// Returns once all that was applied would survive a power loss.
    pub(super) fn sync(&self) -> Result<(), ::sled::Error> {
        // First all of it into the file, then the file onto the disk.
        self.tree.flush()?;
        Ok((self.barrier)(&self.log)?)
    }
}

/// A key that is no session id: the folder holds something else.
#[derive(Debug, thiserror::Error)]
#[error("the database holds a key that is no session id")]
struct UnknownKey;

/// The session as the tree has it.
pub(super) fn read(tree: &::sled::Tree, sid: SessionId) -> Result<Option<Stored>, StoreError> {
    let Some(value) = tree.get(sid.0).map_err(failed)? else { return Ok(None) };
    decode(&value).map(Some).map_err(|error| StoreError::Record(sid, error))
}

/// The value to store.
pub(super) fn encode(stored: &Stored) -> Result<Vec<u8>, StoreError> {
    let record = stored.record.encode().map_err(|error| StoreError::Record(stored.record.sid, error))?;
    Ok([&stored.revision.0.to_be_bytes(), record.as_slice()].concat())
}

fn decode(value: &[u8]) -> Result<Stored, RecordError> {
    let (revision, record) = value.split_first_chunk().ok_or(RecordError::Empty)?;
    Ok(Stored { record: Record::decode(record)?, revision: Revision(u64::from_be_bytes(*revision)) })
}

/// Takes the folder for this process. A lock of our own, because sled tells a lock that is held from other errors only
/// in words.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}
