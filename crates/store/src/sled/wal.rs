//! The write-ahead log: makes a group of writes durable with one sequential write and one
//! fdatasync. Knows frames and files, and of sessions only what is in an entry.
//!
//! It has a few files of one length, filled with zeros before they are used: so an fdatasync has no
//! length and no block to record beside the data, and a frame finds its space whatever happens to
//! the rest of the disk. A file is *blank* (no frame starts at its first block) or contains a
//! segment: consecutive frames, all with the number of the segment's first frame. What is left in a
//! file from an earlier use has another number.
//!
//! A frame is written when the one before it is synced. So after a crash or a power loss, all
//! frames but the last are intact or the disk is damaged; the last is intact or torn, and if it is
//! torn, nobody was answered for its contents. Frames are numbered without a gap from the one after
//! the last checkpoint, and `manifest` lists the files: a missing frame or file is damage, the
//! store does not open, and `relogin store repair` keeps what is left (`survey.rs`).
//!
//! Segments are dropped from the oldest on, once all of their writes are durable elsewhere: a
//! segment is blanked, synced, and reused. A file that is blank when the store opens is created
//! again, so that old frames never outlive a restart.
//!
//! **Shortages.** The next segment's file is created in advance. Whatever of that fails leaves the
//! log unchanged, and can be retried. Only a frame's own write and sync cannot: after them it is
//! unknown what is on disk.

mod frame;
pub(super) mod manifest;
mod survey;

use std::{
    collections::VecDeque,
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{frame::BLOCK, manifest::Manifest};
pub(super) use self::{
    frame::{Entry, Frame},
    survey::{Survey, survey},
};
use super::{
    StoreError,
    vfs::{FileError, Fs, Kind},
};

/// Sizes in bytes, and a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A segment. No frame may be longer.
    pub(super) segment: usize,
    /// The length of the write-ahead log at which it is checkpointed: so much for each session,
    /// within limits.
    pub(super) for_each_session: usize,
    pub(super) shortest: usize,
    pub(super) longest: usize,
    /// How much longer the log may become during a checkpoint. Beyond that, writes wait.
    pub(super) slack: usize,
    /// How long a checkpoint may make no progress while somebody waits for it. sled 0.34 can wait
    /// forever for a write that failed.
    pub(super) stall_limit: Duration,
}

impl Sizes {
    /// sled keeps about sixteen sessions on a page, which is better written for several at once:
    /// with a million sessions, and so a hundred thousand writes per checkpoint, its file is a
    /// third shorter than with single writes.
    pub(super) const USUAL: Self = Self {
        segment: 4 << 20,
        for_each_session: 32,
        shortest: 8 << 20,
        longest: 32 << 20,
        slack: 32 << 20,
        stall_limit: Duration::from_secs(60),
    };

    /// How long the log of this many sessions may become until it is checkpointed.
    pub(super) fn limit(&self, sessions: usize) -> usize {
        (sessions * self.for_each_session).clamp(self.shortest, self.longest)
    }
}

/// Appends frames.
#[derive(Debug)]
pub(super) struct Wal {
    files: std::sync::Arc<Files>,
    active: Option<Segment>,
    /// Segments that are full, oldest first.
    full: Vec<Segment>,
    /// The number of the last frame.
    last: u64,
}

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    /// The number that is the file's name.
    name: u64,
    /// The number of its first frame.
    number: u64,
    /// Where the next frame starts.
    end: usize,
}

/// The log's folder, and the blank files in it.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    fs: Fs,
    sizes: Sizes,
    manifest: Mutex<Manifest>,
    blanks: Mutex<Blanks>,
}

#[derive(Debug, Default)]
struct Blanks {
    files: Vec<Segment>,
    /// Blank files that the manifest may not list yet.
    unlisted: Vec<Segment>,
    /// The number in the name of the last file that was created.
    last_name: u64,
}

