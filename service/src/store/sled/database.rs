//! sled: where sessions are once the journal lets go of them, how a record is written into it, and the folder's lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use relogin_session::{Record, SessionId, record::RecordError};

use super::{
    Revision, StoreError, Stored,
    barrier::{Barrier, Kind},
};

/// The open database.
pub(super) struct Database {
    tree: ::sled::Tree,
    /// The log, for the barrier: the same file that sled writes.
    log: File,
    path: PathBuf,
    barrier: Arc<dyn Barrier>,
    /// Last, so that it is released when the rest is closed.
    _lock: File,
}

/// How much sled may keep of the database in memory, in bytes. Records that are in no cache come from the page cache.
const CACHE: u64 = 64 * 1024 * 1024;

impl Database {
    pub(super) fn open(folder: &Path, barrier: Arc<dyn Barrier>) -> Result<Self, StoreError> {
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
        let made = path.join("conf");
        File::open(&made).and_then(|conf| barrier.data(Kind::Database, &conf, &made)).map_err(failed)?;
        barrier.data(Kind::Database, &log, &path.join("db")).map_err(failed)?;
        let parent = fs::canonicalize(folder).map_err(failed)?.parent().map(Path::to_owned);
        for made in [Some(path.as_path()), Some(folder), parent.as_deref()].into_iter().flatten() {
            barrier.folder(made).map_err(failed)?;
        }
        Ok(Self { tree, log, path, barrier, _lock: lock })
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

    /// Changes what is stored of a session; durable after the next [`Database::sync`].
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
        Ok(self.barrier.data(Kind::Database, &self.log, &self.path.join("db"))?)
    }

    /// Closes the database: when this returns, it can be opened again.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let Self { tree, log, _lock, .. } = self;
        drop(tree);
        // sled holds a lock on its log until the last of its threads lets go of it, which may be later than the tree is gone.
        log.lock().map_err(failed)
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

/// The value to store of a record, encoded.
pub(super) fn value(revision: Revision, record: &[u8]) -> Arc<[u8]> {
    revision.0.to_be_bytes().into_iter().chain(record.iter().copied()).collect()
}

/// Reads a value.
pub(super) fn decode(value: &[u8]) -> Result<Stored, RecordError> {
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

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}
