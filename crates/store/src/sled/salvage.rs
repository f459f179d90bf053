//! Reads what is whole in sled's files, whether sled can open them or not: all values in messages
//! whose checksums are right, also such as were written over since. Which of them still count is
//! for others to say. Changes nothing, and knows no sessions.
//!
//! sled 0.34's log is a file of segments of 512 KiB: a head of 20 bytes, then messages one behind
//! the other. A message has a head (CRC-32 of the rest and the body, kind, and three numbers:
//! length of the body, number of the segment, page) and a body, which for a leaf is all of its keys
//! and values, and for a link one of both. A body of more than 128 KiB is a file in `blobs`. Behind
//! a damaged message the next one is looked for byte by byte.
//!
//! sled takes the first damaged message for the end of its log, and **overwrites what is behind
//! it** when it opens, also if it then refuses to. After a power loss that is right: the
//! write-ahead log has it. If the disk has lost something, it destroys what could be read. So
//! [`is_suspect`] is asked first.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use super::{
    database::{SEGMENT, log_path},
    vfs::{FileError, Fs},
};

/// The length of a segment's header.
const SEGMENT_HEAD: usize = 20;
/// The longest body in the log.
const MAX_BODY: usize = SEGMENT as usize / 4;

/// The longest header of a message.
const MESSAGE_HEAD: usize = 32;

const CAP: u8 = 2;
const INLINE_NODE: u8 = 8;
const BLOB_NODE: u8 = 9;
const INLINE_LINK: u8 = 10;
const BLOB_LINK: u8 = 11;

/// Passes all intact values to `each`, in no particular order.
pub(super) fn values(fs: &Fs, folder: &Path, mut each: impl FnMut(&[u8])) -> Result<(), FileError> {
    let path = log_path(folder);
    if path.exists() {
        let log = fs.open(&path)?;
        let mut segment = vec![0; SEGMENT as usize];
        let mut at = 0;
        loop {
            let length = read(&log, &mut segment, at).map_err(|error| FileError::new("read", &path, error))?;
            if length == 0 {
                break;
            }
            in_segment(&segment[..length], &mut each);
            at += length as u64;
        }
    }
    let blobs = path.with_file_name("blobs");
    if blobs.exists() {
        for blob in fs.list(&blobs)? {
            in_blob(&fs.read(&blob)?, &mut each);
        }
    }
    Ok(())
}

/// True if there may be damage where sled would take it for the end of its log: in a segment that
/// it reads when it opens, a damaged message is followed by others, or belongs to this segment by
/// its header.
pub(super) fn is_suspect(fs: &Fs, folder: &Path) -> Result<bool, FileError> {
    let path = log_path(folder);
    if !path.exists() {
        return Ok(false);
    }
    // sled's snapshots are named after the position up to which they know the log.
    let names = fs.list(&folder.join("sessions"))?;
    let known = names.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_prefix("snap.")?;
        u64::from_str_radix(name, 16).ok()
    });
    let first = known.max().unwrap_or(0) / SEGMENT;
    let log = fs.open(&path)?;
    let failed = |error| FileError::new("read", &path, error);
    let mut segment = vec![0; SEGMENT as usize];
    let mut at = 0;
    loop {
        // As much as is needed to tell which segment it is.
        let length = read(&log, &mut segment[..SEGMENT_HEAD + MESSAGE_HEAD], at).map_err(failed)?;
        if length == 0 {
            return Ok(false);
        }
        if numbers(&segment[..length]).into_iter().flatten().any(|number| number >= first) {
            let length = read(&log, &mut segment, at).map_err(failed)?;
            if is_segment_suspect(&segment[..length], first) {
                return Ok(true);
            }
        }
        at += SEGMENT;
    }
}

/// The segment's number by its own header, if that is intact, and by that of its first message.
fn numbers(segment: &[u8]) -> [Option<u64>; 2] {
    let of_segment = || {
        let (&checksum, rest) = segment.split_first_chunk()?;
        let head: &[u8; SEGMENT_HEAD - 4] = rest.first_chunk()?;
        let position = u64::from_le_bytes(*head.first_chunk()?) ^ (u64::MAX >> 1);
        (!crc32fast::hash(head) == u32::from_le_bytes(checksum)).then_some(position / SEGMENT)
    };
    let of_message = || head(segment.get(SEGMENT_HEAD..)?).map(|(head, _)| head.segment);
    [of_segment(), of_message()]
}

