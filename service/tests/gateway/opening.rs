//! Who may open a WebSocket, where, and what services hear of it.

use relogin::config::AllowOrigin;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::stage::{Stage, patient, soon};

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
    for origin in [same.as_str(), "null", "https://app.example"] {
        stage.open("/", &[("Origin", origin)]).await.unwrap();
    }
    let refused = stage.open("/", &[("Origin", "https://evil.example")]).await.err();
    assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 403));

    let open = Stage::with(patient(), AllowOrigin::Any).await;
    open.open("/", &[("Origin", "https://evil.example")]).await.unwrap();
}

#[tokio::test]
async fn what_is_no_proper_upgrade_is_refused_in_words() {
    let stage = Stage::new().await;
    let response = stage.http("GET / HTTP/1.1\r\nUpgrade: websocket").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
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

#[tokio::test]
async fn two_connections_have_two_cids() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut one, mut other) = (stage.client().await, stage.client().await);
    assert_ne!(one.cid(&mut service).await, other.cid(&mut service).await);
}
