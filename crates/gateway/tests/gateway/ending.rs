//! Ends of connections: by the client, by silence, by a stop, by the loss of the bus.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use relogin_bus::{
    Bus, BusError, Delivery, Guard, Link, Mailbox, Tag,
    local::LocalBus,
    nats::{NatsBus, NatsConfig},
};
use relogin_gateway::Limits;
use relogin_test_support::{
    client::Client,
    nats_server::{NatsServer, Wire},
    service::Service,
    soon,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use super::stage::{Stage, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_answers_pending_requests_and_then_closes() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut client, mut idle) = (stage.client().await, stage.client().await);
    client.send("auth.test.login", Value::Null).await;
    let request = soon(service.next()).await.unwrap();

    let gateway = Arc::clone(&stage.gateway);
    let stopping = tokio::spawn(async move { gateway.stop().await });
    // The stop has begun once no client is let in.
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_closes_idle_clients_and_says_when_to_come_back() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    let (mut client, mut idle) = (stage.client().await, stage.client().await);
    client.send("auth.test.login", Value::Null).await;
    let request = soon(service.next()).await.unwrap();

    // Repeatedly, as a client may learn that it is connected before the gateway counts it.
    let draining = async {
        loop {
            stage.gateway.drain(Duration::from_secs(3600)).await;
            tokio::task::yield_now().await;
        }
    };
    let drained = tokio::select! {
        frame = close_frame(&mut idle) => frame.unwrap(),
        () = draining => unreachable!(),
    };
    // The last drain may still be under way, and must not find the other client idle.
    soon(stage.gateway.drain(Duration::from_secs(3600))).await;
    assert_eq!(u16::from(drained.code), 1001);
    let reason: Value = serde_json::from_str(&drained.reason).unwrap();
    assert_eq!(reason, json!({ "message": "the server is being stopped", "retryAfter": 0 }), "they are few");
    let refused = stage.open("/", &[]).await.unwrap_err();
    assert!(matches!(refused, Error::Http(response) if response.status() == 503));
    assert!(stage.gateway.is_running());

    // The other one is still served.
    service.answer(&request, &json!({ "result": "welcome" })).await;
    assert_eq!(client.next().await.unwrap()["result"], "welcome");
    client.send("auth.test.more", Value::Null).await;
    let request = soon(service.next()).await.unwrap();
    service.answer(&request, &json!({ "result": "more" })).await;
    assert_eq!(client.next().await.unwrap()["result"], "more");
    let ((), code) = soon(async { tokio::join!(stage.gateway.stop(), client.end()) }).await;
    assert_eq!(code, Some(1001));
    soon(stage.gateway.drain(Duration::from_secs(3600))).await;
}

