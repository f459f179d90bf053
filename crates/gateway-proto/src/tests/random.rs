//! Many random runs of clients and services against the machine. A client keeps what it was sent as
//! the protocol says. It must never get an event of a resource that it does not have, lack a
//! resource that another one refers to, or end with other contents than the services have.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use relogin_res::{
    Change, Error, Map, Model, Pattern, ResourceId, Value,
    client::{EventKind, Message, ResourceSet},
    delta::{self, Step},
    service::{Add, Content, Payload, Remove, Resource, Response, encode_change},
};
use serde_json::json;

use crate::{Action, Config, ConnectionKey, Encoded, Gateway, Input, Tag};

const RESOURCES: u64 = 8;
/// From this one on, they are query resources.
const FIRST_QUERY: u64 = 6;
/// Queries that mean the same; the first one is normalised.
const QUERIES: [&str; 3] = ["a=1", "a=1&b", "b&a=1"];
const CLIENTS: u64 = 3;
const STEPS: u64 = 400;
const RUNS: u64 = 120;

#[test]
fn clients_have_what_services_have() {
    for seed in 1..=RUNS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}

/// A repeatable source of random numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct World {
    seed: u64,
    chance: Chance,
    gateway: Gateway,
    now: Duration,
    last_connection: u64,
    requests: BTreeMap<Tag, (String, u64)>,
    /// Answers that are being decoded.
    encoded: Vec<Encoded>,
    listeners: BTreeMap<Tag, String>,
    clients: BTreeMap<ConnectionKey, Client>,
    /// What the services have; nothing where a resource does not exist.
    resources: BTreeMap<ResourceId, Content>,
    denied: BTreeSet<(u64, ResourceId)>,
    /// What the services answer to query requests, by their subject.
    answers: BTreeMap<String, Vec<serde_json::Value>>,
}

/// A client as the protocol wants it.
#[derive(Default)]
struct Client {
    /// Also how many requests there were.
    last_id: u64,
    /// How many frames were dealt with.
    done: u64,
    /// Requests that wait for an answer.
    open: BTreeMap<u64, (String, ResourceId, u32)>,
    direct: BTreeMap<ResourceId, u32>,
    /// The resources it was sent; none for those it was sent an error for.
    has: BTreeMap<ResourceId, Option<Content>>,
    deleted: BTreeSet<ResourceId>,
    log: VecDeque<String>,
}

/// The resource as the services know it.
fn rid(number: u64) -> ResourceId {
    named(number, QUERIES[0])
}

fn named(number: u64, query: &str) -> ResourceId {
    let query = if number < FIRST_QUERY { String::new() } else { format!("?{query}") };
    ResourceId::parse(&format!("r.{number}{query}")).unwrap()
}

fn number(name: &str) -> u64 {
    name.strip_prefix("r.").unwrap().parse().unwrap()
}

fn is_query(rid: &ResourceId) -> bool {
    rid.query().is_some()
}

impl World {
    fn new(seed: u64) -> Self {
        // Every other run, everything is paced as much as can be.
        let config = if seed.is_multiple_of(2) {
            Config { max_held_events: 1000, ..Config::default() }
        } else {
            Config {
                max_held_events: 1000,
                max_waiting_events: 3,
                max_waiting_bytes: 1000,
                max_rechecks: 1,
                max_reset_rechecks: 1,
                max_reference_loads: 1,
                max_reloads: 1,
                max_query_requests: 1,
                max_idle_resources: 2,
                max_idle_bytes: 2500,
                ..Config::default()
            }
        };
        // In some runs, all answers are large.
        let max_decoded_at_once = if seed % 7 < 3 { 0 } else { config.max_decoded_at_once };
        let mut gateway = Gateway::new(Config { max_decoded_at_once, ..config });
        if seed % 4 == 1 {
            gateway.inline = 0;
        }
        if seed % 5 < 3 {
            // Inputs wait for the notices that come before them.
            gateway.catch_up = usize::try_from(seed % 5).unwrap();
        }
        if seed % 3 != 1 {
            // Others are served between any two steps of a connection.
            (gateway.shared.jobs_at_once, gateway.shared.jobs_a_turn) = (1, 1);
        }
        let mut world = Self {
            seed,
            chance: Chance(seed),
            gateway,
            now: Duration::ZERO,
            last_connection: 0,
            requests: BTreeMap::new(),
            encoded: Vec::new(),
            listeners: BTreeMap::new(),
            clients: BTreeMap::new(),
            resources: BTreeMap::new(),
            denied: BTreeSet::new(),
            answers: BTreeMap::new(),
        };
        for number in 0..RESOURCES {
            world.create(number);
        }
        for _ in 0..CLIENTS {
            world.connect();
        }
        world
    }

