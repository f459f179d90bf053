//! Plays a script at one gateway: a service, clients, whoever sends HTTP requests, and all that
//! comes to them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use relogin_tests::exact::Exact;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::timeout,
};

use crate::{
    compressed::OFFER,
    gateways::{COMPRESSED, Gateway, HEADS, Kind},
    script::Script,
    transcript::Transcript,
    wire::{Arrival, Client, Request, Response, Service, ask},
};

/// How long a script waits for anything. It passes only where the gateways differ.
const PATIENCE: Duration = Duration::from_secs(20);

/// Requests of the harness itself have such ids, and are in no transcript.
const OWN_IDS: u64 = 900_000;

/// Headers of responses that say nothing of the gateway, or depend on the moment.
const PLAIN_HEADERS: &[&str] =
    &["date", "connection", "transfer-encoding", "content-length", "upgrade", "sec-websocket-accept"];

/// Headers that ours adds to all responses, for browsers (docs/gateway.md).
const OWN_HEADERS: &[&str] = &[
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
];

/// How the words of errors begin that say what is wrong with an answer or a body: each program has
/// its own (docs/gateway.md).
const OWN_WORDS: &[&str] = &["Internal error: ", "Error decoding request body: "];

/// Plays it, and gives what came of it.
///
/// # Errors
/// If the script is wrong, or a part fails. That something awaited does not come is no error: the
/// transcript says so.
pub(crate) async fn play(script: &Script, number: usize, nats: &str, gateway: &Gateway) -> Result<Transcript> {
    let mut cast = Cast::new(script, number, nats, gateway).await?;
    for line in &script.lines {
        let Some(line) = mine(line, gateway.kind) else { continue };
        let is_wait = line.starts_with(' ');
        let words = cast.named(line.trim());
        let outcome = if is_wait { cast.expect(&words).await } else { cast.act(&words).await };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                cast.transcript.stop(line.trim());
                return Ok(cast.end());
            }
            Err(error) => return Err(error.context(format!("{} at `{}`", gateway.kind.name(), line.trim()))),
        }
    }
    cast.settle().await?;
    Ok(cast.end())
}

/// A line, unless it is for the other gateway.
fn mine(line: &str, kind: Kind) -> Option<&str> {
    match line.split_once("@ ") {
        Some(("ours", rest)) => (kind == Kind::Ours).then_some(rest),
        Some(("resgate", rest)) => (kind == Kind::Resgate).then_some(rest),
        _ => Some(line),
    }
}

struct Cast<'a> {
    /// What `test` stands for.
    name: String,
    /// What `LONG` and `LARGE` stand for.
    long: String,
    large: String,
    gateway: &'a Gateway,
    service: Service,
    sender: UnboundedSender<Arrival>,
    arrivals: UnboundedReceiver<Arrival>,
    clients: BTreeMap<u8, Client>,
    /// Names of cids.
    cids: BTreeMap<String, String>,
    own_ids: u64,
    /// A token event that is sent before the next answer of the harness.
    token: Option<String>,
    /// Own requests of clients that were answered.
    answered: BTreeSet<(u8, u64)>,
    /// Frames that nobody has waited for yet.
    frames: BTreeMap<u8, VecDeque<String>>,
    closed: BTreeSet<u8>,
    /// Clients that a compressed message has come to.
    deflated: BTreeSet<u8>,
    /// Headers that clients connect with.
    offers: Vec<(String, String)>,
    /// Clients that are about to connect.
    opening: BTreeSet<u8>,
    requests: Vec<Request>,
    /// The requests of each subject that were waited for. Only the last one may be answered more
    /// than once.
    asked: BTreeMap<String, Vec<Request>>,
    /// Answers to whatever comes.
    standing: Vec<(String, String)>,
    http: usize,
    response: Option<Response>,
    transcript: Transcript,
}

