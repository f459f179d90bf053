//! Reads a write-ahead log that may be damaged: all intact frames, and what is missing. Changes
//! nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    super::{
        super::Damage,
        vfs::{FileError, Fs},
    },
    Entry, Segment,
    frame::{BLOCK, Head, entries},
    manifest::{self, Listed},
};

/// The contents of a log's folder.
#[derive(Debug)]
pub(in super::super) struct Survey {
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    pub(super) blanks: Vec<PathBuf>,
    /// The manifest's number and contents, if it is intact.
    pub(in super::super) manifest: Option<(u64, Listed)>,
    pub(super) last_name: u64,
    /// The number of the last frame, or of the last checkpointed one.
    pub(in super::super) last: u64,
    /// What is wrong, and where.
    pub(in super::super) damage: Vec<(PathBuf, Damage)>,
}

/// Reads the log in `folder` and passes the writes of all intact frames to `each`, in order, with
/// the numbers of their frames. All frames up to `checkpointed` are durable elsewhere. `is_listed`:
/// there must be a manifest.
pub(in super::super) fn survey(
    folder: &Path,
    fs: &Fs,
    checkpointed: u64,
    is_listed: bool,
    mut each: impl FnMut(u64, Entry<'_>),
) -> Result<Survey, FileError> {
    let mut damage = Vec::new();
    let list = manifest::path(folder);
    let manifest = match fs.read_if_there(&list)? {
        Some(bytes) => {
            let parsed = manifest::parse(&bytes);
            if parsed.is_none() {
                damage.push((list, Damage::Unreadable));
            }
            parsed
        }
        None => {
            if is_listed {
                damage.push((list, Damage::Missing));
            }
            None
        }
    };
    let is_start_known = is_listed || manifest.is_some() || checkpointed > 0;
    let checkpointed = manifest.as_ref().map_or(checkpointed, |(_, listed)| listed.checkpointed.max(checkpointed));

    let (mut segments, mut blanks) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for path in fs.list(folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()) else { continue };
        names.insert(name);
        match segment_of(&fs.read(&path)?, checkpointed) {
            Some(number) => segments.push(Segment { file: fs.open(&path)?, path, name, number, end: 0 }),
            None => blanks.push(path),
        }
    }
    segments.sort_by_key(|segment| (segment.number, segment.name));
    for name in manifest.iter().flat_map(|(_, listed)| listed.files.difference(&names)) {
        damage.push((folder.join(name.to_string()), Damage::Missing));
    }

    let first = segments.first().filter(|_| !is_start_known).map(|segment| segment.number);
    let mut reader = Reader { next: first.unwrap_or(checkpointed + 1), last: 0 };
    for segment in &segments {
        if let Some(gap) = reader.read(segment, fs, &mut each)? {
            damage.push((segment.path.clone(), gap));
        }
    }
    let last_name = names.last().copied().unwrap_or(0);
    Ok(Survey { segments, blanks, manifest, last_name, last: reader.next - 1, damage })
}

/// The number of the segment in a file; none if the file is blank. All frames up to `checkpointed`
/// are checkpointed: anything else in a file that starts with no frame is left from an earlier use.
fn segment_of(file: &[u8], checkpointed: u64) -> Option<u64> {
    if let Some(head) = Head::read(file) {
        return Some(head.segment);
    }
    let blocks = (0..file.len()).step_by(BLOCK).map(|at| &file[at..]);
    let lives =
        |block: &[u8]| Head::read(block).filter(|head| head.number > checkpointed && head.body(block).is_some());
    // The first block is damaged, if others after it count.
    blocks.skip(1).find_map(lives).map(|head| head.segment)
}

/// Reads segments one after the other.
struct Reader {
    /// The number of the frame that must follow: all before it were read, or are checkpointed.
    next: u64,
    /// The number of the frame that was read last.
    last: u64,
}

impl Reader {
    /// The first gap in the segment or before it, if there is one.
    fn read(
        &mut self,
        segment: &Segment,
        fs: &Fs,
        each: &mut impl FnMut(u64, Entry<'_>),
    ) -> Result<Option<Damage>, FileError> {
        let blocks = fs.read(&segment.path)?;
        let mut rest = &blocks[..];
        let mut gap = None;
        while rest.len() >= BLOCK {
            let head = Head::read(rest).filter(|head| head.segment == segment.number && head.number > self.last);
            let Some((head, body)) = head.and_then(|head| Some((head, head.body(rest)?))) else {
                // The end, a torn last frame, or damage: if a frame follows, its number tells.
                rest = &rest[BLOCK..];
                continue;
            };
            if head.number > self.next {
                gap = gap.or(Some(Damage::Gap { expected: self.next, found: head.number }));
            }
            self.last = head.number;
            self.next = self.next.max(head.number + 1);
            entries(body).for_each(|entry| each(head.number, entry));
            rest = &rest[head.size().min(rest.len())..];
        }
        Ok(gap)
    }
}
