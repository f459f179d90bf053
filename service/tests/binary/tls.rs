//! TLS for clients: HTTP and WebSockets over it, certificates that change, handshakes that nobody
//! finishes.

use std::{fs, sync::Arc};

use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use relogin_client_tokio::{ConnectionState, MemoryStorage, Options, SessionState};
use relogin_test_support::soon;
use rustix::process::Signal;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::program::{Folder, Service};

const OPTIONS: &str = "--demo --store memory --tls-cert cert.pem --tls-key key.pem";

/// Makes an authority, and has it vouch for a new certificate. Returns the authority's own.
pub(crate) fn write_certificate(folder: &Folder) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    // The key first: for a moment the two do not go together.
    fs::write(folder.path("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.path("cert.pem"), certificate.pem()).unwrap();
    authority.pem()
}

pub(crate) async fn connect(service: &Service, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(&service.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn get(service: &Service, authority: &str, head: &str) -> String {
    let mut stream = connect(service, authority).await.unwrap();
    let request = format!("{head}\r\nHost: {}\r\nConnection: close\r\n\r\n", service.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test]
async fn pages_and_websockets_are_served_over_tls() {
    let folder = Folder::new();
    let authority = write_certificate(&folder);
    let service = folder.serve(OPTIONS).await;
    assert!(service.said().contains("relogin: ready on https://127.0.0.1:"), "{}", service.said());
    let health = get(&service, &authority, "GET /healthz HTTP/1.1").await;
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("ok\n"), "{health}");

    // Cookies are for TLS only, also on loopback; and only https pages are the server's own.
    let page = get(&service, &authority, "GET / HTTP/1.1\r\nSec-Fetch-Site: none").await;
    assert!(page.contains("; Secure"), "{page}");
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (origin, status) in [("https://localhost", "101"), ("https://evil.example", "403")] {
        let mut stream = connect(&service, &authority).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n{upgrade}\r\nOrigin: {origin}\r\n\r\n",
            service.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        soon(stream.read_exact(&mut line)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&line), format!("HTTP/1.1 {status}"), "{origin}");
    }

    // The native client: with this authority, and with those of the system.
    let url = format!("wss://{}/", service.address);
    let options = || Options::new(&url).session("session", MemoryStorage::default()).unwrap();
    let client = options().trust(authority.as_bytes()).unwrap().connect();
    let mut events = client.events();
    soon(client.login("jane", "jane")).await.unwrap();
    let logged_in = async {
        while !matches!(client.session(), SessionState::LoggedIn(_)) {
            events.next().await;
        }
    };
    soon(logged_in).await;
    let model = soon(client.model::<Value>("ticker.model")).await.unwrap();
    assert!(model.get().unwrap().is_object());
    let stranger = options().connect();
    let mut events = stranger.events();
    let refused = async {
        loop {
            match stranger.connection() {
                ConnectionState::Stopped | ConnectionState::Connecting => drop(events.next().await),
                state => break state,
            }
        }
    };
    assert!(matches!(soon(refused).await, ConnectionState::Reconnecting { .. }));

    // A client that does not speak TLS gets no answer.
    let mut plain = TcpStream::connect(&service.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    soon(plain.read_to_end(&mut answer)).await.ok();
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn certificates_that_change_are_taken_up_and_broken_ones_are_not() {
    let folder = Folder::new();
    let first = write_certificate(&folder);
    let service = folder.serve(OPTIONS).await;
    let mut open = connect(&service, &first).await.unwrap();

    let second = write_certificate(&folder);
    service.says("new TLS connections get another certificate").await;
    connect(&service, &second).await.unwrap();
    assert!(connect(&service, &first).await.is_err());
    // Open connections stay.
    open.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", service.address).as_bytes()).await.unwrap();
    let mut line = [0; 15];
    soon(open.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");

    fs::write(folder.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    service.says("the certificate is unchanged: cert.pem has no certificate in PEM").await;
    service.signal(Signal::HUP);
    service.says("the certificates are unchanged: cert.pem has no certificate in PEM").await;
    connect(&service, &second).await.unwrap();

    let third = write_certificate(&folder);
    service.signal(Signal::HUP);
    service.says("1 certificate").await;
    connect(&service, &third).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn handshakes_that_nobody_finishes_keep_nobody_out() {
    let folder = Folder::new();
    let authority = write_certificate(&folder);
    let service = folder.serve(OPTIONS).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&service.address).await.unwrap();
        // The beginning of a handshake.
        stream.write_all(&[22, 3, 1]).await.unwrap();
        idle.push(stream);
    }
    assert!(get(&service, &authority, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    service.stop().await;
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let folder = Folder::new();
    write_certificate(&folder);
    let start = |options: &str| folder.run(&format!("serve --demo --listen 127.0.0.1:0 {options}"), "").refused();
    let line = start("--tls-cert cert.pem");
    assert_eq!(line, "relogin: --tls-cert is of no use without --tls-key; give both");
    let line = start("--tls-cert key.pem --tls-key key.pem");
    assert!(line.starts_with("relogin: key.pem has no certificate in PEM"), "{line}");
    let line = start("--tls-cert cert.pem --tls-key nothing.pem");
    assert!(line.starts_with("relogin: cannot read nothing.pem"), "{line}");
    let certificate = fs::read(folder.path("cert.pem")).unwrap();
    write_certificate(&folder);
    fs::write(folder.path("other.pem"), certificate).unwrap();
    let line = start("--tls-cert other.pem --tls-key key.pem");
    assert!(line.starts_with("relogin: cannot use the certificate in other.pem with the key in key.pem"), "{line}");
}
