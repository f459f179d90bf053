//! The stream below a WebSocket: how much of an unfinished message has arrived and since when, and
//! how much waits to be sent. The WebSocket library exposes neither, and limits neither in time.
//! Must not depend on the driver or RES.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::flow::Flow;

/// How long a message may take once it has begun: `first`, and a second more for each `rate` bytes
/// that have arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) first: Duration,
    pub(crate) rate: usize,
}

/// A transport that fails with [`io::ErrorKind::TimedOut`] when a message takes too long, and
/// counts what it holds in a [`Flow`].
///
/// If the client may compress messages, it hands them on as the library takes them: without RSV1,
/// which marks them (RFC 7692, section 6), and as binary messages, while others are text messages.
/// RSV1 where it marks no message stays, and the library refuses it.
///
/// It also reads ahead, so that the library needs a small buffer only: it keeps that as long as the
/// connection lasts.
pub(crate) struct Inbound<S> {
    io: S,
    /// What was read and not handed on yet. Holds no buffer while there is nothing.
    ahead: Bytes,
    flow: Arc<Flow>,
    pace: Pace,
    frames: FrameScanner,
    /// The message that has begun, and when. Kept only while its rest is outstanding.
    unfinished: Option<Unfinished>,
    /// Bytes that the flow has been charged with.
    charged: usize,
}

struct Unfinished {
    message: u32,
    begun: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Inbound<S> {
    /// Over `io`, for a library that accepts frames of up to `max_frame` bytes. `deflates` if the
    /// client may compress messages.
    pub(crate) fn new(io: S, flow: Arc<Flow>, pace: Pace, max_frame: usize, deflates: bool) -> Self {
        let frames = FrameScanner { max: max_frame, deflates, ..FrameScanner::default() };
        Self { io, ahead: Bytes::new(), flow, pace, frames, unfinished: None, charged: 0 }
    }

    /// The transport below. What was counted is returned.
    pub(crate) fn into_inner(mut self) -> S {
        self.recharge(0);
        self.io
    }

    fn recharge(&mut self, held: usize) {
        if held != self.charged {
            self.flow.recharge(self.charged, held);
            self.charged = held;
        }
    }

    /// Hands on what was read ahead, as far as there is room for it.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(count));
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
    }

    /// Counts bytes that have arrived.
    fn note(&mut self, bytes: &mut [u8]) {
        self.frames.scan(bytes);
        self.recharge(self.frames.held());
    }

