//! Writes the audit trail to a file, which may be moved away at any time, or to standard output.
//! Must not know events.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Where the audit trail is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// To standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// A file that lines are appended to, or standard output.
#[derive(Debug)]
pub struct AuditFile(Kind);

#[derive(Debug)]
enum Kind {
    File(PathBuf, File),
    /// Not through [`io::stdout`]: a blocked write would keep its lock from everybody else, even at
    /// the end of the process.
    Stdout(File),
}

impl AuditFile {
    /// The file at `path`, created with mode 0600 if it does not exist.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Kind::File(path.to_owned(), open(path)?)))
    }

    /// Standard output.
    ///
    /// # Errors
    /// [`io::Error`] if it is closed, or no descriptor is available.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self(Kind::Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?))))
    }

    /// Appends whole lines. If somebody has moved the file away, a new one is created.
    ///
    /// # Errors
    /// [`io::Error`] if they could not be written, or not all of them.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Stdout(stdout) => stdout.write_all(lines),
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
    // A named pipe is opened at both ends. Otherwise this would wait until somebody reads, and each
    // time the reader stops, every write would fail.
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if is_pipe {
        return OpenOptions::new().read(true).write(true).open(path);
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_moved_away_is_created_again() {
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