    fn connect(&mut self) {
        self.last_connection += 1;
        let connection = ConnectionKey(self.last_connection);
        self.clients.insert(connection, Client::default());
        self.handle(Input::Opening { connection, cid: format!("c{}", connection.0), origin: Default::default() });
    }

    fn reconnect(&mut self, connection: ConnectionKey) {
        self.clients.remove(&connection);
        self.handle(Input::Closed { connection });
        self.connect();
    }

    fn step(&mut self) {
        let resource = rid(self.chance.below(RESOURCES));
        let pick = usize::try_from(self.chance.below(CLIENTS)).unwrap();
        let connection = *self.clients.keys().nth(pick).unwrap();
        let called = self.called(number(resource.name()));
        match self.chance.below(22) {
            0..3 => self.request(connection, "subscribe", &called, 1),
            3..5 => {
                let count = 1 + u32::try_from(self.chance.below(2)).unwrap();
                self.request(connection, "unsubscribe", &called, count);
            }
            5 => self.request(connection, "get", &called, 1),
            6..10 => self.mutate(&resource, true),
            10 => self.publish(&format!("event.{}.custom", resource.name()), b"1"),
            11 if self.chance.below(3) == 0 => self.delete_or_create(&resource),
            12 if self.chance.below(3) == 0 => {
                self.mutate(&resource, false);
                let pattern = if self.chance.below(2) == 0 { "r.>" } else { resource.name() };
                self.publish("system.reset", json!({"resources": [pattern]}).to_string().as_bytes());
            }
            13 if self.chance.below(3) == 0 => self.change_access(connection, &resource),
            14 if self.chance.below(20) == 0 => {
                self.now += Duration::from_secs(3);
                self.handle(Input::Timeout);
            }
            15 if self.chance.below(20) == 0 => self.reconnect(connection),
            20..22 => self.go_on(),
            _ => self.answer_one(),
        }
    }

    /// Lets everything come to rest, and compares.
    fn settle(&mut self) {
        // Requests that ran out of time may have left resources behind as they were.
        self.publish("system.reset", json!({"resources": [">"]}).to_string().as_bytes());
        while !self.requests.is_empty() || !self.encoded.is_empty() || self.gateway.has_work() {
            self.answer_one();
            self.go_on();
        }
        for (key, client) in &self.clients {
            assert!(client.open.is_empty(), "seed {}: {key:?} waits for {:?}", self.seed, client.open);
            assert_eq!(client.done, client.last_id);
            for (rid, has) in client.has.iter().filter(|(rid, _)| !client.deleted.contains(*rid)) {
                if let Some(has) = has {
                    let log = &client.log;
                    let content = self.resources.get(&self::rid(number(rid.name())));
                    assert_eq!(Some(has), content, "seed {}: {key:?} {rid}\n{log:#?}", self.seed);
                }
            }
        }
    }

    /// Lets the machine do what is left to be done.
    fn go_on(&mut self) {
        if self.gateway.has_work() {
            assert!(self.gateway.poll_timeout() <= Some(self.now));
            self.handle(Input::Timeout);
        }
    }

    /// A resource as some client calls it.
    fn called(&mut self, number: u64) -> ResourceId {
        let pick = usize::try_from(self.chance.below(3)).unwrap();
        named(number, QUERIES[pick])
    }

    fn request(&mut self, connection: ConnectionKey, kind: &str, rid: &ResourceId, count: u32) {
        let client = self.clients.get_mut(&connection).unwrap();
        client.last_id += 1;
        let id = client.last_id;
        client.open.insert(id, (kind.to_owned(), rid.clone(), count));
        client.note(format!("> {id} {kind}.{rid} {count}"));
        let frame = json!({"id": id, "method": format!("{kind}.{rid}"), "params": {"count": count}}).to_string();
        self.handle(Input::Frame { connection, text: &frame });
    }

    fn create(&mut self, number: u64) {
        let content = if number.is_multiple_of(2) {
            Content::Model(Model::from([("a".into(), self.value()), ("b".into(), self.value())]))
        } else {
            Content::Collection((0..3).map(|_| self.value()).collect())
        };
        self.resources.insert(rid(number), content);
    }

    fn value(&mut self) -> Value {
        match self.chance.below(3) {
            0 => {
                let number = self.chance.below(RESOURCES);
                Value::Reference(self.called(number))
            }
            _ => Value::of(json!(self.chance.below(1000))),
        }
    }

    fn delete_or_create(&mut self, rid: &ResourceId) {
        if self.resources.remove(rid).is_some() {
            self.notify(rid, "delete", b"");
        } else {
            self.create(number(rid.name()));
        }
    }