fn is_segment_suspect(segment: &[u8], first: u64) -> bool {
    let [number, of_message] = numbers(segment);
    let mut rest = segment.get(SEGMENT_HEAD..).unwrap_or_default();
    let Some(number) = number.filter(|number| *number >= first) else {
        // Its header is damaged, or its messages belong to a later use.
        return of_message.is_some_and(|number| number >= first) && message(rest).is_some();
    };
    // Some bytes at the end are never used.
    while rest.len() >= MESSAGE_HEAD {
        match message(rest) {
            Some((head, _, after)) if head.segment == number => rest = after,
            _ => {
                let claimed = head(rest).filter(|(head, _)| head.segment == number).map(|(head, _)| head);
                // The padding of the segment is its end.
                let is_end = claimed.as_ref().is_some_and(|head| head.kind == CAP);
                let follows =
                    || (1..rest.len()).any(|at| message(&rest[at..]).is_some_and(|(head, ..)| head.segment == number));
                return !is_end && (claimed.is_some_and(|head| head.length <= MAX_BODY) || follows());
            }
        }
    }
    false
}

/// Fills `bytes` as far as the file goes.
fn read(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], at + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn in_segment(segment: &[u8], each: &mut impl FnMut(&[u8])) {
    let mut rest = segment.get(SEGMENT_HEAD..).unwrap_or_default();
    while !rest.is_empty() {
        match message(rest) {
            Some((head, body, after)) => {
                in_body(head.kind, body, each);
                rest = after;
            }
            None => rest = &rest[1..],
        }
    }
}

/// The header of a message.
struct MessageHead {
    kind: u8,
    /// The length of the body.
    length: usize,
    /// The number of the segment that contains it.
    segment: u64,
}

/// Parses the header of a message, without its checksum, and returns what follows.
fn head(bytes: &[u8]) -> Option<(MessageHead, &[u8])> {
    let (&kind, mut rest) = bytes.get(4..)?.split_first()?;
    // There are twelve kinds. Most random bytes end here.
    if !(1..=BLOB_LINK).contains(&kind) {
        return None;
    }
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let segment = number(&mut rest)?;
    let _page = number(&mut rest)?;
    Some((MessageHead { kind, length, segment }, rest))
}

/// The intact message at the start of `bytes`: its header, its body, and what follows.
fn message(bytes: &[u8]) -> Option<(MessageHead, &[u8], &[u8])> {
    let (&checksum, _) = bytes.split_first_chunk()?;
    // Padding of a segment may be longer, and has no values.
    let (head, rest) = head(bytes).filter(|(head, _)| head.length <= MAX_BODY)?;
    let (body, after) = rest.split_at_checked(head.length)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(&bytes[4..bytes.len() - rest.len()]);
    (!crc.finalize() == u32::from_le_bytes(checksum)).then_some((head, body, after))
}

fn in_blob(blob: &[u8], each: &mut impl FnMut(&[u8])) {
    let Some((&checksum, rest)) = blob.split_first_chunk() else { return };
    if crc32fast::hash(rest) == u32::from_le_bytes(checksum)
        && let Some((&kind, body)) = rest.split_first()
    {
        in_body(kind, body, each);
    }
}

fn in_body(kind: u8, body: &[u8], each: &mut impl FnMut(&[u8])) {
    // A checksum can be right by chance.
    let _ = match kind {
        INLINE_NODE | BLOB_NODE => in_node(body, each),
        INLINE_LINK | BLOB_LINK => in_link(body, each),
        _ => None,
    };
}

