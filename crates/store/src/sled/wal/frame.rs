//! The format of a group of writes in the write-ahead log: one frame. Must not know files.
//!
//! A frame begins at a multiple of [`BLOCK`] and is filled up with zeros to the next one, so that a
//! write never touches a block in which an acknowledged one stands. It has a head and a body, each
//! with a checksum, all numbers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | [`MAGIC`] |
//! | 4 | CRC-32 of the rest of the head |
//! | 8 | number of the segment |
//! | 8 | number of the frame |
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//!
//! The body is the group's writes: sid (16), revision (8), length (4), value. A removed session has
//! the length [`REMOVED`].

use relogin_session::SessionId;

use super::super::Revision;

/// Where frames may start, in bytes: a disk does not tear anything larger.
pub(in super::super) const BLOCK: usize = 4096;

const MAGIC: u32 = 0x6a6c_7267;
const HEAD: usize = 32;
const REMOVED: u32 = u32::MAX;

/// A group of writes that is being collected.
#[derive(Debug)]
pub(in super::super) struct Frame {
    /// Header, which is filled in last, and body.
    bytes: Vec<u8>,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry<'a> {
    pub(in super::super) sid: SessionId,
    pub(in super::super) revision: Revision,
    /// None: the session has ended.
    pub(in super::super) value: Option<&'a [u8]>,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Head {
    pub(in super::super) segment: u64,
    pub(in super::super) number: u64,
    length: u32,
    checksum: u32,
}

impl Frame {
    pub(in super::super) fn new() -> Self {
        Self { bytes: vec![0; HEAD] }
    }

    /// How many bytes it has so far.
    pub(in super::super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in super::super) fn push(&mut self, entry: Entry<'_>) {
        self.bytes.extend_from_slice(&entry.sid.0);
        self.bytes.extend_from_slice(&entry.revision.0.to_le_bytes());
        let value = entry.value.unwrap_or_default();
        // A record has some hundred bytes; one of 4 GiB would not have got here.
        let length = if entry.value.is_some() { u32::try_from(value.len()).unwrap_or(REMOVED) } else { REMOVED };
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The blocks to write.
    pub(in super::super) fn seal(mut self, segment: u64, number: u64) -> Vec<u8> {
        let body = &self.bytes[HEAD..];
        let length = u32::try_from(body.len()).expect("groups are bounded far below");
        let mut rest = [0; HEAD - 8];
        rest[..8].copy_from_slice(&segment.to_le_bytes());
        rest[8..16].copy_from_slice(&number.to_le_bytes());
        rest[16..20].copy_from_slice(&length.to_le_bytes());
        rest[20..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        self.bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&crc32fast::hash(&rest).to_le_bytes());
        self.bytes[8..HEAD].copy_from_slice(&rest);
        let blocks = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(blocks, 0);
        self.bytes
    }
}

impl Head {
    /// Parses the header of the frame that starts with `block`. None if none does, or it is torn.
    pub(in super::super) fn read(block: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = block.first_chunk()?;
        let (magic, rest) = (u32_at(head, 0), &head[8..]);
        let is_whole = magic == MAGIC && u32_at(head, 4) == crc32fast::hash(rest);
        is_whole.then(|| Self {
            segment: u64_at(rest, 0),
            number: u64_at(rest, 8),
            length: u32_at(rest, 16),
            checksum: u32_at(rest, 20),
        })
    }

    /// How many bytes of blocks the frame takes.
    pub(in super::super) fn size(&self) -> usize {
        (HEAD + self.length as usize).next_multiple_of(BLOCK)
    }

    /// The body of the frame that starts with `blocks`. None if it is torn.
    pub(in super::super) fn body<'a>(&self, blocks: &'a [u8]) -> Option<&'a [u8]> {
        let body = blocks.get(HEAD..HEAD + self.length as usize)?;
        (crc32fast::hash(body) == self.checksum).then_some(body)
    }
}

/// The writes in a body, in order. The first malformed one ends them.
pub(in super::super) fn entries(mut body: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = body.split_first_chunk::<28>()?;
        let (value, rest) = match u32_at(head, 24) {
            REMOVED => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(value, rest)| (Some(value), rest))?,
        };
        body = rest;
        let mut sid = [0; 16];
        sid.copy_from_slice(&head[..16]);
        Some(Entry { sid: SessionId(sid), revision: Revision(u64_at(head, 16)), value })
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(entries: &[(u8, u64, Option<Vec<u8>>)]) -> Vec<u8> {
        let mut frame = Frame::new();
        for (n, revision, value) in entries {
            frame.push(Entry { sid: SessionId([*n; 16]), revision: Revision(*revision), value: value.as_deref() });
        }
        frame.seal(7, 9)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_what_is_torn_is_not(
            written in prop::collection::vec((any::<u8>(), any::<u64>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..900))), 1..20),
            torn in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let mut blocks = sealed(&written);
            let head = Head::read(&blocks).unwrap();
            prop_assert_eq!((head.segment, head.number, head.size()), (7, 9, blocks.len()));
            let body = head.body(&blocks).unwrap();
            let read: Vec<_> = entries(body).map(|entry| (entry.sid.0[0], entry.revision.0, entry.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&read, &written);
            let used = HEAD + body.len();
            blocks[torn.index(used)] ^= flip;
            prop_assert!(Head::read(&blocks).and_then(|head| head.body(&blocks).map(drop)).is_none());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Head::read(&bytes).is_none());
            entries(&bytes).for_each(drop);
        }
    }
}
