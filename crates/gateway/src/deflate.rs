//! Compresses and decompresses messages (permessage-deflate, RFC 7692, section 7.2), each by
//! itself, and in pieces, so that a large one holds up nobody. Must not depend on sockets.

use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::{sync::Semaphore, task::yield_now};

use crate::{
    flow::Flow,
    memory::{Deflated, HeldBytes, Memory, SharedBuffer},
};

/// What the connections that have agreed on compression share.
#[derive(Debug)]
pub(crate) struct Deflate {
    memory: Arc<Memory>,
    deflating: Semaphore,
    inflating: Semaphore,
}

/// Why a compressed message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is longer than a message may be.
    TooLarge,
    /// It is not what its extension says.
    Invalid,
}

/// Shorter messages are sent as they are: with its headers, one of up to about this size fits into
/// one packet, so that a client has it no sooner if it is less.
const LEAST: usize = 1 << 10;

/// How many messages of more than a piece are compressed at a time, and how many decompressed, as
/// these hold more. The others are done before another one begins on the same thread.
const DEFLATED_AT_ONCE: usize = 64;
const INFLATED_AT_ONCE: usize = 16;

/// How many bytes are compressed or decompressed before others have a turn, and how many come out
/// of the latter.
const PIECE: usize = 16 << 10;
const PIECE_OUT: usize = 4 * PIECE;

/// What one compressor, and one decompressor, holds beside its output.
const COMPRESSOR: usize = 380 << 10;
const DECOMPRESSOR: usize = 48 << 10;

/// What a flush leaves at the end of a message, and is not sent.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// That, and an empty last block: what is complete ends with it.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