    fn mutate(&mut self, rid: &ResourceId, tell: bool) {
        let (value, pick) = (self.value(), self.chance.below(4));
        let (event, payload) = match self.resources.get_mut(rid) {
            None => return,
            Some(Content::Model(model)) => {
                let name = ["a", "b", "c", "d"][usize::try_from(pick).unwrap()].to_owned();
                let change = if pick == 3 { Change::Delete } else { Change::Set(value) };
                let changes = Map::from([(name, change)]);
                let payload = encode_change(&changes);
                let _ = delta::apply(model, changes);
                ("change", payload)
            }
            Some(Content::Collection(collection)) => {
                let idx = usize::try_from(pick).unwrap().min(collection.len());
                if collection.len() > 3 {
                    collection.remove(idx);
                    ("remove", Remove { idx }.encode())
                } else {
                    collection.insert(idx, value.clone());
                    ("add", Add { idx, value }.encode())
                }
            }
        };
        if tell {
            self.notify(rid, event, &payload);
        }
    }

    /// Tells what happened to a resource: at once, or, of query resources, when it is asked.
    fn notify(&mut self, rid: &ResourceId, event: &str, payload: &[u8]) {
        if is_query(rid) {
            let data: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
            let subject = format!("q.{}.{}", rid.name(), self.answers.len());
            let custom = json!({"event": "custom", "data": self.answers.len()});
            self.answers.insert(subject.clone(), vec![custom, json!({"event": event, "data": data})]);
            let payload = json!({ "subject": subject }).to_string();
            self.publish(&format!("event.{}.query", rid.name()), payload.as_bytes());
        } else {
            self.publish(&format!("event.{rid}.{event}"), payload);
        }
    }