impl Wal {
    /// Opens the log in `folder`, which is created if it does not exist, and passes the writes of
    /// all frames to `each`, in order, with the numbers of their frames. All frames up to
    /// `checkpointed` are durable elsewhere; numbers continue from there at least. `is_listed`:
    /// there must be a manifest.
    pub(super) fn open(
        folder: &Path,
        fs: &Fs,
        sizes: Sizes,
        checkpointed: u64,
        is_listed: bool,
        each: impl FnMut(u64, Entry<'_>),
    ) -> Result<Self, StoreError> {
        fs.create_folder(folder)?;
        let Survey { segments, blanks, manifest, last_name, last, damage } =
            survey(folder, fs, checkpointed, is_listed, each)?;
        if let Some((file, damage)) = damage.into_iter().next() {
            return Err(StoreError::Damaged(file, damage));
        }
        // What a killed process has written may still be on its way to the disk. It is synced
        // before it is relied on.
        for segment in &segments {
            fs.sync(Kind::Wal, &segment.file, &segment.path)?;
        }
        let names = segments.iter().map(|segment| segment.name).collect();
        let mut manifest = match manifest {
            Some(read) => Manifest::open(fs, folder, read)?,
            None => Manifest::create(fs, folder, manifest::Listed::default())?,
        };
        manifest.change(fs, |listed| {
            listed.files = names;
            listed.checkpointed = listed.checkpointed.max(checkpointed);
        })?;
        for blank in blanks {
            fs.remove(&blank)?;
        }
        let blanks = Mutex::new(Blanks { last_name, ..Blanks::default() });
        let files = Files { folder: folder.to_owned(), fs: fs.clone(), sizes, manifest: Mutex::new(manifest), blanks };
        Ok(Self { files: std::sync::Arc::new(files), active: None, full: segments, last })
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.files.sizes
    }

    pub(super) fn files(&self) -> &std::sync::Arc<Files> {
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

    /// Makes room for a frame of `length` bytes. True if that took a new file.
    ///
    /// # Errors
    /// There is no file, and none can be created. Nothing has changed.
    pub(super) fn make_room(&mut self, length: usize) -> Result<bool, FileError> {
        let room = self.active.as_ref().map_or(0, |active| self.files.sizes.segment - active.end);
        let is_full = room < length.next_multiple_of(BLOCK);
        if is_full {
            let next = Segment { number: self.last + 1, ..self.files.take()? };
            self.full.extend(self.active.replace(next));
        }
        Ok(is_full)
    }

    /// Makes a frame durable, for which there is room.
    ///
    /// # Errors
    /// It is unknown what is on disk: nothing may be written any more.
    pub(super) fn append(&mut self, frame: Frame) -> Result<(), FileError> {
        let number = self.last + 1;
        let active = self.active.as_mut().expect("room was made");
        let blocks = frame.seal(active.number, number);
        self.files.fs.write(Kind::Frame, &active.file, &active.path, &blocks, active.end as u64)?;
        self.files.fs.sync(Kind::Frame, &active.file, &active.path)?;
        active.end += blocks.len();
        self.last = number;
        Ok(())
    }

    /// All segments so far, oldest first, for [`Files::drop_segments`]. The next frame starts a new
    /// one.
    pub(super) fn cut(&mut self) -> VecDeque<Segment> {
        self.full.extend(self.active.take());
        std::mem::take(&mut self.full).into()
    }
}

impl Files {
    /// How many blank files are kept ready.
    const READY: usize = 1;

    /// Creates blank files until there are enough. For a background thread; can be retried after an
    /// error.
    pub(super) fn prepare(&self) -> Result<(), FileError> {
        while self.blanks().files.len() < Self::READY {
            self.make()?;
        }
        Ok(())
    }

    /// Records that all frames up to `frame` are durable elsewhere. Can be retried after an error.
    pub(super) fn note_checkpointed(&self, frame: u64) -> Result<(), FileError> {
        self.manifest().change(&self.fs, |listed| listed.checkpointed = listed.checkpointed.max(frame))
    }

    /// Drops segments, which are taken out of the list one by one. Their files stay as blank ones,
    /// as many as a log of `limit` bytes needs. After an error it can be retried with the rest.
    pub(super) fn drop_segments(&self, segments: &mut VecDeque<Segment>, limit: usize) -> Result<(), FileError> {
        let keep = (limit / self.sizes.segment).max(Self::READY);
        while let Some(segment) = segments.front() {
            // One after the other, each synced: what is left after a crash is everything from some
            // segment on.
            self.fs.write(Kind::Wal, &segment.file, &segment.path, &[0; BLOCK], 0)?;
            self.fs.sync(Kind::Wal, &segment.file, &segment.path)?;
            if self.blanks().files.len() < keep {
                let blank = segments.pop_front().map(|segment| Segment { end: 0, ..segment });
                self.blanks().files.extend(blank);
            } else {
                self.manifest().change(&self.fs, |listed| listed.files.retain(|name| *name != segment.name))?;
                self.fs.remove_if_there(&segment.path)?;
                segments.pop_front();
            }
        }
        Ok(())
    }

    /// Returns the blank files to the disk, for what is needed more urgently. Can be retried after
    /// an error.
    pub(super) fn release(&self) -> Result<(), FileError> {
        let mut manifest = self.manifest();
        let blanks = {
            let mut blanks = self.blanks();
            let mut all = std::mem::take(&mut blanks.unlisted);
            all.append(&mut blanks.files);
            all
        };
        let names: Vec<_> = blanks.iter().map(|blank| blank.name).collect();
        if let Err(error) = manifest.change(&self.fs, |listed| listed.files.retain(|name| !names.contains(name))) {
            self.blanks().unlisted.extend(blanks);
            return Err(error);
        }
        // What cannot be removed is not listed, and is removed at the next start.
        blanks.iter().try_for_each(|blank| self.fs.remove_if_there(&blank.path))
    }

    fn take(&self) -> Result<Segment, FileError> {
        loop {
            if let Some(blank) = self.blanks().files.pop() {
                return Ok(blank);
            }
            self.make()?;
        }
    }

    /// Creates a blank file, and lists it.
    fn make(&self) -> Result<(), FileError> {
        if self.blanks().unlisted.is_empty() {
            let made = self.make_unlisted()?;
            self.blanks().unlisted.push(made);
        }
        let mut manifest = self.manifest();
        let unlisted: Vec<_> = self.blanks().unlisted.iter().map(|segment| segment.name).collect();
        manifest.change(&self.fs, |listed| listed.files.extend(&unlisted))?;
        let mut blanks = self.blanks();
        let (listed, rest) =
            std::mem::take(&mut blanks.unlisted).into_iter().partition(|segment| unlisted.contains(&segment.name));
        blanks.unlisted = rest;
        blanks.files.extend::<Vec<_>>(listed);
        Ok(())
    }

    fn make_unlisted(&self) -> Result<Segment, FileError> {
        let name = {
            let mut blanks = self.blanks();
            blanks.last_name += 1;
            blanks.last_name
        };
        let path = self.folder.join(name.to_string());
        let file = self.fs.create(&path)?;
        let fill = || {
            let length = self.sizes.segment;
            // First all of the space is reserved, or none of it is touched; then zeros, so that
            // later writes change no metadata.
            self.fs.allocate(&file, &path, 0, length as u64)?;
            self.fs.write(Kind::Wal, &file, &path, &vec![0; length], 0)?;
            self.fs.sync(Kind::Wal, &file, &path)?;
            self.fs.sync_folder(&self.folder)
        };
        if let Err(error) = fill() {
            // It is not listed: if it stays, the next start removes it.
            let _ = self.fs.remove(&path);
            return Err(error);
        }
        Ok(Segment { file, path, name, number: 0, end: 0 })
    }

    /// Nothing under the locks panics halfway, so the state behind a poisoned lock is intact. The
    /// manifest's lock is taken before that of the blank files.
    fn blanks(&self) -> MutexGuard<'_, Blanks> {
        self.blanks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        os::unix::fs::FileExt,
        sync::Arc,
    };

    use relogin_session::SessionId;
    use tempfile::TempDir;

    use super::{
        super::{super::Damage, Revision, vfs::Disk},
        frame::Head,
        *,
    };

    const SIZES: Sizes =
        Sizes { segment: 4 * BLOCK, for_each_session: 0, shortest: 0, longest: 8 * BLOCK, slack: 0, ..Sizes::USUAL };

    fn try_open(folder: &TempDir) -> Result<(Wal, Vec<(u64, u64)>), StoreError> {
        let mut read = Vec::new();
        let each = |number, entry: Entry<'_>| read.push((number, entry.revision.0));
        let wal = Wal::open(folder.path(), &Fs::new(Arc::new(Disk)), SIZES, 0, false, each)?;
        Ok((wal, read))
    }

    fn opened(folder: &TempDir) -> (Wal, Vec<(u64, u64)>) {
        try_open(folder).unwrap()
    }

    fn append(wal: &mut Wal, revision: u64) {
        let mut frame = Frame::new();
        frame.push(Entry { sid: SessionId([0; 16]), revision: Revision(revision), value: None });
        wal.make_room(frame.len()).unwrap();
        wal.append(frame).unwrap();
    }

    /// The file in which the frame `number` is the first.
    fn path_of(folder: &TempDir, number: u64) -> PathBuf {
        let mut files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| Head::read(&fs::read(path).unwrap()).is_some_and(|head| head.number == number)).unwrap()
    }

