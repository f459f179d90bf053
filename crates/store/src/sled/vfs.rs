//! The store's file layer: each system call that the store itself makes goes through [`Vfs`], so
//! that a test can replace the disk and let any of them fail. (sled makes its own calls.) Must not
//! know what is in the files.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{fs::FallocateFlags, io::Errno};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A group of writes that somebody waits for.
    Frame,
    /// A file of the write-ahead log that is created, blanked, or read after a crash.
    Wal,
    /// The write-ahead log's list of its files.
    Manifest,
    /// sled's files.
    Database,
    /// The snapshot of the index.
    Snapshot,
}

/// The system calls. The defaults make the call.
pub(super) trait Vfs: fmt::Debug + Send + Sync {
    /// Creates a folder, and its parents, accessible only to its owner, if it does not exist.
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// The paths of everything in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Creates a new file, accessible only to its owner.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    /// Reserves space on the disk for a part of a file, in bytes, without changing the file's
    /// length. Where the file system does not support that, nothing happens.
    fn allocate(&self, file: &File, from: u64, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Writes all of `bytes`, at the offset `at`.
    fn write(&self, _kind: Kind, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// The contents of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// Returns once everything that was written to `file`, which is at `path`, would survive a
    /// power loss.
    fn sync(&self, _kind: Kind, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    /// Returns once the names in `folder` would survive one.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        relogin_host::disk::sync_folder(folder)
    }

    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct Disk;

impl Vfs for Disk {}

/// The same calls, with errors that name the file.
#[derive(Clone, Debug)]
pub(super) struct Fs(Arc<dyn Vfs>);

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", .path.display())]
pub(super) struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    pub(super) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_owned(), source }
    }

    /// True if it can be retried: see [`relogin_host::disk::is_shortage`].
    pub(super) fn is_shortage(&self) -> bool {
        relogin_host::disk::is_shortage(&self.source)
    }
}

type Result<T> = std::result::Result<T, FileError>;

impl Fs {
    pub(super) fn new(vfs: Arc<dyn Vfs>) -> Self {
        Self(vfs)
    }

    pub(super) fn create_folder(&self, path: &Path) -> Result<()> {
        self.0.create_folder(path).map_err(|error| FileError::new("make the folder", path, error))
    }

    pub(super) fn list(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        self.0.list(folder).map_err(|error| FileError::new("list the folder", folder, error))
    }

    pub(super) fn open(&self, path: &Path) -> Result<File> {
        self.0.open(path).map_err(|error| FileError::new("open", path, error))
    }

    pub(super) fn create(&self, path: &Path) -> Result<File> {
        self.0.create(path).map_err(|error| FileError::new("make", path, error))
    }

    pub(super) fn allocate(&self, file: &File, path: &Path, from: u64, length: u64) -> Result<()> {
        self.0.allocate(file, from, length).map_err(|error| FileError::new("take room for", path, error))
    }

    pub(super) fn write(&self, kind: Kind, file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<()> {
        self.0.write(kind, file, bytes, at).map_err(|error| FileError::new("write", path, error))
    }

    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.0.read(path).map_err(|error| FileError::new("read", path, error))
    }

    /// The contents of a file; none if it does not exist.
    pub(super) fn read_if_there(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match self.read(path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    pub(super) fn sync(&self, kind: Kind, file: &File, path: &Path) -> Result<()> {
        self.0.sync(kind, file, path).map_err(|error| FileError::new("sync", path, error))
    }

    pub(super) fn sync_folder(&self, folder: &Path) -> Result<()> {
        self.0.sync_folder(folder).map_err(|error| FileError::new("sync the folder", folder, error))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to).map_err(|error| FileError::new("rename", from, error))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.0.remove(path).map_err(|error| FileError::new("remove", path, error))
    }

    /// Removes a file, if it exists.
    pub(super) fn remove_if_there(&self, path: &Path) -> Result<()> {
        match self.remove(path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
