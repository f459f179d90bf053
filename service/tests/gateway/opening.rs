//! Who may open a WebSocket, where, and what services hear of it.

use std::sync::Arc;

use relogin::{bus::local::LocalBus, origins::AllowOrigin};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error};

use super::stage::{Setup, Stage, patient, soon};

#[tokio::test]
async fn a_websocket_opens_on_any_path() {
    let stage = Stage::new().await;
    for path in ["/", "/ws", "/x/y", "/healthz", "/index.html", "/ws?a=b", "/%20"] {
        let mut client = stage.open(path, &[]).await.unwrap();
        let answer = client.ask("version", json!({ "protocol": "1.2.3" })).await;
        assert_eq!(answer["result"]["protocol"], "1.2.3", "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_must_be_named() {
    let stage = Stage::with(patient(), AllowOrigin::List(vec!["https://app.example".into()])).await;
    let same = format!("http://{}", stage.address);
    for origin in [same.as_str(), "https://app.example"] {
        stage.open("/", &[("Origin", origin)]).await.unwrap();
    }
    for origin in ["https://evil.example", "null"] {
        let refused = stage.open("/", &[("Origin", origin)]).await.err();
        assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 403), "{origin}");
    }

    let open = Stage::with(patient(), AllowOrigin::Any).await;
    open.open("/", &[("Origin", "https://evil.example")]).await.unwrap();
}

#[tokio::test]
async fn what_is_no_proper_upgrade_is_refused_in_words() {
    let stage = Stage::new().await;
    let response = stage.http("GET / HTTP/1.1\r\nUpgrade: websocket").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

/// Line aa: a proxy that passes everything on but what makes it a WebSocket.
#[tokio::test]
async fn a_websocket_without_its_upgrade_is_told_to_upgrade() {
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
}

/// Line o: DNS rebinding. A page of any name may have that name resolve to this machine.
#[tokio::test]
async fn who_asks_for_a_name_that_is_not_ours_gets_nothing() {
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

/// Lines o and aa: behind a proxy that asks for us by our loopback address, it is the public URL that counts.
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

#[tokio::test]
async fn services_hear_what_the_connection_was_opened_with() {
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

/// Line l: the address that services, throttle and audit go by is the client's, as far as a proxy may say so.
#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_whom_it_names() {
    let forwarded = ("X-Forwarded-For", "198.51.100.9, 192.0.2.7");
    for (proxies, is_believed) in [(&["127.0.0.0/8"][..], true), (&["192.0.2.0/24"], false), (&[], false)] {
        let stage = Stage::behind(proxies).await;
        let mut service = stage.service().await;
        let mut client = stage.open("/", &[forwarded, ("X-Forwarded-Proto", "https")]).await.unwrap();
        client.send("auth.test.who", json!({})).await;
        let payload = soon(service.next()).await.unwrap().payload;
        let peer = client.socket.get_ref().local_addr().unwrap().to_string();
        assert_eq!(payload["remoteAddr"], if is_believed { "192.0.2.7:0" } else { peer.as_str() }, "{proxies:?}");
        // Where some are believed, services may believe what they find.
        let is_there = payload["header"].get("X-Forwarded-Proto").is_some();
        assert_eq!(is_there, is_believed || proxies.is_empty(), "{proxies:?}");
    }
}

/// Line l: the PROXY protocol, too; and what the client itself then says in a header counts for nothing.
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
async fn a_service_turns_away_who_would_connect() {
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
async fn who_need_not_be_asked_gets_in_all_the_same() {
    let stage = Stage::asking("nobody.connect").await;
    let mut client = stage.client().await;
    let answer = client.ask("version", json!({ "protocol": "1.2.3" })).await;
    assert_eq!(answer["result"]["protocol"], "1.2.3");
    // Other pages are not even asked for.
    let refused = stage.open("/", &[("Origin", "https://evil.example")]).await.err();
    assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 403));
}

#[tokio::test]
async fn who_leaves_while_a_service_thinks_is_forgotten() {
    let stage = Stage::asking("test.connect").await;
    let mut service = stage.service().await;
    let mut client = Box::pin(stage.client());
    let request = tokio::select! {
        _ = &mut client => panic!("opened without an answer"),
        request = service.next() => request.unwrap(),
    };
    let token = format!("conn.{}.token", request.payload["cid"].as_str().unwrap());
    assert!(stage.is_heard(&token).await);
    drop(client);
    stage.until_unheard(&token).await;
}
