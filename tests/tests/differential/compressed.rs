//! A client's WebSocket whose messages may be compressed (permessage-deflate, RFC 7692), each by
//! itself, frame by frame: the WebSocket library knows no extensions. Must not depend on scripts.

use std::io::Read as _;

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compress, Compression, FlushCompress, read::DeflateDecoder};
use relogin_tests::raw::{Raw, opcode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The offer of a client, as browsers make it.
pub(crate) const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");

const FIN: u8 = 0x80;
/// The bit RSV1: the message is compressed.
const DEFLATED: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const PONG: u8 = 10;

/// The end of a flushed message, which is not sent, and an empty last block.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// The side that sends.
pub(crate) struct Sender {
    stream: OwnedWriteHalf,
    sent: usize,
}

/// The side that receives.
pub(crate) struct Receiver(OwnedReadHalf);

/// A message of a server.
pub(crate) enum Received {
    Text { text: String, is_deflated: bool },
    Close(Option<u16>),
}

/// Both sides of an open WebSocket.
pub(crate) fn split(stream: TcpStream) -> (Sender, Receiver) {
    let (reads, writes) = stream.into_split();
    (Sender { stream: writes, sent: 0 }, Receiver(reads))
}

impl Sender {
    /// Sends a message, two of three of them compressed, in frames of `most` bytes, with a ping
    /// after each but the last.
    pub(crate) async fn send(&mut self, opcode: u8, text: &[u8], most: usize) -> Result<()> {
        self.sent += 1;
        let is_deflated = !self.sent.is_multiple_of(3);
        let payload = if is_deflated { deflate(text)? } else { text.to_vec() };
        let mut frames = Vec::new();
        let mut parts = payload.chunks(most).peekable();
        let mut head = opcode | if is_deflated { DEFLATED } else { 0 };
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            frames.extend(Raw::frame(head, is_last, part));
            head = opcode::CONTINUATION;
            if !is_last {
                frames.extend(Raw::frame(opcode::PING, true, b"here"));
            }
        }
        self.stream.write_all(&frames).await.context("sending frames")
    }

    pub(crate) async fn close(&mut self) -> Result<()> {
        self.stream.write_all(&Raw::frame(opcode::CLOSE, true, &[])).await.context("closing")
    }
}

impl Receiver {
    /// The next message, or the close frame.
    pub(crate) async fn next(&mut self) -> Result<Received> {
        let (mut message, mut first) = (Vec::new(), None);
        loop {
            let (head, payload) = self.frame().await?;
            match (head & OPCODE, first) {
                (opcode::PING | PONG, _) => continue,
                (opcode::CLOSE, _) => {
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    return Ok(Received::Close(code));
                }
                (opcode::TEXT, None) => first = Some(head),
                (opcode::CONTINUATION, Some(_)) if head & DEFLATED == 0 => {}
                _ => bail!("an unexpected frame: {head:x}"),
            }
            message.extend_from_slice(&payload);
            if head & FIN != 0 {
                break;
            }
        }
        let is_deflated = first.is_some_and(|head| head & DEFLATED != 0);
        let text = if is_deflated { inflate(&message)? } else { message };
        Ok(Received::Text { text: String::from_utf8(text)?, is_deflated })
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let stream = &mut self.0;
        let [head, length] = [stream.read_u8().await?, stream.read_u8().await?];
        ensure!(head & !(FIN | DEFLATED | OPCODE) == 0, "bits that mean nothing");
        let length = match length {
            126 => stream.read_u16().await?.into(),
            127 => stream.read_u64().await?,
            length => length.into(),
        };
        let mut payload = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut payload).await?;
        Ok((head, payload))
    }
}

fn deflate(text: &[u8]) -> Result<Vec<u8>> {
    let mut deflated = Vec::with_capacity(text.len() + 1024);
    Compress::new(Compression::default(), false).compress_vec(text, &mut deflated, FlushCompress::Sync)?;
    let length = deflated.strip_suffix(&FLUSHED).context("it is flushed")?.len();
    deflated.truncate(length);
    Ok(deflated)
}

fn inflate(message: &[u8]) -> Result<Vec<u8>> {
    let mut inflated = Vec::new();
    DeflateDecoder::new(&[message, &END].concat()[..]).read_to_end(&mut inflated).context("inflating")?;
    Ok(inflated)
}