impl<'a> Cast<'a> {
    async fn new(script: &Script, number: usize, nats: &str, gateway: &'a Gateway) -> Result<Self> {
        let letter = gateway.kind.name().chars().next().unwrap_or_default();
        let (top, name) = match script.on.as_str() {
            HEADS => (HEADS.to_owned(), format!("{HEADS}.t{number}{letter}")),
            _ => (format!("t{number}{letter}"), format!("t{number}{letter}")),
        };
        let (sender, arrivals) = mpsc::unbounded_channel();
        let service = Service::listen(nats, &top, sender.clone()).await?;
        Ok(Self {
            name,
            long: "l".repeat(5_000),
            large: (0_u32..20_000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9))).collect(),
            gateway,
            service,
            sender,
            arrivals,
            clients: BTreeMap::new(),
            cids: BTreeMap::new(),
            own_ids: OWN_IDS,
            token: None,
            answered: BTreeSet::new(),
            frames: BTreeMap::new(),
            closed: BTreeSet::new(),
            deflated: BTreeSet::new(),
            offers: if script.on == COMPRESSED { vec![(OFFER.0.into(), OFFER.1.into())] } else { Vec::new() },
            opening: BTreeSet::new(),
            requests: Vec::new(),
            asked: BTreeMap::new(),
            standing: Vec::new(),
            http: 0,
            response: None,
            transcript: Transcript::default(),
        })
    }

    /// False if its time is over.
    async fn act(&mut self, line: &str) -> Result<bool> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if first.contains('.') {
            self.serve(first, rest).await?;
        } else if let Some(number) = first.strip_suffix(">>") {
            let number = number.parse()?;
            self.client(number).await?.send_binary(rest.to_owned()).await?;
        } else if let Some(number) = first.strip_suffix(">~") {
            let number = number.parse()?;
            let (id, request) = rest.split_once(' ').context("a request without an id")?;
            self.client(number).await?.send_in_frames(frame(id, request)).await?;
        } else if let Some(number) = first.strip_suffix('>') {
            let number = number.parse()?;
            let text = match rest.split_once(' ').filter(|(id, _)| id.parse::<u64>().is_ok()) {
                Some((id, request)) => frame(id, request),
                None => rest.to_owned(),
            };
            self.client(number).await?.send(text).await?;
        } else if let Some(number) = first.strip_suffix('!') {
            let number = number.parse()?;
            self.own_ids += 1;
            // Not an id of the harness itself.
            let id = self.own_ids - OWN_IDS + 100;
            self.client(number).await?.send(frame(&id.to_string(), rest)).await?;
            return self.frame(number, |text| id_of(text) == Some(id)).await;
        } else if let Ok(number) = first.parse::<u8>() {
            match rest.split_once(' ').unwrap_or((rest, "")) {
                ("close", _) => self.client(number).await?.close().await?,
                ("cid", _) => self.learn_cid(number).await?,
                ("token", token) => {
                    self.client(number).await?;
                    self.token = Some(token.to_owned());
                    self.learn_cid(number).await?;
                }
                ("open", rest) => {
                    self.open(number, rest)?;
                    return self.until(|cast| !cast.opening.contains(&number)).await;
                }
                ("connecting", rest) => self.open(number, rest)?,
                _ => bail!("a client cannot do that"),
            }
        } else if rest.starts_with('/') || rest == "*" || rest.starts_with("* ") {
            let (rest, headers) = headers(rest)?;
            let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
            self.http += 1;
            self.response = None;
            let to = self.gateway.metrics.filter(|_| path == "/metrics").unwrap_or(self.gateway.addr);
            let path = path.replace(&self.name, &self.name.replace('.', "/"));
            ask(self.http, to, (first, &path), &headers, body, self.sender.clone());
        } else if first == "settle" {
            self.settle().await?;
        } else {
            self.serve(first, rest).await?;
        }
        Ok(true)
    }

    /// What the service does.
    async fn serve(&mut self, first: &str, rest: &str) -> Result<()> {
        let content = |kind: &str| {
            rest.split_once(' ')
                .map(|(rid, text)| (format!("get.{rid}"), format!(r#"{{"result":{{"{kind}":{text}}}}}"#)))
        };
        if first == "grant" {
            let answer = r#"{"result":{"get":true,"call":"*"}}"#.to_owned();
            self.standing.push((format!("access.{}.>", self.name), answer));
        } else if matches!(first, "model" | "collection") {
            let (subject, answer) = content(first).context("an answer without content")?;
            self.stand(subject, answer);
        } else if let Some(answer) = rest.strip_prefix(":= ") {
            self.stand(first.to_owned(), answer.to_owned());
        } else if let Some(answer) = rest.strip_prefix("= ") {
            let asked = self.asked.get_mut(first).context("it was not asked")?;
            let reply = asked.last().context("it was not asked")?.reply.clone();
            if asked.len() > 1 {
                asked.pop();
            }
            self.publish(reply, answer.to_owned()).await?;
        } else {
            self.publish(first.to_owned(), rest.to_owned()).await?;
        }
        Ok(())
    }

    fn stand(&mut self, subject: String, answer: String) {
        self.standing.retain(|(other, _)| *other != subject);
        self.standing.push((subject, answer));
    }

    async fn publish(&self, subject: String, payload: String) -> Result<()> {
        self.service.publish(&subject, payload).await
    }

    /// False if it does not come.
    async fn expect(&mut self, line: &str) -> Result<bool> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(number) = first.strip_suffix('<') {
            let number = number.parse()?;
            match rest {
                "closed" => return self.until(|cast| cast.closed.contains(&number)).await,
                "deflated" => return self.until(|cast| cast.deflated.contains(&number)).await,
                "opened" => return self.until(|cast| !cast.opening.contains(&number)).await,
                _ => {}
            }
            if let Ok(id) = rest.parse::<u64>() {
                return self.frame(number, |text| id_of(text) == Some(id)).await;
            }
            if !rest.starts_with('{') {
                return self.frame(number, |text| event_of(text).as_deref() == Some(rest)).await;
            }
            if !self.until(|cast| cast.frames.get(&number).is_some_and(|frames| !frames.is_empty())).await? {
                return Ok(false);
            }
            let text = self.frames.get_mut(&number).and_then(VecDeque::pop_front).unwrap_or_default();
            return Ok(Exact::parse(&text)?.is(&Exact::parse(rest)?));
        }
        let is_status = first.parse::<u16>().is_ok();
        if is_status || first == "http" {
            if !self.until(|cast| cast.response.is_some()).await? {
                return Ok(false);
            }
            let response = self.response.as_ref().context("it has come")?;
            let is_body = rest.is_empty() || Exact::parse(&response.body)?.is(&Exact::parse(rest)?);
            return Ok(!is_status || response.status == first && is_body);
        }
        if let Some(name) = first.strip_suffix(':') {
            let response = self.response.as_ref().context("no response was waited for")?;
            let name = name.to_lowercase();
            return Ok(response.headers.iter().any(|(other, value)| *other == name && value == rest));
        }
        let (absent, first) = first.strip_prefix('!').map_or((false, first), |first| (true, first));
        let is_for = |request: &Request| match first.strip_suffix('*') {
            Some(start) => request.subject.starts_with(start),
            None => request.subject == first,
        };
        let position = |cast: &Self| cast.requests.iter().position(is_for);
        if absent {
            self.settle().await?;
            return Ok(position(self).is_none());
        }
        if !self.until(|cast| position(cast).is_some()).await? {
            return Ok(false);
        }
        let request = self.requests.remove(position(self).context("it has come")?);
        let is_it = rest.is_empty() || bare(&request.text)?.is(&Exact::parse(rest)?);
        self.asked.entry(first.to_owned()).or_default().push(request);
        Ok(is_it)
    }

    /// Takes the frames of a client up to one.
    async fn frame(&mut self, number: u8, is_it: impl Fn(&str) -> bool) -> Result<bool> {
        let there =
            |cast: &Self| cast.frames.get(&number).and_then(|frames| frames.iter().position(|text| is_it(text)));
        if !self.until(|cast| there(cast).is_some()).await? {
            return Ok(false);
        }
        if let (Some(at), Some(frames)) = (there(self), self.frames.get_mut(&number)) {
            frames.drain(..=at);
        }
        Ok(true)
    }

    /// Takes in what comes until something is so; false if it does not become so.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<bool> {
        let arriving = async {
            while !is_so(self) {
                let arrival = self.arrivals.recv().await.context("nothing more can come")?;
                self.take_in(arrival).await?;
            }
            Ok(true)
        };
        timeout(PATIENCE, arriving).await.unwrap_or(Ok(false))
    }

    async fn take_in(&mut self, arrival: Arrival) -> Result<()> {
        match arrival {
            Arrival::Frame(number, text) => match id_of(&text) {
                Some(id) if id > OWN_IDS && id < 2 * OWN_IDS => {
                    self.answered.insert((number, id));
                }
                _ => {
                    self.transcript.add(&format!("{number}<"), canonical(&text));
                    self.frames.entry(number).or_default().push_back(text);
                }
            },
            Arrival::Deflated(number) => drop(self.deflated.insert(number)),
            Arrival::Opened(number, opened) => {
                let opened = opened?;
                self.transcript.add(&format!("{number}<"), shown(&opened.response));
                self.clients.extend(opened.client.map(|client| (number, client)));
                self.opening.remove(&number);
            }
            Arrival::Closed(number, code) => {
                self.closed.insert(number);
                self.transcript
                    .add(&format!("{number}<"), code.map_or("closed".into(), |code| format!("closed {code}")));
            }
            Arrival::Response(number, response) => {
                let mut response = response?;
                let stream = format!("http {number}");
                if response.body.ends_with("# EOF\n") {
                    of_both(&response.body).into_iter().for_each(|line| self.transcript.add(&stream, line));
                    response.body.clear();
                }
                self.transcript.add(&stream, shown(&response));
                self.response = Some(response);
            }
            Arrival::Request(request) => self.take_request(request).await?,
        }
        Ok(())
    }

    async fn take_request(&mut self, request: Request) -> Result<()> {
        if request.subject == format!("auth.{}.who", self.name) {
            let json: serde_json::Value = serde_json::from_str(&request.text)?;
            let cid = json["cid"].as_str().context("no cid")?.to_owned();
            let number = &json["params"];
            let subject = format!("conn.{cid}.token");
            self.cids.entry(cid).or_insert_with(|| format!("c{number}"));
            if let Some(token) = self.token.take() {
                self.publish(subject, token).await?;
            }
            return self.publish(request.reply, r#"{"result":null}"#.to_owned()).await;
        }
        let json: serde_json::Value = serde_json::from_str(&request.text).unwrap_or_default();
        let cid = json["cid"].as_str().unwrap_or_default();
        if !cid.is_empty() && !self.cids.contains_key(cid) {
            let strangers = self.cids.values().filter(|name| name.starts_with('h')).count();
            self.cids.insert(cid.to_owned(), format!("h{}", strangers + 1));
        }
        let payload = if self.gateway_tells_of_headers() { bare_values(&request.text)? } else { bare(&request.text)? };
        // What is asked for several connections or queries is in no order.
        let query = if cid.is_empty() { json["query"].as_str().unwrap_or_default() } else { cid };
        self.transcript.add(format!("{} {query}", request.subject).trim_end(), payload.to_string());
        let is_for = |pattern: &str| match pattern.strip_suffix('>') {
            Some(start) => request.subject.starts_with(start),
            None => request.subject == pattern,
        };
        let answer = self.standing.iter().rev().find(|(pattern, _)| is_for(pattern)).map(|(_, answer)| answer.clone());
        if let Some(answer) = answer {
            self.publish(request.reply.clone(), answer).await?;
        }
        self.requests.push(request);
        Ok(())
    }

    fn gateway_tells_of_headers(&self) -> bool {
        self.name.starts_with(HEADS)
    }

    /// The client of this number, which connects if it has not yet.
    async fn client(&mut self, number: u8) -> Result<&mut Client> {
        if !self.clients.contains_key(&number) {
            let opened = Client::open(number, self.gateway.addr, "/", &self.offers, self.sender.clone()).await?;
            let is_agreed = opened.response.headers.iter().any(|(name, _)| name == "sec-websocket-extensions");
            ensure!(is_agreed != self.offers.is_empty(), "it is not agreed on compression: {:?}", opened.response);
            self.clients.insert(number, opened.client.with_context(|| format!("refused: {:?}", opened.response))?);
            self.own_request(number, r#"version","params":{"protocol":"1.2.3"}"#).await?;
            self.learn_cid(number).await?;
        }
        self.clients.get_mut(&number).context("it is connected")
    }

    async fn learn_cid(&mut self, number: u8) -> Result<()> {
        let request = format!(r#"auth.{}.who","params":{number}"#, self.name);
        self.own_request(number, &request).await
    }

    /// Sends a request of the harness and waits for its answer.
    async fn own_request(&mut self, number: u8, request: &str) -> Result<()> {
        self.own_ids += 1;
        let id = self.own_ids;
        let client = self.clients.get_mut(&number).context("it is connected")?;
        client.send(format!(r#"{{"id":{id},"method":"{request}}}"#)).await?;
        let is_answered = self.until(|cast| cast.answered.contains(&(number, id)) || cast.closed.contains(&number));
        ensure!(is_answered.await?, "{} does not answer client {number}", self.gateway.kind.name());
        Ok(())
    }

    fn open(&mut self, number: u8, rest: &str) -> Result<()> {
        let (path, headers) = headers(rest)?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        self.opening.insert(number);
        let (to, arrivals) = (self.gateway.addr, self.sender.clone());
        tokio::spawn(async move {
            let opened = Client::open(number, to, &path, &headers, arrivals.clone()).await;
            let _ = arrivals.send(Arrival::Opened(number, opened));
        });
        Ok(())
    }

    /// Waits until what was sent has gone through: the gateway has answered each client by way of
    /// the service, twice.
    async fn settle(&mut self) -> Result<()> {
        for _ in 0..2 {
            let open =
                |cast: &Self| cast.clients.keys().copied().filter(|number| !cast.closed.contains(number)).collect();
            let open: Vec<u8> = open(self);
            for number in open {
                self.learn_cid(number).await?;
            }
        }
        Ok(())
    }

    /// A line's words, with the names of this run for those of scripts.
    fn named(&self, text: &str) -> String {
        let name_of = |word: &str| match word {
            "test" => Some(self.name.as_str()),
            "LONG" => Some(self.long.as_str()),
            "LARGE" => Some(self.large.as_str()),
            _ => self.cids.iter().find(|(_, name)| *name == word).map(|(cid, _)| cid.as_str()),
        };
        let words = text.split_inclusive(|end: char| !end.is_ascii_alphanumeric());
        words
            .map(|word| {
                let length = word.trim_end_matches(|end: char| !end.is_ascii_alphanumeric()).len();
                let (word, end) = word.split_at(length);
                name_of(word).unwrap_or(word).to_owned() + end
            })
            .collect()
    }

    /// What came, with the names of scripts for those of this run.
    fn end(self) -> Transcript {
        let (slashed, host) = (self.name.replace('.', "/"), self.gateway.addr.to_string());
        // Connection ids first: the short name of this run may be part of one.
        let cids = self.cids.iter().map(|(cid, name)| (cid.as_str(), name.as_str()));
        let others =
            [(&self.large, "LARGE"), (&self.long, "LONG"), (&self.name, "test"), (&slashed, "test"), (&host, "HOST")];
        let names: Vec<_> = cids.chain(others.map(|(text, name)| (text.as_str(), name))).collect();
        self.transcript.renamed(|text| renamed(text, &names))
    }
}

/// `text` with each first text replaced by the second, in this order.
fn renamed(text: &str, names: &[(&str, &str)]) -> String {
    names.iter().fold(text.to_owned(), |text, (of_this_run, of_scripts)| text.replace(of_this_run, of_scripts))
}

#[test]
fn a_connection_id_that_contains_the_name_of_a_run_is_renamed_as_a_whole() {
    let names = [("dc64pt0rq9g", "c1"), ("t0r", "test")];
    assert_eq!(renamed("access.t0r.a dc64pt0rq9g", &names), "access.test.a c1");
}

fn frame(id: &str, request: &str) -> String {
    let (method, params) = request.split_once(' ').unwrap_or((request, ""));
    let params = if params.is_empty() { String::new() } else { format!(r#","params":{params}"#) };
    format!(r#"{{"id":{id},"method":"{method}"{params}}}"#)
}

/// A line without its headers, and those.
fn headers(line: &str) -> Result<(&str, Vec<(String, String)>)> {
    let mut parts = line.split(" | ").flat_map(|part| part.strip_prefix("| ").or(Some(part)));
    let first = parts.next().unwrap_or_default();
    let headers = parts.map(|part| {
        let (name, value) = part.split_once(": ").with_context(|| format!("`{part}` is not a header"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    match first.split_once(": ") {
        // Nothing but a header.
        Some((name, value)) if line.starts_with("| ") => {
            let rest = headers.collect::<Result<Vec<_>>>()?;
            Ok(("", [vec![(name.to_owned(), value.to_owned())], rest].concat()))
        }
        _ => Ok((first, headers.collect::<Result<_>>()?)),
    }
}

fn id_of(text: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(text).ok()?["id"].as_u64()
}

fn event_of(text: &str) -> Option<String> {
    let Exact::Object(members) = Exact::parse(text).ok()? else { return None };
    serde_json::from_str(&members.get("event")?.to_string()).ok()
}

/// A JSON text with its members in order, or any other as it is.
fn canonical(text: &str) -> String {
    let Ok(mut json) = Exact::parse(text) else { return text.to_owned() };
    forget_words(&mut json);
    json.to_string()
}

/// Replaces the words of errors that each program has its own for.
fn forget_words(json: &mut Exact) {
    match json {
        Exact::Primitive(text) => {
            if let Some(start) = OWN_WORDS.iter().find(|start| text[1.min(text.len())..].starts_with(**start)) {
                *text = format!("{:?}", format!("{start}…"));
            }
        }
        Exact::Array(items) => items.iter_mut().for_each(forget_words),
        Exact::Object(members) => members.values_mut().for_each(forget_words),
    }
}

/// A request's payload without what says how a connection was opened.
fn bare(text: &str) -> Result<Exact> {
    let mut payload = Exact::parse(text)?;
    ["header", "host", "remoteAddr", "uri"].into_iter().for_each(|name| payload.remove(name));
    Ok(payload)
}

/// With all that says how a connection was opened but for what depends on the moment.
fn bare_values(text: &str) -> Result<Exact> {
    let mut payload = Exact::parse(text)?;
    if let Exact::Object(members) = &mut payload {
        if let Some(addr) = members.get_mut("remoteAddr") {
            let is_address =
                serde_json::from_str::<String>(&addr.to_string()).is_ok_and(|text| text.starts_with("127.0.0.1:"));
            ensure!(is_address, "remoteAddr is {addr}");
            *addr = Exact::Primitive(r#""ADDRESS""#.to_owned());
        }
        if let Some(header) = members.get_mut("header") {
            header.remove("Sec-Websocket-Key");
        }
    }
    Ok(payload)
}

/// Those of the metrics that are Resgate's. It has no counters of what was never counted, and says
/// since when it counts.
fn of_both(metrics: &str) -> Vec<String> {
    let is_of_both = |line: &&str| {
        let is_own = line.starts_with("resgate_info") || line.contains("_created") || line.ends_with("} 0");
        line.starts_with("resgate_") && !is_own
    };
    let mut lines: Vec<_> = metrics.lines().filter(is_of_both).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn shown(response: &Response) -> String {
    let is_said = |name: &str, value: &str| {
        let is_own = OWN_HEADERS.contains(&name) || (name, value) == ("cache-control", "no-store");
        !is_own && !PLAIN_HEADERS.contains(&name)
    };
    let mut headers: Vec<_> = response.headers.iter().filter(|(name, value)| is_said(name, value)).collect();
    headers.sort();
    let headers: String = headers.iter().map(|(name, value)| format!(" | {name}: {value}")).collect();
    let body = canonical(response.body.trim_end());
    format!("{}{}{body}{headers}", response.status, if body.is_empty() { "" } else { " " })
}
