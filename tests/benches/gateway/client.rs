//! A RES client that costs as little as a client can: raw frames, and no JSON. It shares the
//! processors with what is measured.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use relogin_tests::raw::{Raw, opcode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What was read, and how much of it was taken.
    read: Vec<u8>,
    taken: usize,
    /// The last message.
    message: Vec<u8>,
    /// The id of the last request.
    last: u64,
}

/// What a browser sends with its request for a WebSocket.
const HEADERS: [(&str, &str); 6] = [
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    ("Origin", "http://localhost"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-US,en;q=0.9"),
];

/// How many connections there were.
static OPENED: AtomicUsize = AtomicUsize::new(FROM_ONE_ADDRESS);
/// How many there are from one address.
const FROM_ONE_ADDRESS: usize = 1_000;

/// How much is read at once, at least.
const ROOM: usize = 4 << 10;
/// Where a message says that it is an error.
const BEGIN: usize = 40;
/// An idle client keeps no larger buffers than this.
const KEPT: usize = 16 << 10;

impl Client {
    /// Opens a connection, and agrees on the version of the protocol.
    pub(crate) async fn open(to: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A connection that has ended keeps its pair of ports for a minute.
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let [high, low] = u16::try_from(number / FROM_ONE_ADDRESS)?.to_be_bytes();
        socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into()).context("taking an address of this machine")?;
        let mut stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(Raw::upgrade(to, &HEADERS).as_bytes()).await?;
        let mut client = Self { stream, read: Vec::new(), taken: 0, message: Vec::new(), last: 0 };
        client.take_head().await?;
        client.request("version", r#"{"protocol":"1.2.3"}"#).await?;
        Ok(client)
    }

    async fn take_head(&mut self) -> Result<()> {
        const END: &[u8] = b"\r\n\r\n";
        let end = loop {
            match self.read.windows(END.len()).position(|window| window == END) {
                Some(at) => break at + END.len(),
                None => self.read_some(1).await?,
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]);
        ensure!(head.starts_with("HTTP/1.1 101 "), "no WebSocket: {head}");
        self.taken = end;
        Ok(())
    }

    /// Sends a request and waits for its answer, passing over what comes before it.
    pub(crate) async fn request(&mut self, method: &str, params: &str) -> Result<&[u8]> {
        let frame = self.frame(method, params);
        self.write(&frame).await?;
        self.answer().await
    }

    /// The frame of a request, to be written.
    pub(crate) fn frame(&mut self, method: &str, params: &str) -> Vec<u8> {
        self.last += 1;
        Raw::text(&format!(r#"{{"id":{},"method":"{method}","params":{params}}}"#, self.last))
    }

    /// Writes frames.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// The next answer to a request, passing over events.
    pub(crate) async fn answer(&mut self) -> Result<&[u8]> {
        while {
            self.next().await?;
            !is_answer(&self.message)
        } {}
        let begin = &self.message[..self.message.len().min(BEGIN)];
        ensure!(find(begin, b"\"error\":").is_none(), "refused: {}", String::from_utf8_lossy(&self.message));
        Ok(&self.message)
    }

    /// The next event, passing over answers.
    pub(crate) async fn event(&mut self) -> Result<&[u8]> {
        while {
            self.next().await?;
            is_answer(&self.message)
        } {}
        Ok(&self.message)
    }

    /// Whether there is something that was read and not taken.
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.read.len()
    }

    /// Reads the next message.
    async fn next(&mut self) -> Result<()> {
        self.message.clear();
        if self.message.capacity() > KEPT {
            self.message = Vec::new();
        }
        loop {
            let head = self.need(2).await?;
            let (first, second) = (head[0], head[1]);
            let (head, length) = match second {
                126 => (4, usize::from(u16::from_be_bytes(self.need(4).await?[2..4].try_into()?))),
                127 => (10, usize::try_from(u64::from_be_bytes(self.need(10).await?[2..10].try_into()?))?),
                length => (2, usize::from(length)),
            };
            self.need(head + length).await?;
            let payload = self.taken + head..self.taken + head + length;
            self.taken = payload.end;
            match first & 0x0f {
                opcode::TEXT | opcode::CONTINUATION => {
                    self.message.extend_from_slice(&self.read[payload]);
                    if first & 0x80 != 0 {
                        return Ok(());
                    }
                }
                opcode::PING => self.stream.write_all(&Raw::frame(PONG, true, &[])).await?,
                other => bail!("opcode {other}: {}", String::from_utf8_lossy(&self.read[payload])),
            }
        }
    }

    /// What was read and not taken, once that is so many bytes.
    async fn need(&mut self, count: usize) -> Result<&[u8]> {
        while self.read.len() - self.taken < count {
            self.read_some(count).await?;
        }
        Ok(&self.read[self.taken..])
    }

    async fn read_some(&mut self, needed: usize) -> Result<()> {
        self.read.drain(..self.taken);
        self.taken = 0;
        if self.read.is_empty() && self.read.capacity() > KEPT {
            self.read = Vec::new();
        }
        self.read.reserve(ROOM.max(needed));
        ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the gateway has ended the connection");
        Ok(())
    }
}

const PONG: u8 = 10;

/// The gateways write it as the first or the last member.
fn is_answer(message: &[u8]) -> bool {
    message.starts_with(b"{\"id\":") || message.starts_with(b"{\"result\":") || message.starts_with(b"{\"error\":")
}

/// Where a text stands in a message.
pub(crate) fn find(message: &[u8], text: &[u8]) -> Option<usize> {
    message.windows(text.len()).position(|window| window == text)
}
