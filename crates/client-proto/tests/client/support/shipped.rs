//! The gateway that is shipped, between sockets and a message bus.

use std::{collections::BTreeMap, time::Duration};

use relogin_gateway_proto::{Action, Config, ConnectionKey, Gateway, Input, Tag};
use relogin_res::{Pattern, service::Origin};
use relogin_session::ConnectionId;

/// A gateway, and what its driver has to know.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) gateway: Gateway,
    /// Counts restarts: what was on its way to an earlier life is lost.
    pub(crate) life: u64,
    keys: BTreeMap<ConnectionId, ConnectionKey>,
    next_key: u64,
    listening: BTreeMap<Tag, Pattern>,
    last_delivery: Duration,
}

/// Something from the bus.
#[derive(Debug)]
pub(crate) enum Delivery {
    Message(String, String),
    Reply(Tag, String),
    NoResponders(Tag),
}

impl Shipped {
    pub(crate) fn new() -> Self {
        Self {
            gateway: Gateway::new(Config::default()),
            life: 0,
            keys: BTreeMap::new(),
            next_key: 0,
            listening: BTreeMap::new(),
            last_delivery: Duration::ZERO,
        }
    }

    /// The next process.
    pub(crate) fn restarted(self) -> Self {
        Self { life: self.life + 1, last_delivery: self.last_delivery, ..Self::new() }
    }

    pub(crate) fn open(&mut self, cid: &ConnectionId, now: Duration) {
        let connection = ConnectionKey(self.next_key);
        self.next_key += 1;
        self.keys.insert(cid.clone(), connection);
        let (cid, origin) = (cid.to_string(), Origin::default());
        self.gateway.handle(Input::Opening { connection, cid, origin }, now);
    }

    pub(crate) fn close(&mut self, cid: &ConnectionId, now: Duration) {
        if let Some(connection) = self.keys.remove(cid) {
            self.gateway.handle(Input::Closed { connection }, now);
        }
    }

    pub(crate) fn frame(&mut self, cid: &ConnectionId, text: &str, now: Duration) {
        if let Some(connection) = self.keys.get(cid).copied() {
            self.gateway.handle(Input::Frame { connection, text }, now);
        }
    }

    pub(crate) fn cid(&self, key: ConnectionKey) -> Option<ConnectionId> {
        self.keys.iter().find(|(_, known)| **known == key).map(|(cid, _)| cid.clone())
    }

    pub(crate) fn deliver(&mut self, life: u64, delivery: &Delivery, now: Duration) {
        if life != self.life {
            return;
        }
        match delivery {
            Delivery::Message(subject, payload) => {
                let (subject, payload) = (subject.as_str(), payload.as_bytes());
                let matching = self.listening.iter().filter(|(_, pattern)| pattern.matches(subject));
                let tags: Vec<_> = matching.map(|(tag, _)| *tag).collect();
                for tag in tags {
                    self.gateway.handle(Input::Message { tag, subject, payload }, now);
                }
            }
            Delivery::Reply(tag, payload) => {
                self.gateway.handle(Input::Reply { tag: *tag, payload: payload.as_bytes() }, now);
            }
            Delivery::NoResponders(tag) => self.gateway.handle(Input::NoResponders { tag: *tag }, now),
        }
    }

    /// When the next message arrives, that would take until `at` if the bus were empty.
    pub(crate) fn next_delivery(&mut self, at: Duration) -> Duration {
        self.last_delivery = self.last_delivery.max(at);
        self.last_delivery
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.gateway.poll_timeout()
    }

    /// What the gateway wants done; subscriptions are taken note of.
    pub(crate) fn poll(&mut self) -> Vec<Action> {
        let actions: Vec<_> = std::iter::from_fn(|| self.gateway.poll_action()).collect();
        for action in &actions {
            match action {
                Action::Listen { tag, pattern } => {
                    self.listening.insert(*tag, Pattern::parse(pattern).expect("a pattern"));
                }
                Action::Release { tag } => drop(self.listening.remove(tag)),
                _ => {}
            }
        }
        actions
    }
}