    /// Ready when the rest of the message is overdue.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // While nothing is read, because the client is too far ahead of its answers, the message's
        // time stands still.
        let has_paused = self.flow.take_resumed();
        let Some(message) = self.frames.unfinished() else {
            self.unfinished = None;
            return Poll::Pending;
        };
        let extra = Duration::from_secs((self.frames.received() / self.pace.rate.max(1)) as u64);
        let unfinished = match &mut self.unfinished {
            Some(unfinished) if unfinished.message == message && !has_paused => unfinished,
            slot => {
                let begun = Instant::now();
                slot.insert(Unfinished { message, begun, deadline: Box::pin(sleep_until(begun + self.pace.first)) })
            }
        };
        let deadline = unfinished.begun + self.pace.first + extra;
        if unfinished.deadline.deadline() < deadline {
            unfinished.deadline.as_mut().reset(deadline);
        }
        unfinished.deadline.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inbound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.frames.received() > SMALL && self.flow.is_short() {
            // Connections that are to be closed go first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.ahead.is_empty() {
            self.hand_on(buf);
            return Poll::Ready(Ok(()));
        }
        let mut room = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut read = ReadBuf::uninit(&mut room);
        match Pin::new(&mut self.io).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => {
                let bytes = read.filled_mut();
                self.note(bytes);
                let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
                buf.put_slice(now);
                self.ahead = Bytes::copy_from_slice(later);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_overdue(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inbound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // The library passes on everything that it holds each time.
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        let count = if let Poll::Ready(Ok(count)) = written { count } else { 0 };
        self.flow.note_unsent(buf.len() - count.min(buf.len()));
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Finds where frames and messages end (RFC 6455, section 5.2). The WebSocket library decides
/// whether they are valid.
#[derive(Debug, Default)]
struct FrameScanner {
    /// The part of a header that has arrived.
    header: [u8; 2],
    header_len: usize,
    /// The length that the header has announced so far.
    announced: u64,
    /// Payload bytes that are still to arrive; none outside of a payload.
    left: Option<u64>,
    /// Payload bytes of this frame that have arrived.
    frame: usize,
    /// Payload bytes of the earlier frames of this message.
    earlier: usize,
    /// True between the frames of a message.
    is_fragmented: bool,
    /// The largest frame so far, as announced by its header: the library keeps a buffer of that
    /// size.
    largest: usize,
    /// The largest frame that is allowed.
    max: usize,
    /// Whether messages may be compressed.
    deflates: bool,
    /// How many messages have ended.
    ended: u32,
}

/// How much is read at once.
const READ_AT_ONCE: usize = 4 << 10;

/// Up to here, what is held is part of the cost of every connection.
const SMALL: usize = 4 << 10;

impl FrameScanner {
    fn scan(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let Some(left) = self.left else {
                if self.deflates && self.header_len == 0 {
                    bytes[0] = marked(bytes[0]);
                }
                self.scan_header(bytes[0]);
                bytes = &mut bytes[1..];
                continue;
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &mut bytes[count..];
            self.frame += count;
            self.left = Some(left - count as u64);
            self.end_frame();
        }
    }

    fn scan_header(&mut self, byte: u8) {
        let at = self.header_len;
        self.header_len += 1;
        if at < 2 {
            self.header[at] = byte;
        }
        if at == 0 {
            return;
        }
        let (extended, announced) = match self.header[1] & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            length => (0, u64::from(length)),
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        if at == 1 {
            self.announced = announced;
        } else if at < 2 + extended {
            self.announced = self.announced << 8 | u64::from(byte);
        }
        if self.header_len == 2 + extended + mask {
            self.left = Some(self.announced);
            let size = usize::try_from(self.announced).unwrap_or(usize::MAX);
            if size <= self.max {
                self.largest = self.largest.max(size);
            }
            self.end_frame();
        }
    }

    /// Ends the frame if all of it has arrived.
    fn end_frame(&mut self) {
        if self.left != Some(0) {
            return;
        }
        let (is_final, is_control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
        if !is_control {
            self.is_fragmented = !is_final;
            self.earlier = if is_final { 0 } else { self.earlier + self.frame };
        }
        if !self.is_fragmented {
            self.ended = self.ended.wrapping_add(1);
        }
        (self.header_len, self.left, self.frame) = (0, None, 0);
    }

    /// The number of the message of which a part has arrived.
    fn unfinished(&self) -> Option<u32> {
        (self.is_fragmented || self.header_len > 0).then_some(self.ended)
    }

    /// How many bytes of it have arrived.
    fn received(&self) -> usize {
        self.earlier + self.frame
    }

    /// How many bytes the library holds because of the client, beyond the cost of every connection.
    fn held(&self) -> usize {
        let held = self.largest + self.earlier;
        if held > SMALL { held } else { 0 }
    }
}

/// The first byte of a frame with the compressed messages as the only binary ones.
fn marked(byte: u8) -> u8 {
    const RSV1: u8 = 0x40;
    const OPCODE: u8 = 0x0f;
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    match byte & OPCODE {
        TEXT | BINARY if byte & RSV1 != 0 => byte & !(RSV1 | OPCODE) | BINARY,
        BINARY => byte & !OPCODE | TEXT,
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    use super::*;
    use crate::{limits::Limits, memory::Memory};

    #[tokio::test]
    async fn what_was_read_ahead_is_handed_on_in_order_before_more_is_read() {
        let flow = Arc::new(Flow::new(&Limits::default(), Arc::new(Memory::new(usize::MAX))));
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let pace = Pace { first: Duration::from_secs(60), rate: 1 };
        let mut inbound = Inbound::new(near, flow, pace, 1 << 20, false);
        let numbers: Vec<_> = (0..=255).cycle().take(3 * READ_AT_ONCE).collect();
        let sent = wire(&[Frame::message(numbers, OpCode::Data(Data::Text), true), part(10, Data::Text, true)]);
        far.write_all(&sent).await.unwrap();
        drop(far);
        let (mut received, mut piece) = (Vec::new(), [0; 100]);
        loop {
            let count = inbound.read(&mut piece).await.unwrap();
            if count == 0 {
                break;
            }
            received.extend_from_slice(&piece[..count]);
        }
        assert_eq!(received, sent);
    }

    fn wire(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            let mut header = frame.header().clone();
            header.mask = Some([1, 2, 3, 4]);
            header.format(frame.payload().len() as u64, &mut bytes).unwrap();
            bytes.extend_from_slice(frame.payload());
        }
        bytes
    }

    fn part(size: usize, opcode: Data, is_final: bool) -> Frame {
        Frame::message(vec![b'x'; size], OpCode::Data(opcode), is_final)
    }

    proptest! {
        #[test]
        fn messages_end_with_their_last_frame_however_their_bytes_are_cut(
            sizes in prop::collection::vec(
                prop_oneof![0_usize..130, 65_000_usize..66_000, 120_usize..132], 1..6),
            cuts in prop::collection::vec(1_usize..70_000, 1..40),
        ) {
            let mut scanner = FrameScanner { max: 1 << 20, ..FrameScanner::default() };
            for size in &sizes {
                let frames = [part(*size, Data::Text, false), Frame::ping(vec![7; 125]), part(*size, Data::Continue, true)];
                let mut bytes = wire(&frames);
                let ended = scanner.ended;
                let mut left = &mut bytes[..];
                for cut in cuts.iter().cycle() {
                    let at = (*cut).min(left.len());
                    let (now, later) = left.split_at_mut(at);
                    scanner.scan(now);
                    left = later;
                    if left.is_empty() { break }
                    prop_assert_eq!(scanner.unfinished(), Some(ended));
                    prop_assert!(scanner.held() <= 2 * sizes.iter().max().unwrap().max(&SMALL));
                }
                prop_assert_eq!(scanner.unfinished(), None);
                prop_assert_eq!(scanner.ended, ended + 1);
                prop_assert_eq!(scanner.received(), 0);
            }
        }
    }

    #[test]
    fn unfinished_messages_and_the_buffer_that_stays_are_counted() {
        let mut scanner = FrameScanner { max: 1 << 20, ..FrameScanner::default() };
        scanner.scan(&mut wire(&[part(SMALL, Data::Text, true)]));
        assert_eq!(scanner.held(), 0);
        scanner.scan(&mut wire(&[part(100_000, Data::Text, false)]));
        assert_eq!((scanner.held(), scanner.received()), (200_000, 100_000));
        scanner.scan(&mut wire(&[part(10, Data::Continue, false)]));
        assert_eq!(scanner.received(), 100_010);
        scanner.scan(&mut wire(&[part(0, Data::Continue, true)]));
        assert_eq!((scanner.held(), scanner.unfinished()), (100_000, None));
        // The library reserves what a header announces, unless it refuses a frame of that size.
        scanner.scan(&mut [0x81, 0xff, 0, 0, 0, 0, 0, 3, 0, 0, 1, 2, 3, 4, b'x']);
        assert_eq!((scanner.held(), scanner.received()), (3 << 16, 1));
        let mut scanner = FrameScanner { max: 1 << 20, ..FrameScanner::default() };
        scanner.scan(&mut [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, b'x']);
        assert_eq!((scanner.held(), scanner.received()), (0, 1));
    }
}
