//! sled, where sessions are once they leave the write-ahead log: how a record is written into it,
//! and the lock of the folder.

use std::{
    error::Error,
    fs::{File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use relogin_session::{Record, SessionId, record::RecordError};

use super::{
    Damage, Revision, StoreError, Stored,
    vfs::{FileError, Fs, Kind},
};

/// The open database.
pub(super) struct Database {
    tree: ::sled::Tree,
    /// The log, for syncs: the same file that sled writes.
    log: File,
    path: PathBuf,
    fs: Fs,
    /// Up to where space for the log was reserved when it was last checked, and how long it was
    /// then.
    reserved: u64,
    /// Last, so that it is released when the rest is closed.
    _lock: File,
}

/// How much of the database sled may keep in memory, in bytes. Records in no cache come from the
/// page cache.
const CACHE: u64 = 64 * 1024 * 1024;

/// How many bytes of its log sled allocates at once.
pub(super) const SEGMENT: u64 = 512 * 1024;

/// How much space is reserved behind the end of sled's log, in bytes: twice what is written between
/// two syncs.
const AHEAD: u64 = 4 * SEGMENT;

/// sled's log, in the folder of the store.
pub(super) fn log_path(folder: &Path) -> PathBuf {
    folder.join("sessions").join("db")
}

impl Database {
    /// Opens the database in `folder`, which stays locked.
    pub(super) fn open(folder: &Path, fs: &Fs, lock: File) -> Result<Self, StoreError> {
        let path = folder.join("sessions");
        fs.create_folder(&path)?;
        remove_unfinished(fs, &path)?;
        let config = ::sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE)
            // Its background flush would write at its own times and sync with nobody waiting.
            .flush_every_ms(None);
        let open = || {
            let tree = config.open()?.open_tree("sessions")?;
            tree.flush()?;
            Ok(tree)
        };
        // sled panics at some kinds of damage.
        let tree = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened.map_err(|error| unreadable(&path, error))?,
            Err(_) => return Err(panicked(&path)),
        };
        let (log_path, conf_path) = (path.join("db"), path.join("conf"));
        let log = fs.open(&log_path)?;
        // sled syncs nothing of what it creates except the log, and no folder: without its name a
        // file is lost.
        fs.sync(Kind::Database, &fs.open(&conf_path)?, &conf_path)?;
        fs.sync(Kind::Database, &log, &log_path)?;
        let whole = std::fs::canonicalize(folder).map_err(|error| FileError::new("find", folder, error))?;
        for made in [Some(path.as_path()), Some(folder), whole.parent()].into_iter().flatten() {
            fs.sync_folder(made)?;
        }
        Ok(Self { tree, log, path, fs: fs.clone(), reserved: 0, _lock: lock })
    }

    pub(super) fn tree(&self) -> &::sled::Tree {
        &self.tree
    }

    /// All records, in no order.
    pub(super) fn scan(&self) -> impl Iterator<Item = Result<Stored, StoreError>> {
        self.tree.iter().map(|entry| {
            let (key, value) = entry.map_err(|error| unreadable(&self.path, error))?;
            let sid = key.as_ref().try_into().map(SessionId).map_err(|_| failed(UnknownKey))?;
            decode(&value).map_err(|error| StoreError::Record(sid, error))
        })
    }

    /// Reserves space on the disk for what sled will write until the next sync: sled is unusable
    /// after a failed write, and may even wait for it forever.
    pub(super) fn reserve(&mut self) -> Result<(), FileError> {
        let log = self.path.join("db");
        let length = self.log.metadata().map_err(|error| FileError::new("look at", &log, error))?.len();
        // When sled truncates its log, the disk gets that space back, and the reserved space too.
        let from = self.reserved.saturating_sub(AHEAD).min(length) / SEGMENT * SEGMENT;
        let to = length.next_multiple_of(SEGMENT) + AHEAD;
        self.fs.allocate(&self.log, &log, from, to - from)?;
        self.reserved = to;
        Ok(())
    }

    /// Changes the stored value of a session; durable after the next [`Database::sync`].
    pub(super) fn apply(&self, sid: SessionId, value: Option<&[u8]>) -> Result<(), StoreError> {
        let applied = match value {
            Some(value) => self.tree.insert(sid.0, value).map(|_| ()),
            None => self.tree.remove(sid.0).map(|_| ()),
        };
        applied.map_err(|error| unreadable(&self.path, error))
    }

    /// Returns once everything that was applied would survive a power loss.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        // First everything into the file, then the file onto the disk.
        self.tree.flush().map_err(|error| unreadable(&self.path, error))?;
        Ok(self.fs.sync(Kind::Database, &self.log, &self.path.join("db"))?)
    }

    /// Closes the database: when this returns, it can be opened again.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let Self { tree, log, _lock, .. } = self;
        drop(tree);
        // sled holds a lock on its log until the last of its threads releases it, which may be
        // later than the tree is gone.
        log.lock().map_err(failed)
    }
}

