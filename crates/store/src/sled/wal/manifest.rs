//! The write-ahead log's list of its files, and how far its writes are durable elsewhere: so a file
//! that somebody has taken away is missed, be it the newest. Knows no frames.
//!
//! One file of two slots. Each state of the list goes to the slot in which the state before it is
//! not, and is synced before anything is done that rests on it; of two whole slots the one with the
//! higher number counts. A file is listed once it is on disk and before a frame is in it, and is
//! taken off the list before its name goes. So a crash leaves files that are not listed, and never
//! lists one that is not there.
//!
//! | bytes of a slot, little-endian | |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 8 | number of the state |
//! | 8 | all frames up to this one are durable in sled and in the snapshot |
//! | 8 | number of files |
//! | | each file: the number that is its name (8) |
//! | 4 | CRC-32 of all of it |

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    super::vfs::{FileError, Fs, Kind},
    frame::BLOCK,
};

const MAGIC: [u8; 8] = *b"relogin1";

/// The contents of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Listed {
    /// All frames up to this one are durable in sled and in the snapshot of the index.
    pub(in super::super) checkpointed: u64,
    /// The log's files, by the numbers that are their names.
    pub(in super::super) files: BTreeSet<u64>,
}

/// The list and its file.
#[derive(Debug)]
pub(super) struct Manifest {
    file: File,
    path: PathBuf,
    listed: Listed,
    /// The number of the last state on disk.
    written: u64,
}

/// The path of the list of the log in `folder`.
pub(in super::super) fn path(folder: &Path) -> PathBuf {
    folder.join("manifest")
}

/// Reads a list: its number and contents. None if neither slot is intact.
pub(in super::super) fn parse(bytes: &[u8]) -> Option<(u64, Listed)> {
    bytes.chunks(BLOCK).take(2).filter_map(parse_slot).max_by_key(|(number, _)| *number)
}

impl Manifest {
    /// Opens the list that was read.
    pub(super) fn open(fs: &Fs, folder: &Path, (written, listed): (u64, Listed)) -> Result<Self, FileError> {
        let path = path(folder);
        Ok(Self { file: fs.open(&path)?, path, listed, written })
    }

    /// Creates one. When this returns it exists and is intact, or does not exist.
    pub(super) fn create(fs: &Fs, folder: &Path, listed: Listed) -> Result<Self, FileError> {
        let path = path(folder);
        let new = path.with_extension("new");
        fs.remove_if_there(&new)?;
        let file = fs.create(&new)?;
        // Both slots, so that later states have their space.
        let mut bytes = encode(1, &listed);
        bytes.resize(2 * BLOCK, 0);
        bytes.rotate_right(BLOCK);
        fs.write(Kind::Manifest, &file, &new, &bytes, 0)?;
        fs.sync(Kind::Manifest, &file, &new)?;
        fs.rename(&new, &path)?;
        fs.sync_folder(folder)?;
        Ok(Self { file, path, listed, written: 1 })
    }

    /// Changes the list. Durable when this returns; after an error that is unknown, and this should
    /// be called again.
    pub(super) fn change(&mut self, fs: &Fs, change: impl FnOnce(&mut Listed)) -> Result<(), FileError> {
        change(&mut self.listed);
        let number = self.written + 1;
        // After an error this is the same slot again: the other one has the last state that is
        // known to be on disk.
        let at = number % 2 * BLOCK as u64;
        fs.write(Kind::Manifest, &self.file, &self.path, &encode(number, &self.listed), at)?;
        fs.sync(Kind::Manifest, &self.file, &self.path)?;
        self.written = number;
        Ok(())
    }
}

fn encode(number: u64, listed: &Listed) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend_from_slice(&MAGIC);
    for number in [number, listed.checkpointed, listed.files.len() as u64].iter().chain(&listed.files) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    debug_assert!(bytes.len() <= BLOCK, "the journal is bounded to far fewer files");
    bytes.resize(BLOCK, 0);
    bytes
}

fn parse_slot(slot: &[u8]) -> Option<(u64, Listed)> {
    let number_at = |at: usize| Some(u64::from_le_bytes(*slot.get(at..)?.first_chunk()?));
    if slot.get(..8)? != MAGIC {
        return None;
    }
    let count = usize::try_from(number_at(24)?).ok().filter(|count| *count < BLOCK / 8)?;
    let end = 32 + count * 8;
    let checksum = u32::from_le_bytes(*slot.get(end..)?.first_chunk()?);
    if checksum != crc32fast::hash(&slot[..end]) {
        return None;
    }
    let files = (0..count).map(|n| number_at(32 + n * 8)).collect::<Option<_>>()?;
    Some((number_at(8)?, Listed { checkpointed: number_at(16)?, files }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::super::vfs::Disk, *};

    #[test]
    fn the_newest_whole_state_counts_and_a_torn_one_leaves_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Fs::new(Arc::new(Disk));
        let read = || parse(&std::fs::read(path(folder.path())).unwrap());
        let listed = |checkpointed, files: &[u64]| Listed { checkpointed, files: files.iter().copied().collect() };
        let mut manifest = Manifest::create(&fs, folder.path(), listed(3, &[])).unwrap();
        assert_eq!(read(), Some((1, listed(3, &[]))));
        for number in 2..9 {
            manifest.change(&fs, |listed| listed.files.extend([number])).unwrap();
            assert_eq!(read().unwrap().1.files.last(), Some(&number));
            let whole = std::fs::read(path(folder.path())).unwrap();
            let slot = usize::try_from(number % 2).unwrap() * BLOCK;
            for byte in 0..32 + whole[slot + 24] as usize * 8 + 4 {
                let mut torn = whole.clone();
                torn[slot + byte] ^= 1;
                assert_eq!(parse(&torn).unwrap().0, number - 1, "byte {byte}");
            }
            manifest = Manifest::open(&fs, folder.path(), read().unwrap()).unwrap();
        }
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0; 2 * BLOCK]), None);
    }
}