/// The close frame that ends a connection.
async fn close_frame(client: &mut Client) -> Option<CloseFrame> {
    loop {
        match soon(client.socket.next()).await {
            Some(Ok(Message::Close(frame))) => {
                // Reading on answers it.
                while let Some(Ok(_)) = soon(client.socket.next()).await {}
                return frame;
            }
            Some(Ok(_)) => {}
            end => unreachable!("{end:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_bus_is_lost_many_clients_get_a_retry_time() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let bus = NatsBus::connect(&NatsConfig { url: wire.url(), ..NatsConfig::default() }).await.unwrap();
    let stage = Stage::on(Arc::new(bus), patient()).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(stage.client().await);
    }
    wire.cut();
    for client in &mut clients {
        let frame = close_frame(client).await.unwrap();
        assert_eq!(u16::from(frame.code), 1012);
        let reason: Value = serde_json::from_str(&frame.reason).unwrap();
        assert_eq!(reason["retryAfter"], 20, "2,500 a second, whoever is closed first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_has_a_deadline() {
    let stage = Stage::with(Limits { drain: Duration::from_millis(50), ..patient() }).await;
    let mut service = stage.service().await;
    let mut client = stage.client().await;
    client.send("auth.test.login", Value::Null).await;
    let _never_answered = soon(service.next()).await.unwrap();
    let ((), code) = soon(async { tokio::join!(stage.gateway.stop(), client.end()) }).await;
    assert_eq!(code, Some(1001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_forgotten() {
    let stage = Stage::new().await;
    let mut service = stage.service().await;
    for with_handshake in [true, false] {
        let mut client = stage.client().await;
        let token = format!("conn.{}.token", client.cid(&mut service).await);
        assert!(stage.has_subscriber(&token).await);
        if with_handshake {
            client.socket.close(None).await.unwrap();
            assert_eq!(client.end().await, Some(1005));
        }
        drop(client);
        stage.until_unsubscribed(&token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_bus_is_lost_clients_reconnect() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let connect =
        |url| async { Arc::new(NatsBus::connect(&NatsConfig { url, ..NatsConfig::default() }).await.unwrap()) };
    let (near, far) = (connect(wire.url()).await, connect(server.url()).await);
    Service::on(far).await.echo();
    let mut link = near.link();
    let stage = Stage::on(near, patient()).await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("call.test.model.echo", json!(1)).await["result"], 1);

    wire.cut();
    assert_eq!(client.end().await, Some(1012));
    let refused = stage.open("/", &[]).await.err();
    assert!(matches!(refused, Some(Error::Http(response)) if response.status() == 503));

    wire.mend();
    soon(link.wait_for(|link| *link == Link::Up)).await.unwrap();
    let mut client = soon(async {
        loop {
            // Clients are let in once the gateway knows that the link is up, too.
            let Ok(mut client) = stage.open("/", &[]).await else { continue };
            let id = client.send("version", Value::Null).await;
            if client.next().await.is_ok_and(|answer| answer["id"] == id) {
                break client;
            }
        }
    })
    .await;
    assert_eq!(client.ask("call.test.model.echo", json!(2)).await["result"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_too_large_for_the_bus_is_an_error_for_its_sender() {
    let server = NatsServer::start(&[]);
    let bus = NatsBus::connect(&NatsConfig { url: server.url(), ..NatsConfig::default() }).await.unwrap();
    let stage = Stage::on(Arc::new(bus), patient()).await;
    stage.service().await.echo();
    let mut client = stage.client().await;
    // A frame that is just small enough to be read, but with the gateway's additions too large
    // for NATS.
    let params = "x".repeat((1 << 20) - 64);
    assert_eq!(client.ask("auth.test.model.echo", json!(params)).await["error"]["code"], "system.internalError");
    let rid = format!("test.{}", "x".repeat(8 << 10));
    assert_ne!(client.ask(&format!("subscribe.{rid}"), Value::Null).await["error"], Value::Null);
    assert_eq!(client.ask("auth.test.model.echo", json!("small")).await["result"], "small");
}

/// A bus that can lose messages for the gateway that listens on it.
struct LossyBus {
    inner: LocalBus,
    mailbox: Mutex<Option<Mailbox>>,
}

impl LossyBus {
    fn lose(&self) {
        self.mailbox.lock().unwrap().as_ref().unwrap().put(Delivery::Lost);
    }
}

#[async_trait]
impl Bus for LossyBus {
    async fn listen(&self, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        if pattern.starts_with("system.") {
            *self.mailbox.lock().unwrap() = Some(mailbox.clone());
        }
        self.inner.listen(pattern, mailbox, tag).await
    }

    async fn listen_in_group(
        &self,
        pattern: &str,
        group: &str,
        mailbox: &Mailbox,
        tag: Tag,
    ) -> Result<Guard, BusError> {
        self.inner.listen_in_group(pattern, group, mailbox, tag).await
    }

    async fn ask(&self, subject: &str, payload: Bytes, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        self.inner.ask(subject, payload, mailbox, tag).await
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.inner.publish(subject, payload).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner.flush().await
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.inner.link()
    }

    async fn close(&self) -> Result<(), BusError> {
        self.inner.close().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_messages_were_lost_clients_reconnect() {
    let bus = Arc::new(LossyBus { inner: LocalBus::new(), mailbox: Mutex::default() });
    let stage = Stage::on(bus.clone(), patient()).await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("version", Value::Null).await["result"]["protocol"], "1.2.3");
    bus.lose();
    assert_eq!(client.end().await, Some(1012));
    let mut client = stage.client().await;
    assert_eq!(client.ask("version", Value::Null).await["result"]["protocol"], "1.2.3");
}