/// Removes what sled was writing when it was ended: it takes every `snap.*` for a complete one.
fn remove_unfinished(fs: &Fs, path: &Path) -> Result<(), StoreError> {
    for file in fs.list(path)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs.remove(&file)?;
            tracing::info!(file = %file.display(), "removed a file that sled had not finished writing");
        }
    }
    Ok(())
}

/// A key that is not a session id: the folder contains something else.
#[derive(Debug, thiserror::Error)]
#[error("the database contains a key that is not a session id")]
struct UnknownKey;

/// sled met damage that it did not expect.
#[derive(Debug, thiserror::Error)]
#[error("sled panicked; see the message above")]
struct Panicked;

/// The session as the tree has it.
pub(super) fn read(tree: &::sled::Tree, folder: &Path, sid: SessionId) -> Result<Option<Stored>, StoreError> {
    let read = tree.get(sid.0).map_err(|error| unreadable(&folder.join("sessions"), error))?;
    let Some(value) = read else { return Ok(None) };
    decode(&value).map(Some).map_err(|error| StoreError::Record(sid, error))
}

/// The value to store of a record, encoded.
pub(super) fn value(revision: Revision, record: &[u8]) -> Arc<[u8]> {
    [&revision.0.to_be_bytes(), record].concat().into()
}

/// Parses a value.
pub(super) fn decode(value: &[u8]) -> Result<Stored, RecordError> {
    let (revision, record) = value.split_first_chunk().ok_or(RecordError::Empty)?;
    Ok(Stored { record: Record::decode(record)?, revision: Revision(u64::from_be_bytes(*revision)) })
}

/// Locks the folder, which is created if it does not exist, for this process. A lock of our own,
/// because sled distinguishes a held lock from other errors only in its message.
pub(super) fn lock(folder: &Path, fs: &Fs) -> Result<File, StoreError> {
    fs.create_folder(folder)?;
    let path = folder.join("lock");
    let lock = match fs.create(&path) {
        Ok(lock) => lock,
        Err(_) => fs.open(&path)?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(FileError::new("lock", &path, error).into()),
    }
}

/// sled met damage that it did not expect, in the database at `path`.
pub(super) fn panicked(path: &Path) -> StoreError {
    StoreError::Damaged(path.to_owned(), Damage::Database(Box::new(Panicked)))
}

/// sled's error about the database at `path`.
fn unreadable(path: &Path, error: ::sled::Error) -> StoreError {
    let is_damage = match &error {
        ::sled::Error::Io(error) => matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
        _ => true,
    };
    match error {
        error if is_damage => StoreError::Damaged(path.to_owned(), Damage::Database(Box::new(error))),
        ::sled::Error::Io(error) => FileError::new("use", path, error).into(),
        error => failed(error),
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        failed(error)
    }
}

pub(super) fn failed(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}
