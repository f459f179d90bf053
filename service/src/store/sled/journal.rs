//! The journal: what makes a group of writes durable, with one sequential write and one fdatasync. Knows frames and files, and
//! nothing of sessions but what stands in an entry.
//!
//! A few files of one length, written with zeros before they are used: so an fdatasync has neither a length nor a block
//! to note beside the data. A file is *blank* (no frame begins at its first block) or holds a segment: frames one behind the
//! other, all with the number of the segment's first frame. What is left in a file from an earlier use has another number.
//!
//! A frame is written when the one before it is synced. So after a crash or a power loss, all frames but the last are whole
//! or the disk is damaged; the last is whole or torn, and if it is torn, nobody was told of what is in it. A damaged frame
//! before others is passed over and said so: one bad block must not lock everybody out.
//!
//! Segments are dropped from the oldest on, once all of their writes are durable elsewhere: a segment is blanked, synced, and
//! used again. A file that is blank when the store opens is made anew, so that old frames never outlive a restart.

mod frame;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::frame::{BLOCK, Head};
pub(super) use self::frame::{Entry, Frame, entries};
use super::barrier::{Barrier, Kind};

/// How long things are, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A segment. No frame may be longer.
    pub(super) segment: usize,
    /// The journal, when it is settled: so much for each session, within bounds.
    pub(super) for_each_session: usize,
    pub(super) shortest: usize,
    pub(super) longest: usize,
    /// How much longer the journal may become while it is being settled. Then writes wait.
    pub(super) slack: usize,
}

impl Sizes {
    /// sled keeps some sixteen sessions on a page, which is better written for several at once: with a million sessions, and
    /// so a hundred thousand writes in each settlement, its file is a third shorter than if each write were its own.
    pub(super) const USUAL: Self =
        Self { segment: 4 << 20, for_each_session: 32, shortest: 8 << 20, longest: 32 << 20, slack: 32 << 20 };

    /// How long the journal of so many sessions may become until it is settled.
    pub(super) fn limit(&self, sessions: usize) -> usize {
        (sessions * self.for_each_session).clamp(self.shortest, self.longest)
    }
}

/// Appends frames.
#[derive(Debug)]
pub(super) struct Journal {
    files: Arc<Files>,
    active: Option<Segment>,
    /// Segments that are full, oldest first.
    full: Vec<Segment>,
    /// The number of the last frame.
    last: u64,
}

/// A file of the journal.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    /// The number of its first frame.
    number: u64,
    /// Where the next frame begins.
    end: usize,
}

/// The journal's folder, and the blank files in it.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    barrier: Arc<dyn Barrier>,
    sizes: Sizes,
    blanks: Mutex<Blanks>,
}

#[derive(Debug, Default)]
struct Blanks {
    files: Vec<Segment>,
    /// The number in the name of the last file that was made.
    last_name: u64,
}

impl Journal {
    /// Opens the journal in `folder`, which is made if it is not there, and hands the writes of all frames to `each`, in order,
    /// with the numbers of their frames. Numbers go on from there, but from `last` at least.
    pub(super) fn open(
        folder: &Path,
        barrier: Arc<dyn Barrier>,
        sizes: Sizes,
        last: u64,
        mut each: impl FnMut(u64, Entry<'_>),
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut last_name = 0;
        let mut full = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            last_name = last_name.max(name);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut first = [0; BLOCK];
            let head = file.read_exact_at(&mut first, 0).ok().and_then(|()| Head::read(&first));
            match head {
                // What a killed process has written may be on its way to the disk still. Before it is read as true, it is.
                Some(head) => {
                    barrier.data(Kind::Journal, &file, &path)?;
                    full.push(Segment { file, path, number: head.segment, end: 0 });
                }
                None => fs::remove_file(&path)?,
            }
        }
        full.sort_by_key(|segment| segment.number);
        let mut reader = Reader { expected: None };
        for segment in &full {
            reader.read(segment, &mut each)?;
        }
        let last = reader.expected.map_or(last, |next| last.max(next - 1));
        let blanks = Mutex::new(Blanks { files: Vec::new(), last_name });
        let files = Arc::new(Files { folder: folder.to_owned(), barrier, sizes, blanks });
        Ok(Self { files, active: None, full, last })
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.files.sizes
    }

