//! Writes small files atomically and durably, and detects changed files. Must not know their
//! contents.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{MetadataExt, fchown},
    path::Path,
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

/// How the names of files begin that are not finished yet.
const UNFINISHED: &str = ".relogin-";

/// How old an unfinished file must be for nobody to be writing it any more.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// What distinguishes two states of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Written so recently that one more write might not change the times above.
    is_fresh: bool,
}

impl Seen {
    /// The state described by `metadata` at the time `now`.
    #[must_use]
    pub fn of(metadata: &Metadata, now: SystemTime) -> Self {
        // The change time, which no program can set back.
        let changed = Duration::new(metadata.ctime().try_into().unwrap_or(0), 0);
        let age = now.duration_since(SystemTime::UNIX_EPOCH + changed);
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_fresh: age.map_or(true, |age| age < Duration::from_secs(3)),
        }
    }

    /// True if both are states of one file that was written in place; a file that replaced it is
    /// another.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }

    /// True if this file was written in place between the two states.
    #[must_use]
    pub fn is_written_since(&self, before: &Self) -> bool {
        self.is_same_file(before) && self.modified != before.modified
    }

    /// True if one more write might not show: the file should be read again.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }
}

/// True if a resource is missing that may become available: descriptors, space on the disk or
/// within a quota or limit, memory, a thread. Such an operation can be retried; anything else is a
/// failure.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::FBIG,
        Errno::NOMEM,
        Errno::AGAIN,
        Errno::NOBUFS,
    ];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}

/// Creates the file `path` with mode 0600, or leaves an existing one unchanged. On disk, with its
/// folder, when this returns.
///
/// # Errors
/// [`io::Error`] if it cannot be created; the kind is [`io::ErrorKind::AlreadyExists`] if it
/// exists.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = written_beside(path, content)?;
    // A link that is created only if the name is free: of two processes that start at once, one
    // creates the file and both use it.
    file.persist_noclobber(path)?;
    sync_folder(folder_of(path))
}

/// Atomically replaces the file at `path`, and keeps its mode and, as far as permitted, its owner.
/// A new file gets mode 0600. On disk, with its folder, when this returns.
///
/// # Errors
/// [`io::Error`] if it cannot be written; the old file is then still there.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Through a link, so that the link remains one.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let file = written_beside(&target, content)?;
    match fs::metadata(&target) {
        Ok(old) => {
            let new = file.as_file().metadata()?;
            // Only root may change a file's owner, and must do so when editing for a service's own
            // user.
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            file.as_file().set_permissions(old.permissions())?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.persist(&target)?;
    sync_folder(folder_of(&target))
}

/// A file of mode 0600 that is written in pieces, and has its name only once it is whole. Dropped
/// before that, it is gone.
#[derive(Debug)]
pub struct NewFile(NamedTempFile);

impl NewFile {
    /// Begins one in the folder of `path`.
    ///
    /// # Errors
    /// [`io::Error`] if no file can be created there.
    pub fn beside(path: &Path) -> io::Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder_of(path))?))
    }

    /// Gives it the name `path`, in the place of what has it. On disk, with its folder, when this
    /// returns.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be synced or named; what had the name is then still there.
    pub fn finish(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path)?;
        sync_folder(folder_of(path))
    }
}

impl Write for NewFile {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.0.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Removes the unfinished files that crashes of programs have left in `folder`, if they have been
/// there for an hour at the time `now`. What cannot be removed stays.
///
/// # Errors
/// [`io::Error`] if the folder cannot be read.
pub fn remove_unfinished(folder: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age >= ABANDONED)) {
            fs::remove_file(entry.path()).ok();
        }
    }
    Ok(())
}

/// Makes the names in `folder` durable: the sync of a file in it does not.
///
/// # Errors
/// [`io::Error`] if the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// How many bytes of the disk the files in `folder` have, and those in its folders. Files that come
/// or go meanwhile may be counted or not. Blocks for as long as the disk takes.
///
/// # Errors
/// [`io::Error`] if a folder cannot be read.
pub fn usage(folder: &Path) -> io::Result<u64> {
    const BLOCK: u64 = 512; // stat(2), whatever the file system has
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => usage(&entry.path())?,
            Ok(metadata) => metadata.blocks() * BLOCK,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

/// Locks the folder of `path` for one process at a time, until the result is dropped. Waits for the
/// lock.
///
/// # Errors
/// [`io::Error`] if the folder cannot be opened or locked.
pub fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path))?;
    folder.lock()?;
    Ok(folder)
}

/// The folder that a file of this path is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A temporary file beside `path`, of mode 0600, with `content` on disk.
fn written_beside(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder_of(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_usage_of_a_folder_is_that_of_all_files_below_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usage(folder.path()).unwrap(), 0);
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("one"), vec![1; 8192]).unwrap();
        fs::write(folder.path().join("below/other"), vec![1; 16384]).unwrap();
        for file in ["one", "below/other"] {
            File::open(folder.path().join(file)).unwrap().sync_all().unwrap();
        }
        assert_eq!(usage(folder.path()).unwrap(), 24576);
        assert!(usage(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn a_shortage_is_distinguished_from_a_failure() {
        let error = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(is_shortage(&error(rustix::io::Errno::NOSPC)) && is_shortage(&error(rustix::io::Errno::MFILE)));
        assert!(!is_shortage(&error(rustix::io::Errno::IO)) && !is_shortage(&error(rustix::io::Errno::NOENT)));
        assert!(!is_shortage(&io::Error::other("anything")));
    }

    #[test]
    fn create_leaves_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(create(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn unfinished_files_of_a_crash_are_removed_after_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, b"one").unwrap();
        // As a crash does, before it has the name.
        let left = written_beside(&path, b"two").unwrap().keep().unwrap().1;
        let now = SystemTime::now();
        remove_unfinished(folder.path(), now + ABANDONED / 2).unwrap();
        assert!(left.exists(), "somebody may be writing it");
        remove_unfinished(folder.path(), now + ABANDONED * 2).unwrap();
        assert!(!left.exists() && path.exists());
    }

    #[test]
    fn replace_keeps_mode_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        replace(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o640));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