impl Deflate {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, deflating: Semaphore::new(DEFLATED_AT_ONCE), inflating: Semaphore::new(INFLATED_AT_ONCE) }
    }

    /// The message compressed. `None` if it goes as it is: because it is short or becomes no
    /// shorter, or too many others are being compressed.
    pub(crate) async fn deflate(&self, message: &[u8]) -> Option<Deflated> {
        if message.len() < LEAST {
            return None;
        }
        let _place = if message.len() > PIECE { Some(self.deflating.try_acquire().ok()?) } else { None };
        let mut held = HeldBytes::new(&self.memory, COMPRESSOR);
        let mut compressor = Compress::new(Compression::fast(), false);
        let mut deflated = Vec::with_capacity(message.len());
        let mut pieces = message.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let flush = if pieces.peek().is_some() { FlushCompress::None } else { FlushCompress::Sync };
            compressor.compress_vec(piece, &mut deflated, flush).ok()?;
            // If there is no room left, there may be more to come.
            if deflated.len() >= message.len() {
                return None;
            }
            held.set(COMPRESSOR + deflated.len());
            if pieces.peek().is_some() {
                yield_now().await;
            }
        }
        let length = deflated.strip_suffix(&FLUSHED)?.len();
        deflated.truncate(length);
        deflated.shrink_to_fit();
        held.set(length);
        Some(Deflated::new(deflated.into(), held))
    }

    /// A message for several clients compressed, once for all of them. `None` if it goes as it is.
    pub(crate) async fn deflate_shared(&self, message: &[u8], shared: &SharedBuffer) -> Option<Bytes> {
        let deflated = shared.deflated.get_or_init(|| self.deflate(message)).await;
        deflated.as_ref().map(|deflated| deflated.bytes.clone())
    }

    /// What a compressed message says, if it is not more than `max` bytes. Counts in `flow` what it
    /// holds, until it is told otherwise there.
    pub(crate) async fn inflate(&self, message: Bytes, max: usize, flow: &Flow) -> Result<Bytes, Unreadable> {
        flow.hold_inflated(message.len());
        let mut place = None;
        let mut decompressor = Decompress::new(false);
        let mut inflated = Vec::new();
        let (mut rest, mut end) = (&message[..], &END[..]);
        let mut since_turn = 0;
        loop {
            if rest.is_empty() {
                rest = std::mem::take(&mut end);
            }
            let (before, room) = (inflated.len(), PIECE_OUT.min(max + 1 - inflated.len()));
            inflated.resize(before + room, 0);
            flow.hold_inflated(message.len() + DECOMPRESSOR + inflated.capacity());
            let (piece, consumed) = (&rest[..rest.len().min(PIECE)], decompressor.total_in());
            let status = decompressor.decompress(piece, &mut inflated[before..], FlushDecompress::None);
            let [consumed, length] = [decompressor.total_in() - consumed, decompressor.total_out()]
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
            inflated.truncate(length);
            rest = &rest[consumed..];
            match status.map_err(|_| Unreadable::Invalid)? {
                _ if length > max => return Err(Unreadable::TooLarge),
                // With a last block of its own, only an empty one may follow.
                Status::StreamEnd
                    if end.is_empty() && rest.is_empty() || !end.is_empty() && matches!(rest, [] | [0]) =>
                {
                    break;
                }
                Status::StreamEnd => return Err(Unreadable::Invalid),
                // All was taken, and it is not complete.
                Status::Ok | Status::BufError if consumed == 0 && length == before => return Err(Unreadable::Invalid),
                Status::Ok | Status::BufError => {}
            }
            // A byte may be a table of codes, and nothing come of it.
            since_turn += consumed * (PIECE_OUT / PIECE) + length - before;
            if since_turn >= PIECE_OUT {
                since_turn = 0;
                if place.is_none() {
                    // Nobody who has a place waits for a client.
                    place = self.inflating.acquire().await.ok();
                }
                yield_now().await;
                while length > PIECE && flow.is_short() {
                    // Connections that are to be closed go first.
                    yield_now().await;
                }
            }
        }
        inflated.shrink_to_fit();
        flow.hold_inflated(inflated.len());
        Ok(inflated.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::{limits::Limits, memory::LastShared};

    const MAX: usize = 1 << 20;

    fn deflate() -> (Deflate, Flow) {
        let memory = Arc::new(Memory::new(usize::MAX));
        (Deflate::new(Arc::clone(&memory)), Flow::new(&Limits::default(), memory))
    }

    /// The result, and how often other tasks had a turn meanwhile.
    fn in_turns<T>(doing: impl Future<Output = T>, mut look: impl FnMut()) -> (T, usize) {
        let mut doing = pin!(doing);
        let mut turns = 0;
        loop {
            match doing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => return (done, turns),
                Poll::Pending => turns += 1,
            }
            look();
        }
    }

    fn inflate(message: &[u8]) -> Result<Bytes, Unreadable> {
        let (deflate, flow) = deflate();
        in_turns(deflate.inflate(Bytes::copy_from_slice(message), MAX, &flow), || ()).0
    }

    fn json(size: usize) -> Vec<u8> {
        let items = (0_u64..).flat_map(|n| format!(r#"{{"id":{n},"name":"Item {:x}"}},"#, n * n * 7919).into_bytes());
        items.take(size).collect()
    }

    /// RFC 7692, sections 7.2.3.1 to 7.2.3.6.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (hex, says) in [
            ("f2 48 cd c9 c9 07 00", "Hello"),
            ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", "Hello"),
            ("00 05 00 fa ff 48 65 6c 6c 6f 00", "Hello"),
            ("f3 48 cd c9 c9 07 00 00", "Hello"),
            ("00", ""),
        ] {
            let message: Vec<_> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            assert_eq!(inflate(&message).unwrap(), says, "{hex}");
        }
    }

    #[test]
    fn compressed_messages_are_shorter_and_decompress_to_the_same() {
        let (deflate, flow) = deflate();
        for size in [LEAST, LEAST + 1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE, MAX] {
            let message = json(size);
            let deflated = in_turns(deflate.deflate(&message), || ()).0.unwrap();
            assert!(deflated.bytes.len() < size / 2, "{} of {size}", deflated.bytes.len());
            let inflated = in_turns(deflate.inflate(deflated.bytes.clone(), MAX, &flow), || ()).0;
            assert_eq!(inflated.unwrap(), message);
        }
    }

    #[test]
    fn short_and_incompressible_messages_are_not_compressed() {
        let (deflate, flow) = deflate();
        assert!(in_turns(deflate.deflate(&json(LEAST - 1)), || ()).0.is_none());
        let mut seed = 1_u64;
        let noise = std::iter::repeat_with(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        });
        for size in [LEAST, 3 * PIECE] {
            let noise: Vec<_> = noise.take(size).collect();
            assert!(in_turns(deflate.deflate(&noise), || ()).0.is_none());
        }
        assert_eq!(flow.memory().held(), 0);
    }

    #[test]
    fn a_message_for_many_is_compressed_once_and_its_bytes_are_counted() {
        let memory = Arc::new(Memory::new(usize::MAX));
        let deflate = Deflate::new(Arc::clone(&memory));
        let event = Bytes::from(vec![0; 10_000]);
        let waiting = event.clone();
        let shared = LastShared::default().count(&event, &memory).unwrap();
        let [first, second] = [(); 2]
            .map(|()| deflate.deflate_shared(&event, &shared).now_or_never().unwrap().expect("it becomes shorter"));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(memory.held(), 10_000 + first.len());
        drop(shared);
        assert_eq!((memory.held(), waiting.len()), (0, 10_000));
    }

    #[test]
    fn a_few_messages_are_compressed_at_a_time_and_the_next_go_uncompressed() {
        let (deflate, _flow) = deflate();
        let message = json(2 * PIECE);
        let mut some: Vec<_> = (0..DEFLATED_AT_ONCE).map(|_| Box::pin(deflate.deflate(&message))).collect();
        assert!(some.iter_mut().all(|one| one.now_or_never().is_none()));
        assert!(deflate.deflate(&message).now_or_never().expect("it does not wait").is_none());
        assert!(deflate.deflate(&message[..PIECE]).now_or_never().expect("a short one does not wait either").is_some());
        assert!(in_turns(some.pop().unwrap(), || ()).0.is_some());
        assert!(in_turns(deflate.deflate(&message), || ()).0.is_some());
    }

    #[test]
    fn a_few_messages_are_decompressed_at_a_time_and_the_next_wait_unless_they_are_short() {
        let (deflate, flow) = deflate();
        let compressed = |size| in_turns(deflate.deflate(&json(size)), || ()).0.unwrap().bytes;
        let [long, short] = [MAX, PIECE].map(compressed);
        let inflate = |message: &Bytes| Box::pin(deflate.inflate(message.clone(), MAX, &flow));
        let mut some: Vec<_> = (0..INFLATED_AT_ONCE).map(|_| inflate(&long)).collect();
        assert!(some.iter_mut().all(|one| one.now_or_never().is_none()));
        let mut next = inflate(&long);
        assert!((0..1000).all(|_| next.as_mut().now_or_never().is_none()));
        assert_eq!(inflate(&short).now_or_never().expect("it does not wait").unwrap().len(), PIECE);
        assert!(in_turns(some.pop().unwrap(), || ()).0.is_ok() && in_turns(next, || ()).0.is_ok());
    }

    #[test]
    fn a_decompressed_message_is_bounded_in_size() {
        let zeros = |size| in_turns(deflate().0.deflate(&vec![b'0'; size]), || ()).0.unwrap().bytes;
        assert_eq!(inflate(&zeros(MAX)).unwrap().len(), MAX);
        assert_eq!(inflate(&zeros(MAX + 1)), Err(Unreadable::TooLarge));
        // Small enough as it comes, and ten times too large when it is decompressed.
        let bomb = zeros(10 * MAX);
        assert!(bomb.len() < MAX / 4, "{}", bomb.len());
        assert_eq!(inflate(&bomb), Err(Unreadable::TooLarge));
    }

    #[test]
    fn others_have_a_turn_after_each_piece() {
        let (deflate, flow) = deflate();
        let message = json(MAX);
        let (deflated, turns) = in_turns(deflate.deflate(&message), || ());
        assert_eq!(turns, MAX / PIECE - 1);
        let (inflated, turns) = in_turns(deflate.inflate(deflated.unwrap().bytes, MAX, &flow), || ());
        assert!(inflated.unwrap().len() == MAX && turns >= MAX / (PIECE + PIECE_OUT), "{turns}");
        // Blocks that decompress to nothing.
        let empty = [0, 0, 0, 0xff, 0xff].repeat(MAX / 5);
        let (inflated, turns) = in_turns(deflate.inflate([&empty[..], &[0]].concat().into(), MAX, &flow), || ());
        assert!(inflated.unwrap().is_empty() && turns >= MAX / PIECE - 1, "{turns}");
    }

    #[test]
    fn memory_held_during_compression_is_counted() {
        let (deflate, flow) = deflate();
        let (message, held) = (json(MAX), || flow.memory().held());
        let mut most = 0;
        let (deflated, _) = in_turns(deflate.deflate(&message), || most = most.max(held()));
        let deflated = deflated.unwrap();
        assert!((deflated.bytes.len()..=deflated.bytes.len() + COMPRESSOR).contains(&most), "{most}");
        assert_eq!(held(), deflated.bytes.len());
        let (bytes, mut most) = (deflated.bytes.clone(), 0);
        drop(deflated);
        assert_eq!(held(), 0);
        let size = bytes.len();
        let inflated = in_turns(deflate.inflate(bytes, MAX, &flow), || most = most.max(held())).0.unwrap();
        assert!((MAX + size..=3 * MAX + size).contains(&most), "{most}");
        assert_eq!(held(), inflated.len());
        flow.hold_inflated(0);
        assert_eq!(held(), 0);
    }

    #[test]
    fn malformed_compressed_messages_are_refused() {
        for (message, why) in [
            (&b""[..], "nothing"),
            (b"\x07", "no such block"),
            (b"\xf2\x48\xcd\xc9", "cut off"),
            (b"\x00\x05\x00\xfa\xff\x48\x65", "cut off, and its end taken for its text"),
            (b"\x00\xff\x00\x00\xff\x48", "cut off by more than its end"),
            (b"\x00\x05\x00\xfb\xff\x48\x65\x6c\x6c\x6f\x00", "lengths that do not agree"),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\xf2\x48\xcd\xc9\xc9\x07\x00", "more after its last block"),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x01", "another last block"),
            (b"Hello, it is I, and not compressed at all", "text"),
        ] {
            assert_eq!(inflate(message), Err(Unreadable::Invalid), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_input_is_read_or_refused_within_the_size_limit(
            mut message in prop::collection::vec(any::<u8>(), 0..200),
            valid in any::<bool>(), at in any::<prop::sample::Index>(), with in any::<u8>(),
        ) {
            if valid {
                message = in_turns(deflate().0.deflate(&json(3000)), || ()).0.unwrap().bytes.to_vec();
                let at = at.index(message.len());
                message[at] ^= with;
            }
            let (deflate, flow) = deflate();
            let inflated = in_turns(deflate.inflate(message.into(), MAX, &flow), || ()).0;
            prop_assert!(inflated.map_or(0, |text| text.len()) <= MAX);
        }
    }
}
