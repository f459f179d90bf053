//! Where the storage record is kept: in memory, or in a file that several programs may share. Knows not what is in it.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Keeps one text, or none. What is kept is a credential.
pub trait Storage: fmt::Debug + Send + 'static {
    /// The text.
    ///
    /// # Errors
    /// If the storage cannot be read; the client then takes it for empty.
    fn read(&mut self) -> io::Result<Option<String>>;

    /// If the text is exactly `from`, puts `to` in its place, in one step that nobody who shares the storage can come between.
    /// Returns the text as it is then, whoever wrote it. When it returns, the text is there to stay.
    ///
    /// # Errors
    /// If the storage cannot be written; the client then keeps the text in memory.
    fn swap(&mut self, from: Option<&str>, to: Option<&str>) -> io::Result<Option<String>>;

    /// Takes the lock that all who share the storage agree on, if nobody has it. Under it the key is used; that saves those who
    /// share a session from getting in each other's way, and nothing that is right rests on it. Without this, everybody is given
    /// it: right for what nobody shares.
    ///
    /// # Errors
    /// If there is no lock to be had; the client then works without.
    fn try_lock(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Gives the lock back, if it was taken. The system does so for a program that ends.
    fn unlock(&mut self) {}
}

/// For programs that log in anew each time they start.
#[derive(Default)]
pub struct MemoryStorage(Option<String>);

/// A file of which each program that runs as the same user may have its own, or that several share: it is locked while it is
/// changed, and replaced as a whole. Nobody else can read it.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// The lock, while it is ours.
    held: Option<File>,
}

impl MemoryStorage {
    /// One that has this already.
    pub(crate) fn holding(text: Option<String>) -> Self {
        Self(text)
    }

    /// [`Storage::swap`], which cannot fail here.
    pub(crate) fn exchange(&mut self, from: Option<&str>, to: Option<&str>) -> Option<String> {
        if self.0.as_deref() == from {
            self.0 = to.map(str::to_owned);
        }
        self.0.clone()
    }
}

impl Storage for MemoryStorage {
    fn read(&mut self) -> io::Result<Option<String>> {
        Ok(self.0.clone())
    }

    fn swap(&mut self, from: Option<&str>, to: Option<&str>) -> io::Result<Option<String>> {
        Ok(self.exchange(from, to))
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

impl FileStorage {
    /// Keeps the text at `path`, and two lock files and, for a moment, the next text beside it. None needs to exist; the folder
    /// does.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), held: None }
    }

    fn lock_file(&self, ending: &str) -> io::Result<File> {
        private(OpenOptions::new().write(true).create(true).truncate(false)).open(self.beside(ending))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let next = self.beside(".next");
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)
    }
}

impl Storage for FileStorage {
    fn read(&mut self) -> io::Result<Option<String>> {
        found(fs::read_to_string(&self.path))
    }

    fn swap(&mut self, from: Option<&str>, to: Option<&str>) -> io::Result<Option<String>> {
        let lock = self.lock_file(".lock")?;
        // Released when the file is closed.
        lock.lock()?;
        let now = self.read()?;
        if now.as_deref() != from {
            return Ok(now);
        }
        match to {
            Some(text) if now.as_deref() != to => self.write(text)?,
            None if now.is_some() => fs::remove_file(&self.path)?,
            _ => return Ok(now),
        }
        sync_folder(&self.path)?;
        Ok(to.map(str::to_owned))
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        if self.held.is_none() {
            let lock = self.lock_file(".use")?;
            match lock.try_lock() {
                Ok(()) => self.held = Some(lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(self.held.is_some())
    }

    fn unlock(&mut self) {
        self.held = None;
    }
}

/// Makes a rename or removal last.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not every system can open a folder; those that cannot have no need to.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn found(text: io::Result<String>) -> io::Result<Option<String>> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Files that nobody else can read.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps_one_text(mut storage: impl Storage) {
        assert_eq!(storage.read().unwrap(), None);
        assert_eq!(storage.swap(Some("x"), Some("a")).unwrap(), None, "not what is there");
        assert_eq!(storage.swap(None, Some("a")).unwrap().as_deref(), Some("a"));
        assert_eq!(storage.swap(None, Some("b")).unwrap().as_deref(), Some("a"));
        assert_eq!(storage.swap(Some("a"), Some("b")).unwrap().as_deref(), Some("b"));
        assert_eq!(storage.swap(Some("a"), None).unwrap().as_deref(), Some("b"));
        assert_eq!(storage.read().unwrap().as_deref(), Some("b"));
        assert_eq!(storage.swap(Some("b"), None).unwrap(), None);
        assert_eq!(storage.swap(None, None).unwrap(), None);
        assert_eq!(storage.read().unwrap(), None);
    }

    #[test]
    fn memory_keeps_one_text() {
        keeps_one_text(MemoryStorage::default());
    }

    #[test]
    fn a_file_keeps_one_text() {
        let folder = tempfile::tempdir().unwrap();
        keeps_one_text(FileStorage::new(folder.path().join("key")));
        assert!(FileStorage::new(folder.path().join("none").join("key")).swap(None, Some("a")).is_err());
    }

    #[test]
    fn one_at_a_time_has_the_lock_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let storage = || FileStorage::new(folder.path().join("key"));
        let (mut one, mut other) = (storage(), storage());
        assert!(one.try_lock().unwrap() && one.try_lock().unwrap());
        assert!(!other.try_lock().unwrap());
        one.swap(None, Some("a")).unwrap();
        assert_eq!(other.read().unwrap().as_deref(), Some("a"), "the text is not locked with it");
        one.unlock();
        assert!(other.try_lock().unwrap() && !one.try_lock().unwrap());
        drop(other);
        assert!(one.try_lock().unwrap(), "who ends gives it back");
        assert!(FileStorage::new(folder.path().join("none").join("key")).try_lock().is_err());
    }

    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileStorage::new(&path).swap(None, Some("a")).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn of_many_who_swap_at_once_one_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (path, text) = (path.clone(), n.to_string());
                std::thread::spawn(move || FileStorage::new(path).swap(None, Some(&text)).unwrap() == Some(text))
            })
            .collect();
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count(), 1);
    }
}
