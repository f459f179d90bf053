//! The limits of one client hold, and do not affect the others.

use std::{collections::HashSet, time::Duration};

use futures_util::{SinkExt, StreamExt};
use relogin_gateway::Limits;
use relogin_test_support::soon;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::stage::{Stage, patient};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_pipelined_calls_are_all_answered() {
    const COUNT: u64 = 20_000;
    let stage = Stage::new().await;
    stage.service().await.echo();
    let (mut sink, mut source) = stage.client().await.socket.split();
    let sending = tokio::spawn(async move {
        for id in 1..=COUNT {
            let frame = json!({ "id": id, "method": "call.test.model.echo", "params": id }).to_string();
            sink.feed(frame.into()).await.unwrap();
        }
        sink.flush().await.unwrap();
    });
    let mut answered = HashSet::new();
    while answered.len() < COUNT as usize {
        let Message::Text(text) = soon(source.next()).await.unwrap().unwrap() else { continue };
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["result"], answer["id"]);
        assert!(answered.insert(answer["id"].as_u64().unwrap()), "{text} came twice");
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_ahead_of_their_answers_are_limited_in_number() {
    const LIMIT: usize = 8;
    const COUNT: usize = 200;
    let stage = Stage::with(Limits { frames: LIMIT, ..patient() }).await;
    let mut service = stage.service().await;
    let mut client = stage.client().await;
    for n in 0..COUNT {
        client.send("auth.test.slow", json!(n)).await;
    }
    let mut waiting = Vec::new();
    for n in 0..COUNT {
        let request = soon(service.next()).await.unwrap();
        assert_eq!(request.params(), &json!(n));
        waiting.push(request);
        if waiting.len() == LIMIT {
            // Others are served meanwhile. Their round trips would give the first client's next
            // frame time to arrive here as the next request: it must not.
            for _ in 0..5 {
                let mut other = stage.client().await;
                other.send("auth.test.other", json!("other")).await;
                let request = soon(service.next()).await.unwrap();
                assert_eq!(request.params(), "other");
                service.answer(&request, &json!({ "result": null })).await;
                other.next().await.unwrap();
            }
            let request = waiting.remove(n % LIMIT);
            service.answer(&request, &json!({ "result": request.params() })).await;
        }
    }
    for request in &waiting {
        service.answer(request, &json!({ "result": request.params() })).await;
    }
    let mut results = Vec::new();
    for _ in 0..COUNT {
        results.push(client.next().await.unwrap()["result"].take());
    }
    assert_eq!(results.iter().map(Value::to_string).collect::<HashSet<_>>().len(), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_ahead_of_their_answers_are_limited_in_bytes() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let mut client = stage.client().await;
    let large = "x".repeat(900 << 10);
    let sending = tokio::spawn(async move {
        for _ in 0..20 {
            client.send("auth.test.large", json!(large)).await;
        }
        client
    });
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(soon(service.next()).await.unwrap());
        if waiting.len() == 4 {
            let mut other = stage.client().await;
            other.send("auth.test.other", json!("other")).await;
            let request = soon(service.next()).await.unwrap();
            assert_eq!(request.params(), "other");
            for request in waiting.drain(..) {
                service.answer(&request, &json!({ "result": null })).await;
            }
        }
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_is_closed_and_nobody_else() {
    const EVENTS: usize = 640;
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut reader, mut behind) = (stage.client().await, stage.client().await);
    let cid = behind.cid(&mut service).await;
    let token = format!("conn.{cid}.token");
    assert!(stage.has_subscriber(&token).await);
    let answering = tokio::spawn(async move { while service.next().await.is_some() {} });
    for client in [&mut reader, &mut behind] {
        assert_eq!(client.ask("subscribe.test.model", Value::Null).await["result"]["models"]["test.model"], json!({}));
    }

    let text = "x".repeat(64 << 10);
    for n in 0..EVENTS {
        stage.publish("event.test.model.news", &json!({ "n": n, "text": text })).await;
        let event = reader.next().await.unwrap();
        assert_eq!((&event["event"], &event["data"]["n"]), (&json!("test.model.news"), &json!(n)));
    }
    // No system buffers 32 of these 40 MiB between two sockets, so the gateway gives it up.
    stage.until_unsubscribed(&token).await;
    assert_eq!(behind.end().await, Some(1008));
    assert_eq!(reader.ask("version", Value::Null).await["result"]["protocol"], "1.2.3");
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_even_take_its_close_frame_is_dropped() {
    let limits = Limits { backlog: 1 << 20, close: Duration::from_millis(10), ..patient() };
    let stage = Stage::with(limits).await;
    let mut service = stage.service().await;
    let mut behind = stage.client().await;
    let answering = tokio::spawn(async move { while service.next().await.is_some() {} });
    behind.ask("subscribe.test.model", Value::Null).await;
    let text = "x".repeat(64 << 10);
    for _ in 0..640 {
        stage.publish("event.test.model.news", &json!({ "text": text })).await;
    }
    // Stopping waits for all sockets, so it would wait for this one if it was still there.
    soon(stage.gateway.stop()).await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_too_large_ends_its_connection() {
    let stage = Stage::new().await;
    let mut other = stage.client().await;
    for size in [MIB + 1, 8 * MIB] {
        for binary in [false, true] {
            let mut client = stage.client().await;
            let text = "x".repeat(size);
            let message = if binary { Message::Binary(text.into()) } else { Message::Text(text.into()) };
            let (mut sink, source) = client.socket.split();
            let sending = tokio::spawn(async move {
                // Fails if the gateway closes before it has read everything.
                sink.send(message).await.ok();
                sink
            });
            let mut source = source;
            let close = loop {
                match soon(source.next()).await {
                    Some(Ok(Message::Close(close))) => break close,
                    Some(Ok(_)) => {}
                    ended => panic!("{size} {binary}: {ended:?}"),
                }
            };
            assert_eq!(close.map(|close| u16::from(close.code)), Some(1009));
            client.socket = source.reunite(soon(sending).await.unwrap()).unwrap();
        }
    }
    assert_eq!(other.ask("version", Value::Null).await["result"]["protocol"], "1.2.3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_allowed_frame_is_answered() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let mut frame = json!({ "id": 1, "method": "version" }).to_string();
    frame.push_str(&" ".repeat(MIB - frame.len()));
    client.socket.send(frame.into()).await.unwrap();
    assert_eq!(client.next().await.unwrap()["id"], 1);
}

#[tokio::test]
async fn binary_frames_are_read_as_text_and_malformed_ones_ignored() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let bytes = |bytes: &'static [u8]| Message::Binary(Bytes::from_static(bytes));
    for message in
        [bytes(b"\xff\xfe"), bytes(b""), "".into(), "no JSON".into(), r#"{"id":"1","method":"version"}"#.into()]
    {
        client.socket.send(message).await.unwrap();
    }
    client.socket.send(bytes(br#"{"id":7,"method":"version"}"#)).await.unwrap();
    assert_eq!(client.next().await.unwrap()["id"], 7);

    // Ignored frames give their credit back.
    for _ in 0..1000 {
        client.socket.feed("no JSON".into()).await.unwrap();
    }
    assert_eq!(client.ask("version", Value::Null).await["result"]["protocol"], "1.2.3");
}
