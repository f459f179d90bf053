//! The index on disk, so that a start need not read all sessions: what the index knew once all
//! frames of the write-ahead log up to some number were in it. Whatever follows in the write-ahead
//! log is applied on top. It may have seen a part of what follows already: each entry of the
//! write-ahead log is a session's whole state, so that does no harm.
//!
//! One file, written beside the old one, synced, and put in its place. A file that is not whole, by
//! its checksum, is no file: then all sessions are read.
//!
//! | bytes, little-endian | |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 8 | number of the frame |
//! | 8 | number of sessions |
//! | 8 | number of sessions that cannot be read |
//! | | each of those: sid (16) |
//! | | each session: sid (16), revision (8), deadline (8), user (tag 1, number 8 or length 4 and text), connections (length 4, text) |
//! | 4 | CRC-32 of all of it |

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use relogin_session::{SessionId, Timestamp, UserId};

use super::{
    super::index::Known,
    Revision,
    vfs::{FileError, Fs, Kind},
};

const MAGIC: [u8; 8] = *b"relogin2";
/// The magic number of snapshots from before the write-ahead log had a manifest.
const MAGIC_1: [u8; 8] = *b"relogin1";
const HEAD: usize = 32;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// All frames up to this one are in it.
    pub(super) frame: u64,
    pub(super) sessions: Vec<Known>,
    /// Sessions that are stored and cannot be read.
    pub(super) damaged: Vec<SessionId>,
    /// Whether the write-ahead log has had a manifest since before this was written.
    pub(super) is_listed: bool,
}

/// Writes a snapshot.
pub(super) struct SnapshotWriter {
    fs: Fs,
    file: File,
    /// Where the next bytes go.
    end: u64,
    crc: crc32fast::Hasher,
    sessions: u64,
    frame: u64,
    damaged: u64,
    path: PathBuf,
    gathered: Vec<u8>,
}

impl SnapshotWriter {
    /// Starts one, which replaces the file at `path` once it is finished. An unfinished one is
    /// removed.
    pub(super) fn begin(fs: &Fs, path: &Path, frame: u64, damaged: &[SessionId]) -> Result<Self, FileError> {
        fs.remove_if_there(&written(path))?;
        let file = fs.create(&written(path))?;
        let gathered = damaged.iter().flat_map(|sid| sid.0).collect();
        let (crc, damaged) = (crc32fast::Hasher::new(), damaged.len() as u64);
        // The header's contents are known at the end.
        let (fs, path, end) = (fs.clone(), path.to_owned(), HEAD as u64);
        Ok(Self { fs, file, end, crc, sessions: 0, frame, damaged, path, gathered })
    }

    /// Adds some sessions, without waiting for anything.
    pub(super) fn gather<'a>(&mut self, sessions: impl Iterator<Item = &'a Known>) {
        for known in sessions {
            encode(known, &mut self.gathered);
            self.sessions += 1;
        }
    }

    /// Writes what was collected.
    pub(super) fn write(&mut self) -> Result<(), FileError> {
        self.crc.update(&self.gathered);
        self.fs.write(Kind::Snapshot, &self.file, &written(&self.path), &self.gathered, self.end)?;
        self.end += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Puts the snapshot in its place. Durable when this returns.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        self.write()?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        for number in [self.frame, self.sessions, self.damaged] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let mut all = crc32fast::Hasher::new();
        all.update(&head);
        all.combine(&self.crc);
        let Self { fs, file, path, end, .. } = self;
        let new = written(&path);
        fs.write(Kind::Snapshot, &file, &new, &all.finalize().to_le_bytes(), end)?;
        fs.write(Kind::Snapshot, &file, &new, &head, 0)?;
        fs.sync(Kind::Snapshot, &file, &new)?;
        fs.rename(&new, &path)?;
        fs.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}

/// The state of the file at the path of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SnapshotFile {
    Nothing,
    /// A damaged file, by its checksum.
    Damaged,
    Whole(Snapshot),
}

