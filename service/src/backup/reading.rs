//! Reads a backup: once to its end, to see whether it is whole and which of its lines count, and
//! then its sessions, as often as somebody wants them. Never has all of them in memory. Must not
//! know where they go.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher},
    fmt,
    hash::{BuildHasher, BuildHasherDefault},
    io::{self, BufRead},
    iter::FusedIterator,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use relogin_session::{ConnectionId, Record, SessionId, Timestamp};
use ring::digest::{Context, SHA256};

use super::{BackupError, End, FORMAT, Head, Line, SmallFile, hex};

/// A backup that was read to its end, and is whole.
#[derive(Debug)]
pub struct Backup {
    /// What it says of itself.
    pub head: Head,
    /// Small files of the data folder, by their names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The text of the secret file, encrypted.
    pub secret: Option<Vec<u8>>,
    /// The line of each session that counts.
    lines: HashMap<SessionId, u32>,
    /// Which session keeps a connection that several have.
    holders: HashMap<ConnectionId, (Timestamp, SessionId)>,
    sha256: String,
}

/// The sessions of a backup, one by one; an error if the file is not what it was before, at the
/// latest after them.
pub struct BackupSessions<'a, R> {
    backup: &'a Backup,
    reader: Reader<R>,
    is_over: bool,
}

/// Goes through the lines after the first.
struct Reader<R> {
    input: R,
    digest: Context,
    text: Vec<u8>,
    /// The number of `text`.
    line: u32,
    by: String,
}

/// What a line after the first is.
enum Part {
    File(SmallFile),
    Secret(Vec<u8>),
    /// A session, as it is encoded.
    Session(Vec<u8>),
    Ended(SessionId),
    /// The end, and it is that of these lines: how many sessions they have, and their SHA-256.
    End(usize, String),
}

impl Backup {
    /// Reads the backup that `open` opens, and checks that it is whole. It is opened again if a
    /// connection is on several sessions: then the one that was used last keeps it, as a connection
    /// has one session. (Those of a bucket are not of one moment.)
    ///
    /// # Errors
    /// [`BackupError`] if it is not.
    pub fn read<R: BufRead>(open: impl Fn() -> io::Result<R>) -> Result<Self, BackupError> {
        let (mut reader, head) = Reader::begin(open()?)?;
        let mut backup = Self {
            head,
            files: BTreeMap::new(),
            secret: None,
            lines: HashMap::new(),
            holders: HashMap::new(),
            sha256: String::new(),
        };
        // A record may be unreadable because a bit has flipped: the checksum says so.
        let (mut unreadable, mut connections) = (None, Vec::new());
        // The same for both passes.
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        loop {
            match reader.next()? {
                Part::File(SmallFile { name, content }) => {
                    backup.files.insert(name, STANDARD.decode(content).map_err(|_| reader.damaged())?);
                }
                Part::Secret(sealed) => backup.secret = Some(sealed),
                Part::Session(encoded) => match reader.record(&encoded) {
                    Ok(record) => {
                        backup.lines.insert(record.sid, reader.line);
                        connections.extend(record.connections.iter().map(|connection| hasher.hash_one(connection)));
                    }
                    Err(error) => drop(unreadable.get_or_insert(error)),
                },
                Part::Ended(sid) => drop(backup.lines.remove(&sid)),
                Part::End(sessions, sha256) => match unreadable {
                    Some(error) => return Err(error),
                    None if sessions != backup.lines.len() => return Err(reader.damaged()),
                    None => {
                        backup.sha256 = sha256;
                        break;
                    }
                },
            }
        }
        connections.sort_unstable();
        let several: HashSet<u64> =
            connections.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        drop(connections);
        if !several.is_empty() {
            let mut holders = HashMap::new();
            for record in backup.sessions(open()?) {
                let record = record?;
                let place = (record.last_seen, record.sid);
                for connection in record.connections {
                    if several.contains(&hasher.hash_one(&connection)) {
                        holders.entry(connection).and_modify(|held| *held = place.max(*held)).or_insert(place);
                    }
                }
            }
            backup.holders = holders;
        }
        Ok(backup)
    }

