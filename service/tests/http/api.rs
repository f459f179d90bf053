//! The HTTP API for pages of other origins.

use std::sync::Arc;

use relogin::origins::AllowOrigin;
use relogin_bus::local::LocalBus;
use relogin_test_support::soon;
use serde_json::json;

use super::stage::{Setup, Stage};

const PAGE: &str = "https://chat.example";

fn list(origin: &str) -> AllowOrigin {
    AllowOrigin::List(vec![origin.to_owned()])
}

/// The header of a response.
fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    response.lines().filter_map(|line| line.split_once(": ")).find(|(it, _)| *it == name).map(|(_, value)| value)
}

const CORS: [&str; 3] = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];

#[tokio::test]
async fn pages_read_what_they_may_and_with_cookies_if_they_are_named() {
    for (allow, http_header_auth, page, status, cors) in [
        (list(PAGE), false, PAGE, "200", [Some(PAGE), None, Some("Origin")]),
        (list(PAGE), true, PAGE, "200", [Some(PAGE), Some("true"), Some("Origin")]),
        (list(PAGE), true, "https://evil.example", "403", [None, None, None]),
        (AllowOrigin::Any, true, "https://evil.example", "200", [Some("*"), None, None]),
        (AllowOrigin::Any, true, "", "200", [Some("*"), None, None]),
        (list(PAGE), true, "", "200", [None, None, None]),
    ] {
        let method = http_header_auth.then(|| "test.connect".to_owned());
        let setup = Setup { allow_origin: allow, http_header_auth: method, ..Setup::default() };
        let stage = Stage::set(Arc::new(LocalBus::new()), setup).await;
        let mut service = stage.service().await;
        let answering = async {
            while let Some(request) = service.next().await {
                service.answer(&request, &json!({ "result": null })).await;
            }
        };
        let origin = if page.is_empty() { String::new() } else { format!("\r\nOrigin: {page}") };
        let request = format!("GET /api/test/a HTTP/1.1{origin}");
        let asking = stage.http_at("localhost", &request);
        let response = tokio::select! {
            response = soon(asking) => response,
            () = answering => unreachable!("the bus is there"),
        };
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{page} {response}");
        assert_eq!(CORS.map(|name| header(&response, name)), cors, "{page} {response}");
        // As all others.
        assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    }
}

#[tokio::test]
async fn preflight_requests_are_answered_for_pages_that_may_connect() {
    let stage = Stage::with(list(PAGE)).await;
    let request = "OPTIONS /api/test/a HTTP/1.1\r\nAccess-Control-Request-Method: POST\r\n\
                   Access-Control-Request-Headers: content-type, x-mine\r\nOrigin: ";
    let response = stage.http_at("localhost", &format!("{request}{PAGE}")).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(header(&response, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(&response, "access-control-allow-methods"), Some("GET, HEAD, OPTIONS, POST"));
    assert_eq!(header(&response, "access-control-allow-headers"), Some("content-type, x-mine"));
    let response = stage.http_at("localhost", &format!("{request}https://evil.example")).await;
    assert_eq!(header(&response, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn websockets_open_at_their_paths_only() {
    let stage = Stage::with(AllowOrigin::Any).await;
    for path in ["/", "/ws", "/ws?a=b"] {
        let mut client = stage.open(path, &[]).await.unwrap();
        let answer = client.ask("version", json!({ "protocol": "1.2.3" })).await;
        assert_eq!(answer["result"]["protocol"], "1.2.3", "{path}");
    }
    for path in ["/other", "/ws/", "/index.html", "/healthz", "/api/test/a", "/api/"] {
        assert!(stage.open(path, &[]).await.is_err(), "{path}");
    }
}
