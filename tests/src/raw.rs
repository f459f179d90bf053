//! Raw sockets, for what no client sends: heads and frames byte by byte, and peers that never read.
//! Knows HTTP/1.1 and WebSocket framing by hand, so that nothing between test and wire sets bounds
//! of its own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{DEADLINE, in_time};

/// WebSocket opcodes (RFC 6455, section 5.2).
pub mod opcode {
    /// The rest of a message that was begun.
    pub const CONTINUATION: u8 = 0;
    /// A text message.
    pub const TEXT: u8 = 1;
    /// A message of bytes.
    pub const BINARY: u8 = 2;
    /// The end of the connection.
    pub const CLOSE: u8 = 8;
    /// A probe, which a pong answers.
    pub const PING: u8 = 9;
}

/// The address that attackers come from, unless a test says otherwise.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// A TCP connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// What was read and not taken yet.
    read: Vec<u8>,
}

/// How a flood came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// The other side took all of it.
    Taken,
    /// The other side ended the connection after it had taken this many bytes.
    Ended(usize),
}

impl Raw {
    /// Connects from this address.
    ///
    /// # Errors
    /// If nobody takes the connection.
    pub async fn connect(to: SocketAddr, from: Ipv4Addr) -> Result<Self> {
        Self::connect_by(TcpSocket::new_v4()?, to, from).await
    }

    async fn connect_by(socket: TcpSocket, to: SocketAddr, from: Ipv4Addr) -> Result<Self> {
        // Thousands of them leave as many ports behind.
        socket.set_reuseaddr(true)?;
        socket.bind((from, 0).into()).context("taking an address of this machine")?;
        let stream = in_time("the connection", async { Ok(socket.connect(to).await?) }).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Connects and becomes a WebSocket; `headers` are added to the request.
    ///
    /// # Errors
    /// If the answer is not 101.
    pub async fn websocket(to: SocketAddr, from: Ipv4Addr, headers: &[(&str, &str)]) -> Result<Self> {
        Self::connect(to, from).await?.into_websocket(to, headers).await
    }

    /// The same; this side's system keeps next to nothing of what is not read.
    ///
    /// # Errors
    /// As [`Raw::websocket`].
    pub async fn websocket_of_small_buffers(to: SocketAddr, from: Ipv4Addr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4 << 10)?;
        Self::connect_by(socket, to, from).await?.into_websocket(to, &[]).await
    }

    async fn into_websocket(mut self, to: SocketAddr, headers: &[(&str, &str)]) -> Result<Self> {
        self.send(Self::upgrade(to, headers).as_bytes()).await?;
        let head = self.head().await?;
        if !head.starts_with("HTTP/1.1 101 ") {
            bail!("no WebSocket: {head}");
        }
        Ok(self)
    }

