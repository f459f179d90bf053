//! The file of a backup: what is in it, and how it is written and read. Must not know stores, nor
//! where the file is.
//!
//! One JSON value a line. The first names the format and the version that wrote it; then follow the
//! small files of a data folder, the server's secret if it is to be in it (encrypted), and the
//! sessions, each as a store encodes its record, so that records of earlier versions stay readable.
//! Of several lines about one session the last one counts. The last line has the number of sessions
//! and a SHA-256 of all lines before it: without it the file is not whole.

pub mod sealed_secret;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    io::{self, BufRead, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use relogin_session::{Record, SessionId, record::RecordError};
use relogin_store::Export;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// A backup that was read.
#[derive(Debug)]
pub struct Backup {
    /// What it says of itself.
    pub head: Head,
    /// Small files of the data folder, by their names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The text of the secret file, encrypted.
    pub secret: Option<Vec<u8>>,
    /// The sessions.
    pub sessions: HashMap<SessionId, Record>,
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

impl Backup {
    /// Reads a backup to its end, and checks that it is whole.
    ///
    /// # Errors
    /// [`BackupError`] if it is not.
    pub fn read(mut input: impl BufRead) -> Result<Self, BackupError> {
        let mut digest = Context::new(&SHA256);
        let mut text = Vec::new();
        input.read_until(b'\n', &mut text)?;
        let Ok(Line::Backup(head)) = serde_json::from_slice(&text) else { return Err(BackupError::NotABackup) };
        if head.format > FORMAT {
            return Err(BackupError::Newer { format: head.format, by: head.relogin });
        }
        let mut backup = Self { head, files: BTreeMap::new(), secret: None, sessions: HashMap::new() };
        // A record may be unreadable because a bit has flipped: the checksum says so.
        let mut unreadable = None;
        for line in 2.. {
            digest.update(&text);
            text.clear();
            input.read_until(b'\n', &mut text)?;
            if !text.ends_with(b"\n") {
                return Err(BackupError::Truncated(line - 1));
            }
            let damaged = || BackupError::Damaged(line);
            match serde_json::from_slice(&text).map_err(|_| damaged())? {
                Line::Backup(_) => return Err(damaged()),
                Line::File(SmallFile { name, content }) => {
                    backup.files.insert(name, STANDARD.decode(content).map_err(|_| damaged())?);
                }
                Line::Secret(sealed) => backup.secret = Some(STANDARD.decode(sealed).map_err(|_| damaged())?),
                Line::Session(encoded) => match Record::decode(&STANDARD.decode(encoded).map_err(|_| damaged())?) {
                    Ok(record) => drop(backup.sessions.insert(record.sid, record)),
                    Err(source) => drop(unreadable.get_or_insert((line, source))),
                },
                Line::Ended(sid) => drop(backup.sessions.remove(&SessionId::parse(&sid).ok_or_else(damaged)?)),
                Line::End(End { sessions, sha256 }) => {
                    // Behind the end nothing was written.
                    if sha256 != hex(digest) || !input.fill_buf()?.is_empty() {
                        return Err(damaged());
                    }
                    return match unreadable {
                        Some((line, source)) => Err(BackupError::Record { line, by: backup.head.relogin, source }),
                        None if sessions != backup.sessions.len() => Err(damaged()),
                        None => Ok(backup),
                    };
                }
            }
        }
        unreachable!("a file has no more lines than there are numbers")
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
    use relogin_session::{ConnectionId, Timestamp, UserId};
    use std::sync::Arc;

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
        let backup = Backup::read(written().as_slice()).unwrap();
        let relogin = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(backup.head, Head { format: 1, relogin, made: 7, secrets: vec!["print".to_owned()] });
        assert_eq!(backup.files, BTreeMap::from([("clock".to_owned(), b"{}".to_vec())]));
        assert_eq!(backup.secret.as_deref(), Some(&b"sealed"[..]));
        let expected = [record(1, 9), record(3, 1)].map(|record| (record.sid, record));
        assert_eq!(backup.sessions, HashMap::from(expected));
    }

    #[test]
    fn a_file_with_any_bit_flipped_or_cut_off_anywhere_is_refused() {
        let whole = written();
        for at in 0..whole.len() {
            assert!(Backup::read(&whole[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(Backup::read(flipped.as_slice()).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(Backup::read([whole.as_slice(), b"\n"].concat().as_slice()).is_err());
        let Err(BackupError::NotABackup) = Backup::read(&b"hello\n"[..]) else { panic!("a backup") };
        let Err(BackupError::Truncated(_)) = Backup::read(&whole[..whole.len() - 1]) else { panic!("whole") };
    }

    #[test]
    fn a_backup_of_a_later_version_is_refused_by_name() {
        let head = r#"{"backup":{"format":2,"relogin":"9.9.9","made":1,"secrets":[],"new":true}}"#;
        let Err(error @ BackupError::Newer { .. }) = Backup::read(format!("{head}\n").as_bytes()) else {
            panic!("read")
        };
        assert!(error.to_string().contains("format 2, of relogin 9.9.9"), "{error}");
        let mut writer = BackupWriter::begin(Vec::new(), 7, Vec::new()).unwrap();
        writer.session(SessionId([1; 16]), &[99, 1, 2]).unwrap();
        let Err(error @ BackupError::Record { .. }) = Backup::read(writer.end().unwrap().0.as_slice()) else {
            panic!("read")
        };
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
            let backup = Backup::read(std::fs::read(path).unwrap().as_slice()).unwrap();
            assert_eq!(backup.head.format, format);
            assert_eq!((backup.sessions.len(), backup.sessions[&SessionId([1; 16])].generation), (2, 9));
            assert_eq!(backup.files["clock"], b"{}");
        }
    }
}