/// A node: two numbers, two bytes, two texts, then its contents. A leaf has the number of its keys,
/// the keys, the values.
fn in_node(mut rest: &[u8], each: &mut impl FnMut(&[u8])) -> Option<()> {
    number(&mut rest)?;
    number(&mut rest)?;
    rest = rest.get(2..)?;
    text(&mut rest)?;
    text(&mut rest)?;
    if *rest.split_off_first()? != 0 {
        return None;
    }
    let count = number(&mut rest)?;
    for _ in 0..count {
        text(&mut rest)?;
    }
    for _ in 0..count {
        each(text(&mut rest)?);
    }
    Some(())
}

/// A link: its kind, and if a value is set, key and value.
fn in_link(mut rest: &[u8], each: &mut impl FnMut(&[u8])) -> Option<()> {
    if *rest.split_off_first()? == 0 {
        text(&mut rest)?;
        each(text(&mut rest)?);
    }
    Some(())
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// A number as sled writes it, in one to nine bytes.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let first = *rest.split_off_first()?;
    let mut byte = || rest.split_off_first().map(|byte| u64::from(*byte));
    Some(match first {
        0..=240 => u64::from(first),
        241..=248 => 240 + 256 * (u64::from(first) - 241) + byte()?,
        249 => 2288 + 256 * byte()? + byte()?,
        250.. => {
            let mut number = 0;
            for place in 0..u32::from(first) - 247 {
                number |= byte()? << (8 * place);
            }
            number
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use proptest::prelude::*;

    use super::{super::vfs::Disk, *};

    /// The values that are read of a database of `count` values of `length` bytes, after `damage`
    /// to its log.
    fn read_back(count: u32, length: usize, damage: impl FnOnce(&mut Vec<u8>)) -> (BTreeSet<u32>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions");
        {
            let database = ::sled::Config::new().path(&path).flush_every_ms(None).open().unwrap();
            let tree = database.open_tree("sessions").unwrap();
            for n in 0..count {
                let mut value = n.to_be_bytes().to_vec();
                value.resize(length, 7);
                tree.insert(n.wrapping_mul(0x9e37_79b1).to_be_bytes(), value).unwrap();
            }
            tree.flush().unwrap();
        }
        let mut log = std::fs::read(path.join("db")).unwrap();
        damage(&mut log);
        std::fs::write(path.join("db"), log).unwrap();
        let mut found = BTreeSet::new();
        let fs = Fs::new(Arc::new(Disk));
        values(&fs, folder.path(), |value| {
            assert_eq!(value.len(), length);
            assert!(value[4..].iter().all(|byte| *byte == 7));
            found.insert(u32::from_be_bytes(*value.first_chunk().unwrap()));
        })
        .unwrap();
        (found, is_suspect(&fs, folder.path()).unwrap())
    }

    #[test]
    fn all_that_sled_has_written_is_found() {
        let (found, is_suspect) = read_back(5_000, 300, |_| {});
        assert_eq!((found.len(), is_suspect), (5_000, false));
        // So large that pages are files.
        let (found, is_suspect) = read_back(40, 30_000, |_| {});
        assert_eq!((found.len(), is_suspect), (40, false));
        // What is left of a file that was cut.
        let (found, _) = read_back(5_000, 300, |log| log.truncate(700_000));
        assert!(!found.is_empty());
    }

    #[test]
    fn damage_loses_only_what_it_hits() {
        for at in [3, 12, 25, 700, 100_000, 524_288, 524_300, 524_400] {
            let (found, is_suspect) = read_back(4_000, 300, |log| log[at] ^= 1);
            assert!(found.len() >= 4_000 - 20, "a flip at {at} lost {}", 4_000 - found.len());
            assert!(is_suspect, "a flip at {at}");
        }
        let (found, is_suspect) = read_back(4_000, 300, |log| log[200_000..260_000].fill(0));
        assert!(found.len() >= 4_000 - 60_000 / 300 - 40 && is_suspect, "{}", found.len());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(prop_oneof![3 => 0..12_u8, 1 => any::<u8>()], 0..400)) {
            in_segment(&bytes, &mut |_| {});
            in_blob(&bytes, &mut |_| {});
            is_segment_suspect(&bytes, 0);
            for kind in 0..12 {
                in_body(kind, &bytes, &mut |_| {});
            }
        }
    }
}
