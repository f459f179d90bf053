//! WebSocket upgrades: paths, origins, hosts, and client addresses behind proxies.

use std::sync::Arc;

use relogin::origins::AllowOrigin;
use relogin_bus::local::LocalBus;
use relogin_test_support::soon;
use serde_json::json;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error};

use super::stage::{Setup, Stage};

#[tokio::test]
async fn pages_of_other_origins_must_be_named() {
    let stage = Stage::with(AllowOrigin::List(vec!["https://app.example".into()])).await;
    let same = format!("http://{}", stage.address);
    for origin in [same.as_str(), "https://app.example"] {
        stage.open("/", &[("Origin", origin)]).await.unwrap();
    }
    for origin in ["https://evil.example", "null"] {
        let refused = stage.open("/", &[("Origin", origin)]).await.err();
        assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 403), "{origin}");
    }

    let open = Stage::with(AllowOrigin::Any).await;
    open.open("/", &[("Origin", "https://evil.example")]).await.unwrap();
}

/// A proxy that passes everything on but what makes it a WebSocket.
#[tokio::test]
async fn a_websocket_without_its_upgrade_header_is_answered_426() {
    let stage = Stage::new().await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    for head in [
        format!("GET / HTTP/1.1\r\n{key}"),
        format!("GET /ws HTTP/1.0\r\n{key}"),
        format!("GET /ws HTTP/1.0\r\nUpgrade: websocket\r\n{key}"),
    ] {
        let response = stage.http(&head).await;
        assert!(response.contains(" 426 ") && response.contains("\r\nupgrade: websocket\r\n"), "{head} {response}");
    }
    let page = stage.http("GET /nothing HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 404 "), "{page}");
    // No header is missing where there is no WebSocket.
    let elsewhere = format!("GET /nothing HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}");
    let response = stage.http(&elsewhere).await;
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
}

/// DNS rebinding. A page of any name may have that name resolve to this machine.
#[tokio::test]
async fn requests_for_foreign_hosts_are_refused() {
    let chat = &["https://chat.example"][..];
    for (urls, allow, host, is_ours) in [
        (&[][..], &[][..], "evil.example", false),
        (&[], &[], "localhost", true),
        (&[], &["https://chat.example"], "chat.example", true),
        (&[], &["https://chat.example"], "evil.example", false),
        (chat, &[], "chat.example", true),
        (chat, &[], "evil.example", false),
    ] {
        let allow_origin = AllowOrigin::List(allow.iter().map(|&origin| origin.to_owned()).collect());
        let setup = Setup { public_url: urls.to_vec(), allow_origin, ..Setup::default() };
        let stage = Stage::set(Arc::new(LocalBus::new()), setup).await;
        for request in
            ["GET /nothing HTTP/1.1", "GET / HTTP/1.1\r\nUpgrade: websocket", "POST /api/session/login HTTP/1.1"]
        {
            let response = stage.http_at(host, request).await;
            let is_refused = response.starts_with("HTTP/1.1 421 ") && !response.contains("set-cookie");
            assert_eq!(is_refused, !is_ours, "{urls:?} {host} {request} {response}");
        }
        for public in ["/healthz", "/.well-known/jwks.json"] {
            let response = stage.http_at(host, &format!("GET {public} HTTP/1.1")).await;
            assert!(response.starts_with("HTTP/1.1 200 "), "{host} {public} {response}");
        }
        let two = stage.http_at(host, "GET /nothing HTTP/1.1\r\nHost: localhost").await;
        assert!(two.starts_with("HTTP/1.1 400 "), "{two}");
    }
}

/// Behind a proxy that asks for us by our loopback address, it is the public URL that counts.
#[tokio::test]
async fn with_a_public_url_its_pages_connect_whatever_host_the_proxy_asks_for() {
    let setup = Setup { public_url: vec!["https://chat.example"], ..Setup::default() };
    let stage = Stage::set(Arc::new(LocalBus::new()), setup).await;
    stage.open("/", &[("Origin", "https://chat.example")]).await.unwrap();
    let same = format!("http://{}", stage.address);
    for page in ["http://chat.example", "null", same.as_str()] {
        assert!(stage.open("/", &[("Origin", page)]).await.is_err(), "{page}");
    }
    let page = stage.http("GET / HTTP/1.1\r\nSec-Fetch-Site: none").await;
    assert!(page.contains("set-cookie: __Host-relogin-session=") && page.contains("SameSite=Strict; Secure"), "{page}");
}

/// The address that services, throttle and audit go by is the client's, as far as a proxy may say
/// so.
#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let forwarded = ("X-Forwarded-For", "198.51.100.9, 192.0.2.7");
    for (proxies, is_believed) in [(&["127.0.0.0/8"][..], true), (&["192.0.2.0/24"], false), (&[], false)] {
        let stage = Stage::behind(proxies).await;
        let mut service = stage.service().await;
        let mut client = stage.open("/", &[forwarded, ("X-Forwarded-Proto", "https")]).await.unwrap();
        client.send("auth.test.who", json!({})).await;
        let payload = soon(service.next()).await.unwrap().payload;
        let peer = client.socket.get_ref().local_addr().unwrap().to_string();
        assert_eq!(payload["remoteAddr"], if is_believed { "192.0.2.7:0" } else { peer.as_str() }, "{proxies:?}");
        // If a proxy is trusted, services may trust the headers that remain.
        let is_there = payload["header"].get("X-Forwarded-Proto").is_some();
        assert_eq!(is_there, is_believed || proxies.is_empty(), "{proxies:?}");
    }
}

/// The PROXY protocol, too; and what the client itself then says in a header counts for nothing.
#[tokio::test]
async fn a_trusted_proxy_may_name_its_client_before_the_request() {
    let ports = [4711_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
    let first = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[192, 0, 2, 7, 127, 0, 0, 1], &ports].concat();
    let open = async |stage: &Stage| {
        let uri = format!("ws://{}/", stage.address).parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_header("X-Forwarded-For", "198.51.100.9");
        stage.open_after(&first, request).await
    };
    let stage = Stage::behind(&["127.0.0.0/8"]).await;
    let mut service = stage.service().await;
    let mut client = open(&stage).await.unwrap();
    client.send("auth.test.who", json!({})).await;
    let payload = soon(service.next()).await.unwrap().payload;
    assert_eq!(payload["remoteAddr"], "192.0.2.7:4711");
    assert_eq!(payload["header"].get("X-Forwarded-For"), None);

    for strangers in [&["192.0.2.0/24"][..], &[]] {
        assert!(open(&Stage::behind(strangers).await).await.is_err());
    }
}

#[tokio::test]
async fn pages_that_may_not_connect_are_refused_before_a_service_is_asked() {
    let stage = Stage::set(
        Arc::new(LocalBus::new()),
        Setup { header_auth: Some("test.connect".to_owned()), ..Setup::default() },
    )
    .await;
    // No service answers.
    let _service = stage.service().await;
    let refused = stage.open("/", &[("Origin", "https://evil.example")]).await.err();
    assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 403));
}