    /// The head of a request for a WebSocket.
    #[must_use]
    pub fn upgrade(host: SocketAddr, headers: &[(&str, &str)]) -> String {
        let mut head = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    /// A client's frame, whole: `is_last` of its message, masked by zeros.
    #[must_use]
    pub fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Self::frame_head(opcode, is_last, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    /// The head of a client's frame whose payload has `length` bytes.
    #[must_use]
    pub fn frame_head(opcode: u8, is_last: bool, length: usize) -> Vec<u8> {
        let mut head = vec![opcode | if is_last { 0x80 } else { 0 }];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => head.push(0x80 | short),
            (_, Ok(middle)) => {
                head.push(0x80 | 126);
                head.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                head.push(0x80 | 127);
                head.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        head.extend_from_slice(&[0; 4]);
        head
    }

    /// A client's text message.
    #[must_use]
    pub fn text(payload: &str) -> Vec<u8> {
        Self::frame(opcode::TEXT, true, payload.as_bytes())
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// If the other side ends the connection, or takes nothing for too long.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        in_time("room to send", async { Ok(self.stream.write_all(bytes).await?) }).await
    }

    /// Sends `bytes` again and again, `total` bytes at least, and reads nothing. A part that the
    /// other side has no room for is waited for, so this returns when all was taken or the
    /// connection was ended.
    ///
    /// # Errors
    /// If the other side neither takes more nor ends the connection.
    pub async fn flood(&mut self, bytes: &[u8], total: usize) -> Result<Flood> {
        let mut sent = 0;
        while sent < total {
            let wrote =
                in_time("room to send, or an end", async { Ok(self.stream.write(bytes_from(bytes, sent)).await) });
            match wrote.await? {
                Ok(0) => return Ok(Flood::Ended(sent)),
                Ok(more) => sent += more,
                Err(error) if is_end(&error) => return Ok(Flood::Ended(sent)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Flood::Taken)
    }

    /// Sends `bytes` again and again until the other side ends the connection, and reads and
    /// forgets what it sends.
    ///
    /// # Errors
    /// If the connection fails otherwise.
    pub async fn flood_and_read(&mut self, bytes: &[u8]) -> Result<()> {
        let (mut source, mut sink) = self.stream.split();
        let reading = async {
            let mut scrap = vec![0; 64 << 10];
            while source.read(&mut scrap).await? > 0 {}
            Ok(())
        };
        let writing = async {
            loop {
                sink.write_all(bytes).await?;
            }
        };
        let ended: io::Result<()> = tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        };
        match ended {
            Err(error) if !is_end(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads the head of an HTTP response; what came behind it is kept.
    ///
    /// # Errors
    /// If none comes.
    pub async fn head(&mut self) -> Result<String> {
        const END: &[u8] = b"\r\n\r\n";
        loop {
            if let Some(at) = self.read.windows(END.len()).position(|window| window == END) {
                let head = self.read.drain(..at + END.len()).collect();
                return String::from_utf8(head).context("a head that is not text");
            }
            if self.read_some().await? == 0 {
                bail!("the connection ended before a head: {:?}", String::from_utf8_lossy(&self.read));
            }
        }
    }

    /// Reads exactly this many bytes.
    ///
    /// # Errors
    /// If fewer come.
    pub async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.read.len() < count {
            if self.read_some().await? == 0 {
                bail!("the connection ended after {} of {count} bytes", self.read.len());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Reads a frame of the server: its opcode and payload.
    ///
    /// # Errors
    /// If none comes, or it is masked.
    pub async fn server_frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let head = self.take(2).await?;
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.take(2).await?[..].try_into()?)),
            127 => u64::from_be_bytes(self.take(8).await?[..].try_into()?),
            masked if masked & 0x80 != 0 => bail!("a server's frame is masked"),
            short => u64::from(short),
        };
        Ok((head[0] & 0x0f, self.take(usize::try_from(length)?).await?))
    }

    /// Reads to the end of the connection, and answers all that had not been taken.
    ///
    /// # Errors
    /// If it is not ended within [`DEADLINE`].
    pub async fn ended(mut self) -> Result<Vec<u8>> {
        in_time("the end of a connection", async {
            while self.read_some_at_all().await? > 0 {}
            Ok(())
        })
        .await?;
        Ok(self.read)
    }

    /// Reads and forgets all that comes, to the end of the connection, however long that takes.
    ///
    /// # Errors
    /// If the wire breaks.
    pub async fn served(mut self) -> Result<()> {
        while self.read_some_at_all().await? > 0 {
            self.read.clear();
        }
        Ok(())
    }

    async fn read_some(&mut self) -> Result<usize> {
        tokio::time::timeout(DEADLINE, self.read_some_at_all()).await.context("nothing came in time")?
    }

    /// A reset is an end.
    async fn read_some_at_all(&mut self) -> Result<usize> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(count) => Ok(count),
            Err(error) if is_end(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// What comes next of `bytes`, which are repeated forever, when `sent` bytes are gone.
fn bytes_from(bytes: &[u8], sent: usize) -> &[u8] {
    &bytes[sent % bytes.len()..]
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_lengths_of_the_websocket_protocol() {
        assert_eq!(Raw::frame(opcode::TEXT, true, b"ab"), [0x81, 0x82, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(Raw::frame_head(opcode::PING, true, 125)[..2], [0x89, 0x80 | 125]);
        assert_eq!(Raw::frame_head(opcode::TEXT, false, 126)[..4], [0x01, 0x80 | 126, 0, 126]);
        assert_eq!(Raw::frame_head(opcode::TEXT, true, 65_536)[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
