//! The file of a backup: what is in it, and how it is written and read. Must not know stores, nor
//! where the file is.
//!
//! One JSON value a line. The first names the format and the version that wrote it; then follow the
//! small files of a data folder, the server's secret if it is to be in it (encrypted), and the
//! sessions, each as a store encodes its record, so that records of earlier versions stay readable.
//! Of several lines about one session the last one counts. The last line has the number of sessions
//! and a SHA-256 of all lines before it: without it the file is not whole.

mod reading;
pub mod sealed_secret;

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{self, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use relogin_session::{SessionId, record::RecordError};
use relogin_store::Export;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::reading::{Backup, BackupSessions};

/// The format of the files that are written.
pub const FORMAT: u32 = 1;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Backup(Head),
    File(SmallFile),
    Secret(String),
    Session(String),
    Ended(String),
    End(End),
}

/// The first line of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its format.
    pub format: u32,
    /// The version of Relogin that made it.
    pub relogin: String,
    /// When it was begun, in milliseconds since 1970.
    pub made: u64,
    /// The fingerprints of the secrets that the keys of its sessions were made with, the one that
    /// signs first; empty if they were not known.
    pub secrets: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SmallFile {
    name: String,
    content: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    sessions: usize,
    sha256: String,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not a backup of relogin")]
    NotABackup,
    /// A later version made it.
    #[error(
        "it has format {format}, of relogin {by}, and this is relogin {}, which knows formats up to {FORMAT}; use \
         relogin {by} or later",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Its format.
        format: u32,
        /// The version that made it.
        by: String,
    },
    /// Its end is missing.
    #[error("its end is missing: it was cut off after line {0}")]
    Truncated(usize),
    /// Its content is not what was written.
    #[error("it is damaged in line {0}, or before")]
    Damaged(usize),
    /// It is another one than a moment before.
    #[error("it has changed while it was read")]
    Changed,
    /// A record is of a format that this version does not know.
    #[error("it was made by relogin {by}, and a session in line {line} cannot be read here")]
    Record {
        /// The line.
        line: usize,
        /// The version that made it.
        by: String,
        /// The reason.
        #[source]
        source: RecordError,
    },
}

/// Writes a backup.
pub struct BackupWriter<W> {
    out: W,
    digest: Context,
    bytes: u64,
    sessions: HashSet<SessionId>,
}

/// Counts of a backup that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many sessions.
    pub sessions: usize,
    /// How many bytes.
    pub bytes: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup that is made at this time (milliseconds since 1970), of sessions whose keys
    /// are made with secrets of these fingerprints.
    ///
    /// # Errors
    /// If it cannot be written; so do the others.
    pub fn begin(out: W, made: u64, secrets: Vec<String>) -> io::Result<Self> {
        let mut writer = Self { out, digest: Context::new(&SHA256), bytes: 0, sessions: HashSet::new() };
        let relogin = env!("CARGO_PKG_VERSION").to_owned();
        writer.line(&Line::Backup(Head { format: FORMAT, relogin, made, secrets }))?;
        Ok(writer)
    }

    /// Adds a small file of the data folder.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.line(&Line::File(SmallFile { name: name.to_owned(), content: STANDARD.encode(content) }))
    }

    /// Adds the secret, encrypted.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn secret(&mut self, sealed: &[u8]) -> io::Result<()> {
        self.line(&Line::Secret(STANDARD.encode(sealed)))
    }

    /// Adds a session as it is encoded.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn session(&mut self, sid: SessionId, encoded: &[u8]) -> io::Result<()> {
        self.sessions.insert(sid);
        self.line(&Line::Session(STANDARD.encode(encoded)))
    }

    /// Takes a session away that was added.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn ended(&mut self, sid: SessionId) -> io::Result<()> {
        if self.sessions.remove(&sid) { self.line(&Line::Ended(sid.to_string())) } else { Ok(()) }
    }

    /// Adds what a store has exported.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn exported(&mut self, part: &Export) -> io::Result<()> {
        match part {
            Export::Session(stored) => {
                let encoded = stored.record.encode().map_err(io::Error::other)?;
                self.session(stored.record.sid, &encoded)
            }
            Export::Ended(sid) => self.ended(*sid),
        }
    }

    /// Writes the end: only with it is the backup whole.
    ///
    /// # Errors
    /// As [`BackupWriter::begin`].
    pub fn end(mut self) -> io::Result<(W, Written)> {
        let sessions = self.sessions.len();
        let sha256 = hex(self.digest.clone());
        self.line(&Line::End(End { sessions, sha256 }))?;
        self.out.flush()?;
        Ok((self.out, Written { sessions, bytes: self.bytes }))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.digest.update(&text);
        self.bytes += text.len() as u64;
        self.out.write_all(&text)
    }
}

