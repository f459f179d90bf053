//! Compressed messages (permessage-deflate), frame by frame: what is negotiated, read, sent and
//! refused.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use relogin_gateway::DeflateStats;
use relogin_test_support::soon;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::stage::{Stage, patient};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// A WebSocket by hand.
struct Peer(TcpStream);

impl Peer {
    /// Asks for a WebSocket with these headers; with the head of the response.
    async fn ask(stage: &Stage, headers: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n",
            stage.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.push(soon(stream.read_u8()).await.unwrap());
        }
        (Self(stream), String::from_utf8(response).unwrap().to_ascii_lowercase())
    }

    async fn compressing(stage: &Stage) -> Self {
        let (peer, head) = Self::ask(stage, OFFER).await;
        assert!(head.contains("\r\nsec-websocket-extensions: permessage-deflate"), "{head}");
        peer
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, FIN | 127];
        frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        // The shortest form of the length is for senders to choose.
        if payload.len() < 126 {
            frame.splice(1.., [FIN | u8::try_from(payload.len()).unwrap()]);
        }
        let mask = [1, 2, 3, 4];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = soon(self.0.read_u8()).await.unwrap();
        let length = match soon(self.0.read_u8()).await.unwrap() {
            126 => u64::from(soon(self.0.read_u16()).await.unwrap()),
            127 => soon(self.0.read_u64()).await.unwrap(),
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon(self.0.read_exact(&mut payload)).await.unwrap();
        (first, payload)
    }

    /// The next message, as it was sent, and whether it was compressed.
    async fn message(&mut self) -> (Vec<u8>, bool) {
        let (first, mut message) = self.frame().await;
        assert_eq!(first & !(FIN | RSV1), TEXT);
        let mut is_last = first & FIN != 0;
        while !is_last {
            let (next, part) = self.frame().await;
            assert_eq!(next & !FIN, CONTINUATION, "only the first frame of a message is marked");
            is_last = next & FIN != 0;
            message.extend_from_slice(&part);
        }
        (message, first & RSV1 != 0)
    }

    /// The next message as JSON, and whether it was compressed.
    async fn json(&mut self) -> (Value, bool) {
        let (message, is_compressed) = self.message().await;
        let text = if is_compressed { inflate(&message) } else { message };
        (serde_json::from_slice(&text).unwrap(), is_compressed)
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame().await;
            match first {
                first if first == FIN | CLOSE => return u16::from_be_bytes([payload[0], payload[1]]),
                first => assert_eq!(first, FIN | PONG),
            }
        }
    }
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(text.len() + 100);
    Compress::new(Compression::best(), false).compress_vec(text, &mut deflated, FlushCompress::Sync).unwrap();
    deflated.truncate(deflated.len() - 4);
    deflated
}

fn inflate(message: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::with_capacity(4 << 20);
    let message = [message, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false).decompress_vec(&message, &mut inflated, FlushDecompress::Sync).unwrap();
    inflated
}

fn request(id: usize, method: &str, size: usize) -> String {
    json!({ "id": id, "method": method, "params": "a text ".repeat(size / 7) }).to_string()
}

#[tokio::test]
async fn compression_is_agreed_on_if_both_want_it() {
    let (off, on) = (Stage::new().await, Stage::compressing(patient()).await);
    let accepted = "\r\nsec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                    client_no_context_takeover\r\n";
    for (headers, is_accepted) in [
        ("", false),
        (OFFER, true),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n", false),
        ("Sec-WebSocket-Extensions: other\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", true),
    ] {
        let (_peer, head) = Peer::ask(&on, headers).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert_eq!(head.contains(accepted), is_accepted, "{headers}: {head}");
        assert_eq!(head.matches("extensions").count(), usize::from(is_accepted));
        let (_peer, head) = Peer::ask(&off, headers).await;
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("extensions"), "{head}");
    }
    let (_peer, head) = Peer::ask(&on, "Sec-WebSocket-Extensions: permessage-deflate; =\r\n").await;
    assert!(head.starts_with("http/1.1 400 "), "{head}");
}

#[tokio::test]
async fn compressed_messages_are_read_whole_or_in_frames_and_beside_others() {
    let stage = Stage::compressing(patient()).await;
    let mut service = stage.service().await;
    let mut peer = Peer::compressing(&stage).await;
    for (n, size) in [0, 100, 5000, 900_000].into_iter().enumerate() {
        let text = request(n, "auth.test.read", size);
        let deflated = deflate(text.as_bytes());
        peer.send(FIN | TEXT | RSV1, &deflated).await;
        peer.send(FIN | BINARY | RSV1, &deflated).await;
        peer.send(TEXT | RSV1, &deflated[..1]).await;
        for byte in &deflated[1..deflated.len().min(50)] {
            peer.send(FIN | PING, b"").await;
            peer.send(CONTINUATION, &[*byte]).await;
        }
        peer.send(FIN | CONTINUATION, &deflated[deflated.len().min(50)..]).await;
        peer.send(FIN | TEXT, text.as_bytes()).await;
        peer.send(FIN | BINARY, text.as_bytes()).await;
        for _ in 0..5 {
            let read = soon(service.next()).await.unwrap();
            assert_eq!(read.params().as_str().unwrap().len(), size / 7 * 7);
            service.answer(&read, &json!({ "result": null })).await;
        }
    }
    let stats = stage.gateway.stats().await.unwrap();
    let DeflateStats { messages, bytes, deflated_bytes } = stats.deflated_received;
    assert!(messages == 12 && bytes > 2_700_000 && deflated_bytes < 27_000, "{stats:?}");
    assert_eq!(stats.deflated_sent, DeflateStats::default());
}