    fn change_access(&mut self, connection: ConnectionKey, rid: &ResourceId) {
        let entry = (connection.0, rid.clone());
        if !self.denied.remove(&entry) {
            self.denied.insert(entry);
        }
        match self.chance.below(3) {
            0 => self.publish(&format!("event.{}.reaccess", rid.name()), b""),
            1 => self.publish("system.reset", json!({"access": [rid.name()]}).to_string().as_bytes()),
            _ => self.publish(&format!("conn.c{}.token", connection.0), br#"{"token":1}"#),
        }
    }

    /// Answers any one of the requests, or decodes any one of the answers.
    fn answer_one(&mut self) {
        if !self.encoded.is_empty() && self.chance.below(2) == 0 {
            let pick = self.chance.below(self.encoded.len() as u64);
            let encoded = self.encoded.swap_remove(usize::try_from(pick).unwrap());
            return self.handle(Input::Decoded(encoded.decode()));
        }
        let Some(pick) = u64::try_from(self.requests.len()).ok().filter(|count| *count > 0) else { return };
        let pick = usize::try_from(self.chance.below(pick)).unwrap();
        let (tag, (subject, cid)) = self.requests.iter().nth(pick).map(|(tag, asked)| (*tag, asked.clone())).unwrap();
        let (kind, name) = subject.split_once('.').unwrap();
        if let Some(events) = self.answers.get(&subject) {
            let response = Response::result(&json!({ "events": events }));
            return self.handle(Input::Reply { tag, payload: &response.encode() });
        }
        let rid = rid(number(name));
        let response = match (kind, self.resources.get(&rid)) {
            ("access", _) => Response::result(&json!({"get": !self.denied.contains(&(cid, rid))})),
            ("get", Some(content)) => {
                let query = rid.query().map(str::to_owned);
                Response::result(&Resource { content: content.clone(), query })
            }
            _ => Response::error(Error::not_found()),
        };
        self.handle(Input::Reply { tag, payload: &response.encode() });
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) {
        let matches = |pattern: &String| Pattern::parse(pattern).unwrap().matches(subject);
        let tags: Vec<_> = self.listeners.iter().filter(|(_, pattern)| matches(pattern)).map(|(tag, _)| *tag).collect();
        for client in self.clients.values_mut() {
            client.note(format!("* {subject} {}", String::from_utf8_lossy(payload)));
        }
        for tag in tags {
            self.handle(Input::Message { tag, subject, payload });
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.gateway.handle(input, self.now);
        while let Some(action) = self.gateway.poll_action() {
            match action {
                Action::Send { connection, frame, .. } => {
                    let text = std::str::from_utf8(&frame).unwrap();
                    self.clients.get_mut(&connection).unwrap().receive(text, self.seed);
                }
                Action::Done { connection } => self.clients.get_mut(&connection).unwrap().done += 1,
                Action::Decode(encoded) => self.encoded.push(encoded),
                Action::Accept { .. } | Action::Discard(_) | Action::Complain(_) => {}
                Action::Close { .. } | Action::Reject { .. } | Action::Respond { .. } => panic!("closed"),
                Action::Listen { tag, pattern } => {
                    self.listeners.insert(tag, pattern);
                }
                Action::Ask { tag, subject, payload, .. } => {
                    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                    let cid = payload["cid"].as_str().map_or(0, |cid| cid[1..].parse().unwrap());
                    self.requests.insert(tag, (subject, cid));
                }
                Action::Release { tag } => {
                    self.requests.remove(&tag);
                    self.listeners.remove(&tag);
                }
            }
        }
        self.gateway.check_invariants();
    }
}

impl Client {
    fn note(&mut self, line: String) {
        self.log.push_back(line);
        if self.log.len() > 60 {
            self.log.pop_front();
        }
    }

    fn receive(&mut self, frame: &str, seed: u64) {
        self.note(format!("< {frame}"));
        match Message::parse(frame).unwrap() {
            Message::Response(response) => {
                let (kind, rid, count) = self.open.remove(&response.id).expect("an answer to an open request");
                match (kind.as_str(), response.outcome) {
                    ("subscribe", Ok(result)) => {
                        self.take(&ResourceSet::read(result.unwrap()).unwrap());
                        *self.direct.entry(rid).or_default() += 1;
                    }
                    ("unsubscribe", Ok(None)) => {
                        // Beyond those that were answered, it was open requests that ended, each
                        // with an error.
                        let direct = self.direct.entry(rid).or_default();
                        *direct = direct.saturating_sub(count);
                    }
                    // What a get brings stays as long as something else holds it.
                    ("get", Ok(result)) => self.take(&ResourceSet::read(result.unwrap()).unwrap()),
                    (_, Err(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
            Message::Event(event) => {
                let log = &self.log;
                assert!(self.has.contains_key(&event.rid), "seed {seed}: {frame} without the resource\n{log:#?}");
                match EventKind::read(&event.name, event.data).unwrap() {
                    EventKind::Change(change) => {
                        self.take(&change.resources);
                        match self.has.get_mut(&event.rid) {
                            Some(Some(Content::Model(model))) => {
                                let effective = delta::apply(model, change.values.clone());
                                assert_eq!(effective, change.values, "seed {seed}: a change that changes nothing");
                            }
                            other => panic!("seed {seed}: change of {other:?}"),
                        }
                    }
                    EventKind::Add(add) => {
                        self.take(&add.resources);
                        self.edit(&event.rid, Step::Add(add.idx, add.value), seed);
                    }
                    EventKind::Remove(remove) => self.edit(&event.rid, Step::Remove(remove.idx), seed),
                    EventKind::Unsubscribe(_) => {
                        assert!(self.direct.insert(event.rid, 0).is_some_and(|count| count > 0), "not subscribed");
                    }
                    EventKind::Delete => assert!(self.deleted.insert(event.rid), "deleted twice"),
                    EventKind::Custom(_) => {}
                }
            }
        }
        self.let_go(seed);
    }

    fn take(&mut self, set: &ResourceSet) {
        let models = set.models.iter().map(|(rid, model)| (rid, Some(Content::Model(model.clone()))));
        let collections = set.collections.iter().map(|(rid, list)| (rid, Some(Content::Collection(list.clone()))));
        let errors = set.errors.keys().map(|rid| (rid, None));
        for (rid, content) in models.chain(collections).chain(errors) {
            self.deleted.remove(rid);
            self.has.insert(rid.clone(), content);
        }
    }

    fn edit(&mut self, rid: &ResourceId, step: Step, seed: u64) {
        let Some(Some(Content::Collection(collection))) = self.has.get_mut(rid) else { panic!("seed {seed}: {rid}") };
        let fits = match step {
            Step::Add(idx, value) => delta::add(collection, idx, value),
            Step::Remove(idx) => delta::remove(collection, idx).is_some(),
        };
        assert!(fits, "seed {seed}: {rid}");
    }

    /// Forgets what nothing refers to any more, and looks whether all that is referred to is there.
    fn let_go(&mut self, seed: u64) {
        let mut todo: Vec<_> =
            self.direct.iter().filter(|(_, count)| **count > 0).map(|(rid, _)| rid.clone()).collect();
        let mut held = BTreeSet::new();
        while let Some(rid) = todo.pop() {
            let log = &self.log;
            let has = self.has.get(&rid).unwrap_or_else(|| panic!("seed {seed}: {rid} is missing\n{log:#?}"));
            if held.insert(rid) {
                let values: Vec<_> = match has {
                    Some(Content::Model(model)) => model.values().collect(),
                    Some(Content::Collection(collection)) => collection.iter().collect(),
                    None => Vec::new(),
                };
                todo.extend(values.into_iter().filter_map(Value::reference).cloned());
            }
        }
        self.has.retain(|rid, _| held.contains(rid));
        self.deleted.retain(|rid| held.contains(rid));
    }
}