/// Reads the snapshot at `path`.
pub(super) fn read(fs: &Fs, path: &Path) -> Result<SnapshotFile, FileError> {
    let bytes = fs.read_if_there(path)?;
    Ok(bytes.map_or(SnapshotFile::Nothing, |bytes| parse(&bytes).map_or(SnapshotFile::Damaged, SnapshotFile::Whole)))
}

/// Where a snapshot is until it is complete.
fn written(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn encode(known: &Known, out: &mut Vec<u8>) {
    out.extend_from_slice(&known.sid.0);
    out.extend_from_slice(&known.revision.0.to_le_bytes());
    out.extend_from_slice(&known.deadline.0.to_le_bytes());
    match &known.user {
        UserId::Number(number) => {
            out.push(0);
            out.extend_from_slice(&number.to_le_bytes());
        }
        UserId::Text(text) => {
            out.push(1);
            encode_text(text, out);
        }
    }
    encode_text(&known.connections, out);
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes()[..4]);
    out.extend_from_slice(text.as_bytes());
}

fn parse(bytes: &[u8]) -> Option<Snapshot> {
    let (content, checksum) = bytes.split_last_chunk()?;
    if u32::from_le_bytes(*checksum) != crc32fast::hash(content) {
        return None;
    }
    let mut rest = content;
    let is_listed = match take(&mut rest)? {
        MAGIC => true,
        MAGIC_1 => false,
        _ => return None,
    };
    let frame = u64::from_le_bytes(take(&mut rest)?);
    let [sessions, damaged] = [u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?)];
    let damaged = (0..damaged).map(|_| take(&mut rest).map(SessionId)).collect::<Option<_>>()?;
    // An iterator that may end early does not know its length, so the space is reserved at once.
    let mut known = Vec::with_capacity(usize::try_from(sessions).ok()?.min(bytes.len() / 41));
    for _ in 0..sessions {
        known.push(parse_known(&mut rest)?);
    }
    rest.is_empty().then_some(Snapshot { frame, sessions: known, damaged, is_listed })
}

fn parse_known(rest: &mut &[u8]) -> Option<Known> {
    let sid = SessionId(take(rest)?);
    let revision = Revision(u64::from_le_bytes(take(rest)?));
    let deadline = Timestamp(u64::from_le_bytes(take(rest)?));
    let user = match take(rest)? {
        [0] => UserId::Number(i64::from_le_bytes(take(rest)?)),
        [1] => UserId::Text(take_text(rest)?.to_owned()),
        _ => return None,
    };
    Some(Known { sid, revision, deadline, user, connections: take_text(rest)?.into() })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::{super::vfs::Disk, *};

    fn sessions() -> Vec<Known> {
        let known = |n: u8, user, connections: &str| Known {
            sid: SessionId([n; 16]),
            revision: Revision(u64::MAX - u64::from(n)),
            deadline: Timestamp(n.into()),
            user,
            connections: connections.into(),
        };
        vec![
            known(1, UserId::Number(-7), ""),
            known(2, UserId::Text("jürgen".to_owned()), "a.b"),
            known(3, UserId::Text(String::new()), &"c".repeat(32 * 65)),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let files = Fs::new(Arc::new(Disk));
        assert_eq!(read(&files, &path).unwrap(), SnapshotFile::Nothing);
        for frame in [5, 6] {
            let damaged = vec![SessionId([9; 16]); 2];
            let mut writer = SnapshotWriter::begin(&files, &path, frame, &damaged).unwrap();
            writer.gather(sessions()[..1].iter());
            writer.write().unwrap();
            writer.gather(sessions()[1..].iter());
            writer.finish().unwrap();
            let written = Snapshot { frame, sessions: sessions(), damaged, is_listed: true };
            assert_eq!(read(&files, &path).unwrap(), SnapshotFile::Whole(written));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let whole = fs::read(&path).unwrap();
        for n in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[n] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {n}");
            assert_eq!(parse(&whole[..n]), None, "{n} bytes");
        }
        fs::write(&path, &whole[1..]).unwrap();
        assert_eq!(read(&files, &path).unwrap(), SnapshotFile::Damaged);
    }
}
