//! The gateway machine, fed with whatever clients and services may send, in any order: it never
//! panics, sends anything to a closed connection, keeps a credit, or sends anything but JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use relogin_gateway_proto::{
    Action, Config, ConnectionKey, Encoded, Gateway, Input, Tag,
    http::{Encoding, Methods, operation},
};
use relogin_res::service::Origin;
use serde_json::value::RawValue;

use crate::supply::Supply;

struct Rig {
    gateway: Gateway,
    now: Duration,
    next: u64,
    /// The open connections, and how many of their frames are being dealt with.
    open: BTreeMap<ConnectionKey, u32>,
    /// HTTP requests that are not answered.
    requests: BTreeSet<ConnectionKey>,
    listening: BTreeMap<Tag, String>,
    asked: BTreeSet<Tag>,
    /// Large answers that are being decoded.
    encoded: Vec<Encoded>,
}

pub(crate) fn machine(input: &[u8]) {
    let mut supply = Supply::new(input);
    // Small bounds are reached by small inputs.
    let ws_header_auth = (supply.below(2) == 1).then(|| "a.connect".to_owned());
    let header_auth = ws_header_auth.clone();
    let config = Config {
        ws_header_auth,
        header_auth,
        max_direct_subscriptions: 3,
        max_resources: 4,
        max_held_events: 3,
        max_decoded_at_once: 32,
        ..Config::default()
    };
    let mut rig = Rig {
        gateway: Gateway::new(config),
        now: Duration::from_secs(1000),
        next: 0,
        open: BTreeMap::new(),
        requests: BTreeSet::new(),
        listening: BTreeMap::new(),
        asked: BTreeSet::new(),
        encoded: Vec::new(),
    };
    while !supply.is_empty() {
        rig.step(&mut supply);
    }
}

