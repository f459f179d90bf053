//! A scripted gateway for the benchmark of resources. Each connection has its own resources, and
//! all frames that answer a request are sent at once, so that the page waits for the gateway as
//! little as possible. Must not depend on the page.

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// The number of items in the collection.
pub(crate) const ITEMS: usize = 10_000;
/// How many of them are added and removed at once.
pub(crate) const STEPS: usize = 2_000;
/// The number of models in the other collection.
pub(crate) const MODELS: usize = 1_000;

/// A gateway, which stops when it is dropped.
pub(crate) struct Gateway {
    url: String,
    server: JoinHandle<()>,
}

/// The resources of one connection.
struct World {
    value: u64,
    items: Vec<Value>,
    models: Vec<u64>,
    /// State of the generator that chooses where items are added and removed.
    seed: u64,
}

impl Gateway {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("an address for a gateway")?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It also ends when the page closes the connection.
                tokio::spawn(async move { drop(serve(stream).await) });
            }
        });
        Ok(Self { url, server })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    let mut world = World::new();
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let request: Value = serde_json::from_str(&text)?;
        let (mut frames, result) = world.answer(request["method"].as_str().unwrap_or_default());
        frames.push(json!({ "id": request["id"], "result": result }));
        for frame in frames.iter().map(ToString::to_string).collect::<Vec<_>>() {
            socket.feed(Message::text(frame)).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

impl World {
    fn new() -> Self {
        let items = (0..ITEMS).map(|n| json!(format!("item {n}"))).collect();
        Self { value: 0, items, models: vec![0; MODELS], seed: 1 }
    }

    /// The events that a request causes, and its result.
    fn answer(&mut self, method: &str) -> (Vec<Value>, Value) {
        match method {
            "version" => (vec![], json!({ "protocol": "1.2.3" })),
            "subscribe.bench.model" => {
                (vec![], json!({ "models": { "bench.model": { "value": self.value, "name": "one of many" } } }))
            }
            "subscribe.bench.items" => (vec![], json!({ "collections": { "bench.items": self.items } })),
            "subscribe.bench.models" => {
                let rid = |n: usize| format!("bench.model.{n}");
                let list: Vec<_> = (0..MODELS).map(|n| json!({ "rid": rid(n) })).collect();
                let models = self.models.iter().enumerate().map(|(n, value)| (rid(n), json!({ "value": value })));
                let models: serde_json::Map<_, _> = models.collect();
                (vec![], json!({ "collections": { "bench.models": list }, "models": models }))
            }
            "call.bench.change" => {
                self.value += 1;
                let data = json!({ "values": { "value": self.value } });
                (vec![json!({ "event": "bench.model.change", "data": data })], json!({ "payload": null }))
            }
            "call.bench.move" => ((0..STEPS).map(|n| self.step(n)).collect(), json!({ "payload": null })),
            "call.bench.change_all" => {
                let change = |(n, value): (usize, &mut u64)| {
                    *value += 1;
                    json!({ "event": format!("bench.model.{n}.change"), "data": { "values": { "value": value } } })
                };
                (self.models.iter_mut().enumerate().map(change).collect(), json!({ "payload": null }))
            }
            "call.bench.state" => {
                let state = json!({ "value": self.value, "items": self.items, "models": self.models });
                (vec![], json!({ "payload": state }))
            }
            _ => (vec![], Value::Null),
        }
    }

    /// Adds an item if `n` is even, and removes one otherwise.
    fn step(&mut self, n: usize) -> Value {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let idx = (self.seed >> 33) as usize % self.items.len();
        if n.is_multiple_of(2) {
            let value = json!(format!("new item {n}"));
            self.items.insert(idx, value.clone());
            json!({ "event": "bench.items.add", "data": { "idx": idx, "value": value } })
        } else {
            self.items.remove(idx);
            json!({ "event": "bench.items.remove", "data": { "idx": idx } })
        }
    }
}
