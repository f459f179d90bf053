//! The machine against a scripted bus and scripted clients. A script is a text of inputs, with what
//! the machine is to do indented below each of them.

mod access;
mod calls;
mod counts;
mod crowd;
mod decoding;
mod events;
mod http;
mod invariants;
mod limits;
mod opening;
mod pace;
mod queries;
mod random;
mod references;
mod requests;
mod reset;
mod stretches;
mod subscriptions;
mod tokens;
mod verbatim;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    time::Duration,
};

use expect_test::Expect;
use relogin_res::{
    Pattern,
    service::{Headers, Origin},
};

use crate::{
    Action, Config, ConnectionKey, Encoded, Gateway, Input, Malformed, Tag,
    http::{Encoding, HttpResponse, Methods, operation},
};

/// Runs the inputs of a script from the beginning, and compares what the machine does.
fn check(script: &Expect) {
    check_with(Config::default(), script);
}

fn check_with(config: Config, script: &Expect) {
    let mut bench = Bench::new(config);
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let lines = || script.data().lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(indentation).min().unwrap_or(0);
    for line in lines().filter(|line| indentation(line) == margin) {
        bench.run(line.trim());
    }
    bench.finish();
    script.assert_eq(&bench.log);
}

/// A gateway, the bus it thinks it is on, and the clients it thinks it has.
///
/// Inputs of a script, one a line:
/// - `open 1 c1`: connection 1 is opened with cid c1; `close 1`: it is closed;
/// - `request 1 c1 GET a/b {…}`: an HTTP request, as connection 1 with cid c1, for this path below
///   the API's, and maybe with a body;
/// - `1> 7 get.a.b {…}`: it sends a request with id 7, a method, and maybe params; `1> {…}`: it
///   sends this frame;
/// - `get.a.b = {…}`: the oldest open request to this subject is answered; `= none`: nobody
///   listens; `= refused`: it cannot be sent;
/// - `event.a.b.change {…}`, or any other subject: published to whoever listens;
/// - `decoded`: the oldest large answer is decoded;
/// - `wait 3000`: that many milliseconds pass; `down`, `up`: the bus goes down or comes up.
struct Bench {
    gateway: Gateway,
    now: Duration,
    /// Requests that wait for an answer.
    requests: BTreeMap<Tag, String>,
    /// Large answers that are being decoded.
    encoded: VecDeque<Encoded>,
    answered: BTreeSet<Tag>,
    listeners: BTreeMap<Tag, String>,
    /// The number of unfinished frames of each open connection.
    frames: BTreeMap<ConnectionKey, usize>,
    /// What was sent to each connection.
    sent: BTreeMap<ConnectionKey, Vec<String>>,
    log: String,
    has_header_auth: bool,
}

fn head(header: &Headers) -> String {
    serde_json::to_string(header).unwrap()
}

impl Bench {
    fn new(config: Config) -> Self {
        let mut bench = Self {
            has_header_auth: config.ws_header_auth.is_some(),
            gateway: Gateway::new(config),
            now: Duration::ZERO,
            requests: BTreeMap::new(),
            encoded: VecDeque::new(),
            answered: BTreeSet::new(),
            listeners: BTreeMap::new(),
            frames: BTreeMap::new(),
            sent: BTreeMap::new(),
            log: String::new(),
        };
        bench.act();
        assert_eq!(bench.listeners.values().collect::<Vec<_>>(), ["system.reset", "system.tokenReset"]);
        bench.log.clear();
        bench
    }

    fn run(&mut self, line: &str) {
        writeln!(self.log, "{line}").unwrap();
        self.step(line);
    }

