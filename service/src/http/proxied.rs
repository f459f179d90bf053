//! The PROXY protocol, version 2: the header in which a trusted proxy names its client at the
//! beginning of a connection. Must not depend on HTTP.
//!
//! A trusted proxy need not send one: proxies that speak HTTP use `X-Forwarded-For`. The header is
//! never read from anybody else, and HTTP refuses it.

use std::{
    io::{Error, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::client_address::TrustedProxies;

/// How many bytes may follow the first 16: addresses, and what proxies report about TLS.
pub(super) const MAX_REST: usize = 4 << 10;

/// How many bytes come first. The last two of them say how many follow.
const FIXED: usize = 16;

const VERSION_2: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };

/// The client: the one that a trusted `peer` names, else the peer itself. Takes what a proxy has
/// written off the stream, and nothing else.
///
/// # Errors
/// If it violates the protocol, is too long, or is not there by `deadline`.
pub(super) async fn client_of(
    stream: &mut TcpStream,
    peer: SocketAddr,
    proxies: &TrustedProxies,
    deadline: Duration,
) -> Result<SocketAddr, Error> {
    if !proxies.contain(peer.ip()) {
        return Ok(peer);
    }
    timeout(deadline, read(stream, peer)).await?
}

async fn read(stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Error> {
    let mut first = [0];
    // No request begins like that.
    if stream.peek(&mut first).await? == 0 || first != *b"\r" {
        return Ok(peer);
    }
    let invalid = |what| Error::new(ErrorKind::InvalidData, what);
    let mut text = vec![0; FIXED];
    stream.read_exact(&mut text).await?;
    let rest = usize::from(u16::from_be_bytes([text[FIXED - 2], text[FIXED - 1]]));
    if rest > MAX_REST {
        return Err(invalid("a PROXY header that is too long, or none"));
    }
    text.resize(FIXED + rest, 0);
    stream.read_exact(&mut text[FIXED..]).await?;
    let (header, _) = ProxyHeader::parse(&text, VERSION_2).map_err(|_| invalid("no PROXY header of version 2"))?;
    // The proxy's own connections, for health checks, have no other address.
    Ok(header.proxied_address().map_or(peer, |addresses| addresses.source))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const SOURCE: &str = "192.0.2.7:4711";

    /// A header with this command and family, and a rest of any kind.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        let ports = [4711_u16.to_be_bytes(), 443_u16.to_be_bytes()].concat();
        [&[192, 0, 2, 7, 198, 51, 100, 1][..], &ports].concat()
    }

    /// Who is at the other end of a connection that begins with `text`, and what is read of it
    /// after that.
    async fn client(text: Vec<u8>, is_trusted: bool, deadline: Duration) -> Result<(String, Vec<u8>), ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (written, reading) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for part in text.chunks(7) {
                if stream.write_all(part).await.is_err() {
                    break;
                }
            }
            // Open until it is judged.
            reading.await.ok();
        });
        let (mut stream, peer) = listener.accept().await.unwrap();
        let proxies = if is_trusted { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() };
        let found = client_of(&mut stream, peer, &TrustedProxies::new(proxies), deadline).await;
        drop(written);
        writer.await.unwrap();
        let client = found.map_err(|error| error.kind())?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        Ok((if client == peer { "peer".to_owned() } else { client.to_string() }, rest))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_trusted_proxy_names_its_client_and_the_request_comes_after_it() {
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 80, 0, 81]].concat();
        let with_more = [v4(), b"\x04\x00\x01x".to_vec()].concat();
        for (begin, expected) in [
            (header(0x21, 0x11, &v4()), SOURCE),
            (header(0x21, 0x11, &with_more), SOURCE),
            (header(0x21, 0x21, &v6), "[2001:db8::1]:80"),
            (header(0x20, 0x00, &[]), "peer"),
            (header(0x20, 0x11, &v4()), "peer"),
            (header(0x21, 0x00, &[]), "peer"),
            (header(0x21, 0x31, &[0; 216]), "peer"),
            (header(0x21, 0x11, &[v4(), vec![0; MAX_REST - 12]].concat()), SOURCE),
            (Vec::new(), "peer"),
        ] {
            let text = [begin.clone(), b"GET / HTTP/1.1\r\n".to_vec()].concat();
            let (client, rest) = client(text, true, LONG).await.unwrap();
            assert_eq!((client.as_str(), rest.as_slice()), (expected, &b"GET / HTTP/1.1\r\n"[..]), "{begin:?}");
        }
    }

    #[tokio::test]
    async fn from_a_stranger_it_is_not_even_read() {
        let text = header(0x21, 0x11, &v4());
        assert_eq!(client(text.clone(), false, LONG).await.unwrap(), ("peer".to_owned(), text));
    }

    #[tokio::test]
    async fn a_malformed_proxy_header_ends_the_connection() {
        for text in [
            header(0x21, 0x11, &v4()[..11]),
            header(0x21, 0x41, &v4()),
            header(0x22, 0x11, &v4()),
            header(0x11, 0x11, &v4()),
            header(0x21, 0x11, &vec![0; MAX_REST + 1]),
            b"\r\nGET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        ] {
            assert_eq!(client(text.clone(), true, LONG).await.err(), Some(ErrorKind::InvalidData), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_header_that_does_not_come_is_waited_for_until_the_deadline() {
        for text in [Vec::new(), SIGNATURE.to_vec(), header(0x21, 0x11, &v4())[..20].to_vec()] {
            let ended = client(text.clone(), true, Duration::from_millis(50)).await;
            assert_eq!(ended.err(), Some(ErrorKind::TimedOut), "{text:?}");
        }
    }
}
