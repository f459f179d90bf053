//! Work for thousands of resources or subscribers of one name is done a little with each input.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{Action, Config, ConnectionKey, Gateway, Input, Tag, content::TEXTS_AT_ONCE};

/// A gateway, and what it does with each input.
struct Bench {
    gateway: Gateway,
    now: Duration,
    asked: VecDeque<(Tag, String, String)>,
    listeners: BTreeMap<String, Tag>,
    texts: BTreeMap<ConnectionKey, Vec<String>>,
    closed: Vec<&'static str>,
    /// Requests that were sent, and inputs that were handed in.
    requests: usize,
    inputs: usize,
    /// At the most, since [`Bench::begin`]: how many actions came of one input, and how much of any
    /// one thing in the cache or of the connections came or went with it.
    most_actions: usize,
    most_changes: usize,
    /// At the most, since then: how many bytes of messages were written with one input, and by how
    /// many unfinished ones have grown; how many bytes these had room for; how many ids were freed
    /// with one input.
    most_written: usize,
    most_made: usize,
    most_unfinished: usize,
    most_freed: usize,
    is_counting: bool,
    counts_ids: bool,
}

/// No input may cause more than this: eight steps of work, of sixteen small things or of eight
/// subscribers each, twice as many with a time-out, and what subscribers and connections do
/// at once. Each may be a few actions.
const MOST_CHANGES: usize = 500;
const MOST_ACTIONS: usize = 3 * MOST_CHANGES;

/// The number of queries, subscribers or resources of which there may be thousands.
const MANY: usize = 2000;

impl Bench {
    fn new(config: Config) -> Self {
        let mut bench = Self {
            gateway: Gateway::new(config),
            now: Duration::ZERO,
            asked: VecDeque::new(),
            listeners: BTreeMap::new(),
            texts: BTreeMap::new(),
            closed: Vec::new(),
            requests: 0,
            inputs: 0,
            most_actions: 0,
            most_changes: 0,
            most_written: 0,
            most_made: 0,
            most_unfinished: 0,
            most_freed: 0,
            is_counting: false,
            counts_ids: false,
        };
        bench.handle(Input::Timeout);
        bench
    }

    /// Forgets what it has counted, and counts from now on.
    fn begin(&mut self) {
        self.inputs = 0;
        (self.requests, self.most_actions, self.most_changes, self.is_counting) = (0, 0, 0, true);
        (self.most_written, self.most_made) = (0, 0);
        (self.most_unfinished, self.most_freed) = (0, 0);
        self.texts.clear();
    }

    fn sizes(&self) -> Vec<usize> {
        if !self.is_counting {
            return Vec::new();
        }
        let connections = self.gateway.connections.values();
        let mut sizes = self.gateway.shared.cache.sizes();
        sizes.push(connections.map(|connection| connection.subscriptions.len()).sum());
        sizes
    }

    fn audience(&self) -> usize {
        if self.is_counting { self.gateway.shared.cache.most_subscribers() } else { 0 }
    }

    /// How many ids tables of connections have, how many bytes their unfinished messages have, and
    /// how many these have room for.
    fn of_connections(&self) -> (usize, usize, usize) {
        let all = self.gateway.connections.values().chain(&self.gateway.closing);
        all.filter(|_| self.is_counting).fold((0, 0, 0), |(ids, bytes, room), connection| {
            let (its_bytes, its_room) = connection.unfinished();
            let its_ids = if self.counts_ids { connection.table_sizes() } else { 0 };
            (ids + its_ids, bytes + its_bytes, room + its_room)
        })
    }

