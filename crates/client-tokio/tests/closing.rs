//! What a gateway says when it closes the connection.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use relogin_client_tokio::{ConnectionState, Event, Events, Options};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Message, protocol::CloseFrame},
};

/// A gateway that shakes hands, says when to come back, and goes.
async fn gateway(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        let version: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        let answer = json!({ "id": version["id"], "result": { "protocol": "1.2.3" } }).to_string();
        socket.send(answer.into()).await.unwrap();
        let reason = r#"{"message":"the server is being stopped","retryAfter":300000}"#.into();
        socket.send(Message::Close(Some(CloseFrame { code: 1001.into(), reason }))).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    }
}

#[tokio::test]
async fn the_retry_time_of_a_closing_gateway_is_heeded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(gateway(listener));
    let client = Options::new(url).connect();
    let mut events = client.events();
    let mut waits = Vec::new();
    // Drawn between nothing and five minutes, so three times.
    for _ in 0..3 {
        while next(&mut events).await != Event::Connection(ConnectionState::Connected) {}
        while !matches!(next(&mut events).await, Event::Connection(ConnectionState::Reconnecting { .. })) {}
        waits.extend(client.retry_in());
        client.connect_now();
    }
    assert!(waits.iter().any(|wait| *wait > Duration::from_secs(5)), "{waits:?}");
}

async fn next(events: &mut Events) -> Event {
    timeout(Duration::from_secs(60), events.next()).await.expect("nothing happened").expect("the client is at work")
}
