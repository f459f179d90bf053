//! Plain HTTP: page, health check, public keys, cookies and errors.

use std::sync::Arc;

use relogin_bus::{
    Bus, Link,
    nats::{NatsBus, NatsConfig},
};
use relogin_store::SessionStore;
use relogin_test_support::{
    nats_server::{NatsServer, Wire},
    soon,
};

use super::stage::{JWKS, Setup, Stage};

#[tokio::test]
async fn the_health_check_asks_the_store() {
    let stage = Stage::new().await;
    let response = stage.http("GET /healthz HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nok\n"), "{response}");
    assert!(response.contains("cache-control: no-store\r\n"), "{response}");

    stage.store.close().await.unwrap();
    let response = stage.http("GET /healthz HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("the session store is closed"), "{response}");
}

#[tokio::test]
async fn the_health_check_fails_once_the_service_stops() {
    let stage = Stage::new().await;
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    stage.stopping.cancel();
    let response = stage.http("GET /healthz HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("is being stopped"), "{response}");
}

#[tokio::test]
async fn the_public_keys_are_for_everybody() {
    let stage = Stage::new().await;
    let response = stage.http("GET /.well-known/jwks.json HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with(JWKS), "{response}");
    for header in ["content-type: application/jwk-set+json", "access-control-allow-origin: *", "max-age=300"] {
        assert!(response.contains(header), "{header} {response}");
    }
}

#[tokio::test]
async fn missing_pages_are_answered_in_words() {
    let stage = Stage::new().await;
    for path in ["/nothing", "/ws", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd"] {
        let response = stage.http(&format!("GET {path} HTTP/1.1")).await;
        assert!(response.starts_with("HTTP/1.1 404 "), "{path}: {response}");
        assert!(response.ends_with("There is nothing here. The page is at /.\n"), "{path}: {response}");
    }
    let response = stage.http("POST / HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 405 ") && response.contains("allow: GET, HEAD\r\n"), "{response}");
}

#[tokio::test]
async fn responses_carry_safe_headers() {
    let stage = Stage::new().await;
    let response = stage.http("GET / HTTP/1.1").await;
    for header in [
        "x-content-type-options: nosniff\r\n",
        "referrer-policy: no-referrer\r\n",
        "script-src 'self' 'wasm-unsafe-eval';",
        "connect-src 'self';",
        "frame-ancestors 'none';",
        "require-trusted-types-for 'script'",
        "permissions-policy: ",
        "cross-origin-opener-policy: same-origin\r\n",
        "cross-origin-resource-policy: same-origin\r\n",
        "cache-control: no-store\r\n",
    ] {
        assert!(response.contains(header), "{header} {response}");
    }
    for word in ["unsafe-inline", " 'unsafe-eval'", "*;"] {
        assert!(!response.contains(word), "{word} {response}");
    }
}

#[tokio::test]
async fn a_browser_that_asks_for_the_page_gets_its_cookie_once() {
    let stage = Stage::new().await;
    let first = stage.http("GET / HTTP/1.1\r\nSec-Fetch-Site: none").await;
    let cookie = first.split("set-cookie: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(cookie.starts_with("relogin-session=") && cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let again = stage.http(&format!("GET / HTTP/1.1\r\nSec-Fetch-Site: none\r\nCookie: {pair}")).await;
    assert!(!again.contains("set-cookie"), "{again}");
    for path in ["/healthz", "/nothing"] {
        let other = stage.http(&format!("GET {path} HTTP/1.1\r\nSec-Fetch-Site: none")).await;
        assert!(!other.contains("set-cookie"), "{other}");
    }
}

/// A link on another site leads to the page: the browser keeps its cookie to itself, and must not
/// be given another in its place.
#[tokio::test]
async fn a_browser_that_withholds_its_cookie_gets_no_other() {
    let stage = Stage::new().await;
    for from in ["\r\nSec-Fetch-Site: cross-site", ""] {
        let page = stage.http(&format!("GET / HTTP/1.1{from}")).await;
        assert!(!page.contains("set-cookie"), "{page}");
    }
    // The page itself asks for its script with all its cookies.
    let script = stage.http("GET /start-0123456789abcdef.js HTTP/1.1\r\nSec-Fetch-Site: same-origin").await;
    assert!(script.contains("set-cookie: relogin-session=") && script.contains("cache-control: no-store"), "{script}");
    let elsewhere = stage.http("GET /start-0123456789abcdef.js HTTP/1.1\r\nSec-Fetch-Site: cross-site").await;
    assert!(!elsewhere.contains("set-cookie"), "{elsewhere}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let stage = Stage::new().await;
    for size in [16 << 10, 128 << 10] {
        let response = stage.http(&format!("GET / HTTP/1.1\r\nX-Large: {}", "x".repeat(size))).await;
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }
    // A large cookie header.
    let response = stage.http(&format!("GET /healthz HTTP/1.1\r\nX-Large: {}", "x".repeat(15 << 10))).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[tokio::test]
async fn the_asterisk_as_request_target_allows_only_options() {
    let stage = Stage::new().await;
    let options = stage.http("OPTIONS * HTTP/1.1").await;
    assert!(options.starts_with("HTTP/1.1 200 ") && options.contains("allow: GET, HEAD\r\n"), "{options}");
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for request in ["GET * HTTP/1.1", "HEAD * HTTP/1.1", "POST * HTTP/1.1", &format!("GET * HTTP/1.1\r\n{upgrade}")] {
        let response = stage.http(request).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{request}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_check_fails_while_the_bus_is_lost() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let bus = Arc::new(NatsBus::connect(&NatsConfig { url: wire.url(), ..NatsConfig::default() }).await.unwrap());
    let mut link = bus.link();
    let stage = Stage::set(bus, Setup::default()).await;
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    wire.cut();
    soon(link.wait_for(|link| *link == Link::Down)).await.unwrap();
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 503 "));
    wire.mend();
    soon(link.wait_for(|link| *link == Link::Up)).await.unwrap();
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_once_its_websockets_are_closed() {
    let mut stage = Stage::new().await;
    let mut client = stage.open("/", &[]).await.unwrap();
    let ((), code) = soon(async { tokio::join!(stage.gateway.stop(), client.end()) }).await;
    assert_eq!(code, Some(1001));
    stage.stop_http().await;
}
