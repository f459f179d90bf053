//! Work for thousands of connections at once is done a little at a time, and clients cannot tell
//! the difference.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{Action, Config, ConnectionKey, Gateway, Input, Tag};

/// A gateway, what services were asked of it, and what its clients got.
struct Bench {
    gateway: Gateway,
    asked: VecDeque<(Tag, String)>,
    listeners: BTreeMap<String, Tag>,
    released: BTreeSet<Tag>,
    texts: BTreeMap<ConnectionKey, Vec<String>>,
    closed: Vec<ConnectionKey>,
    /// The most actions that one input has caused.
    most_actions: usize,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            gateway: Gateway::new(config),
            asked: VecDeque::new(),
            listeners: BTreeMap::new(),
            released: BTreeSet::new(),
            texts: BTreeMap::new(),
            closed: Vec::new(),
            most_actions: 0,
        }
    }

    fn open(&mut self, number: u64) -> ConnectionKey {
        let connection = ConnectionKey(number);
        self.handle(Input::Opening { connection, cid: format!("c{number}"), origin: Default::default() });
        connection
    }

    fn frame(&mut self, connection: ConnectionKey, text: &str) {
        self.handle(Input::Frame { connection, text });
    }

    fn event(&mut self, name: &str, event: &str, payload: &str) {
        let (tag, subject) = (self.listeners[&format!("event.{name}.*")], format!("event.{name}.{event}"));
        self.handle(Input::Message { tag, subject: &subject, payload: payload.as_bytes() });
    }

    fn handle(&mut self, input: Input<'_>) {
        self.gateway.handle(input, Duration::ZERO);
        let mut actions = 0;
        while let Some(action) = self.gateway.poll_action() {
            actions += 1;
            match action {
                Action::Ask { tag, subject, .. } => self.asked.push_back((tag, subject)),
                Action::Release { tag } => {
                    self.asked.retain(|(asked, _)| *asked != tag);
                    assert!(self.released.insert(tag), "released twice");
                }
                Action::Listen { tag, pattern } => {
                    self.listeners.insert(pattern, tag);
                }
                Action::Send { connection, frame, .. } => {
                    let text = String::from_utf8(frame.into()).unwrap();
                    self.texts.entry(connection).or_default().push(text);
                }
                Action::Close { connection, .. } => self.closed.push(connection),
                _ => {}
            }
        }
        self.most_actions = self.most_actions.max(actions);
    }

    /// Lets everything come to rest. All access is granted, and each resource has this content.
    fn settle(&mut self, content: &str) {
        loop {
            if self.gateway.has_work() {
                self.handle(Input::Timeout);
            } else if let Some((tag, subject)) = self.asked.pop_front() {
                let answer = match subject.strip_prefix("get.") {
                    Some(_) => content,
                    None => r#"{"result":{"get":true,"call":"*"}}"#,
                };
                self.handle(Input::Reply { tag, payload: answer.as_bytes() });
            } else {
                return;
            }
        }
    }
}

const CROWD: u64 = 2000;

const EMPTY: &str = r#"{"result":{"model":{"n":0}}}"#;

