//! Work that one connection causes is done a little at a time, and others are served in between.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use expect_test::expect;
use relogin_res::ResourceId;

use super::check_with;
use crate::{Action, Config, ConnectionKey, Gateway, Input, Tag};

/// A gateway and what services were asked of it, answered one by one.
struct Bench {
    gateway: Gateway,
    asked: VecDeque<(Tag, String)>,
    token_listeners: BTreeMap<String, Tag>,
    event_listeners: BTreeMap<String, Tag>,
    frames: BTreeMap<ConnectionKey, usize>,
    /// The requests that all inputs have caused, and the most actions that one has.
    requests: usize,
    most_actions: usize,
    /// The most subscriptions that came or went with one input.
    most_changes: usize,
    /// What each connection was sent last.
    last: BTreeMap<ConnectionKey, String>,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            gateway: Gateway::new(config),
            asked: VecDeque::new(),
            token_listeners: BTreeMap::new(),
            event_listeners: BTreeMap::new(),
            frames: BTreeMap::new(),
            requests: 0,
            most_actions: 0,
            most_changes: 0,
            last: BTreeMap::new(),
        }
    }

    fn open(&mut self, number: u64) -> ConnectionKey {
        let connection = ConnectionKey(number);
        self.handle(Input::Opening { connection, cid: format!("c{number}"), origin: Default::default() });
        connection
    }

    fn handle(&mut self, input: Input<'_>) {
        let before = self.subscriptions();
        self.gateway.handle(input, Duration::ZERO);
        self.most_changes = self.most_changes.max(self.subscriptions().abs_diff(before));
        let (mut actions, mut encoded) = (0, Vec::new());
        while let Some(action) = self.gateway.poll_action() {
            actions += 1;
            match action {
                Action::Decode(answer) => encoded.push(answer),
                Action::Ask { tag, subject, .. } => {
                    self.requests += 1;
                    self.asked.push_back((tag, subject));
                }
                Action::Release { tag } => self.asked.retain(|(asked, _)| *asked != tag),
                Action::Listen { tag, pattern } if pattern.starts_with("conn.") => {
                    self.token_listeners.insert(pattern, tag);
                }
                Action::Listen { tag, pattern } => {
                    self.event_listeners.insert(pattern, tag);
                }
                Action::Send { connection, frame, .. } => {
                    *self.frames.entry(connection).or_default() += 1;
                    self.last.insert(connection, String::from_utf8(frame.into()).unwrap());
                }
                Action::Close { reason, .. } => panic!("closed: {reason}"),
                _ => {}
            }
        }
        self.most_actions = self.most_actions.max(actions);
        for answer in encoded {
            self.handle(Input::Decoded(answer.decode()));
        }
    }

    fn subscriptions(&self) -> usize {
        self.gateway.connections.values().map(|connection| connection.subscriptions.len()).sum()
    }

    fn event(&mut self, name: &str, event: &str, payload: &str) {
        let (tag, subject) = (self.event_listeners[&format!("event.{name}.*")], format!("event.{name}.{event}"));
        self.handle(Input::Message { tag, subject: &subject, payload: payload.as_bytes() });
    }

    fn frame(&mut self, connection: ConnectionKey, text: &str) {
        self.handle(Input::Frame { connection, text });
    }

    fn token(&mut self, number: u64, token: u64) {
        let subject = format!("conn.c{number}.token");
        let tag = self.token_listeners[&subject];
        self.handle(Input::Message { tag, subject: &subject, payload: format!(r#"{{"token":{token}}}"#).as_bytes() });
    }

    /// Answers the oldest request, or does a little of what is left to be done. False if there is
    /// neither.
    fn step(&mut self, content: impl Fn(&str) -> String) -> bool {
        if self.gateway.has_work() {
            self.handle(Input::Timeout);
        } else if let Some((tag, subject)) = self.asked.pop_front() {
            let answer = match subject.strip_prefix("get.") {
                Some(name) => content(name),
                None => r#"{"result":{"get":true,"call":"*"}}"#.to_owned(),
            };
            self.handle(Input::Reply { tag, payload: answer.as_bytes() });
        } else {
            return false;
        }
        true
    }

    fn settle(&mut self, content: impl Fn(&str) -> String) {
        while self.step(&content) {}
        self.gateway.check_invariants();
    }
}

fn empty(_: &str) -> String {
    r#"{"result":{"model":{}}}"#.to_owned()
}

/// Each relogin once sent an access request for every subscription at once.
#[test]
fn token_events_send_a_few_access_requests_at_a_time_and_others_are_served_in_between() {
    const SUBSCRIPTIONS: usize = 5000;
    let mut bench = Bench::new(Config::default());
    let (many, other) = (bench.open(1), bench.open(2));
    for number in 0..SUBSCRIPTIONS {
        bench.frame(many, &format!(r#"{{"id":{number},"method":"subscribe.a.{number}"}}"#));
        while bench.step(empty) {}
    }
    assert_eq!(bench.frames[&many], SUBSCRIPTIONS);
    bench.token(1, 0);
    bench.settle(empty);
    (bench.requests, bench.most_actions) = (0, 0);
    // Each token comes before all the access requests for the previous one have been sent.
    for token in 1..=200 {
        bench.token(1, token);
        assert!(bench.asked.len() <= 32, "{} requests at once", bench.asked.len());
        bench.frame(other, r#"{"id":1,"method":"get.b"}"#);
        // At most 32 requests are ahead of the other client's.
        for _ in 0..100 {
            bench.step(empty);
        }
        assert_eq!(bench.frames[&other], usize::try_from(token).unwrap());
    }
    assert!(bench.requests < 200 * 140, "{} requests", bench.requests);
    assert!(bench.most_actions <= 200, "{} actions came of one input", bench.most_actions);
    // Where services take their time, requests do not pile up either.
    for token in 300..400 {
        bench.token(1, token);
        for _ in 0..40 {
            bench.handle(Input::Timeout);
        }
        let asked = bench.asked.len();
        for _ in 0..asked {
            bench.step(empty);
        }
        assert!(bench.asked.len() <= 32, "{} requests at once", bench.asked.len());
    }
    bench.settle(empty);
    bench.requests = 0;
    bench.token(1, 1000);
    bench.settle(empty);
    assert_eq!(bench.requests, SUBSCRIPTIONS, "each subscription is asked about in the end");
}

#[test]
fn references_are_loaded_a_few_at_a_time() {
    let content = |name: &str| match name {
        "list" => {
            let references: Vec<_> = (0..1000).map(|number| format!(r#"{{"rid":"a.{number}"}}"#)).collect();
            format!(r#"{{"result":{{"collection":[{}]}}}}"#, references.join(","))
        }
        _ => r#"{"result":{"model":{}}}"#.to_owned(),
    };
    let mut bench = Bench::new(Config::default());
    let (many, other) = (bench.open(1), bench.open(2));
    bench.frame(many, r#"{"id":1,"method":"subscribe.list"}"#);
    let mut steps = 0;
    while bench.step(content) {
        steps += 1;
        assert!(bench.asked.len() <= 64 + 2, "{} requests at once", bench.asked.len());
        if steps == 100 {
            bench.frame(other, r#"{"id":1,"method":"get.b"}"#);
        }
        if steps == 300 {
            assert_eq!(
                (bench.frames.get(&many), bench.frames[&other]),
                (None, 1),
                "the other client is served meanwhile"
            );
        }
    }
    assert_eq!(bench.frames[&many], 1);
    (bench.most_actions, bench.requests) = (0, 0);
    // Cached resources need no requests, and are taken in bit by bit as well.
    let third = bench.open(3);
    bench.frame(third, r#"{"id":1,"method":"subscribe.list"}"#);
    bench.settle(content);
    assert_eq!((bench.frames[&third], bench.requests), (1, 1));
    // A connection ends bit by bit, too.
    for connection in [many, third] {
        bench.handle(Input::Closed { connection });
    }
    bench.settle(content);
    assert!(bench.most_actions <= 200, "{} actions came of one input", bench.most_actions);
    assert_eq!(bench.gateway.shared.subscription_bytes, 0);
}

/// Only requests are paced.
#[test]
fn references_to_what_is_cached_wait_for_no_turn() {
    let mut bench = Bench::new(Config { max_reference_loads: 1, ..Config::default() });
    let (first, second) = (bench.open(1), bench.open(2));
    bench.frame(first, r#"{"id":1,"method":"subscribe.a.1"}"#);
    bench.settle(empty);
    bench.frame(second, r#"{"id":1,"method":"subscribe.list"}"#);
    let content = list_of(3);
    while bench.asked.iter().all(|(_, subject)| subject != "get.a.0") {
        assert!(bench.step(&content));
    }
    while bench.gateway.has_work() {
        bench.handle(Input::Timeout);
    }
    let subscriptions = &bench.gateway.connections[&second].subscriptions;
    let is_loading = |name: &str| subscriptions[&ResourceId::parse(name).unwrap()].is_loading();
    assert_eq!(["a.0", "a.1", "a.2"].map(is_loading), [true, false, true]);
}

/// The content of a list of that many models, and of the models.
fn list_of(references: usize) -> impl Fn(&str) -> String {
    move |name| {
        if name == "list" {
            let references: Vec<_> = (0..references).map(|number| format!(r#"{{"rid":"a.{number}"}}"#)).collect();
            format!(r#"{{"result":{{"collection":[{}]}}}}"#, references.join(","))
        } else {
            empty(name)
        }
    }
}
/// A tree was once taken in, sent and dropped in one go each, however large it was.
#[test]
fn a_large_tree_comes_and_goes_a_little_at_a_time_and_others_are_served_in_between() {
    const REFERENCES: usize = 5000;
    let content = list_of(REFERENCES);
    // Unused resources go at once, so that `most_changes` counts them.
    let mut bench = Bench::new(Config { unsubscribe_delay: Duration::ZERO, ..Config::default() });
    let (many, other) = (bench.open(1), bench.open(2));
    let mut others = 0;
    for turn in 1..=2 {
        bench.frame(many, r#"{"id":1,"method":"subscribe.list"}"#);
        // All but the last answer.
        while bench.gateway.has_work() || bench.asked.len() != 1 || bench.subscriptions() <= REFERENCES {
            assert!(bench.step(&content));
        }
        while !bench.gateway.has_work() {
            assert!(bench.step(&content));
        }
        bench.frame(other, r#"{"id":1,"method":"unsubscribe.b"}"#);
        others += 1;
        assert_eq!(
            (bench.frames.get(&many), bench.frames[&other]),
            ((turn > 1).then_some(&2), others),
            "the other client had to wait until the tree was sent"
        );
        bench.settle(&content);
        assert_eq!(bench.last[&many].matches("\"a.").count(), 2 * REFERENCES);
        bench.frame(many, r#"{"id":2,"method":"unsubscribe.list"}"#);
        bench.frame(other, r#"{"id":1,"method":"unsubscribe.b"}"#);
        others += 1;
        assert_eq!((bench.frames[&many], bench.frames[&other]), (2 * turn - 1, others), "the other client had to wait");
        bench.settle(&content);
        assert_eq!((bench.frames[&many], bench.subscriptions()), (2 * turn, 0));
    }
    assert!(bench.most_actions <= 300, "{} actions came of one input", bench.most_actions);
    assert!(bench.most_changes <= 600, "{} subscriptions came or went with one input", bench.most_changes);
    assert_eq!(bench.gateway.shared.subscription_bytes, 0);
}

/// For such inputs it is as if the tree was gone already.
#[test]
fn inputs_that_arrive_while_a_tree_is_dropped_take_effect_after_it() {
    let content = list_of(3000);
    let mut bench = Bench::new(Config::default());
    let (many, other) = (bench.open(1), bench.open(2));
    for connection in [many, other] {
        bench.frame(connection, r#"{"id":1,"method":"subscribe.list"}"#);
        bench.settle(&content);
    }
    bench.frame(many, r#"{"id":2,"method":"unsubscribe.list"}"#);
    for number in [0, 1500, 2999] {
        bench.event(&format!("a.{number}"), "custom", "1");
    }
    bench.frame(many, r#"{"id":3,"method":"subscribe.a.2999"}"#);
    bench.event("a.2999", "change", r#"{"values":{"x":1}}"#);
    bench.token(1, 7);
    assert_eq!((bench.frames[&many], bench.frames[&other]), (1, 5), "the other client does not wait");
    bench.settle(&content);
    // The answers to the two requests, the second with the resource as it is now; no event.
    assert_eq!(bench.frames[&many], 3);
    assert_eq!(bench.last[&many], r#"{"result":{"models":{"a.2999":{"x":1}}},"id":3}"#);
    bench.event("a.2999", "change", r#"{"values":{"x":2}}"#);
    assert_eq!(bench.last[&many], r#"{"event":"a.2999.change","data":{"values":{"x":2}}}"#);
}

/// The answer may have been given for the previous token.
#[test]
fn access_is_asked_again_if_its_answer_waits_behind_a_token() {
    let content = list_of(3000);
    let mut bench = Bench::new(Config::default());
    let many = bench.open(1);
    bench.frame(many, r#"{"id":1,"method":"subscribe.list"}"#);
    bench.settle(&content);
    bench.frame(many, r#"{"id":2,"method":"subscribe.b"}"#);
    bench.frame(many, r#"{"id":3,"method":"call.c.do"}"#);
    let asked = std::mem::take(&mut bench.asked);
    assert_eq!(asked.iter().map(|(_, it)| it.as_str()).collect::<Vec<_>>(), ["get.b", "access.b", "access.c"]);
    bench.frame(many, r#"{"id":4,"method":"unsubscribe.list"}"#);
    bench.token(1, 7);
    for (tag, subject) in asked {
        let payload = if subject == "get.b" { empty("b") } else { r#"{"result":{"get":true,"call":"*"}}"#.to_owned() };
        bench.handle(Input::Reply { tag, payload: payload.as_bytes() });
    }
    while bench.gateway.has_work() {
        bench.handle(Input::Timeout);
    }
    assert_eq!(bench.last[&many], r#"{"id":4}"#);
    assert_eq!(bench.asked.iter().map(|(_, it)| it.as_str()).collect::<Vec<_>>(), ["access.b", "access.c"]);
    bench.settle(&content);
    assert_eq!(bench.frames[&many], 4);
}

#[test]
fn while_too_much_waits_for_a_connection_more_is_done_with_each_input() {
    let content = list_of(2000);
    let mut bench = Bench::new(Config { max_held_events: 150, ..Config::default() });
    let many = bench.open(1);
    bench.frame(many, r#"{"id":1,"method":"subscribe.list"}"#);
    bench.settle(&content);
    bench.frame(many, r#"{"id":2,"method":"unsubscribe.list"}"#);
    (bench.gateway.inline, bench.most_changes) = (0, 0);
    for n in 0..150 {
        assert_eq!((bench.frames[&many], bench.subscriptions()), (1, 2001), "{n} wait");
        bench.frame(many, r#"{"id":3,"method":"unsubscribe.b"}"#);
    }
    for _ in 150..300 {
        bench.frame(many, r#"{"id":3,"method":"unsubscribe.b"}"#);
    }
    assert!(bench.most_changes <= 256, "{} at once", bench.most_changes);
    assert_eq!(bench.subscriptions(), 0);
}
/// All of it was once done in one go.
#[test]
#[should_panic(expected = "closed: too many events are waiting")]
fn a_connection_whose_work_still_piles_up_is_closed() {
    let content = list_of(3000);
    let mut bench = Bench::new(Config { max_held_events: 10, ..Config::default() });
    let many = bench.open(1);
    bench.frame(many, r#"{"id":1,"method":"subscribe.list"}"#);
    bench.settle(&content);
    bench.frame(many, r#"{"id":2,"method":"unsubscribe.list"}"#);
    bench.gateway.inline = 0;
    for _ in 0..20 {
        assert_eq!(bench.frames[&many], 1);
        bench.frame(many, r#"{"id":3,"method":"unsubscribe.b"}"#);
    }
    bench.frame(many, r#"{"id":3,"method":"unsubscribe.b"}"#);
}

#[test]
fn many_requests_for_one_resource_look_through_it_once() {
    let content = |name: &str| match name {
        "list" => {
            let references: Vec<_> = (0..300).map(|number| format!(r#"{{"rid":"a.{number}"}}"#)).collect();
            format!(r#"{{"result":{{"collection":[{}]}}}}"#, references.join(","))
        }
        _ => r#"{"result":{"model":{}}}"#.to_owned(),
    };
    let mut bench = Bench::new(Config::default());
    let many = bench.open(1);
    for id in 0..200 {
        let kind = if id % 2 == 0 { "subscribe" } else { "get" };
        bench.frame(many, &format!(r#"{{"id":{id},"method":"{kind}.list"}}"#));
    }
    let mut most_waiting = 0;
    while bench.step(content) {
        let connection = &bench.gateway.connections[&many];
        let waiting = connection.subscriptions.values().map(|subscription| subscription.waiting.len());
        most_waiting = most_waiting.max(waiting.sum());
    }
    assert_eq!(bench.frames[&many], 200);
    assert!(most_waiting <= 301, "{most_waiting} tasks waited for resources");
}

#[test]
fn a_system_reset_reaches_names_one_after_the_other_and_before_their_events() {
    let mut bench = Bench::new(Config::default());
    let many = bench.open(1);
    for number in 0..1000 {
        bench.frame(many, &format!(r#"{{"id":{number},"method":"subscribe.a.{number:03}"}}"#));
        while bench.step(empty) {}
    }
    (bench.most_actions, bench.requests) = (0, 0);
    let payload = r#"{"resources":[">"],"access":["a.*"]}"#;
    bench.handle(Input::Message { tag: Tag(1), subject: "system.reset", payload: payload.as_bytes() });
    assert!(bench.gateway.has_work());
    // The reset has not reached the last name yet, but its event waits already.
    let subject = "event.a.999.custom";
    let frames = bench.frames[&many];
    let tag = bench.event_listeners["event.a.999.*"];
    bench.handle(Input::Message { tag, subject, payload: b"1" });
    assert_eq!(bench.frames[&many], frames);
    bench.settle(empty);
    assert_eq!(bench.frames[&many], frames + 1);
    assert!((2000..=2001).contains(&bench.requests), "{} requests", bench.requests);
    assert!(bench.most_actions <= 200, "{} actions came of one input", bench.most_actions);
}

#[test]
fn a_token_reset_reaches_connections_one_after_the_other() {
    let mut bench = Bench::new(Config::default());
    for number in 0..500 {
        bench.open(number);
        let subject = format!("conn.c{number}.token");
        let payload = format!(r#"{{"token":1,"tid":"t{number}"}}"#);
        let tag = bench.token_listeners[&subject];
        bench.handle(Input::Message { tag, subject: &subject, payload: payload.as_bytes() });
    }
    bench.most_actions = 0;
    let tids: Vec<_> = (0..500).map(|number| format!("t{number}")).collect();
    let payload = serde_json::json!({ "tids": tids, "subject": "auth.renew" }).to_string();
    // The second subscription that the machine has made.
    bench.handle(Input::Message { tag: Tag(2), subject: "system.tokenReset", payload: payload.as_bytes() });
    bench.settle(empty);
    assert_eq!(bench.requests, 500);
    assert!(bench.most_actions <= 200, "{} actions came of one input", bench.most_actions);
}

#[test]
fn events_of_a_resource_wait_while_it_waits_for_its_access_request() {
    check_with(
        Config { max_rechecks: 1, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"a":{"x":1}}},"id":1}
              1 done
            1> 2 subscribe.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
            get.b = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"b":{"x":1}}},"id":2}
              1 done
            1> 3 subscribe.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c1","token":null}
            access.c = {"result":{"get":true}}
            get.c = {"result":{"model":{"x":1,"d":{"rid":"d"}}}}
              listen event.d.*
              ask get.d {}
            get.d = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"c":{"d":{"rid":"d"},"x":1},"d":{"x":1}}},"id":3}
              1 done
            conn.c1.token {"token":1}
              ask access.a {"cid":"c1","token":1}
            event.b.change {"values":{"x":2}}
            event.c.change {"values":{"x":2}}
            event.d.change {"values":{"x":2}}
              1< {"event":"d.change","data":{"values":{"x":2}}}
            1> 4 call.b.set
              ask access.b {"cid":"c1","token":1}
            1> 5 subscribe.d
              ask access.d {"cid":"c1","token":1}
            event.d.reaccess
              release access.d
              ask access.d {"cid":"c1","token":1}
            access.d = {"result":{"get":true}}
              1< {"result":{},"id":5}
              1 done
            access.b = {"result":{"get":true}}
              1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
              1 done
              1< {"event":"b.change","data":{"values":{"x":2}}}
            event.b.change {"values":{"x":3}}
              1< {"event":"b.change","data":{"values":{"x":3}}}
            conn.c1.token {"token":2}
            access.a = {"result":{"get":true}}
              ask access.a {"cid":"c1","token":2}
            access.a = {"result":{"get":true}}
              ask access.b {"cid":"c1","token":2}
            1> 6 unsubscribe.c
              1< {"id":6}
              1 done
            access.b = {"result":{"get":false}}
              1< {"event":"b.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
              ask access.d {"cid":"c1","token":2}
            access.d = {"result":{"get":true}}
            event.d.reaccess
              ask access.d {"cid":"c1","token":2}
            event.d.reaccess
            access.d = {"result":{"get":true}}
              ask access.d {"cid":"c1","token":2}
        "#]],
    );
}

#[test]
fn a_subscription_loads_at_once_a_resource_that_waits_as_a_reference() {
    check_with(
        Config { max_reference_loads: 1, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"b"},{"rid":"c"},{"rid":"d"},{"rid":"e"}]}}
              listen event.b.*
              ask get.b {}
            1> 2 subscribe.d
              listen event.d.*
              ask get.d {}
              ask access.d {"cid":"c1","token":null}
            access.d = {"result":{"get":true}}
            get.d = {"result":{"model":{"e":{"rid":"e"},"f":{"rid":"f"}}}}
            get.b = {"error":{"code":"system.notFound","message":"Not found"}}
              release event.b.*
              listen event.c.*
              ask get.c {}
            1> 3 unsubscribe.a
              1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":1}
              1 done
              1< {"id":3}
              1 done
              listen event.e.*
              ask get.e {}
            get.c = {"result":{"model":{}}}
            get.e = {"result":{"model":{}}}
              listen event.f.*
              ask get.f {}
            get.f = {"result":{"model":{}}}
              1< {"result":{"models":{"d":{"e":{"rid":"e"},"f":{"rid":"f"}},"e":{},"f":{}}},"id":2}
              1 done
        "#]],
    );
}

/// Those of one resource come before what they refer to in their turn.
#[test]
fn references_are_loaded_in_the_order_in_which_they_were_found() {
    check_with(
        Config { max_reference_loads: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"e"},{"rid":"d"},{"rid":"c"},{"rid":"b"}]}}
              listen event.e.*
              ask get.e {}
              listen event.d.*
              ask get.d {}
            get.e = {"result":{"collection":[{"rid":"e.a"}]}}
              listen event.c.*
              ask get.c {}
            get.d = {"result":{"collection":[{"rid":"d.a"}]}}
              listen event.b.*
              ask get.b {}
            get.b = {"result":{"collection":[]}}
              listen event.e.a.*
              ask get.e.a {}
            get.c = {"result":{"collection":[]}}
              listen event.d.a.*
              ask get.d.a {}
        "#]],
    );
}
