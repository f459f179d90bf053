//! The HTTP API: its answers, and limits on what the gateway holds for it.

use relogin_gateway::Limits;
use relogin_test_support::{service::Service, soon};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::stage::{Stage, patient};

/// Sends a request, and leaves the connection open.
async fn send(stage: &Stage, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!("{head} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", stage.address, body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn response(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8(response).unwrap()
}

async fn answer(service: &mut Service, subject: &str, answer: &Value) {
    let request = soon(service.next_of_all()).await.unwrap();
    assert_eq!(request.subject, subject);
    service.answer(&request, answer).await;
}

async fn serve(service: &mut Service, content: &Value) {
    for _ in 0..2 {
        let request = soon(service.next_of_all()).await.unwrap();
        let is_get = request.subject.starts_with("get.");
        service.answer(&request, if is_get { content } else { &ALLOWED }).await;
    }
}

static ALLOWED: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| json!({ "result": { "get": true, "call": "*" } }));

#[tokio::test]
async fn a_resource_and_a_method_are_answered() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let get = send(&stage, "GET /api/test/a", b"").await;
    serve(&mut service, &json!({ "result": { "model": { "x": 1 } } })).await;
    let text = response(get).await;
    assert!(text.starts_with("HTTP/1.0 200 ") && text.ends_with("\r\n\r\n{\"x\":1}"), "{text}");
    assert!(text.contains("content-length: 7\r\n"), "{text}");

    let post = send(&stage, "POST /api/test/a/set", br#"{"x":2}"#).await;
    answer(&mut service, "access.test.a", &ALLOWED).await;
    answer(&mut service, "call.test.a.set", &json!({ "result": [3] })).await;
    assert!(response(post).await.ends_with("\r\n\r\n[3]"));
}

#[tokio::test]
async fn nothing_is_left_of_a_client_that_has_left() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let get = send(&stage, "GET /api/test/a", b"").await;
    let asked = soon(service.next_of_all()).await.unwrap();
    let cid = asked.payload["cid"].as_str().map(str::to_owned);
    let asked = if cid.is_some() { asked } else { soon(service.next_of_all()).await.unwrap() };
    let token = format!("conn.{}.token", asked.payload["cid"].as_str().unwrap());
    assert!(stage.has_subscriber(&token).await);
    drop(get);
    stage.until_unsubscribed(&token).await;
}

#[tokio::test]
async fn a_body_is_bounded_in_size_and_time() {
    let limits = Limits { frame: 1000, message: std::time::Duration::from_millis(50), ..patient() };
    let stage = Stage::with(limits).await;
    let post = send(&stage, "POST /api/test/a/set", &[b' '; 1001]).await;
    assert!(response(post).await.starts_with("HTTP/1.0 413 "));

    let mut post = TcpStream::connect(stage.address).await.unwrap();
    post.write_all(b"POST /api/test/a/set HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
    assert!(response(post).await.starts_with("HTTP/1.0 408 "));
}

#[tokio::test]
async fn bodies_are_bounded_in_all() {
    let stage = Stage::with(Limits { http_memory: 300_000, ..patient() }).await;
    let mut service = stage.service().await;
    let body = format!("\"{}\"", "x".repeat(200_000));
    // Held until it is answered.
    let first = send(&stage, "POST /api/test/a/set", body.as_bytes()).await;
    let access = soon(service.next_of_all()).await.unwrap();
    let second = send(&stage, "POST /api/test/a/set", body.as_bytes()).await;
    assert!(response(second).await.starts_with("HTTP/1.0 503 "));
    // A small body is accepted nevertheless.
    let small = send(&stage, "POST /api/test/b/set", br#""x""#).await;
    answer(&mut service, "access.test.b", &json!({ "result": {} })).await;
    assert!(response(small).await.starts_with("HTTP/1.0 401 "));

    service.answer(&access, &ALLOWED).await;
    answer(&mut service, "call.test.a.set", &json!({ "result": null })).await;
    assert!(response(first).await.starts_with("HTTP/1.0 204 "));
    let third = send(&stage, "POST /api/test/a/set", body.as_bytes()).await;
    answer(&mut service, "access.test.a", &json!({ "result": {} })).await;
    assert!(response(third).await.starts_with("HTTP/1.0 401 "));
}

#[tokio::test]
async fn a_response_is_bounded() {
    let stage = Stage::with(Limits { backlog: 100_000, ..patient() }).await;
    let mut service = stage.service().await;
    let get = send(&stage, "GET /api/test/a", b"").await;
    let twice = |rid: &str| json!({ "result": { "collection": [{ "rid": rid }, { "rid": rid }] } });
    let mut left = 22;
    while left > 0 {
        let request = soon(service.next_of_all()).await.unwrap();
        let Some(name) = request.subject.strip_prefix("get.test.") else {
            service.answer(&request, &ALLOWED).await;
            continue;
        };
        left -= 1;
        let next = format!("test.{name}a");
        service
            .answer(&request, &if left > 0 { twice(&next) } else { json!({ "result": { "collection": [] } }) })
            .await;
    }
    let text = response(get).await;
    assert!(text.starts_with("HTTP/1.0 500 ") && text.contains("too large"), "{text}");
}

#[tokio::test]
async fn a_stop_waits_for_the_answers() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let post = send(&stage, "POST /api/test/a/set", b"").await;
    let access = soon(service.next_of_all()).await.unwrap();
    let gateway = std::sync::Arc::clone(&stage.gateway);
    let stopping = tokio::spawn(async move { gateway.stop().await });
    while soon(response(send(&stage, "GET /api/test/b", b"").await)).await.is_empty() {}
    service.answer(&access, &json!({ "result": {} })).await;
    assert!(response(post).await.starts_with("HTTP/1.0 401 "));
    soon(stopping).await.unwrap();
}
