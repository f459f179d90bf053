//! The users file: reading it, and following its changes. Knows no sessions and no RES.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use thiserror::Error;
use tracing::{error, info, warn};

use super::{
    directory::ListDirectory,
    list::{Users, UsersError},
};
use crate::errors::Chain;

/// A users file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("users file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It holds no list of users.
    #[error("users file {path}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: UsersError,
    },
}

impl FileError {
    /// True if there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A users file and what was last seen of it.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    seen: Option<Seen>,
    /// What the file held when it was last read.
    text: Option<String>,
    /// The reason logged last, so that each is logged once.
    complaint: Option<String>,
}

/// What tells one state of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Written so recently that one more write may not show in the times above.
    is_fresh: bool,
}

impl UsersFile {
    /// The file at `path`, not looked at yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, text: None, complaint: None }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's users, if it was never read before or has changed since.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be read or holds no list of users.
    pub fn read(&mut self) -> Result<Option<Users>, FileError> {
        let metadata = fs::metadata(&self.path).map_err(|source| self.unreadable(source))?;
        let seen = Seen::of(&metadata, SystemTime::now());
        if !seen.is_fresh && self.seen.as_ref() == Some(&seen) {
            return Ok(None);
        }
        let text = fs::read_to_string(&self.path).map_err(|source| self.unreadable(source))?;
        self.seen = Some(seen);
        if self.text.as_ref() == Some(&text) {
            return Ok(None);
        }
        let users = Users::parse(&text).map_err(|source| FileError::Content { path: self.path.clone(), source });
        self.text = Some(text);
        users.map(Some)
    }

    /// Looks once a second whether the file has changed, and if so gives its users to `directory`. A file that cannot be used, or
    /// is gone, changes nothing, and why is logged. Returns only if reading panics.
    ///
    /// Looking beats waiting for notifications here: it sees an editor's rename, a mounted secret's exchanged link and a network
    /// folder all alike.
    pub async fn follow(mut self, directory: Arc<ListDirectory>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let Ok((file, found)) = looked.await else {
                error!("reading the users file panicked");
                return;
            };
            self = file;
            if let Some(users) = found {
                let count = users.entries().len();
                directory.exchange(users);
                info!(users = count, "the users file has changed");
            }
        }
    }

    /// The file's users, if it has changed to something usable.
    fn look(&mut self) -> Option<Users> {
        match self.read() {
            Ok(users) => {
                self.complaint = None;
                users
            }
            Err(error) => {
                let reason = Chain(&error).to_string();
                if self.complaint.as_ref() != Some(&reason) {
                    warn!("the users stay as they were: {reason}");
                    self.complaint = Some(reason);
                }
                None
            }
        }
    }

    fn unreadable(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), source }
    }
}

impl Seen {
    fn of(metadata: &Metadata, now: SystemTime) -> Self {
        // The time of change, which no program can set back.
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
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::users::{list::Users, password::PasswordChecks};

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn write(path: &Path, username: &str) {
        let text = format!(
            "[[user]]\nid = 1\nusername = {username:?}\nname = \"N\"\nrole = \"user\"\npassword = \"{HASH}\"\n"
        );
        fs::write(path, text).unwrap();
    }

    fn names(users: &Users) -> Vec<&str> {
        users.entries().iter().map(|entry| entry.username.as_str()).collect()
    }

    #[test]
    fn each_change_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        assert!(file.read().unwrap_err().is_missing());

        for username in ["jane", "john", "mary"] {
            write(&path, username);
            assert_eq!(names(&file.read().unwrap().unwrap()), [username]);
            assert!(file.read().unwrap().is_none());
        }
    }

    #[test]
    fn a_change_that_the_files_times_do_not_tell_is_seen_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        write(&path, "jane");
        file.read().unwrap();
        write(&path, "john");
        // As if this had come within the same tick of the file system's clock.
        let metadata = fs::metadata(&path).unwrap();
        file.seen = Some(Seen::of(&metadata, SystemTime::now()));
        assert_eq!(names(&file.read().unwrap().unwrap()), ["john"]);

        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(Seen::of(&metadata, SystemTime::now()).is_fresh && !Seen::of(&metadata, later).is_fresh);
    }

    #[test]
    fn a_broken_or_missing_file_gives_no_users_and_a_mended_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        write(&path, "jane");
        assert!(file.look().is_some());
        fs::write(&path, "[[user]]\nid = 1\n").unwrap();
        assert!(file.look().is_none());
        assert!(file.complaint.as_ref().unwrap().contains("missing field"), "{:?}", file.complaint);
        fs::remove_file(&path).unwrap();
        assert!(file.look().is_none());
        assert!(file.complaint.as_ref().unwrap().contains("No such file"), "{:?}", file.complaint);
        write(&path, "john");
        assert_eq!(names(&file.look().unwrap()), ["john"]);
        assert_eq!(file.complaint, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_directory_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        write(&path, "jane");
        let directory = Arc::new(ListDirectory::new(Users::default(), PasswordChecks::bounded(1, 1)));
        let following = tokio::spawn(UsersFile::new(path.clone()).follow(Arc::clone(&directory)));
        let until = async |username: &str| {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while names(&directory.users()) != [username] {
                assert!(std::time::Instant::now() < deadline, "{username} did not arrive");
                tokio::time::advance(Duration::from_millis(500)).await;
                tokio::task::yield_now().await;
            }
        };
        until("jane").await;
        write(&path, "john");
        until("john").await;
        following.abort();
    }
}