    fn step(&mut self, line: &str) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let key = |text: &str| ConnectionKey(text.parse().unwrap());
        match first {
            "open" => {
                let (connection, cid) = rest.split_once(' ').unwrap_or((rest, ""));
                let mut origin = Origin { remote_addr: Some("[::1]:1".into()), ..Origin::default() };
                origin.push_header("user-agent", "test");
                self.frames.insert(key(connection), 0);
                self.handle(Input::Opening { connection: key(connection), cid: cid.into(), origin });
            }
            "request" => self.request(rest),
            "close" => {
                self.frames.remove(&key(rest));
                self.handle(Input::Closed { connection: key(rest) });
            }
            "wait" => {
                self.now += Duration::from_millis(rest.parse().unwrap());
                while self.gateway.poll_timeout().is_some_and(|time| time <= self.now) {
                    self.handle(Input::Timeout);
                }
            }
            "decoded" => {
                let decoded = self.encoded.pop_front().expect("something is being decoded").decode();
                self.handle(Input::Decoded(decoded));
            }
            "down" => self.handle(Input::LinkDown),
            "up" => self.handle(Input::LinkUp),
            _ if first.ends_with('>') => self.frame(key(&first[..first.len() - 1]), rest),
            _ if rest.starts_with("= ") => self.answer(first, &rest[2..]),
            subject => self.publish(subject, rest),
        }
    }

    fn request(&mut self, text: &str) {
        let mut words = text.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (connection, cid, http_method, path) = (word(), word(), word(), word());
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let connection = ConnectionKey(connection.parse().unwrap());
        let methods = Methods { put: Some("set".into()), ..Methods::default() };
        let operation = operation(http_method, path, query, word().as_bytes(), &methods).unwrap();
        let origin = Origin { remote_addr: Some("[::1]:1".into()), ..Origin::default() };
        self.frames.insert(connection, 0);
        self.handle(Input::Request { connection, cid: cid.into(), origin, operation });
    }

    fn frame(&mut self, connection: ConnectionKey, text: &str) {
        if let Some(frames) = self.frames.get_mut(&connection) {
            *frames += 1;
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mut parts = text.splitn(3, ' ');
            let (id, method) = (parts.next().unwrap(), parts.next().unwrap());
            let params = parts.next().map(|params| format!(r#","params":{params}"#)).unwrap_or_default();
            let frame = format!(r#"{{"id":{id},"method":"{method}"{params}}}"#);
            self.handle(Input::Frame { connection, text: &frame });
        } else {
            self.handle(Input::Frame { connection, text });
        }
    }

    fn answer(&mut self, subject: &str, answer: &str) {
        let tag = self.requests.iter().find(|(_, asked)| *asked == subject).map(|(tag, _)| *tag);
        let tag = tag.unwrap_or_else(|| panic!("nobody asked {subject}\n{}", self.log));
        match answer {
            "none" => self.handle(Input::NoResponders { tag }),
            "refused" => {
                self.requests.remove(&tag);
                self.handle(Input::Refused { tag });
            }
            payload => self.handle(Input::Reply { tag, payload: payload.as_bytes() }),
        }
    }

    fn refuse(&mut self, pattern: &str) {
        writeln!(self.log, "{pattern} is refused").unwrap();
        let tag = self.listeners.iter().find(|(_, listener)| *listener == pattern).map(|(tag, _)| *tag).unwrap();
        self.listeners.remove(&tag);
        self.handle(Input::Refused { tag });
    }

    fn publish(&mut self, subject: &str, payload: &str) {
        let matches = |pattern: &String| Pattern::parse(pattern).unwrap().matches(subject);
        let tags: Vec<_> = self.listeners.iter().filter(|(_, pattern)| matches(pattern)).map(|(tag, _)| *tag).collect();
        for tag in tags {
            self.handle(Input::Message { tag, subject, payload: payload.as_bytes() });
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let answered = match input {
            Input::Reply { tag, .. } | Input::NoResponders { tag } => Some(tag),
            _ => None,
        };
        self.gateway.handle(input, self.now);
        self.act_on(answered);
        self.gateway.check_invariants();
        // What is left to be done of it.
        while self.gateway.has_work() {
            assert!(self.gateway.poll_timeout() <= Some(self.now));
            self.gateway.handle(Input::Timeout, self.now);
            self.act();
            self.gateway.check_invariants();
        }
    }

    fn act(&mut self) {
        self.act_on(None);
    }

    fn act_on(&mut self, answered: Option<Tag>) {
        while let Some(action) = self.gateway.poll_action() {
            match action {
                Action::Send { connection, frame, is_secret } => {
                    let text = String::from_utf8(frame.into()).unwrap();
                    let secret = if is_secret { " (secret)" } else { "" };
                    writeln!(self.log, "  {}< {text}{secret}", connection.0).unwrap();
                    assert!(self.frames.contains_key(&connection), "sent to a closed connection");
                    self.sent.entry(connection).or_default().push(text);
                }
                Action::Done { connection } => {
                    let frames = self.frames.get_mut(&connection).expect("done for a closed connection");
                    *frames = frames.checked_sub(1).expect("done more often than frames were handed in");
                    writeln!(self.log, "  {} done", connection.0).unwrap();
                }
                Action::Accept { connection, header } => {
                    assert!(self.frames.contains_key(&connection), "opens a closed connection");
                    // Without header authentication all are accepted: scripts leave that out.
                    if self.has_header_auth {
                        writeln!(self.log, "  {} accept {}", connection.0, head(&header)).unwrap();
                    }
                }
                Action::Reject { connection, status, header, body } => {
                    assert!(self.frames.remove(&connection).is_some(), "closed twice");
                    let body = String::from_utf8(body.into()).unwrap();
                    let line = format!("  {} reject {status} {} {body}", connection.0, head(&header));
                    writeln!(self.log, "{}", line.trim_end()).unwrap();
                }
                Action::Respond { connection, answer } => {
                    assert!(self.frames.remove(&connection).is_some(), "answered twice");
                    let HttpResponse { status, header, body } =
                        answer.into_response("GET", Encoding::Json, "/api/", 1 << 20);
                    let body = String::from_utf8(body).unwrap();
                    let line = format!("  {} respond {status} {} {body}", connection.0, head(&header));
                    writeln!(self.log, "{}", line.trim_end()).unwrap();
                }
                Action::Close { connection, code, reason } => {
                    assert!(self.frames.remove(&connection).is_some(), "closed twice");
                    writeln!(self.log, "  {} close {code} {reason}", connection.0).unwrap();
                }
                Action::Listen { tag, pattern } => {
                    writeln!(self.log, "  listen {pattern}").unwrap();
                    assert!(self.listeners.insert(tag, pattern).is_none());
                }
                Action::Ask { tag, subject, payload, .. } => {
                    let text = String::from_utf8(payload.into()).unwrap();
                    writeln!(self.log, "  ask {subject} {text}").unwrap();
                    assert!(self.requests.insert(tag, subject).is_none());
                }
                Action::Complain(Malformed { kind, subject, problem }) => {
                    writeln!(self.log, "  malformed {}: {subject}: {problem}", kind.name()).unwrap();
                }
                Action::Decode(encoded) => {
                    writeln!(self.log, "  decode").unwrap();
                    // It is answered, and not released yet.
                    self.requests.remove(&encoded.tag).expect("decodes the answer of no request");
                    self.answered.insert(encoded.tag);
                    self.encoded.push_back(encoded);
                }
                Action::Discard(_) => {}
                Action::Release { tag } if self.answered.remove(&tag) => {}
                Action::Release { tag } => {
                    let request = self.requests.remove(&tag);
                    match request.or_else(|| self.listeners.remove(&tag)).expect("released something unknown") {
                        _ if answered == Some(tag) => {}
                        subject => writeln!(self.log, "  release {subject}").unwrap(),
                    }
                }
            }
        }
    }

    /// Looks whether every frame is done, and whether nothing is left once all clients are gone.
    fn finish(&mut self) {
        let log = std::mem::take(&mut self.log);
        // Requests that are still open time out.
        self.step("wait 60000");
        assert!(self.frames.values().all(|frames| *frames == 0), "not all frames are done: {:?}\n{log}", self.frames);
        for connection in self.frames.keys().copied().collect::<Vec<_>>() {
            self.step(&format!("close {}", connection.0));
        }
        self.step("wait 60000");
        assert!(self.answered.is_empty(), "not released: {:?}\n{log}", self.answered);
        assert!(self.requests.is_empty(), "left asked: {:?}\n{log}", self.requests);
        assert_eq!(self.listeners.values().collect::<Vec<_>>(), ["system.reset", "system.tokenReset"], "{log}");
        assert_eq!(self.gateway.poll_timeout(), None);
        self.log = log;
    }
}