impl Rig {
    fn step(&mut self, supply: &mut Supply<'_>) {
        match supply.below(16) {
            0 if supply.below(2) == 1 => self.request(supply),
            0 => {
                let connection = ConnectionKey(self.next);
                self.next += 1;
                self.open.insert(connection, 0);
                self.input(Input::Opening { connection, cid: format!("c{}", connection.0), origin: Origin::default() });
            }
            1 => {
                if let Some(connection) = self.connection(supply) {
                    self.open.remove(&connection);
                    self.input(Input::Closed { connection });
                }
            }
            2..=7 => {
                if let Some(connection) = self.connection(supply) {
                    let text = match supply.below(3) {
                        0 => supply.text(),
                        1 => {
                            format!(r#"{{"id":{},"method":"version","params":{{"protocol":"1.2.3"}}}}"#, supply.byte())
                        }
                        _ => format!(r#"{{"id":{},"method":"{}"}}"#, supply.byte(), method(supply)),
                    };
                    *self.open.entry(connection).or_default() += 1;
                    self.input(Input::Frame { connection, text: &text });
                }
            }
            8..=10 => {
                if let Some(tag) = nth(&self.asked, supply.byte()) {
                    let payload = supply.line();
                    // A pre-response asks for more time and answers nothing.
                    self.input(Input::Reply { tag, payload });
                }
            }
            11 => {
                if let Some(tag) = nth(&self.asked, supply.byte()) {
                    self.asked.remove(&tag);
                    self.input(Input::NoResponders { tag });
                }
            }
            12 => {
                let tags: BTreeSet<Tag> = self.listening.keys().chain(&self.asked).copied().collect();
                if let Some(tag) = nth(&tags, supply.byte()) {
                    self.listening.remove(&tag);
                    self.asked.remove(&tag);
                    self.input(Input::Refused { tag });
                }
            }
            13 => {
                let tags: BTreeSet<Tag> = self.listening.keys().copied().collect();
                if let Some(tag) = nth(&tags, supply.byte()) {
                    let base = self.listening[&tag].trim_end_matches(['>', '*', '.']).to_owned();
                    let subject = format!(
                        "{base}.{}",
                        ["change", "add", "remove", "delete", "reaccess", "token", "x", "query"]
                            [usize::from(supply.below(8))]
                    );
                    self.input(Input::Message { tag, subject: &subject, payload: supply.line() });
                }
            }
            14 if supply.below(2) == 1 => {
                if let Some(encoded) = self.encoded.pop() {
                    self.input(Input::Decoded(encoded.decode()));
                }
            }
            14 => self.input(if supply.below(2) == 0 { Input::LinkDown } else { Input::LinkUp }),
            _ => {
                if let Some(due) = self.gateway.poll_timeout() {
                    self.now = self.now.max(due);
                    // What is left to be done is done a little at a time, and has an end.
                    let is_due = |world: &Self| world.gateway.poll_timeout().is_some_and(|next| next <= world.now);
                    self.input(Input::Timeout);
                    for _ in 0..1000 {
                        if !is_due(self) {
                            break;
                        }
                        self.input(Input::Timeout);
                    }
                    assert!(!is_due(self), "a timer that spins");
                }
            }
        }
    }

    fn request(&mut self, supply: &mut Supply<'_>) {
        let http_method = ["GET", "POST", "PUT", "DELETE"][usize::from(supply.below(4))];
        let (path, body) = (supply.text(), supply.line());
        let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
        let methods = Methods { put: Some("set".to_owned()), ..Methods::default() };
        let Ok(operation) = operation(http_method, path, query, body, &methods) else { return };
        let connection = ConnectionKey(self.next);
        self.next += 1;
        self.requests.insert(connection);
        let (cid, origin) = (format!("c{}", connection.0), Origin::default());
        self.input(Input::Request { connection, cid, origin, operation });
        if supply.below(8) == 0 {
            self.requests.remove(&connection);
            self.input(Input::Closed { connection });
        }
    }

    fn connection(&self, supply: &mut Supply<'_>) -> Option<ConnectionKey> {
        nth(&self.open.keys().copied().collect(), supply.byte())
    }

    fn input(&mut self, input: Input<'_>) {
        self.gateway.handle(input, self.now);
        while let Some(action) = self.gateway.poll_action() {
            match action {
                Action::Send { connection, frame, .. } => {
                    assert!(self.open.contains_key(&connection), "a frame for a closed connection");
                    // Values pass verbatim, of any size and depth.
                    serde_json::from_slice::<&RawValue>(&frame).expect("frames are JSON");
                }
                Action::Done { connection } => {
                    let credits = self.open.get_mut(&connection).expect("a credit for a closed connection");
                    *credits = credits.checked_sub(1).expect("a credit that nobody gave");
                }
                Action::Accept { connection, .. } => {
                    assert!(self.open.contains_key(&connection), "opens a closed connection");
                }
                Action::Close { connection, .. } | Action::Reject { connection, .. } => {
                    let is_there = self.open.remove(&connection).is_some() || self.requests.remove(&connection);
                    assert!(is_there, "closes a closed connection");
                }
                Action::Respond { connection, answer } => {
                    assert!(self.requests.remove(&connection), "answers a request that is over");
                    let response = answer.into_response("GET", Encoding::Json, "/api/", 1 << 20);
                    if !response.body.is_empty() {
                        serde_json::from_slice::<&RawValue>(&response.body).expect("bodies are JSON");
                    }
                }
                Action::Listen { tag, pattern } => {
                    assert!(self.listening.insert(tag, pattern).is_none(), "one tag twice");
                }
                Action::Ask { tag, payload, .. } => {
                    serde_json::from_slice::<&RawValue>(&payload).expect("payloads are JSON");
                    assert!(self.asked.insert(tag), "one tag twice");
                }
                Action::Decode(encoded) => self.encoded.push(encoded),
                Action::Discard(_) | Action::Complain(_) => {}
                Action::Release { tag } => {
                    self.listening.remove(&tag);
                    self.asked.remove(&tag);
                }
            }
        }
    }
}

fn method(supply: &mut Supply<'_>) -> String {
    const METHODS: [&str; 8] = [
        "subscribe.a.b",
        "subscribe.a.c",
        "unsubscribe.a.b",
        "get.a.b",
        "call.a.b.m",
        "auth.session.login",
        "subscribe.session.user.{cid}",
        "new.a.b",
    ];
    METHODS[usize::from(supply.below(8))].to_owned()
}

fn nth<T: Copy + Ord>(set: &BTreeSet<T>, which: u8) -> Option<T> {
    set.iter().nth(usize::from(which) % set.len().max(1)).copied()
}
