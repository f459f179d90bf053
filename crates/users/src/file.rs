//! Reads the users file when it has changed. Must not depend on sessions or RES.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use relogin_host::disk::Seen;
use thiserror::Error;

use crate::list::{Users, UsersError};

/// An unusable users file.
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
    /// It is not a list of users.
    #[error("users file {path}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: UsersError,
    },
    /// It has no users, where there were some, and does not say that they were removed: it was
    /// truncated, or is not written yet.
    #[error(
        "users file {path} is empty; to let nobody in, disable the users, or remove them with `relogin user remove`"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// True if there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A users file, and its last seen state.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    seen: Option<Seen>,
    /// What the file held when it was last read.
    text: Option<String>,
    /// True if that is a list of users.
    is_list: bool,
    is_being_written: bool,
}

impl UsersFile {
    /// The file at `path`, not read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, text: None, is_list: false, is_being_written: false }
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
        if self.is_list && !seen.is_fresh() && self.seen.as_ref() == Some(&seen) {
            self.is_being_written = false;
            return Ok(None);
        }
        let text = fs::read_to_string(&self.path).map_err(|source| self.unreadable(source))?;
        let before = self.seen.replace(seen);
        let is_same_file = before.is_some_and(|before| seen.is_same_file(&before));
        let is_written = before.is_some_and(|before| seen.is_written_since(&before));
        let before = self.text.replace(text);
        let text = self.text.as_deref().unwrap_or_default();
        if self.is_list && before.as_deref() == Some(text) {
            // A writer that overwrites the file may have come to a part that stays the same.
            self.is_being_written = is_written;
            return Ok(None);
        }
        self.is_being_written = before.is_some() && is_same_file;
        self.is_list = false;
        let users = Users::parse(text).map_err(|source| FileError::Content { path: self.path.clone(), source })?;
        self.is_list = true;
        Ok(Some(users))
    }

    /// True if, at the last look, the file was written in place since the look before, and not
    /// replaced: it may be incomplete.
    #[must_use]
    pub fn is_being_written(&self) -> bool {
        self.is_being_written
    }

    /// True if what was read last ends in the middle of a line, as if there were more to come.
    #[must_use]
    pub fn ends_within_a_line(&self) -> bool {
        self.text.as_ref().is_some_and(|text| !text.is_empty() && !text.ends_with('\n'))
    }

    fn unreadable(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use relogin_host::errors::Chain;

    use super::*;
    use crate::list::Users;

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
    fn a_change_that_the_files_times_do_not_show_is_noticed() {
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
        assert!(Seen::of(&metadata, SystemTime::now()).is_fresh() && !Seen::of(&metadata, later).is_fresh());
    }

    #[test]
    fn a_broken_or_missing_file_gives_no_users_and_a_mended_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        let reason = |file: &mut UsersFile| Chain(&file.read().unwrap_err()).to_string();
        write(&path, "jane");
        assert!(file.read().unwrap().is_some());
        fs::write(&path, "[[user]]\nid = 1\n").unwrap();
        for _ in 0..2 {
            let reason = reason(&mut file);
            assert!(reason.contains("missing field"), "as long as it stays so: {reason}");
        }
        fs::remove_file(&path).unwrap();
        assert!(reason(&mut file).contains("No such file"));
        write(&path, "john");
        assert_eq!(names(&file.read().unwrap().unwrap()), ["john"]);
    }

    #[test]
    fn a_file_that_is_written_into_is_distinguished_from_a_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        write(&path, "jane");
        file.read().unwrap();
        assert!(!file.is_being_written() && !file.ends_within_a_line());
        for text in ["", "# The", "# The crew\n"] {
            fs::write(&path, text).unwrap();
            assert!(file.read().unwrap().is_some());
            assert!(file.is_being_written());
            assert_eq!(file.ends_within_a_line(), text == "# The");
        }
        relogin_host::disk::replace(&path, b"# Another\n").unwrap();
        file.read().unwrap();
        assert!(!file.is_being_written());
    }
}
