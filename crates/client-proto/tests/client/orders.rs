//! Resources in every order in which a gateway may send what belongs to them: seeds decide what
//! callers want, what the service changes, and what arrives when. In the end the client has what
//! the service has, knows what it does not have, and has given back what nobody wants.

use std::collections::{BTreeMap, BTreeSet};

use relogin_client_proto::{Answer, Command, Event, Freshness, Input, RequestError, Resource, ResourceChange, Token};
use relogin_res::{
    Error, ResourceId,
    delta::{self, Step},
};
use serde_json::{Value as Json, json};

use crate::support::{Rng, Scripted, Tab, ms, rid, s};

const MODELS: u64 = 5;
const COLLECTIONS: u64 = 3;

struct Play {
    rng: Rng,
    tab: Tab,
    gateway: Scripted,
    /// How often each resource was subscribed by a command that has not been taken back.
    wanted: BTreeMap<String, u32>,
    /// Calls that may settle with a resource.
    calls: BTreeSet<u64>,
    forgotten: BTreeSet<u64>,
    seen: usize,
    /// The resources as a page sees them that listens to all events.
    mirror: BTreeMap<ResourceId, Resource>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut gateway = Scripted::default();
        for n in 0..MODELS {
            gateway.truth.insert(format!("m.{n}"), json!({"n": 0}));
        }
        for n in 0..COLLECTIONS {
            gateway.truth.insert(format!("c.{n}"), json!([]));
        }
        Self {
            rng: Rng::new(seed),
            tab: Tab::plain(seed, |_| ()),
            gateway,
            wanted: BTreeMap::new(),
            calls: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            seen: 0,
            mirror: BTreeMap::new(),
        }
    }

    fn any_rid(&mut self) -> String {
        let n = self.rng.range(0, MODELS + COLLECTIONS);
        if n < MODELS { format!("m.{n}") } else { format!("c.{}", n - MODELS) }
    }

    fn any_value(&mut self) -> Json {
        match self.rng.range(0, 6) {
            0..=2 => json!({"rid": self.any_rid()}),
            3 => json!({"rid": self.any_rid(), "soft": true}),
            4 => json!({"data": [self.rng.range(0, 3)]}),
            _ => json!(self.rng.range(0, 3)),
        }
    }

    fn step(&mut self) {
        match self.rng.range(0, 100) {
            0..=11 => self.subscribe(),
            12..=21 => self.unsubscribe(),
            22..=23 => {
                let rid = rid(&self.any_rid());
                self.tab.command(Command::Get(rid));
            }
            24..=27 => {
                let method = format!("find-{}", self.any_rid().replace('.', "-"));
                let token = self.tab.command(Command::Call { rid: rid("m.0"), method, params: None });
                self.calls.insert(token);
            }
            28..=45 => self.mutate(),
            46..=47 => {
                let rid = self.any_rid();
                self.gateway.deny(&rid);
            }
            48..=50 => drop(self.gateway.denied.pop_first()),
            51 if self.rng.chance(20) => {
                let rid = self.any_rid();
                self.gateway.event(&rid, "delete", Json::Null);
            }
            52..=53 => self.forget(),
            54 if self.rng.chance(30) && self.tab.socket.is_some() => {
                self.tab.drop_socket();
                self.gateway.lost();
            }
            55..=58 => {
                let time = ms(self.rng.range(0, 3000));
                self.tab.pass(time);
            }
            _ => self.go_on(),
        }
        let time = ms(self.rng.range(0, 40));
        self.tab.pass(time);
        self.look();
    }

    fn subscribe(&mut self) {
        let id = self.any_rid();
        *self.wanted.entry(id.clone()).or_default() += 1;
        self.tab.command(Command::Subscribe(rid(&id)));
    }

    fn unsubscribe(&mut self) {
        let id = self.any_rid();
        let token = self.tab.command(Command::Unsubscribe(rid(&id)));
        let count = self.wanted.get(&id).copied().unwrap_or(0);
        let expected = if count > 0 { Ok(Answer::Done) } else { Err(RequestError::Refused(Error::no_subscription())) };
        assert_eq!(self.tab.settled[&token], expected);
        self.wanted.insert(id, count.saturating_sub(1));
    }

    fn forget(&mut self) {
        let id = self.any_rid();
        let token = self.tab.command(Command::Subscribe(rid(&id)));
        if self.tab.settled.contains_key(&token) {
            *self.wanted.entry(id).or_default() += 1;
        } else {
            self.tab.input(Input::Forget(Token(token)));
            self.forgotten.insert(token);
        }
    }

    fn mutate(&mut self) {
        let rid = self.any_rid();
        let value = self.any_value();
        let Some(truth) = self.gateway.truth.get(&rid) else { return };
        if truth.is_object() {
            let name = ["a", "b", "n"][usize::try_from(self.rng.range(0, 3)).unwrap()];
            let value = if self.rng.chance(15) { json!({"action": "delete"}) } else { value };
            return self.gateway.event(&rid, "change", json!({"values": {name: value}}));
        }
        let length = truth.as_array().unwrap().len() as u64;
        if self.rng.chance(40) && length > 0 {
            let data = json!({"idx": self.rng.range(0, length)});
            self.gateway.event(&rid, "remove", data);
        } else if length < 8 {
            let data = json!({"idx": self.rng.range(0, length + 1), "value": value});
            self.gateway.event(&rid, "add", data);
        }
    }

    /// Something that is under way gets on.
    fn go_on(&mut self) {
        if self.tab.socket.is_none() {
            self.gateway.lost();
        }
        match self.rng.range(0, 3) {
            0 if self.tab.socket.is_some() && !self.tab.is_open => self.tab.open(),
            0 => {
                if let Some(sent) = self.tab.sent.pop_front() {
                    self.gateway.request(&sent);
                }
            }
            1 => drop(self.gateway.load(&mut self.rng)),
            _ => {
                if let Some(frame) = self.gateway.frames.pop_front() {
                    self.tab.frame(&frame);
                }
            }
        }
    }

    /// Applied to what the page knew, the reported changes give what there is.
    fn look(&mut self) {
        let settled: Vec<u64> =
            self.calls.iter().copied().filter(|token| self.tab.settled.contains_key(token)).collect();
        for token in settled {
            self.calls.remove(&token);
            if let Ok(Answer::Resource(rid)) = &self.tab.settled[&token] {
                *self.wanted.entry(rid.to_string()).or_default() += 1;
            }
        }
        for event in &self.tab.events[self.seen..] {
            let Event::Changed(rid, change) = event else { continue };
            let now = self.tab.client.resource(rid);
            match (self.mirror.get_mut(rid), change) {
                // Copied, when it could have been changed since: the last one decides.
                (_, ResourceChange::Loaded) => {
                    if let Some(now) = now {
                        self.mirror.insert(rid.clone(), now.clone());
                    }
                }
                (Some(Resource::Model(model)), ResourceChange::Model(changes)) => {
                    assert!(!changes.is_empty());
                    let _ = delta::apply(model, changes.iter().cloned().collect());
                }
                (Some(Resource::Collection(values)), ResourceChange::Collection(step)) => match step {
                    Step::Add(index, value) => assert!(values.insert(*index, value.clone())),
                    Step::Remove(index) => assert!(values.remove(*index).is_some()),
                },
                (_, ResourceChange::Deleted) => {}
                other => panic!("{rid}: {other:?}"),
            }
        }
        self.seen = self.tab.events.len();
        self.mirror.retain(|rid, _| self.tab.client.resource(rid).is_some());
        for (rid, known) in &self.mirror {
            assert_eq!(self.tab.client.resource(rid), Some(known), "{rid}");
        }
    }

    /// Everything arrives, and what is waited for comes.
    fn settle_down(&mut self, seconds: u64) {
        let until = self.tab.now + s(seconds);
        while self.tab.now < until {
            for _ in 0..30 {
                self.go_on();
                self.look();
            }
            self.tab.pass(ms(200));
            self.look();
        }
    }

    /// Whether the client knows of `rid`, and all that it refers to, what the service has.
    fn check(&self, id: &str, checked: &mut BTreeSet<String>) {
        let (client, rid) = (&self.tab.client, rid(id));
        if !checked.insert(id.to_owned()) {
            return;
        }
        let Some(truth) = self.gateway.truth.get(id) else {
            assert_ne!(client.freshness(&rid), Some(&Freshness::Live), "{id} is deleted");
            return;
        };
        let known = match client.resource(&rid) {
            Some(Resource::Model(model)) => serde_json::to_value(model).unwrap(),
            Some(Resource::Collection(values)) => serde_json::to_value(values).unwrap(),
            None => Json::Null,
        };
        // A data value of a primitive is written as that.
        assert_eq!((client.freshness(&rid), &known), (Some(&Freshness::Live), truth), "{id}");
        let values: Vec<&Json> = match truth {
            Json::Object(members) => members.values().collect(),
            other => other.as_array().into_iter().flatten().collect(),
        };
        for value in values {
            if let (Some(id), None) = (value["rid"].as_str(), value.get("soft")) {
                self.check(id, checked);
            }
        }
    }

    fn finish(mut self) {
        self.gateway.denied.clear();
        self.settle_down(90);
        let mut checked = BTreeSet::new();
        for (id, _) in self.wanted.iter().filter(|(_, count)| **count > 0) {
            self.check(id, &mut checked);
        }
        for id in self.gateway.subscribed() {
            assert!(checked.contains(id), "nobody wants {id}");
        }
        for (id, count) in std::mem::take(&mut self.wanted) {
            for _ in 0..count {
                self.tab.command(Command::Unsubscribe(rid(&id)));
            }
        }
        self.settle_down(20);
        assert_eq!(self.gateway.subscribed(), [""; 0]);
        for n in 0..MODELS {
            assert_eq!(self.tab.client.freshness(&rid(&format!("m.{n}"))), None, "m.{n} is kept");
        }
        let unsettled: Vec<u64> =
            self.tab.unsettled().into_iter().filter(|token| !self.forgotten.contains(token)).collect();
        assert_eq!(unsettled, Vec::<u64>::new());
    }
}

/// Prints the seed that fails.
fn for_seeds(seeds: std::ops::Range<u64>, steps: usize) {
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("seed {}", self.0);
            }
        }
    }
    for seed in seeds {
        let named = Seed(seed);
        let mut play = Play::new(seed);
        for _ in 0..steps {
            play.step();
        }
        play.finish();
        drop(named);
    }
}

#[test]
fn in_any_order_the_client_ends_up_with_what_the_service_has() {
    for_seeds(0..150, 150);
}

#[test]
fn short_plays_find_what_long_ones_cover_up() {
    for_seeds(10_000..10_400, 25);
}