fn hex(digest: Context) -> String {
    digest.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        // A text takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl<W> std::fmt::Debug for BackupWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashMap},
        sync::Arc,
    };

    use relogin_session::{ConnectionId, Record, Timestamp, UserId};
    use relogin_store::{Revision, Stored};

    use super::*;

    fn record(n: u8, generation: u64) -> Record {
        let connection = ConnectionId::parse(&format!("c{n}")).unwrap();
        let made = Record::new(SessionId([n; 16]), [n; 16], UserId::Number(1), connection, Timestamp(1));
        Record { generation, ..made }
    }

    fn exported(n: u8, generation: u64) -> Export {
        Export::Session(Arc::new(Stored { record: record(n, generation), revision: Revision(1) }))
    }

    fn read(bytes: &[u8]) -> Result<Backup, BackupError> {
        Backup::read(|| Ok(bytes))
    }

    fn sessions(backup: &Backup, bytes: &[u8]) -> HashMap<SessionId, Record> {
        backup.sessions(bytes).map(|record| record.map(|record| (record.sid, record)).unwrap()).collect()
    }

    fn written() -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new(), 7, vec!["print".to_owned()]).unwrap();
        writer.file("clock", b"{}").unwrap();
        writer.secret(b"sealed").unwrap();
        for part in [exported(1, 1), exported(2, 1), exported(3, 1), exported(1, 9), Export::Ended(SessionId([2; 16]))]
        {
            writer.exported(&part).unwrap();
        }
        writer.ended(SessionId([8; 16])).unwrap();
        let (text, written) = writer.end().unwrap();
        assert_eq!(written, Written { sessions: 2, bytes: text.len() as u64 });
        text
    }

    #[test]
    fn what_is_written_is_read_and_the_last_line_of_a_session_counts() {
        let text = written();
        let backup = read(&text).unwrap();
        let relogin = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(backup.head, Head { format: 1, relogin, made: 7, secrets: vec!["print".to_owned()] });
        assert_eq!(backup.files, BTreeMap::from([("clock".to_owned(), b"{}".to_vec())]));
        assert_eq!(backup.secret.as_deref(), Some(&b"sealed"[..]));
        let expected = [record(1, 9), record(3, 1)].map(|record| (record.sid, record));
        assert_eq!((backup.count(), sessions(&backup, &text)), (2, HashMap::from(expected)));
        assert!(backup.has(SessionId([1; 16])) && !backup.has(SessionId([2; 16])));
    }

    /// The sessions of a bucket are not of one moment.
    #[test]
    fn a_connection_stays_with_the_session_that_was_used_last() {
        let cid = |text: &str| ConnectionId::parse(text).unwrap();
        let on = |n: u8, last_seen: u64, connections: &[&str]| {
            let connections = connections.iter().map(|text| cid(text)).collect();
            let record = Record { last_seen: Timestamp(last_seen), connections, ..record(n, 1) };
            Export::Session(Arc::new(Stored { record, revision: Revision(1) }))
        };
        let mut writer = BackupWriter::begin(Vec::new(), 7, Vec::new()).unwrap();
        // The third one is on neither any more; the fourth has ended.
        for part in [
            on(3, 90, &["a", "b"]),
            on(1, 20, &["a", "b", "own"]),
            on(2, 10, &["a"]),
            on(4, 95, &["a"]),
            on(2, 30, &["a"]),
            on(3, 91, &[]),
            Export::Ended(SessionId([4; 16])),
        ] {
            writer.exported(&part).unwrap();
        }
        let text = writer.end().unwrap().0;
        let sessions = sessions(&read(&text).unwrap(), &text);
        let connections = [1, 2, 3].map(|n| sessions[&SessionId([n; 16])].connections.clone());
        assert_eq!(connections, [vec![cid("b"), cid("own")], vec![cid("a")], vec![]]);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let (text, mut writer) = (written(), BackupWriter::begin(Vec::new(), 8, Vec::new()).unwrap());
        let backup = read(&text).unwrap();
        writer.exported(&exported(1, 9)).unwrap();
        for other in [writer.end().unwrap().0.as_slice(), &text[..text.len() - 1]] {
            assert!(backup.sessions(other).last().unwrap().is_err());
        }
        let mut flipped = text.clone();
        flipped[text.len() / 2] ^= 1;
        assert!(backup.sessions(flipped.as_slice()).any(|session| session.is_err()));
    }

    /// A writer that has room for so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, content: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = content.len().min(self.0);
            self.0 -= written;
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Through a buffer, as the command has one: it holds back what did not fit.
    #[test]
    fn a_disk_that_is_full_after_any_byte_is_an_error() {
        let whole = written().len();
        let write = |room: usize| {
            let mut writer =
                BackupWriter::begin(io::BufWriter::with_capacity(64, Full(room)), 7, vec!["print".to_owned()])?;
            writer.file("clock", b"{}")?;
            writer.secret(b"sealed")?;
            [exported(1, 1), exported(2, 1), exported(3, 1), exported(1, 9), Export::Ended(SessionId([2; 16]))]
                .iter()
                .try_for_each(|part| writer.exported(part))?;
            writer.end().map(drop)
        };
        for room in 0..whole {
            assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room} bytes");
        }
        write(whole).unwrap();
    }

    #[test]
    fn a_file_with_any_bit_flipped_or_cut_off_anywhere_is_refused() {
        let whole = written();
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(read(&[whole.as_slice(), b"\n"].concat()).is_err());
        let Err(BackupError::NotABackup) = read(b"hello\n") else { panic!("a backup") };
        let Err(BackupError::Truncated(_)) = read(&whole[..whole.len() - 1]) else { panic!("whole") };
    }

    #[test]
    fn a_backup_of_a_later_version_is_refused_by_name() {
        let head = r#"{"backup":{"format":2,"relogin":"9.9.9","made":1,"secrets":[],"new":true}}"#;
        let Err(error @ BackupError::Newer { .. }) = read(format!("{head}\n").as_bytes()) else { panic!("read") };
        assert!(error.to_string().contains("format 2, of relogin 9.9.9"), "{error}");
        let mut writer = BackupWriter::begin(Vec::new(), 7, Vec::new()).unwrap();
        writer.session(SessionId([1; 16]), &[99, 1, 2]).unwrap();
        let Err(error @ BackupError::Record { .. }) = read(&writer.end().unwrap().0) else { panic!("read") };
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    /// Backups of each format, as the first version that wrote it has. That of a new one is made by
    /// `UPDATE_EXPECT=1 cargo test -p relogin --lib backup`.
    #[test]
    fn backups_of_all_formats_are_read() {
        for format in 1..=FORMAT {
            let path = format!("{}/src/backup/format-{format}.jsonl", env!("CARGO_MANIFEST_DIR"));
            if format == FORMAT && std::env::var_os("UPDATE_EXPECT").is_some() && !std::fs::exists(&path).unwrap() {
                std::fs::write(&path, written()).unwrap();
            }
            let text = std::fs::read(path).unwrap();
            let backup = read(&text).unwrap();
            assert_eq!(backup.head.format, format);
            assert_eq!((backup.count(), sessions(&backup, &text)[&SessionId([1; 16])].generation), (2, 9));
            assert_eq!(backup.files["clock"], b"{}");
        }
    }
}