    pub(super) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The number of the last frame.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// How many bytes of segments there are.
    pub(super) fn len(&self) -> usize {
        self.full.len() * self.files.sizes.segment + self.active.as_ref().map_or(0, |active| active.end)
    }

    /// Makes a frame durable. True if that took a new file.
    pub(super) fn append(&mut self, frame: Frame) -> io::Result<bool> {
        let number = self.last + 1;
        let room = self.active.as_ref().map_or(0, |active| self.files.sizes.segment - active.end);
        let is_full = room < frame.len().next_multiple_of(BLOCK);
        if is_full {
            let next = self.files.take()?;
            self.full.extend(self.active.replace(Segment { number, ..next }));
        }
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotFound.into()) };
        let blocks = frame.seal(active.number, number);
        active.file.write_all_at(&blocks, active.end as u64)?;
        self.files.barrier.data(Kind::Frame, &active.file, &active.path)?;
        active.end += blocks.len();
        self.last = number;
        Ok(is_full)
    }

    /// All segments so far, oldest first, for [`Files::drop_segments`]. The next frame begins a new one.
    pub(super) fn cut(&mut self) -> Vec<Segment> {
        self.full.extend(self.active.take());
        std::mem::take(&mut self.full)
    }
}

impl Files {
    /// How many blank files are kept ready.
    const READY: usize = 1;

    /// Makes blank files until there are enough. For a thread that has time.
    pub(super) fn prepare(&self) -> io::Result<()> {
        while self.blanks().files.len() < Self::READY {
            let blank = self.make()?;
            self.blanks().files.push(blank);
        }
        Ok(())
    }

    /// Drops segments. Their files stay as blank ones, as many as a journal of `limit` bytes needs.
    pub(super) fn drop_segments(&self, segments: Vec<Segment>, limit: usize) -> io::Result<()> {
        let keep = limit / self.sizes.segment;
        for segment in segments {
            // One after the other, and each synced: what is left after a crash is all from some segment on.
            segment.file.write_all_at(&[0; BLOCK], 0)?;
            self.barrier.data(Kind::Journal, &segment.file, &segment.path)?;
            let mut blanks = self.blanks();
            if blanks.files.len() < keep {
                blanks.files.push(Segment { end: 0, ..segment });
            } else {
                drop(blanks);
                fs::remove_file(&segment.path)?;
            }
        }
        Ok(())
    }

    fn take(&self) -> io::Result<Segment> {
        let blank = self.blanks().files.pop();
        blank.map_or_else(|| self.make(), Ok)
    }

    fn make(&self) -> io::Result<Segment> {
        let name = {
            let mut blanks = self.blanks();
            blanks.last_name += 1;
            blanks.last_name
        };
        let path = self.folder.join(name.to_string());
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all_at(&vec![0; self.sizes.segment], 0)?;
        self.barrier.data(Kind::Journal, &file, &path)?;
        self.barrier.folder(&self.folder)?;
        Ok(Segment { file, path, number: 0, end: 0 })
    }

