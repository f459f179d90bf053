//! Histories at random, by a seed: a service with a graph of models and collections, with cycles,
//! soft references and query resources; clients that subscribe and unsubscribe; events, resets,
//! changes of access and deletions in between. In the end, each client's copy is the service's.
//!
//! The seed decides what happens, and in which order the service answers; when a gateway does what
//! is up to the moment.
//!
//! Resgate is spared what it is known to do wrong (docs/gateway.md): cycles and deeper graphs,
//! queries in different spellings, deletions, and services that take their time.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{Instant, timeout},
};

use crate::{
    gateways::{Gateway, Kind},
    wire::{Arrival, Client, Request, Service},
};

mod graph;
mod replica;

use graph::{Graph, Known, RESOURCES};
use replica::Replica;

/// How many clients there are.
const CLIENTS: u8 = 3;
/// How much happens in a history.
const STEPS: u32 = 80;
/// How long everything may take to come to rest. It passes only if something is wrong.
const PATIENCE: Duration = Duration::from_secs(40);

/// Lives through one, and says how many events clients got.
///
/// # Errors
/// If a client was sent something that does not fit, or ends with other contents than the service
/// has. The error includes the last steps.
pub(crate) async fn live(seed: u64, nats: &str, gateway: &Gateway) -> Result<usize> {
    let mut world = World::new(seed, nats, gateway).await?;
    let lived = world.live().await;
    let context = || format!("seed {seed} at {}\n{}", gateway.kind.name(), world.log.join("\n"));
    lived.with_context(context)
}