    fn handle(&mut self, input: Input<'_>) {
        let (before, audience) = (self.sizes(), self.audience());
        let (ids, unfinished, _) = self.of_connections();
        self.gateway.handle(input, self.now);
        self.inputs += 1;
        let (ids_left, unfinished_now, room) = self.of_connections();
        self.most_unfinished = self.most_unfinished.max(room);
        self.most_made = self.most_made.max(unfinished_now.saturating_sub(unfinished));
        let changed = self.sizes().into_iter().zip(before).map(|(after, before)| after.abs_diff(before));
        let changed = changed.max().unwrap_or(0).max(self.audience().saturating_sub(audience));
        let (mut actions, mut written, mut discarded, mut encoded) = (0, unfinished_now, 0, Vec::new());
        while let Some(action) = self.gateway.poll_action() {
            actions += 1;
            match action {
                Action::Ask { tag, subject, payload, .. } => {
                    self.requests += 1;
                    self.asked.push_back((tag, subject, String::from_utf8(payload.into()).unwrap()));
                }
                Action::Release { tag } => {
                    // Nearly always the oldest one.
                    if let Some(at) = self.asked.iter().position(|(asked, ..)| *asked == tag) {
                        self.asked.remove(at);
                    }
                }
                Action::Listen { tag, pattern } => {
                    self.listeners.insert(pattern, tag);
                }
                Action::Send { connection, frame, .. } => {
                    written += frame.len();
                    self.texts.entry(connection).or_default().push(String::from_utf8(frame.into()).unwrap());
                }
                Action::Decode(answer) => encoded.push(answer),
                Action::Discard(_) => discarded += 1,
                Action::Close { reason, .. } => self.closed.push(reason),
                _ => {}
            }
        }
        self.most_actions = self.most_actions.max(actions);
        self.most_written = self.most_written.max(written.saturating_sub(unfinished));
        if discarded == 0 {
            self.most_freed = self.most_freed.max(ids.saturating_sub(ids_left));
        }
        self.most_changes = self.most_changes.max(changed);
        for answer in encoded {
            self.handle(Input::Decoded(answer.decode()));
        }
    }

    fn open(&mut self, number: usize) -> ConnectionKey {
        let connection = ConnectionKey(number as u64);
        self.handle(Input::Opening { connection, cid: format!("c{number}"), origin: Default::default() });
        connection
    }