    /// Nothing under the lock panics halfway, so what a poisoned lock guards is whole.
    fn blanks(&self) -> MutexGuard<'_, Blanks> {
        self.blanks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads segments one after the other.
struct Reader {
    /// The number of the next frame, once one was read.
    expected: Option<u64>,
}

impl Reader {
    fn read(&mut self, segment: &Segment, each: &mut impl FnMut(u64, Entry<'_>)) -> io::Result<()> {
        let blocks = fs::read(&segment.path)?;
        let mut rest = &blocks[..];
        let mut is_damaged = false;
        while rest.len() >= BLOCK {
            let head = Head::read(rest).filter(|head| head.segment == segment.number && self.follows(head.number));
            let Some((head, body)) = head.and_then(|head| Some((head, head.body(rest)?))) else {
                // The end, a torn last frame, or damage: if a frame follows, it is damage.
                is_damaged = true;
                rest = &rest[BLOCK..];
                continue;
            };
            if is_damaged || self.expected.is_some_and(|expected| expected != head.number) {
                tracing::error!(
                    file = %segment.path.display(), expected = self.expected, found = head.number,
                    "the journal is damaged: what changed in between is lost"
                );
                is_damaged = false;
            }
            self.expected = Some(head.number + 1);
            entries(body).for_each(|entry| each(head.number, entry));
            rest = &rest[head.size().min(rest.len())..];
        }
        Ok(())
    }

    fn follows(&self, number: u64) -> bool {
        self.expected.is_none_or(|expected| number >= expected)
    }
}

#[cfg(test)]
mod tests {
    use relogin_session::SessionId;
    use tempfile::TempDir;

    use super::{
        super::{Revision, barrier::Disk},
        *,
    };

    const SIZES: Sizes = Sizes { segment: 4 * BLOCK, for_each_session: 0, shortest: 0, longest: 8 * BLOCK, slack: 0 };

    fn opened(folder: &TempDir) -> (Journal, Vec<(u64, u64)>) {
        let mut read = Vec::new();
        let each = |number, entry: Entry<'_>| read.push((number, entry.revision.0));
        let journal = Journal::open(folder.path(), Arc::new(Disk), SIZES, 0, each).unwrap();
        (journal, read)
    }

    fn append(journal: &mut Journal, revision: u64) {
        let mut frame = Frame::new();
        frame.push(Entry { sid: SessionId([0; 16]), revision: Revision(revision), value: None });
        journal.append(frame).unwrap();
    }

    /// The file in which the frame `number` is the first.
    fn file_of(folder: &TempDir, number: u64) -> File {
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut opened = files.map(|path| OpenOptions::new().read(true).write(true).open(path).unwrap());
        let begins = |file: &File| {
            let mut block = [0; BLOCK];
            file.read_exact_at(&mut block, 0).unwrap();
            Head::read(&block).is_some_and(|head| head.number == number)
        };
        opened.find(begins).unwrap()
    }

    #[test]
    fn frames_are_read_in_order_over_segments_and_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..3 {
            let (mut journal, read) = opened(&folder);
            let expected: Vec<_> = (1..=life * 6).map(|n| (n, 100 + n)).collect();
            assert_eq!((journal.last(), read), (life * 6, expected));
            (1..=6).for_each(|n| append(&mut journal, 100 + life * 6 + n));
        }
    }

    #[test]
    fn what_is_dropped_is_read_no_more_and_its_files_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = opened(&folder);
        for n in 1..100 {
            append(&mut journal, n);
            if n % 10 == 0 {
                let segments = journal.cut();
                journal.files().drop_segments(segments, 2 * SIZES.segment).unwrap();
                journal.files().prepare().unwrap();
            }
        }
        assert!(fs::read_dir(folder.path()).unwrap().count() <= 5);
        assert_eq!(opened(&folder).1, (91..100).map(|n| (n, n)).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_last_frame_ends_it_and_a_damaged_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = opened(&folder);
        (1..=6).for_each(|n| append(&mut journal, n));
        drop(journal);
        file_of(&folder, 5).write_all_at(b"torn", BLOCK as u64 + 40).unwrap();
        let (mut journal, read) = opened(&folder);
        assert_eq!(read.iter().map(|read| read.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        // The number is given out again, and the torn frame does not come back.
        append(&mut journal, 60);
        file_of(&folder, 1).write_all_at(b"damaged", BLOCK as u64 + 40).unwrap();
        assert_eq!(opened(&folder).1, [(1, 1), (3, 3), (4, 4), (5, 5), (6, 60)]);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        opened(&folder);
        assert!(folder.path().join("notes.txt").exists());
    }
}
