//! Which requests for a WebSocket are accepted, and what services get of them.

use relogin_test_support::soon;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::stage::Stage;

#[tokio::test]
async fn a_malformed_upgrade_is_a_bad_request() {
    let stage = Stage::new().await;
    let response = stage.http("GET / HTTP/1.1\r\nUpgrade: websocket").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

#[tokio::test]
async fn services_get_what_the_connection_was_opened_with() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let headers = [("User-Agent", "Tester/1"), ("cookie", "a=1"), ("cookie", "b=2")];
    let mut client = stage.open("/ws?x=1", &headers).await.unwrap();
    client.send("auth.test.who", json!({ "a": 1 })).await;
    let request = soon(service.next()).await.unwrap();
    assert_eq!(request.subject, "auth.test.who");

    let Value::Object(payload) = request.payload else { panic!() };
    assert_eq!(payload["header"]["User-Agent"], json!(["Tester/1"]));
    assert_eq!(payload["header"]["Cookie"], json!(["a=1", "b=2"]));
    assert_eq!(payload["header"]["Sec-Websocket-Version"], json!(["13"]));
    assert_eq!(payload["header"].get("Host"), None);
    assert_eq!(payload["host"], stage.address.to_string());
    assert_eq!(payload["uri"], "/ws?x=1");
    assert_eq!(payload["remoteAddr"], client.socket.get_ref().local_addr().unwrap().to_string());
    assert_eq!(payload["params"], json!({ "a": 1 }));
    let cid = payload["cid"].as_str().unwrap();
    assert!(cid.len() == 20 && cid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v')), "{cid}");
}

#[tokio::test]
async fn two_connections_have_two_cids() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut one, mut other) = (stage.client().await, stage.client().await);
    assert_ne!(one.cid(&mut service).await, other.cid(&mut service).await);
}

/// Opens a WebSocket by hand; the head of the response.
async fn head_of(stage: &Stage, more: &str) -> String {
    let head = format!(
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Host: {}\r\nConnection: Upgrade{more}\r\n\r\n",
        stage.address
    );
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(soon(stream.read_u8()).await.unwrap());
    }
    if let Some(length) = String::from_utf8_lossy(&response).split("content-length: ").nth(1) {
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        soon(stream.read_exact(&mut body)).await.unwrap();
        response.extend(body);
    }
    String::from_utf8(response).unwrap()
}

async fn answered(stage: &Stage, answer: Value) -> String {
    let mut service = stage.service().await;
    let answering = async {
        let request = soon(service.next()).await.unwrap();
        assert_eq!(request.subject, "auth.test.connect");
        assert_eq!(request.payload["isHttp"], true);
        assert_eq!(request.payload["header"]["Cookie"], json!(["a=1"]));
        assert_eq!(request.payload["uri"], "/ws");
        service.answer(&request, &answer).await;
    };
    tokio::join!(head_of(stage, "\r\nCookie: a=1"), answering).0
}

#[tokio::test]
async fn a_service_sets_cookies_before_the_websocket_opens() {
    let stage = Stage::asking("test.connect").await;
    let header = json!({
        "Set-Cookie": ["a=1; Path=/", "b=2"], "X-Mine": ["1"], "Bad\r\nName": ["x"], "X-Bad": ["a\r\nX-Injected: 1"],
        "Sec-WebSocket-Protocol": ["x"], "Connection": ["close"],
    });
    let head = answered(&stage, json!({ "result": null, "meta": { "header": header } })).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in ["set-cookie: a=1; Path=/\r\n", "set-cookie: b=2\r\n", "x-mine: 1\r\n", "connection: Upgrade\r\n"] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{line} {head}");
    }
    for word in ["injected", "bad", "sec-websocket-protocol", "connection: close"] {
        assert!(!head.to_lowercase().contains(word), "{word} {head}");
    }
}

#[tokio::test]
async fn a_service_refuses_or_redirects_a_connection() {
    let stage = Stage::asking("test.connect").await;
    let error = json!({ "code": "test.no", "message": "No" });
    let meta = json!({ "status": 403, "header": { "Set-Cookie": ["a=; Max-Age=0"] } });
    let response = answered(&stage, json!({ "error": error, "meta": meta })).await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    assert!(response.contains("set-cookie: a=; Max-Age=0\r\n"), "{response}");
    assert!(response.contains("content-type: application/json; charset=utf-8\r\n"), "{response}");
    assert!(response.ends_with(r#"{"code":"test.no","message":"No"}"#), "{response}");

    let meta = json!({ "status": 303, "header": { "Location": ["https://example.org/"] } });
    let response = answered(&stage, json!({ "result": null, "meta": meta })).await;
    assert!(
        response.starts_with("HTTP/1.1 303 ") && response.contains("location: https://example.org/\r\n"),
        "{response}"
    );
}

#[tokio::test]
async fn without_a_service_to_ask_the_connection_opens() {
    let stage = Stage::asking("nobody.connect").await;
    let mut client = stage.client().await;
    let answer = client.ask("version", json!({ "protocol": "1.2.3" })).await;
    assert_eq!(answer["result"]["protocol"], "1.2.3");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_service_answers_is_forgotten() {
    let stage = Stage::asking("test.connect").await;
    let mut service = stage.service().await;
    let mut client = Box::pin(stage.client());
    let request = tokio::select! {
        _ = &mut client => panic!("opened without an answer"),
        request = service.next() => request.unwrap(),
    };
    let token = format!("conn.{}.token", request.payload["cid"].as_str().unwrap());
    assert!(stage.has_subscriber(&token).await);
    drop(client);
    stage.until_unsubscribed(&token).await;
}

#[tokio::test]
async fn a_malformed_handshake_is_answered_with_the_version() {
    let stage = Stage::new().await;
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (method, rest, status) in [
        ("GET", format!("Connection: Upgrade\r\n{KEY}\r\nSec-WebSocket-Version: 8"), "426"),
        ("GET", format!("Connection: Upgrade\r\n{KEY}"), "426"),
        ("POST", format!("Connection: Upgrade\r\n{KEY}\r\nSec-WebSocket-Version: 13"), "405"),
        ("GET", "Connection: Upgrade\r\nSec-WebSocket-Version: 13".to_owned(), "400"),
        ("GET", format!("{KEY}\r\nSec-WebSocket-Version: 13"), "400"),
    ] {
        let response = stage.http(&format!("{method} /ws HTTP/1.1\r\nUpgrade: websocket\r\n{rest}")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {rest}: {response}");
        assert!(response.contains("sec-websocket-version: 13\r\n"), "{method} {rest}: {response}");
        let upgrades = response.contains("upgrade: websocket\r\n");
        assert_eq!(upgrades, status == "426", "{method} {rest}: {response}");
    }
}