    fn file_of(folder: &TempDir, number: u64) -> File {
        OpenOptions::new().read(true).write(true).open(path_of(folder, number)).unwrap()
    }

    /// A write-ahead log of three segments, in which frame 9 is the first that is not checkpointed.
    fn long() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = opened(&folder);
        for n in 1..=8 {
            append(&mut wal, n);
        }
        let mut segments = wal.cut();
        wal.files().note_checkpointed(8).unwrap();
        wal.files().drop_segments(&mut segments, 2 * SIZES.segment).unwrap();
        for n in 9..=18 {
            append(&mut wal, n);
        }
        folder
    }

    #[test]
    fn frames_are_read_in_order_over_segments_and_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..3 {
            let (mut wal, read) = opened(&folder);
            let expected: Vec<_> = (1..=life * 6).map(|n| (n, 100 + n)).collect();
            assert_eq!((wal.last(), read), (life * 6, expected));
            (1..=6).for_each(|n| append(&mut wal, 100 + life * 6 + n));
        }
    }

    #[test]
    fn dropped_frames_are_not_read_and_their_files_are_reused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = opened(&folder);
        for n in 1..100 {
            append(&mut wal, n);
            if n % 10 == 0 {
                let mut segments = wal.cut();
                wal.files().note_checkpointed(n).unwrap();
                wal.files().drop_segments(&mut segments, 2 * SIZES.segment).unwrap();
                wal.files().prepare().unwrap();
            }
        }
        assert!(fs::read_dir(folder.path()).unwrap().count() <= 6);
        assert_eq!(opened(&folder).1, (91..100).map(|n| (n, n)).collect::<Vec<_>>());
    }

    #[test]
    fn blank_files_are_removed_and_not_reported_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = opened(&folder);
        append(&mut wal, 1);
        wal.files().prepare().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        wal.files().release().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        (2..=9).for_each(|n| append(&mut wal, n));
        assert_eq!(opened(&folder).1.len(), 9);
    }

    #[test]
    fn a_torn_last_frame_ends_the_log_and_a_damaged_one_is_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = opened(&folder);
        (1..=6).for_each(|n| append(&mut wal, n));
        drop(wal);
        file_of(&folder, 5).write_all_at(b"torn", BLOCK as u64 + 40).unwrap();
        let (mut wal, read) = opened(&folder);
        assert_eq!(read.iter().map(|read| read.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        // The number is given out again, and the torn frame does not come back.
        append(&mut wal, 60);
        assert_eq!(opened(&folder).1.last(), Some(&(6, 60)));
        file_of(&folder, 1).write_all_at(b"damaged", BLOCK as u64 + 40).unwrap();
        let Err(StoreError::Damaged(file, Damage::Gap { expected: 2, found: 3 })) = try_open(&folder) else { panic!() };
        assert_eq!(file, path_of(&folder, 1));
    }

    #[test]
    fn a_missing_file_is_reported_whichever_it_is() {
        let whole = long();
        assert_eq!(opened(&whole).1.iter().map(|read| read.0).collect::<Vec<_>>(), (9..=18).collect::<Vec<_>>());
        for number in [9, 13, 17] {
            for is_listed in [true, false] {
                let folder = long();
                let path = path_of(&folder, number);
                fs::remove_file(&path).unwrap();
                if !is_listed {
                    // As before there were manifests: then the newest is not missed.
                    fs::remove_file(manifest::path(folder.path())).unwrap();
                }
                match try_open(&folder) {
                    Err(StoreError::Damaged(file, Damage::Missing)) => assert!(is_listed && file == path),
                    Err(StoreError::Damaged(_, Damage::Gap { expected: 13, found: 17 })) => {
                        assert!(!is_listed && number == 13);
                    }
                    Ok(_) => assert!(!is_listed && number != 13),
                    Err(error) => panic!("{number}, {is_listed}: {error:?}"),
                }
            }
        }
    }

    #[test]
    fn no_flipped_bit_loses_a_frame_in_silence_but_in_the_last_one() {
        let whole = long();
        for number in [9, 13, 17] {
            let path = path_of(&whole, number);
            let content = fs::read(&path).unwrap();
            for frame in number..(number + 4).min(19) {
                // Head and body.
                for byte in [0, 9, 17, 24, 30, 40, 59] {
                    let mut damaged = content.clone();
                    damaged[usize::try_from(frame - number).unwrap() * BLOCK + byte] ^= 4;
                    fs::write(&path, damaged).unwrap();
                    let result = try_survey(&whole);
                    assert_eq!(result.is_empty(), frame == 18, "frame {frame}, byte {byte}: {result:?}");
                }
            }
            fs::write(&path, content).unwrap();
        }
        assert!(try_survey(&whole).is_empty());
    }

    fn try_survey(folder: &TempDir) -> Vec<(PathBuf, Damage)> {
        survey(folder.path(), &Fs::new(Arc::new(Disk)), 0, true, |_, _| {}).unwrap().damage
    }

    #[test]
    fn a_damaged_frame_that_is_checkpointed_is_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = opened(&folder);
        (1..=6).for_each(|n| append(&mut wal, n));
        wal.files().note_checkpointed(4).unwrap();
        drop(wal);
        file_of(&folder, 1).write_all_at(b"damaged", BLOCK as u64 + 40).unwrap();
        assert_eq!(opened(&folder).1.iter().map(|read| read.0).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    }

    #[test]
    fn an_unknown_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        opened(&folder);
        assert!(folder.path().join("notes.txt").exists());
    }
}