/// The seed and the gateway of one that failed.
pub(crate) fn title(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

struct World {
    name: String,
    kind: Kind,
    rng: StdRng,
    service: Service,
    arrivals: UnboundedReceiver<Arrival>,
    clients: BTreeMap<u8, (Client, Replica)>,
    graph: Graph,
    /// Requests of gateways that the service has not answered yet, in their order.
    pending: Vec<Request>,
    log: Vec<String>,
    round: u64,
    /// The last round in which the service was asked for a resource, or for access to one.
    asked_in: u64,
}

impl World {
    async fn new(seed: u64, nats: &str, gateway: &Gateway) -> Result<Self> {
        let letter = gateway.kind.name().chars().next().unwrap_or_default();
        let name = format!("s{seed}{letter}");
        let (sender, arrivals) = mpsc::unbounded_channel();
        let service = Service::listen(nats, &name, sender.clone()).await?;
        let mut rng = StdRng::seed_from_u64(seed);
        let graph = Graph::new(&name, gateway.kind == Kind::Resgate, &mut rng);
        let mut world = Self {
            name,
            kind: gateway.kind,
            rng,
            service,
            arrivals,
            clients: BTreeMap::new(),
            graph,
            pending: Vec::new(),
            log: Vec::new(),
            round: 0,
            asked_in: 0,
        };
        for number in 1..=CLIENTS {
            world.connect(number, gateway, sender.clone()).await?;
        }
        Ok(world)
    }

    async fn connect(&mut self, number: u8, gateway: &Gateway, sender: UnboundedSender<Arrival>) -> Result<()> {
        let opened = Client::open(number, gateway.addr, "/", &[], sender).await?;
        let client = opened.client.context("a WebSocket is refused")?;
        self.clients.insert(number, (client, Replica::new(gateway.kind)));
        self.send(number, "version", "", &json!({ "protocol": "1.2.3" })).await?;
        self.turn(number).await
    }

    async fn live(&mut self) -> Result<usize> {
        for _ in 0..STEPS {
            self.step().await?;
            if self.kind == Kind::Resgate {
                self.calm_down().await?;
            }
            while let Ok(arrival) = self.arrivals.try_recv() {
                self.take_in(arrival).await?;
            }
        }
        self.settle().await?;
        Ok(self.clients.values().map(|(_, replica)| replica.events()).sum())
    }

    async fn step(&mut self) -> Result<()> {
        let (number, client) = (self.rng.random_range(0..RESOURCES), self.rng.random_range(1..=CLIENTS));
        match self.rng.random_range(0..24) {
            0..4 => {
                let rid = self.graph.called(number, &mut self.rng);
                self.send(client, "subscribe", &rid, &Value::Null).await
            }
            4 | 5 => self.unsubscribe(client).await,
            6 => {
                let rid = self.graph.called(number, &mut self.rng);
                self.send(client, "get", &rid, &Value::Null).await
            }
            7..12 => {
                let events = self.graph.mutate(number, &mut self.rng);
                self.emit(number, events).await
            }
            12 => self.emit(number, vec![("custom".into(), json!({ "n": 1 }))]).await,
            13 if self.kind == Kind::Ours && self.rng.random_ratio(1, 4) => {
                let events = self.graph.delete(number);
                self.emit(number, events).await
            }
            14 => {
                // No event announces it: the reset finds it.
                self.graph.mutate(number, &mut self.rng);
                self.publish("system.reset", json!({ "resources": [self.graph.name_of(number)] }).to_string()).await
            }
            15 if self.rng.random_ratio(1, 4) => {
                self.publish("system.reset", json!({ "resources": [format!("{}.>", self.name)] }).to_string()).await
            }
            16 => self.change_access(client, number).await,
            17 | 18 => self.turn(client).await,
            _ => self.answer_one().await,
        }
    }

    /// Lets everything that was sent go its way, and answers what comes of it.
    async fn calm_down(&mut self) -> Result<()> {
        loop {
            for number in 1..=CLIENTS {
                self.turn(number).await?;
            }
            if self.pending.is_empty() {
                return Ok(());
            }
            while !self.pending.is_empty() {
                self.answer_one().await?;
            }
        }
    }

    async fn unsubscribe(&mut self, number: u8) -> Result<()> {
        let (_, replica) = self.clients.get_mut(&number).context("there is such a client")?;
        // Resgate never answers a subscribe that is overtaken by its unsubscribe (docs/gateway.md).
        let chosen = replica.subscribed(self.kind == Kind::Ours);
        if chosen.is_empty() {
            return Ok(());
        }
        let (rid, count) = chosen[self.rng.random_range(0..chosen.len())].clone();
        let count = self.rng.random_range(1..=count);
        self.send(number, "unsubscribe", &rid, &json!({ "count": count })).await
    }

    async fn change_access(&mut self, client: u8, number: u64) -> Result<()> {
        self.graph.change_access(client, number);
        let name = self.graph.name_of(number);
        match self.rng.random_range(0..3) {
            0 => self.publish(&format!("event.{name}.reaccess"), String::new()).await,
            1 => self.publish("system.reset", json!({ "access": [name] }).to_string()).await,
            _ => {
                let cid = self.graph.cid_of(client).context("the client has a cid")?.to_owned();
                self.publish(&format!("conn.{cid}.token"), json!({ "token": self.log.len() }).to_string()).await
            }
        }
    }

    async fn send(&mut self, number: u8, kind: &str, rid: &str, params: &Value) -> Result<()> {
        let (client, replica) = self.clients.get_mut(&number).context("there is such a client")?;
        let count = params["count"].as_u64().unwrap_or(1);
        let id = replica.ask(kind, rid, count);
        let method = if rid.is_empty() { kind.to_owned() } else { format!("{kind}.{rid}") };
        let frame = json!({ "id": id, "method": method, "params": params }).to_string();
        self.log.push(format!("{number}> {frame}"));
        client.send(frame).await
    }

    async fn publish(&mut self, subject: &str, payload: String) -> Result<()> {
        self.log.push(format!("* {subject} {payload}"));
        self.service.publish(subject, payload).await
    }

    /// Sends events of a resource: as they are, or, of query resources, when it is asked.
    async fn emit(&mut self, number: u64, events: Vec<(String, Value)>) -> Result<()> {
        let name = self.graph.name_of(number);
        if events.is_empty() {
            return Ok(());
        }
        if self.graph.is_query(number) {
            let whole = self.rng.random_ratio(1, 3);
            let subject = self.graph.announce(number, events, whole);
            return self.publish(&format!("event.{name}.query"), json!({ "subject": subject }).to_string()).await;
        }
        for (event, data) in events {
            let payload = if data.is_null() { String::new() } else { data.to_string() };
            self.publish(&format!("event.{name}.{event}"), payload).await?;
        }
        Ok(())
    }

    /// Lets a client's request go all the way to the service and back.
    async fn turn(&mut self, number: u8) -> Result<()> {
        self.send(number, "auth", &format!("{}.turn", self.name), &json!(number)).await?;
        let (_, replica) = &self.clients[&number];
        let id = replica.last_id();
        self.until(|world| !world.clients[&number].1.waits_for(id)).await
    }

    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let arrival = timeout(deadline - Instant::now(), self.arrivals.recv()).await;
            self.take_in(arrival.context("nothing comes")?.context("nothing more can come")?).await?;
        }
        Ok(())
    }

    async fn take_in(&mut self, arrival: Arrival) -> Result<()> {
        match arrival {
            Arrival::Frame(number, text) => {
                self.log.push(format!("{number}< {text}"));
                let (_, replica) = self.clients.get_mut(&number).context("there is such a client")?;
                replica.take_in(&text).with_context(|| format!("client {number}"))?;
            }
            Arrival::Request(request) => {
                self.log.push(format!("? {} {}", request.subject, request.text));
                if request.subject == format!("auth.{}.turn", self.name) {
                    let payload: Value = serde_json::from_str(&request.text)?;
                    self.graph.know(&payload);
                    self.service.publish(&request.reply, r#"{"result":null}"#.to_owned()).await?;
                } else {
                    if !self.graph.is_announced(&request.subject) {
                        self.asked_in = self.round;
                    }
                    self.pending.push(request);
                }
            }
            Arrival::Closed(number, code) => anyhow::bail!("client {number} is closed with {code:?}"),
            Arrival::Opened(..) | Arrival::Deflated(_) | Arrival::Response(..) => {}
        }
        Ok(())
    }

    /// Answers any of the requests; of those about one name the first, as services do that have an
    /// order for each resource.
    async fn answer_one(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chosen = self.rng.random_range(0..self.pending.len());
        let about = self.graph.about(&self.pending[chosen].subject);
        let first = self.pending.iter().position(|request| self.graph.about(&request.subject) == about);
        let request = self.pending.remove(first.unwrap_or(chosen));
        let answer = self.graph.answer(&request.subject, &request.text)?;
        self.log.push(format!("= {} {answer}", request.subject));
        self.service.publish(&request.reply, answer.to_string()).await
    }

    /// Lets everything come to rest: each resource gets a last event, again and again. Once the
    /// service has not been asked for anything else for two rounds, the events of a later round are
    /// the last for each resource that a client has. Compares then.
    async fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.round += 1;
            for number in (0..RESOURCES).filter(|number| self.graph.exists(*number)).collect::<Vec<_>>() {
                self.emit(number, vec![("end".into(), json!({ "round": self.round }))]).await?;
            }
            for number in 1..=CLIENTS {
                self.turn(number).await?;
                while !self.pending.is_empty() {
                    self.answer_one().await?;
                }
                self.turn(number).await?;
            }
            let graph = &self.graph;
            let quiet_since = self.asked_in + 3;
            let is_at_rest = |replica: &Replica| {
                !replica.is_waiting() && replica.rounds(|rid| graph.exists_as(rid)).all(|round| round >= quiet_since)
            };
            if self.clients.values().all(|(_, replica)| is_at_rest(replica)) {
                break;
            }
            let waits: Vec<_> = self.clients.iter().map(|(number, (_, replica))| (number, replica.state())).collect();
            ensure!(Instant::now() < deadline, "it does not come to rest in round {}: {waits:#?}", self.round);
        }
        for (number, (_, replica)) in &self.clients {
            for (rid, has) in replica.contents() {
                match self.graph.content_of(rid) {
                    Known::Content(content) => {
                        ensure!(has == content, "client {number} has {has}, and {rid} is {content}");
                    }
                    Known::Gone => {}
                    Known::Nothing => anyhow::bail!("client {number} has {rid}, which never existed"),
                }
            }
        }
        Ok(())
    }
}
