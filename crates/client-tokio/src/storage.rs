//! Keeps the storage record: in memory, or in a file that several programs may share. Must not
//! depend on what the record says.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Keeps at most one text. The text is a credential.
pub trait Storage: fmt::Debug + Send + 'static {
    /// Reads the text.
    ///
    /// # Errors
    /// If the storage cannot be read. The client then treats it as empty.
    fn read(&mut self) -> io::Result<Option<String>>;

    /// Replaces the text by `to` if it is exactly `from`: a compare-and-swap, atomic among all who
    /// share the storage. Returns the text after that, whoever wrote it. A text that was written
    /// must be durable when this returns.
    ///
    /// # Errors
    /// If the storage cannot be written. The client then keeps the text in memory.
    fn swap(&mut self, from: Option<&str>, to: Option<&str>) -> io::Result<Option<String>>;

    /// Takes the lock of those who share the storage, unless somebody has it; returns whether it is
    /// held now. The client holds it while it uses the key. It is an optimisation: correctness
    /// rests on [`Storage::swap`]. The default always succeeds, which suits a storage that is not
    /// shared.
    ///
    /// # Errors
    /// If there is no lock. The client then works without.
    fn try_lock(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Releases the lock, if it is held. The system does so for a program that ends.
    fn unlock(&mut self) {}
}

/// A storage in memory, for programs that log in each time they start.
#[derive(Default)]
pub struct MemoryStorage(Option<String>);

/// A storage in a file, which programs of the same user may share. The file is locked while it is
/// changed, replaced as a whole, and readable by its owner only.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// The lock file, while the lock is held.
    held: Option<File>,
}

impl MemoryStorage {
    /// A storage that has this text already.
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
    /// Keeps the text at `path`, with two lock files and, while it is replaced, the next text
    /// beside it. The folder has to exist; the files are created.
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
        // Released when `lock` is dropped.
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

/// Makes a rename or a removal durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Systems that cannot open a folder need not.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn found(text: io::Result<String>) -> io::Result<Option<String>> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes files that only their owner can read.
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
    fn only_one_at_a_time_holds_the_lock_of_a_file() {
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
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        FileStorage::new(&path).swap(None, Some("a")).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn of_many_swaps_at_once_one_succeeds() {
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