/// Subscribes a crowd to a model, and forgets what it was sent until then.
fn crowd(bench: &mut Bench) -> Vec<ConnectionKey> {
    let crowd: Vec<_> = (1..=CROWD).map(|number| bench.open(number)).collect();
    for connection in &crowd {
        bench.frame(*connection, r#"{"id":1,"method":"subscribe.a"}"#);
        bench.settle(EMPTY);
    }
    bench.texts.clear();
    bench.most_actions = 0;
    crowd
}
/// An event was once delivered to all of its subscribers in one go.
#[test]
fn an_event_is_delivered_to_a_few_at_a_time_and_others_are_served_in_between() {
    let mut bench = Bench::new(Config::default());
    let crowd = crowd(&mut bench);
    let other = bench.open(CROWD + 1);
    for n in 1..=3 {
        bench.event("a", "change", &format!(r#"{{"values":{{"n":{n}}}}}"#));
    }
    assert!(bench.gateway.has_work(), "not all have it");
    bench.frame(other, r#"{"id":1,"method":"version"}"#);
    assert_eq!(bench.texts[&other].len(), 1, "others are served in between");

    // A client that gets the resource in between sees the effect of all events; a subscriber that
    // sends a request in between gets them before the answer.
    bench.frame(other, r#"{"id":2,"method":"get.a"}"#);
    while !bench.asked.is_empty() {
        let (tag, _) = bench.asked.pop_front().unwrap();
        bench.handle(Input::Reply { tag, payload: br#"{"result":{"get":true}}"# });
    }
    assert!(bench.texts[&other][1].contains(r#""a":{"n":3}"#), "{:?}", bench.texts[&other]);
    let last = crowd[crowd.len() - 1];
    assert_eq!(bench.texts.get(&last), None);
    bench.frame(last, r#"{"id":2,"method":"version"}"#);
    assert_eq!(bench.texts[&last].len(), 4, "the answer must not overtake earlier events");
    bench.settle(EMPTY);
    for connection in &crowd {
        let texts = bench.texts[connection].iter().filter(|text| text.contains("event"));
        let expected = (1..=3).map(|n| format!(r#"{{"event":"a.change","data":{{"values":{{"n":{n}}}}}}}"#));
        assert!(texts.eq(expected.collect::<Vec<_>>().iter()), "{:?}", bench.texts[connection]);
    }
    assert_eq!(bench.texts[&other].len(), 2);
    assert!(bench.most_actions <= 600, "{} actions in one stretch", bench.most_actions);
}

/// They come before the deletion, although the resource is gone by then.
#[test]
fn events_from_before_a_deletion_reach_every_subscriber() {
    let mut bench = Bench::new(Config::default());
    let crowd = crowd(&mut bench);
    bench.event("a", "change", r#"{"values":{"n":1}}"#);
    bench.event("a", "custom", "7");
    bench.event("a", "delete", "");
    // A client that subscribes afterwards gets none of them.
    let other = bench.open(CROWD + 1);
    bench.frame(other, r#"{"id":1,"method":"subscribe.a"}"#);
    bench.settle(r#"{"result":{"model":{"n":5}}}"#);
    assert_eq!(bench.texts[&other], [r#"{"result":{"models":{"a":{"n":5}}},"id":1}"#]);
    for connection in &crowd {
        let texts: Vec<_> = bench.texts[connection].iter().map(String::as_str).collect();
        let [change, custom, delete, unsubscribe] = texts[..] else { panic!("{texts:?}") };
        assert_eq!(change, r#"{"event":"a.change","data":{"values":{"n":1}}}"#);
        assert_eq!(custom, r#"{"event":"a.custom","data":7}"#);
        assert!(delete.contains("a.delete") && unsubscribe.contains("a.unsubscribe"), "{texts:?}");
    }
}

/// A subscriber that has not got the change yet must not see what a service has revoked.
#[test]
fn access_that_may_have_changed_is_asked_again_before_a_request_is_answered() {
    let mut bench = Bench::new(Config::default());
    let crowd = crowd(&mut bench);
    bench.event("a", "reaccess", "");
    let last = crowd[crowd.len() - 1];
    bench.asked.clear();
    bench.frame(last, r#"{"id":2,"method":"get.a"}"#);
    let text = bench.texts.get(&last);
    assert!(text.is_none(), "answered by the access from before: {text:?}");
}
/// The oldest notice was once delivered to all subscribers in one go.
#[test]
fn with_too_many_undelivered_notices_the_gateway_says_that_it_is_behind() {
    let mut bench = Bench::new(Config { max_undelivered_notices: 3, ..Config::default() });
    let crowd = crowd(&mut bench);
    for n in 1..=4 {
        assert!(!bench.gateway.is_behind());
        bench.event("a", "change", &format!(r#"{{"values":{{"n":{n}}}}}"#));
    }
    assert_eq!(bench.texts.get(&crowd[crowd.len() - 1]), None);
    // Clients and what is left to be done come in between.
    bench.frame(crowd[0], r#"{"id":2,"method":"version"}"#);
    while bench.gateway.is_behind() {
        bench.handle(Input::Timeout);
    }
    bench.event("a", "change", r#"{"values":{"n":5}}"#);
    assert!(bench.most_actions <= 600, "{} actions in one stretch", bench.most_actions);
    bench.settle(EMPTY);
    bench.texts.get_mut(&crowd[0]).unwrap().retain(|text| text.contains("event"));
    assert!(crowd.iter().all(|connection| bench.texts[connection].len() == 5));
}
/// A lost bus was once as much work in one go as there were connections and subscriptions.
#[test]
fn a_lost_bus_ends_connections_and_requests_a_few_at_a_time() {
    let mut bench = Bench::new(Config::default());
    let crowd = crowd(&mut bench);
    bench.frame(crowd[0], r#"{"id":2,"method":"call.a.b"}"#);
    let (tag, _) = bench.asked.front().cloned().unwrap();
    bench.handle(Input::LinkDown);
    // What the bus has refused is not released.
    bench.handle(Input::Refused { tag });
    bench.handle(Input::LinkUp);
    let other = bench.open(CROWD + 1);
    assert!(bench.gateway.has_work(), "not all are closed");
    bench.frame(other, r#"{"id":1,"method":"version"}"#);
    assert_eq!(bench.texts[&other].len(), 1, "new ones are served meanwhile");
    // Frames of connections that are still to be closed are ignored.
    bench.frame(crowd[crowd.len() - 1], r#"{"id":9,"method":"version"}"#);
    bench.settle(EMPTY);
    assert_eq!(bench.closed, crowd);
    assert!(!bench.released.contains(&tag));
    assert!(crowd.iter().all(|connection| !bench.texts.contains_key(connection)));
    assert!(bench.most_actions <= 600, "{} actions in one stretch", bench.most_actions);
    let mut listeners = crowd.iter().map(|connection| &bench.listeners[&format!("conn.c{}.token", connection.0)]);
    assert!(listeners.all(|tag| bench.released.contains(tag)));
}
