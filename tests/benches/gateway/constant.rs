//! A gateway that is none: it answers each request with the same bytes, by its method alone, keeps
//! nothing, and passes each event on to all clients that are subscribed to anything. What it costs
//! is what any gateway on tokio costs at least; the sockets have most of it.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use relogin_tests::raw::opcode;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::find;

/// The argument with which this program is such a gateway; the addresses to listen on and of the
/// nats-server, or `-`, follow it.
pub(crate) const PROGRAM: &str = "constant";
/// The line with which it says that it is ready.
pub(crate) const READY: &str = "ready";

/// As long as Linux lets it be by default.
const LISTEN_QUEUE: u32 = 4_096;
/// No request of the clients is longer.
const ROOM: usize = 1 << 10;

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const VERSION: &str = r#"{"protocol":"1.2.3"}"#;
/// The answer to a login and to a relogin, as long as ours.
const RELOGIN: &str = r#"{"payload":{"reloginKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","expiresIn":2592000,"refreshIn":600}}"#;
const MODEL: &str =
    r#"{"models":{"session.user.d4k0m8uqrv5g1c2":{"id":42,"name":"A model of some size","done":false,"count":0}}}"#;

/// Those who get events.
type Subscribers = Arc<Mutex<Vec<Weak<TcpStream>>>>;

/// Serves until it is killed.
pub(crate) async fn serve(listen: &str, nats: &str) -> Result<()> {
    let subscribers = Subscribers::default();
    if let Ok(nats) = nats.parse::<SocketAddr>() {
        let mut events = async_nats::connect(nats.to_string()).await?.subscribe("event.>").await?;
        let subscribers = Arc::clone(&subscribers);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                pass_on(&event.payload, &subscribers);
            }
        });
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen.parse()?)?;
    let listener = socket.listen(LISTEN_QUEUE)?;
    println!("{READY}");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let subscribers = Arc::clone(&subscribers);
        // A client that goes away ends it.
        tokio::spawn(async move { connection(&Arc::new(stream), &subscribers).await });
    }
}

async fn connection(stream: &Arc<TcpStream>, subscribers: &Subscribers) -> Result<()> {
    let mut read = Vec::with_capacity(ROOM);
    while find(&read, b"\r\n\r\n").is_none() {
        receive(stream, &mut read).await?;
    }
    read.clear();
    send(stream, HEAD)?;
    loop {
        receive(stream, &mut read).await?;
        let mut taken = 0;
        while let Some((message, size)) = first_message(&read[taken..]) {
            taken += size;
            let id = message.split(|byte| !byte.is_ascii_digit()).find(|part| !part.is_empty());
            let id = std::str::from_utf8(id.context("there is no id")?)?;
            let has = |method| find(message, method).is_some();
            let result = if has(b"\"version\"") {
                VERSION
            } else if has(b"\"auth.") {
                RELOGIN
            } else {
                let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
                subscribers.push(Arc::downgrade(stream));
                MODEL
            };
            send(stream, &frame(format!(r#"{{"result":{result},"id":{id}}}"#).as_bytes()))?;
        }
        read.drain(..taken);
    }
}

/// The first message of what was read, if all of it is there, and how long its frame is. The
/// clients mask by zeros.
fn first_message(read: &[u8]) -> Option<(&[u8], usize)> {
    let [_, length, ..] = *read else { return None };
    let (head, length) = match length & 0x7f {
        126 => (8, usize::from(u16::from_be_bytes(read.get(2..4)?.try_into().ok()?))),
        length => (6, usize::from(length)),
    };
    Some((read.get(head..head + length)?, head + length))
}

/// A server's frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode::TEXT];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap_or_default().to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn pass_on(values: &[u8], subscribers: &Subscribers) {
    let event = [br#"{"event":"bench.model.watched.change","data":"#, values, b"}"].concat();
    let event = frame(&event);
    let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
    subscribers.retain(|stream| stream.upgrade().is_some_and(|stream| send(&stream, &event).is_ok()));
}

async fn receive(stream: &TcpStream, read: &mut Vec<u8>) -> Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read_buf(read) {
            Ok(count) => {
                ensure!(count > 0, "the client has gone");
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// At once: all that a client gets has room in the system's buffers.
fn send(stream: &TcpStream, bytes: &[u8]) -> Result<()> {
    let sent = stream.try_write(bytes)?;
    ensure!(sent == bytes.len(), "a client reads too slowly");
    Ok(())
}
