//! Where the audit trail is written: a file that may be moved away at any time, or standard output. Knows no events.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file that lines are added to, or standard output.
#[derive(Debug)]
pub struct AuditFile(Kind);

#[derive(Debug)]
enum Kind {
    File(PathBuf, File),
    Stdout,
}

impl AuditFile {
    /// The file at `path`, made with mode 0600 if it is not there.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Kind::File(path.to_owned(), open(path)?)))
    }

    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(Kind::Stdout)
    }

    /// Adds whole lines. If somebody has moved the file away, to keep it, a new one takes its place.
    ///
    /// # Errors
    /// [`io::Error`] if they could not be written, or not all of them.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Kind::File(path, file) => {
                let ours = file.metadata()?;
                let is_there = fs::metadata(&*path).is_ok_and(|at| (at.dev(), at.ino()) == (ours.dev(), ours.ino()));
                if !is_there {
                    *file = open(path)?;
                }
                file.write_all(lines)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("audit"), folder.path().join("audit.1"));
        fs::write(&path, "old\n").unwrap();
        let mut file = AuditFile::open(&path).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, &kept).unwrap();
        file.append(b"two\n").unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old\none\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let missing = folder.path().join("gone");
        fs::create_dir(&missing).unwrap();
        let mut file = AuditFile::open(&missing.join("audit")).unwrap();
        fs::remove_dir_all(&missing).unwrap();
        assert!(file.append(b"lost\n").is_err());
        fs::create_dir(&missing).unwrap();
        file.append(b"found\n").unwrap();
        assert_eq!(fs::read_to_string(missing.join("audit")).unwrap(), "found\n");
    }
}
