//! What a message is on the wire, and what it says: compressed or as it is, in one frame or
//! several. Must not depend on sockets.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{
    Utf8Bytes,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    counts::{Counts, Direction},
    deflate::{Deflate, Unreadable},
    flow::Flow,
    line::CloseReason,
    memory::SharedBuffer,
};

/// How the messages of a connection are read and written.
#[derive(Clone, Copy)]
pub(crate) struct Messages<'a> {
    pub(crate) deflate: Option<&'a Deflate>,
    /// The largest of the client's.
    pub(crate) max: usize,
    pub(crate) flow: &'a Flow,
    pub(crate) counts: &'a Counts,
}

impl Messages<'_> {
    /// What a binary message says; `None` if that is no text.
    pub(crate) async fn read(self, message: Bytes) -> Result<Option<Utf8Bytes>, CloseReason> {
        let Some(deflate) = self.deflate else {
            // As text. Anything else is not a frame, like any other malformed one.
            return Ok(Utf8Bytes::try_from(message).ok());
        };
        // It is a compressed one, see `Inbound`.
        let size = message.len();
        // Boxed, because every open connection would have room for it.
        let inflating = Box::pin(deflate.inflate(message, self.max, self.flow));
        let text = inflating.await.map_err(|unreadable| match unreadable {
            Unreadable::TooLarge => CloseReason::TOO_LARGE,
            Unreadable::Invalid => CloseReason::NO_DEFLATE,
        })?;
        self.counts.deflated(Direction::In, text.len(), size);
        Utf8Bytes::try_from(text).map(Some).map_err(|_| CloseReason::NO_TEXT)
    }

    /// A message as it is sent, and whether that is compressed.
    pub(crate) async fn deflate(self, text: Bytes, shared: Option<&SharedBuffer>) -> (Bytes, bool) {
        let Some(deflate) = self.deflate else { return (text, false) };
        // Boxed likewise.
        let deflated = match shared {
            Some(shared) => Box::pin(deflate.deflate_shared(&text, shared)).await,
            None => Box::pin(deflate.deflate(&text)).await.map(|deflated| deflated.bytes),
        };
        let Some(deflated) = deflated else { return (text, false) };
        self.flow.unqueue(text.len() - deflated.len(), shared.is_some(), false);
        self.counts.deflated(Direction::Out, text.len(), deflated.len());
        (deflated, true)
    }
}

/// Larger messages are sent as several frames of this size, in bytes: the WebSocket library copies
/// what it sends, and keeps the largest buffer that it ever needed.
pub(crate) const CHUNK: usize = 16 << 10;

/// The frames of a text message. The input is UTF-8, or that compressed.
pub(crate) fn parts(mut text: Bytes, is_deflated: bool) -> impl Iterator<Item = Frame> {
    let mut next = Some(Data::Text);
    std::iter::from_fn(move || {
        let opcode = next?;
        let part = text.split_to(text.len().min(CHUNK));
        next = (!text.is_empty()).then_some(Data::Continue);
        let mut frame = Frame::message(part, OpCode::Data(opcode), next.is_none());
        // The first one stands for the message.
        frame.header_mut().rsv1 = is_deflated && opcode == Data::Text;
        Some(frame)
    })
}