    /// How many sessions it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(&self, sid: SessionId) -> bool {
        self.lines.contains_key(&sid)
    }

    /// Its sessions, read again.
    pub fn sessions<R: BufRead>(&self, input: R) -> BackupSessions<'_, R> {
        let (text, by) = (Vec::new(), self.head.relogin.clone());
        let reader = Reader { input, digest: Context::new(&SHA256), text, line: 0, by };
        BackupSessions { backup: self, reader, is_over: false }
    }
}

impl<R: BufRead> BackupSessions<'_, R> {
    /// The next session that counts; none at the end.
    fn advance(&mut self) -> Result<Option<Record>, BackupError> {
        let Self { backup, reader, .. } = self;
        if reader.line == 0 {
            reader.read_line()?;
        }
        loop {
            match reader.next()? {
                Part::Session(encoded) => {
                    let mut record = reader.record(&encoded)?;
                    if backup.lines.get(&record.sid) != Some(&reader.line) {
                        continue;
                    }
                    let sid = record.sid;
                    record
                        .connections
                        .retain(|connection| backup.holders.get(connection).is_none_or(|(_, holder)| *holder == sid));
                    return Ok(Some(record));
                }
                Part::End(_, sha256) if sha256 == backup.sha256 => return Ok(None),
                Part::End(..) => return Err(BackupError::Changed),
                Part::File(_) | Part::Secret(_) | Part::Ended(_) => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for BackupSessions<'_, R> {
    type Item = Result<Record, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.advance().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R> fmt::Debug for BackupSessions<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupSessions").field("line", &self.reader.line).finish_non_exhaustive()
    }
}

impl<R: BufRead> FusedIterator for BackupSessions<'_, R> {}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    fn begin(input: R) -> Result<(Self, Head), BackupError> {
        let mut reader = Self { input, digest: Context::new(&SHA256), text: Vec::new(), line: 0, by: String::new() };
        reader.read_line()?;
        let Ok(Line::Backup(head)) = serde_json::from_slice(&reader.text) else { return Err(BackupError::NotABackup) };
        if head.format > FORMAT {
            return Err(BackupError::Newer { format: head.format, by: head.relogin });
        }
        reader.by.clone_from(&head.relogin);
        Ok((reader, head))
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.text.clear();
        self.input.read_until(b'\n', &mut self.text)?;
        self.line = self.line.saturating_add(1);
        Ok(())
    }

    /// The next line. After the end there is none.
    fn next(&mut self) -> Result<Part, BackupError> {
        self.digest.update(&self.text);
        self.read_line()?;
        if !self.text.ends_with(b"\n") {
            return Err(BackupError::Truncated(self.line as usize - 1));
        }
        let bytes = |text: String| STANDARD.decode(text).map_err(|_| self.damaged());
        Ok(match serde_json::from_slice(&self.text).map_err(|_| self.damaged())? {
            Line::Backup(_) => return Err(self.damaged()),
            Line::File(file) => Part::File(file),
            Line::Secret(sealed) => Part::Secret(bytes(sealed)?),
            Line::Session(encoded) => Part::Session(bytes(encoded)?),
            Line::Ended(sid) => Part::Ended(SessionId::parse(&sid).ok_or_else(|| self.damaged())?),
            Line::End(End { sessions, sha256 }) => {
                // Behind the end nothing was written.
                if sha256 != hex(self.digest.clone()) || !self.input.fill_buf()?.is_empty() {
                    return Err(self.damaged());
                }
                Part::End(sessions, sha256)
            }
        })
    }

    fn record(&self, encoded: &[u8]) -> Result<Record, BackupError> {
        let line = self.line as usize;
        Record::decode(encoded).map_err(|source| BackupError::Record { line, by: self.by.clone(), source })
    }

    fn damaged(&self) -> BackupError {
        BackupError::Damaged(self.line as usize)
    }
}