#[tokio::test]
async fn a_malformed_compressed_message_ends_its_connection() {
    let stage = Stage::compressing(patient()).await;
    stage.service().await.echo();
    let mut innocent = Peer::compressing(&stage).await;
    let hello = deflate(b"{}");
    // Small as it is sent, and too large when it is decompressed.
    let bomb = deflate(&vec![b' '; 50 << 20]);
    assert!(bomb.len() < 1 << 16);
    for (frames, code) in [
        (&[(FIN | PING | RSV1, &b""[..])][..], 1002),
        (&[(TEXT | RSV1, &hello), (FIN | CONTINUATION | RSV1, b"")], 1002),
        (&[(TEXT, b"{"), (FIN | CONTINUATION | RSV1, &hello)], 1002),
        (&[(TEXT | RSV1, &hello), (FIN | TEXT | RSV1, &hello)], 1002),
        (&[(FIN | TEXT | RSV1 | 0x20, &hello)], 1002),
        (&[(FIN | TEXT | RSV1, b"\x07")], 1007),
        (&[(FIN | TEXT | RSV1, b"")], 1007),
        (&[(FIN | TEXT | RSV1, &deflate(b"\xff"))], 1007),
        (&[(FIN | TEXT, b"\xff")], 1007),
        (&[(FIN | TEXT | RSV1, &bomb)], 1009),
        (&[(TEXT | RSV1, &bomb[..100]), (FIN | CONTINUATION, &bomb[100..])], 1009),
        (&[(FIN | TEXT | RSV1, &vec![0; (1 << 20) + 1])], 1009),
    ] {
        let mut peer = Peer::compressing(&stage).await;
        for (first, payload) in frames {
            peer.send(*first, payload).await;
        }
        assert_eq!(peer.close_code().await, code, "{:?}", frames[0].0);
        innocent.send(FIN | TEXT | RSV1, &deflate(request(code.into(), "call.test.model.echo", 10).as_bytes())).await;
        assert_eq!(innocent.json().await.0, json!({ "id": code, "result": "a text " }));
    }
    // A client that has not agreed on compression must not compress.
    let mut peer = Peer::ask(&stage, "").await.0;
    peer.send(FIN | TEXT | RSV1, &hello).await;
    assert_eq!(peer.close_code().await, 1002);
}

#[tokio::test]
async fn long_messages_are_sent_compressed_but_for_answers_that_may_be_credentials() {
    let stage = Stage::compressing(patient()).await;
    stage.service().await.echo();
    let mut peer = Peer::compressing(&stage).await;
    for (n, (method, size, compressed)) in [
        ("call.test.model.echo", 500, false),
        ("call.test.model.echo", 5000, true),
        ("call.test.model.echo", 500_000, true),
        ("auth.test.model.echo", 5000, false),
        ("auth.test.model.echo", 500_000, false),
    ]
    .into_iter()
    .enumerate()
    {
        let request = deflate(request(n, method, size).as_bytes());
        peer.send(FIN | TEXT | RSV1, &request).await;
        let (answer, is_compressed) = peer.json().await;
        assert_eq!((&answer["id"], is_compressed), (&json!(n), compressed), "{method} {size}");
        assert_eq!(answer["result"].as_str().map(str::len), Some(size / 7 * 7));
    }
    let stats = stage.gateway.stats().await.unwrap();
    let DeflateStats { messages, bytes, deflated_bytes } = stats.deflated_sent;
    assert!(messages == 2 && bytes > 500_000 && deflated_bytes < 10_000, "{stats:?}");
    // Messages that were sent are no longer held.
    assert_eq!(stats.client_bytes, 0);
    let mut plain = Peer::ask(&stage, "").await.0;
    plain.send(FIN | TEXT, request(9, "call.test.model.echo", 5000).as_bytes()).await;
    assert!(!plain.json().await.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_compressed_for_the_clients_that_agreed_to_it() {
    let stage = Stage::compressing(patient()).await;
    let mut service = stage.service().await;
    let answering = tokio::spawn(async move { while service.next().await.is_some() {} });
    let mut peers = Vec::new();
    for n in 0..10 {
        let mut peer = if n % 2 == 0 { Peer::compressing(&stage).await } else { Peer::ask(&stage, "").await.0 };
        peer.send(FIN | TEXT, br#"{"id":1,"method":"subscribe.test.model"}"#).await;
        assert!(!peer.json().await.1, "it is short");
        peers.push(peer);
    }
    // Compressed, more than one frame.
    let text: String = (0..100_000_u64).map(|n| (n * n * 7919).to_string()).collect();
    stage.publish("event.test.model.news", &json!({ "text": text })).await;
    let mut events = Vec::new();
    for (n, peer) in peers.iter_mut().enumerate() {
        let (event, is_compressed) = peer.message().await;
        assert_eq!(is_compressed, n % 2 == 0);
        assert_eq!(if is_compressed { inflate(&event) } else { event.clone() }.len(), text.len() + 46);
        events.push(event);
    }
    assert_eq!(events[0], events[8]);
    assert_eq!(stage.gateway.stats().await.unwrap().client_bytes, 0);
    answering.abort();
}