    fn request(&mut self, connection: ConnectionKey, method: &str) {
        self.handle(Input::Frame { connection, text: &format!(r#"{{"id":1,"method":"{method}"}}"#) });
    }

    fn message(&mut self, pattern: &str, subject: &str, payload: &str) {
        let tag = self.listeners[pattern];
        self.handle(Input::Message { tag, subject, payload: payload.as_bytes() });
    }

    fn event(&mut self, event: &str, payload: &str) {
        self.message("event.a.*", &format!("event.a.{event}"), payload);
    }

    fn reply(&mut self, tag: Tag, payload: &str) {
        self.handle(Input::Reply { tag, payload: payload.as_bytes() });
    }

    /// Lets everything come to rest. All access is granted.
    fn settle(&mut self, content: impl Fn(&str, &str) -> String) {
        loop {
            if self.gateway.has_work() {
                self.handle(Input::Timeout);
            } else if let Some((tag, subject, payload)) = self.asked.pop_front() {
                let is_access = subject.starts_with("access.");
                let answer = if is_access { GRANTED.to_owned() } else { content(&subject, &payload) };
                self.reply(tag, &answer);
            } else {
                break;
            }
        }
        if self.is_counting {
            self.gateway.check_invariants();
        }
    }

    /// Answers the access requests, and nothing else.
    fn grant(&mut self) {
        for (tag, subject, payload) in std::mem::take(&mut self.asked) {
            if subject.starts_with("access.") {
                self.reply(tag, GRANTED);
            } else {
                self.asked.push_back((tag, subject, payload));
            }
        }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        assert!(self.most_changes <= MOST_CHANGES, "{what}: {} changes at once", self.most_changes);
        assert!(self.most_actions <= MOST_ACTIONS, "{what}: {} actions at once", self.most_actions);
    }
}

const GRANTED: &str = r#"{"result":{"get":true,"call":"*"}}"#;

/// Each query is a resource of its own.
fn each(_: &str, payload: &str) -> String {
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    let query = payload.get("query").map(|query| format!(r#","query":{query}"#)).unwrap_or_default();
    format!(r#"{{"result":{{"model":{{"x":1}}{query}}}}}"#)
}

/// All queries mean the same.
fn same(_: &str, _: &str) -> String {
    r#"{"result":{"model":{"x":1},"query":"n"}}"#.to_owned()
}

/// A connection that is subscribed to many queries of a name.
fn queries(config: Config) -> (Bench, ConnectionKey) {
    let mut bench = Bench::new(config);
    let connection = bench.open(1);
    for number in 0..MANY {
        bench.request(connection, &format!("subscribe.a?{number}"));
        // What is asked goes to the services in order.
        while let Some((tag, subject, payload)) = bench.asked.pop_front() {
            let answer = if subject.starts_with("get.") { each("", &payload) } else { GRANTED.to_owned() };
            bench.reply(tag, &answer);
        }
    }
    bench.begin();
    (bench, connection)
}

#[test]
fn access_to_all_queries_of_a_name_is_requested_again_a_few_at_a_time() {
    let (mut bench, connection) = queries(Config::default());
    for access_reset in [false, true] {
        bench.begin();
        if access_reset {
            bench.message("system.reset", "system.reset", r#"{"access":["a"]}"#);
        } else {
            bench.event("reaccess", "");
        }
        // The last query's cached access is no longer valid, although its turn has not come yet.
        bench.request(connection, &format!("get.a?{}", MANY - 1));
        assert_eq!(bench.texts.get(&connection), None);
        bench.settle(each);
        assert_eq!((bench.requests, bench.texts[&connection].len()), (MANY, 1));
        bench.check("access");
    }
}

#[test]
fn all_queries_of_a_name_are_fetched_again_a_few_at_a_time() {
    let (mut bench, _) = queries(Config { max_waiting_events: 3, ..Config::default() });
    bench.message("system.reset", "system.reset", r#"{"resources":["a"]}"#);
    bench.settle(each);
    assert_eq!(bench.requests, MANY);
    bench.event("query", r#"{"subject":"q"}"#);
    for _ in 0..4 {
        bench.event("custom", "1");
    }
    bench.settle(each);
    assert_eq!(bench.requests, 2 * MANY + 64, "all, and those that were being asked about");
    bench.check("fetched again");
}

#[test]
fn all_queries_of_a_name_are_asked_about_a_few_at_a_time() {
    let (mut bench, connection) = queries(Config::default());
    bench.event("query", r#"{"subject":"q"}"#);
    bench.settle(|_, _| r#"{"result":{"events":[{"event":"custom","data":1}]}}"#.to_owned());
    assert_eq!((bench.requests, bench.texts[&connection].len()), (MANY, MANY));
    // Resources that are being loaded are not asked about, however many there are.
    for number in 0..MANY {
        bench.request(connection, &format!("subscribe.a?more{number}"));
    }
    bench.grant();
    bench.begin();
    bench.event("query", r#"{"subject":"q"}"#);
    bench.event("query", r#"{"subject":"q"}"#);
    bench.check("asked about");
}

#[test]
fn all_queries_of_a_name_fail_a_few_at_a_time() {
    let (mut bench, connection) = queries(Config::default());
    let tag = bench.listeners["event.a.*"];
    bench.handle(Input::Refused { tag });
    // Without the events of the name, none of its queries may be subscribed to.
    bench.request(connection, "subscribe.a?new");
    bench.settle(each);
    let texts = &bench.texts[&connection];
    assert_eq!(texts.iter().filter(|text| text.contains(".unsubscribe")).count(), MANY);
    assert!(texts.iter().any(|text| text.contains("error") && text.contains(r#""id":1"#)), "the new query fails too");
    bench.check("failed");
    // Once all of that is over, it is tried again.
    bench.begin();
    bench.request(connection, "subscribe.a?new");
    bench.settle(each);
    assert!(bench.texts[&connection][0].contains("models"), "{:?}", bench.texts);
}

/// Connections that are subscribed to a resource, and wait for another query, which will turn out
/// to mean the same.
fn about_to_merge() -> (Bench, Vec<ConnectionKey>, Tag) {
    let mut bench = Bench::new(Config::default());
    let connections: Vec<_> = (1..=MANY).map(|number| bench.open(number)).collect();
    for connection in &connections {
        bench.request(*connection, "subscribe.a?n");
        bench.grant();
        if connection.0 == 1 {
            bench.settle(same);
        }
        bench.request(*connection, "subscribe.a?m");
        bench.grant();
    }
    let (tag, subject, _) = bench.asked.pop_front().unwrap();
    assert_eq!((subject.as_str(), bench.asked.len()), ("get.a", 0));
    bench.begin();
    (bench, connections, tag)
}

#[test]
fn subscribers_of_queries_that_mean_the_same_are_moved_a_few_at_a_time() {
    let (mut bench, connections, tag) = about_to_merge();
    bench.reply(tag, &same("", ""));
    let [.., early, leaving, closed, last] = connections[..] else { panic!() };
    // A client that sends something is moved first.
    bench.request(early, "version");
    assert!(bench.texts[&early][0].contains("a?m") && bench.texts[&early][1].contains("protocol"));
    bench.request(leaving, "unsubscribe.a?m");
    bench.handle(Input::Closed { connection: closed });
    bench.event("query", r#"{"subject":"q"}"#);
    bench.settle(|_, _| r#"{"result":{"events":[{"event":"change","data":{"values":{"x":2}}}]}}"#.to_owned());
    for connection in connections {
        let texts = bench.texts.remove(&connection).unwrap_or_default().join(" ");
        let counts = ["a?n.change", "a?m.change", r#""a?m""#].map(|text| texts.matches(text).count());
        let expected = match connection {
            it if it == closed => [0, 0, 0],
            it if it == leaving => [1, 0, 1],
            _ => [1, 1, 1],
        };
        assert_eq!(counts, expected, "{connection:?} of {last:?}: {texts}");
    }
    bench.check("moved");
}

#[test]
fn access_that_changes_while_subscribers_are_moved_is_requested_by_all() {
    let (mut bench, connections, tag) = about_to_merge();
    bench.reply(tag, &same("", ""));
    bench.event("reaccess", "");
    bench.settle(same);
    assert_eq!(bench.requests, 2 * connections.len());
    bench.check("moved and asked");
}

#[test]
fn queries_that_mean_the_same_are_forgotten_a_few_at_a_time() {
    let mut bench = Bench::new(Config::default());
    for number in 0..MANY {
        if number % 250 == 0 {
            bench.open(number / 250);
        }
        bench.request(ConnectionKey((number / 250) as u64), &format!("subscribe.a?{number}"));
        bench.settle(same);
    }
    bench.begin();
    let delete = |bench: &mut Bench| {
        bench.event("query", r#"{"subject":"q"}"#);
        let (tag, ..) = bench.asked.pop_front().unwrap();
        bench.reply(tag, r#"{"error":{"code":"system.notFound","message":"Not found"}}"#);
    };
    delete(&mut bench);
    // The last query leads to nothing, although its turn has not come yet.
    let other = bench.open(MANY);
    bench.request(other, &format!("subscribe.a?{}", MANY - 1));
    bench.settle(|_, _| r#"{"result":{"model":{"x":7},"query":"n"}}"#.to_owned());
    assert!(bench.texts[&other][0].contains(r#""x":7"#), "{:?}", bench.texts[&other]);
    // It comes to an end as well if nobody comes back to the name.
    for number in 0..100 {
        bench.request(other, &format!("subscribe.a?{number}"));
        bench.settle(same);
    }
    delete(&mut bench);
    bench.settle(same);
    assert_eq!(bench.sizes()[..3], [0, 0, 0], "resources, resources to be fetched again, queries");
    bench.check("forgotten");
}

#[test]
fn a_connection_catches_up_a_little_at_a_time_before_its_own_requests() {
    let mut bench = Bench::new(Config::default());
    let connections: Vec<_> = (1..=8).map(|number| bench.open(number)).collect();
    for connection in &connections {
        for number in 0..200 {
            bench.request(*connection, &format!("subscribe.a?{number}"));
            bench.settle(|_, _| r#"{"result":{"model":{"x":1}}}"#.to_owned());
        }
    }
    bench.begin();
    bench.gateway.inline = 0;
    for n in 0..50 {
        bench.event("custom", &n.to_string());
    }
    let last = connections[7];
    bench.request(last, "version");
    bench.request(last, "call.a.b");
    bench.event("custom", "50");
    assert!(bench.texts[&last].len() < 200, "{} at once", bench.texts[&last].len());
    bench.gateway.inline = 8;
    bench.settle(|_, _| r#"{"result":null}"#.to_owned());
    let texts = &bench.texts[&last];
    assert_eq!(texts.len(), 51 * 200 + 2);
    let version = texts.iter().position(|text| text.contains("protocol")).unwrap();
    assert!(version >= 50 * 200, "the answer came after {version} events");
    // In the order of the service, by each name.
    for number in 0..200 {
        let name = format!("\"a?{number}.custom\"");
        let events = texts.iter().filter(|text| text.contains(&name));
        let expected = (0..51).map(|n| format!(r#"{{"event":{name},"data":{n}}}"#));
        assert!(events.eq(expected.collect::<Vec<_>>().iter()), "{name}");
    }
    bench.check("caught up");
}

/// Lets clients wait for a list of resources, then answers it. Counts from the answer on.
fn answered_with_a_list(clients: usize, resources: usize) -> (Bench, Vec<ConnectionKey>) {
    let mut bench = Bench::new(Config::default());
    let connections: Vec<_> = (1..=clients).map(|number| bench.open(number)).collect();
    for connection in &connections {
        bench.request(*connection, "subscribe.list");
        bench.grant();
    }
    bench.begin();
    bench.settle(|subject, payload| match subject {
        "get.list" => {
            let references: Vec<_> = (0..resources).map(|number| format!(r#"{{"rid":"a.{number}"}}"#)).collect();
            format!(r#"{{"result":{{"collection":[{}]}}}}"#, references.join(","))
        }
        _ => each(subject, payload),
    });
    (bench, connections)
}

#[test]
fn a_list_is_taken_in_a_little_at_a_time_by_all_who_wait_for_it() {
    let (bench, connections) = answered_with_a_list(200, 100);
    assert!(connections.iter().all(|connection| bench.texts[connection][0].contains("a.99")));
    bench.check("taken in");
}

/// How many bytes may be written with one input: the last step may begin below the limit.
const MOST_WRITTEN: usize = TEXTS_AT_ONCE + (32 << 10);

#[test]
fn large_answers_are_written_in_pieces_one_after_the_other() {
    let (mut bench, connections) = answered_with_a_list(5, MANY / 2);
    for connection in &connections {
        bench.request(*connection, "subscribe.large");
        bench.grant();
    }
    bench.begin();
    let large = |subject: &str, _: &str| match subject {
        "get.large" => {
            let references: Vec<_> = (0..MANY / 2).map(|number| format!(r#"{{"rid":"b.{number}"}}"#)).collect();
            format!(r#"{{"result":{{"collection":[{}]}}}}"#, references.join(","))
        }
        _ => format!(r#"{{"result":{{"model":{{"x":"{}"}}}}}}"#, "x".repeat(1000)),
    };
    bench.settle(large);
    let lengths = connections.iter().map(|connection| bench.texts[connection][0].len());
    let longest = lengths.clone().max().unwrap();
    assert!(lengths.min().unwrap() > 8 * MOST_WRITTEN);
    assert!(bench.most_written <= MOST_WRITTEN, "{} bytes of {longest} at once", bench.most_written);
    // The others have not begun.
    assert!(bench.most_unfinished < longest + longest / 2, "{} bytes are unfinished", bench.most_unfinished);
    // Events are written in the same way.
    let other = bench.open(100);
    bench.request(other, "subscribe.a");
    bench.settle(each);
    bench.begin();
    bench.event("change", r#"{"values":{"x":{"rid":"large"}}}"#);
    bench.settle(large);
    let text = &bench.texts[&other][0];
    assert!(text.len() > 8 * MOST_WRITTEN && text.starts_with(r#"{"event":"a.change","data":{"values":{"x":"#));
    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
    assert!(bench.most_written <= MOST_WRITTEN, "{} bytes of an event at once", bench.most_written);
    bench.check("written");
}

#[test]
fn the_text_of_one_large_content_is_made_in_pieces() {
    let mut bench = Bench::new(Config::default());
    let connection = bench.open(1);
    bench.begin();
    bench.request(connection, "subscribe.a");
    let values: Vec<_> = (0..4 * MANY).map(|number| format!(r#""{number:0100}""#)).collect();
    let content = format!("[{}]", values.join(","));
    bench.settle(|_, _| format!(r#"{{"result":{{"collection":{content}}}}}"#));
    assert_eq!(bench.texts[&connection][0], format!(r#"{{"result":{{"collections":{{"a":{content}}}}},"id":1}}"#));
    // What is made is copied at once.
    assert!(bench.most_made <= MOST_WRITTEN, "{} bytes of {} at once", bench.most_made, content.len());
}

#[test]
fn tables_of_clients_that_leave_are_freed_elsewhere() {
    // One goes while it waits for its turn to be answered, one has been answered, one gives the
    // list back.
    let (mut bench, connections) = answered_with_a_list(3, MANY);
    let [waiting, answered, leaving] = connections[..] else { panic!() };
    bench.counts_ids = true;
    bench.request(leaving, "unsubscribe.list");
    bench.settle(each);
    bench.handle(Input::Closed { connection: answered });
    bench.settle(each);
    bench.request(waiting, "unsubscribe.list");
    bench.request(waiting, "subscribe.list");
    while bench.gateway.has_work() && bench.gateway.connections[&waiting].unfinished().1 == 0 {
        bench.handle(Input::Timeout);
        bench.grant();
    }
    bench.handle(Input::Closed { connection: waiting });
    bench.settle(each);
    assert!(bench.gateway.closing.is_empty());
    assert!(bench.most_freed <= MOST_CHANGES, "{} ids at once", bench.most_freed);
}

#[test]
fn unanswered_requests_time_out_a_few_at_a_time() {
    let mut bench = Bench::new(Config::default());
    for number in 1..=100 {
        let connection = bench.open(number);
        for number in 0..64 {
            bench.request(connection, &format!("subscribe.a.{number}"));
        }
    }
    bench.begin();
    bench.now += Duration::from_secs(4);
    while bench.gateway.poll_timeout().is_some_and(|time| time <= bench.now) {
        bench.handle(Input::Timeout);
    }
    assert_eq!(bench.texts.values().map(Vec::len).sum::<usize>(), 6400);
    bench.check("failed");
}

#[test]
fn idle_resources_are_evicted_a_few_at_a_time() {
    let mut bench = Bench::new(Config { max_idle_bytes: 8 << 20, ..Config::default() });
    let connection = bench.open(1);
    let come_and_go = |bench: &mut Bench, name: &str, value: &str| {
        bench.request(connection, &format!("subscribe.{name}"));
        bench.settle(|_, _| format!(r#"{{"result":{{"model":{{"x":"{value}"}}}}}}"#));
        bench.request(connection, &format!("unsubscribe.{name}"));
        bench.settle(each);
    };
    for number in 0..MANY {
        come_and_go(&mut bench, &format!("a.{number}"), "");
    }
    bench.begin();
    come_and_go(&mut bench, "large", &"x".repeat(8_000_000));
    let left = bench.sizes()[0];
    assert!(left < 400, "{left} are left");
    bench.check("evicted");
}
