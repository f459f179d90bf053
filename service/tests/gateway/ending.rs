//! How connections end: by the client, by silence, by a stop, by the loss of the bus.

use std::{sync::Arc, time::Duration};

use relogin::{
    bus::{
        Bus, Link,
        nats::{NatsBus, NatsConfig},
    },
    config::AllowOrigin,
    gateway::Limits,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::{
    nats_server::{NatsServer, Wire},
    stage::{Service, Stage, patient, soon},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_answers_what_was_asked_and_says_that_it_goes() {
    let mut stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut client, mut idle) = (stage.client().await, stage.client().await);
    client.send("auth.test.login", Value::Null).await;
    let request = soon(service.next()).await.unwrap();

    let gateway = Arc::clone(&stage.gateway);
    let stopping = tokio::spawn(async move { gateway.stop().await });
    // It is on its way once it lets nobody in.
    let refused = loop {
        match stage.open("/", &[]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Http(response) if response.status() == 503));
    assert!(!stopping.is_finished());

    service.answer(&request, &json!({ "result": "welcome" })).await;
    assert_eq!(client.next().await.unwrap()["result"], "welcome");
    assert_eq!(client.end().await, Some(1001));
    assert_eq!(idle.end().await, Some(1001));
    soon(stopping).await.unwrap();
    assert!(!stage.gateway.is_running());
    stage.stop_http().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_ever() {
    let limits = Limits { drain: Duration::from_millis(50), close: Duration::from_millis(50), ..patient() };
    let stage = Stage::with(limits, AllowOrigin::default()).await;
    let mut service = stage.service().await;
    let mut client = stage.client().await;
    client.send("auth.test.login", Value::Null).await;
    let _never_answered = soon(service.next()).await.unwrap();
    soon(stage.gateway.stop()).await;
    assert_eq!(client.end().await, Some(1001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_forgotten() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    for with_handshake in [true, false] {
        let mut client = stage.client().await;
        let token = format!("conn.{}.token", client.cid(&mut service).await);
        assert!(stage.is_heard(&token).await);
        if with_handshake {
            client.socket.close(None).await.unwrap();
            assert_eq!(client.end().await, Some(1005));
        }
        drop(client);
        stage.until_unheard(&token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_bus_is_lost_clients_begin_anew() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let connect = |url| async { Arc::new(NatsBus::connect(&NatsConfig { url, credentials: None }).await.unwrap()) };
    let (near, far) = (connect(wire.url()).await, connect(server.url()).await);
    Service::on(far).await.echo();
    let mut link = near.link();
    let stage = Stage::on(near, patient(), AllowOrigin::default()).await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("call.test.model.echo", json!(1)).await["result"], 1);
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));

    wire.cut();
    assert_eq!(client.end().await, Some(1012));
    assert!(stage.http("GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(stage.client().await.end().await, Some(1013));

    wire.mend();
    soon(link.wait_for(|link| *link == Link::Up)).await.unwrap();
    let mut client = soon(async {
        loop {
            // Let in as soon as the gateway has heard of it as well.
            let mut client = stage.client().await;
            let id = client.send("version", Value::Null).await;
            if client.next().await.is_ok_and(|answer| answer["id"] == id) {
                break client;
            }
        }
    })
    .await;
    assert_eq!(client.ask("call.test.model.echo", json!(2)).await["result"], 2);
}
