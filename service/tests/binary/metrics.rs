//! The metrics of a running service: what they say after what was done, and the page that lists
//! them.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use expect_test::expect_file;
use relogin_test_support::soon;
use relogin_tests::res::Res;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::program::{Folder, Service};

/// Metrics as they were at one moment.
pub(crate) struct Scraped {
    /// By name, as declared: type and help.
    families: BTreeMap<String, (String, String)>,
    /// By name and labels, as written.
    pub(crate) samples: BTreeMap<String, f64>,
    /// The names in their order.
    order: Vec<String>,
}

pub(crate) async fn respond(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    response
}

/// The address of the metrics, as the log names it.
pub(crate) async fn address_of(service: &Service) -> String {
    service.says("metrics are on").await;
    let said = service.said();
    let (_, rest) = said.split_once("metrics are on http://").unwrap();
    rest.split_once('/').unwrap().0.to_owned()
}

impl Scraped {
    pub(crate) async fn of(address: &str) -> Self {
        let response = respond(address, "/metrics").await;
        let (head, text) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
        Self::parse(text)
    }

    /// Reads the OpenMetrics text format as far as it is used here, and refuses everything else.
    fn parse(text: &str) -> Self {
        let (mut families, mut samples, mut order) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut help = String::new();
        let text = text.strip_suffix("# EOF\n").expect("the text is whole");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                help = rest.split_once(' ').unwrap().1.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned(), (kind.to_owned(), help.clone())).is_none(), "{name} twice");
                order.push(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(name.ends_with(&format!("_{unit}")) && order.last().unwrap() == name, "{line}");
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                let family = order.last().unwrap();
                assert!(key.starts_with(family.as_str()), "{line} is not of {family}");
                assert!(samples.insert(key.to_owned(), value.parse().unwrap()).is_none(), "{key} twice");
            }
        }
        Self { families, samples, order }
    }

    fn get(&self, key: &str) -> f64 {
        *self.samples.get(key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    /// Its name in queries, and its labels with their values.
    fn labels_of(&self, family: &str) -> (String, Vec<(String, Vec<String>)>) {
        let suffix = match self.families[family].0.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{family}{suffix}");
        let sample = if self.families[family].0 == "histogram" { format!("{name}_count") } else { name.clone() };
        let mut labels: Vec<(String, Vec<String>)> = Vec::new();
        let own = self.samples.keys().filter_map(|key| key.strip_prefix(&sample)?.strip_prefix('{'));
        for pair in own.flat_map(|rest| rest.trim_end_matches('}').split(',')) {
            let (label, value) = pair.split_once('=').unwrap();
            let value = value.trim_matches('"').to_owned();
            match labels.iter_mut().find(|(known, _)| known == label) {
                Some((_, values)) if values.contains(&value) => {}
                Some((_, values)) => values.push(value),
                None => labels.push((label.to_owned(), vec![value])),
            }
        }
        (name, labels)
    }
}

/// Scrapes until `is_so`: what a connection does is counted a moment after its client has seen it.
async fn until(address: &str, what: &str, is_so: impl Fn(&Scraped) -> bool) -> Scraped {
    let scraping = async {
        loop {
            let scraped = Scraped::of(address).await;
            if is_so(&scraped) {
                break scraped;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), scraping).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn metrics_say_what_was_done() {
    let folder = Folder::new();
    let options = "--demo --store memory --max-connections 2 --metrics-listen 127.0.0.1:0";
    let service = folder.serve(options).await;
    let metrics = address_of(&service).await;
    let before = Scraped::of(&metrics).await;
    assert_eq!(before.get("resgate_ws_connections_total"), 0.0);

    let mut client = service.connect().await;
    client.log_in("jane", "jane").await.unwrap();
    client.request("subscribe.ticker.model", None).await.unwrap().ok().unwrap();
    client.request("call.ticker.model.nothing", None).await.unwrap();
    client.request("get.nobody.model", None).await.unwrap();
    let now = Scraped::of(&metrics).await;
    for (outcome, count) in [("logged_in", 1.0), ("logged_out", 0.0), ("refused", 0.0)] {
        assert_eq!(now.get(&format!("relogin_session_decisions_total{{outcome=\"{outcome}\"}}")), count, "{outcome}");
    }
    // The handshake is `connect`; the user's model is access and get.
    for (method, outcome, count) in
        [("login", "result", 1.0), ("login", "denied", 0.0), ("connect", "result", 1.0), ("relogin", "result", 0.0)]
    {
        let key = format!("relogin_session_requests_total{{method=\"{method}\",outcome=\"{outcome}\"}}");
        assert_eq!(now.get(&key), count, "{key}");
    }
    assert_eq!(now.get("relogin_session_request_duration_seconds_count{method=\"login\"}"), 1.0);
    assert!(now.get("relogin_session_request_duration_seconds_sum{method=\"login\"}") > 0.001);
    assert_eq!(now.get("relogin_sessions"), 1.0);
    assert_eq!(now.get("relogin_session_connections"), 1.0);
    assert_eq!(now.get("resgate_ws_current_connections"), 1.0);
    assert_eq!(now.get("resgate_ws_connections_total"), 1.0);
    for (method, count) in [("auth", 1.0), ("subscribe", 1.0), ("call", 1.0), ("get", 1.0), ("unsubscribe", 0.0)] {
        assert_eq!(now.get(&format!("resgate_ws_requests_total{{method=\"{method}\"}}")), count, "{method}");
    }
    // Of the handshake, and of the login.
    assert_eq!(now.get("relogin_service_requests_total{type=\"auth\",outcome=\"result\"}"), 2.0);
    assert_eq!(now.get("relogin_service_requests_total{type=\"get\",outcome=\"result\"}"), 1.0);
    assert_eq!(now.get("relogin_service_requests_total{type=\"access\",outcome=\"no_responders\"}"), 1.0);
    assert_eq!(now.get("relogin_service_request_duration_seconds_count{type=\"auth\"}"), 2.0);
    assert_eq!(now.get("relogin_service_request_duration_seconds_bucket{le=\"+Inf\",type=\"auth\"}"), 2.0);
    // A password is checked in more than a millisecond.
    assert!(now.get("relogin_service_request_duration_seconds_bucket{le=\"0.001\",type=\"auth\"}") <= 1.0);
    assert!(now.get("relogin_service_request_duration_seconds_sum{type=\"auth\"}") > 0.001);
    assert_eq!(now.get("resgate_cache_subscriptions"), 1.0);
    assert!(now.get("resgate_cache_resources") >= 1.0);
    assert!(now.get("relogin_ws_frames_total{direction=\"in\"}") >= 4.0);
    assert!(now.get("relogin_ws_message_bytes_total{direction=\"out\"}") > 100.0);
    assert!(now.get("process_resident_memory_bytes") > 1e6);
    assert_eq!(now.get("relogin_bus_connected"), 1.0);

    // A request of the HTTP API, a malformed handshake, and a page of another origin.
    // Only users who are logged in get the ticker.
    assert_eq!(service.get("/api/ticker/model").await, 401);
    let others = [("Sec-WebSocket-Version: 12", 426), ("Origin: https://evil.example", 403)];
    for (header, status) in others {
        until(&metrics, "the one before has left", |now| now.get("relogin_connections") == 1.0).await;
        let mut stream = TcpStream::connect(&service.address).await.unwrap();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let version = if status == 403 { "Sec-WebSocket-Version: 13\r\n" } else { "" };
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n{version}{header}\r\n\r\n", service.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        soon(stream.read_exact(&mut line)).await.unwrap();
        let line = String::from_utf8_lossy(&line);
        assert_eq!(line, format!("HTTP/1.1 {status}"), "{header}");
    }
    let now = until(&metrics, "all but one have left", |now| now.get("relogin_connections") == 1.0).await;
    assert_eq!(now.get("resgate_http_requests_total{method=\"GET\"}"), 1.0);
    assert_eq!(now.get("relogin_ws_refused_total{reason=\"handshake\"}"), 1.0);
    assert_eq!(now.get("relogin_refused_total{reason=\"origin\"}"), 1.0);

    // One connection more than allowed, and a message that is larger than allowed.
    let mut large = service.connect().await;
    assert!(Res::connect(&format!("ws://{}/", service.address)).await.is_err());
    large.send_text("x".repeat((1 << 20) + 1)).await.unwrap();
    let close = large.closed().await.unwrap().unwrap();
    assert_eq!(u16::from(close.code), 1009);
    client.close().await.unwrap();
    let now = until(&metrics, "both are over", |now| now.get("resgate_ws_current_connections") == 0.0).await;
    assert_eq!(now.get("relogin_ws_ended_total{reason=\"too_large\"}"), 1.0);
    assert_eq!(now.get("relogin_ws_ended_total{reason=\"client\"}"), 1.0);
    assert_eq!(now.get("relogin_refused_total{reason=\"max_connections\"}"), 1.0);
    until(&metrics, "nobody is subscribed", |now| now.get("resgate_cache_subscriptions") == 0.0).await;

    // Nothing else is there, and the metrics are not on the page's port.
    assert!(respond(&metrics, "/").await.starts_with("HTTP/1.1 404 "));
    assert_eq!(service.get("/metrics").await, 404);
    service.stop().await;
}

/// Of the service without a gateway: what requests came to, the store on disk, and what waits.
#[tokio::test]
async fn metrics_of_the_service_say_what_requests_came_to_and_what_the_disk_has() {
    let folder = Folder::new();
    let service = folder.serve("--demo --metrics-listen 127.0.0.1:0").await;
    let metrics = address_of(&service).await;
    let requests = |now: &Scraped, method: &str, outcome: &str| {
        now.get(&format!("relogin_session_requests_total{{method=\"{method}\",outcome=\"{outcome}\"}}"))
    };
    let before = Scraped::of(&metrics).await;
    assert_eq!(before.get("relogin_sessions"), 0.0);
    assert_eq!(before.get("relogin_store_sync_duration_seconds_count"), 0.0);
    // The first segment of the write-ahead log is prepared by another thread.
    until(&metrics, "the store has its files", |now| now.get("relogin_store_bytes") >= 4_194_304.0).await;

    let mut client = service.connect().await;
    let login = client.log_in("jane", "jane").await.unwrap();
    let auth = async |client: &mut Res, method: &str, params: serde_json::Value| {
        client.request(&format!("auth.session.{method}"), Some(params)).await.unwrap()
    };
    let key = serde_json::json!({"reloginKey": login["reloginKey"]});
    auth(&mut client, "relogin", key.clone()).await;
    auth(&mut service.connect().await, "relogin", key).await;
    auth(&mut client, "relogin", serde_json::json!({"reloginKey": 7})).await;
    auth(&mut client, "nothing", serde_json::json!(null)).await;
    for _ in 0..7 {
        auth(&mut client, "login", serde_json::json!({"username": "john", "password": "wrong"})).await;
    }
    let now = Scraped::of(&metrics).await;
    for (method, outcome, count) in [
        ("login", "result", 1.0),
        ("login", "denied", 6.0),
        ("login", "throttled", 1.0),
        ("relogin", "result", 1.0),
        ("relogin", "denied", 1.0),
        ("relogin", "malformed", 1.0),
        ("unknown", "not_found", 1.0),
    ] {
        assert_eq!(requests(&now, method, outcome), count, "{method} {outcome}");
    }
    for outcome in ["logged_in", "rotated", "reuse_detected"] {
        assert_eq!(now.get(&format!("relogin_session_decisions_total{{outcome=\"{outcome}\"}}")), 1.0, "{outcome}");
    }
    assert_eq!(now.get("relogin_session_keys_total{session=\"bearer\",by=\"login\"}"), 1.0);
    assert_eq!(now.get("relogin_session_keys_total{session=\"bearer\",by=\"use\"}"), 1.0);
    assert_eq!(now.get("relogin_session_request_duration_seconds_count{method=\"login\"}"), 8.0);
    // The session was made and rotated, and it has ended.
    let syncs = now.get("relogin_store_sync_duration_seconds_count");
    assert!((3.0..=5.0).contains(&syncs), "{syncs}");
    assert!(now.get("relogin_store_sync_duration_seconds_sum") > 0.0);
    assert_eq!(now.get("relogin_sessions"), 0.0);
    assert_eq!(now.get("relogin_session_connections"), 0.0);
    // Any key pair will do: that of RFC 7515, A.3.
    let [x, y] = ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
    let device = serde_json::json!({"publicKey": {"kty": "EC", "crv": "P-256", "x": x, "y": y}});
    let params = serde_json::json!({"username": "jane", "password": "jane", "device": device});
    auth(&mut client, "login", params).await;
    let now = Scraped::of(&metrics).await;
    for (session, count) in [("bearer", 1.0), ("cookie", 0.0), ("bound", 1.0)] {
        let key = format!("relogin_session_keys_total{{session=\"{session}\",by=\"login\"}}");
        assert_eq!(now.get(&key), count, "{session}");
    }
    for idle in [
        "relogin_store_pending_writes",
        "relogin_password_checks{state=\"running\"}",
        "relogin_password_checks{state=\"waiting\"}",
        "relogin_session_requests_pending{of=\"login\"}",
        "relogin_session_requests_pending{of=\"other\"}",
    ] {
        assert_eq!(now.get(idle), 0.0, "{idle}");
    }
    service.stop().await;
}

/// Idle connections can use up the places for scrapes, but they take nothing from clients.
#[tokio::test]
async fn a_17th_scrape_at_a_time_is_refused() {
    let folder = Folder::new();
    let service = folder.serve("--demo --store memory --metrics-listen 127.0.0.1:0").await;
    let metrics = address_of(&service).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(&metrics).await.unwrap());
    }
    assert!(respond(&metrics, "/metrics").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(service.get("/healthz").await, 200);
    drop(idle);
    let again = async { while !respond(&metrics, "/metrics").await.starts_with("HTTP/1.1 200 ") {} };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    service.stop().await;
}

const INTRODUCTION: &str = "# Metrics

<!-- Generated from what the program exposes; see service/tests/binary/metrics.rs. -->

With `--metrics-listen HOST:PORT` the service serves metrics at `/metrics` in the
[OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) text format. Where a metric
means the same as one of Resgate's, it has Resgate's name. Those of WebSockets, cache and services
are of the embedded gateway, and zero without it; `relogin gateway` has none of sessions, passwords
and store. Labels have only the values that are listed, so clients cannot make more of them. Who may
see metrics is described in [security.md](security.md).

`deploy/grafana/relogin.json` shows them in Grafana ([operations.md](operations.md#what-to-watch)).
Below are eleven minutes of 700 clients, some thieves, and one attack after the other: guessed
passwords, a storm of connections, foreign pages. It is drawn by Grafana's panels, not in Grafana.

![The dashboard: panels for sessions, requests, keys, store and gateway](dashboard.png)

Logins, rotations, retries, reuse detected and missing proofs are outcomes of
`relogin_session_decisions_total`; throttled logins, and all else that was asked, of
`relogin_session_requests_total`. How many of the sessions in use are bound is what their keys are
in `relogin_session_keys_total`: clients of all sessions use their key about equally often. Each
instance counts what it has done itself; of sessions in JetStream, each counts all.
`relogin_store_bytes` is missing with `--store memory`, and while JetStream does not answer.

Some values of labels:

- Requests to the session service: `throttled`, too many logins have failed; `busy`, more passwords
  to check than can be; `overdue`, dropped, because nobody waits for the answer any more;
  `shortage`, the store accepts no writes at the moment; `malformed`, it makes no sense; `failed`,
  an internal error, which the log explains.
- WebSockets that have ended: `client`, closed by the client; `lost`, the transport failed;
  `silent`, nothing came for too long; `unread`, the client read too slowly; `backlog`, too much
  waited to be sent; `events`, too many events did; `memory`, all clients together held too much,
  and this one the most; `unfinished`, a message did not end; `too_large`; `invalid`, no WebSocket
  message; `bus`, the message bus was lost; `stopped`, with the gateway; `internal`.
- Requests to services: `error`, an error or an answer that makes no sense; `timeout`;
  `no_responders`, nobody listens; `refused`, the bus did not take it; `given_up`, nobody waits any
  more.

| metric | type | labels | what |
|---|---|---|---|
";

/// `UPDATE_EXPECT=1 cargo test -p relogin --test binary page_of_metrics` rewrites the page.
#[tokio::test]
async fn the_page_of_metrics_lists_what_is_exposed() {
    let folder = Folder::new();
    let service = folder.serve("--demo --metrics-listen 127.0.0.1:0").await;
    let scraped = Scraped::of(&address_of(&service).await).await;
    let mut page = INTRODUCTION.to_owned();
    for family in &scraped.order {
        let (kind, help) = &scraped.families[family];
        let (name, labels) = scraped.labels_of(family);
        let values = |(label, values): &(String, Vec<String>)| match kind.as_str() {
            "info" => format!("`{label}`"),
            _ => format!("`{label}`: {}", values.join(", ")),
        };
        let labels: Vec<_> = labels.iter().map(values).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {} |", labels.join("; "), help.trim_end_matches('.')).unwrap();
    }
    expect_file!["../../../docs/metrics.md"].assert_eq(&page);
    service.stop().await;
}

#[tokio::test]
async fn metrics_need_an_address_that_is_free() {
    let folder = Folder::new();
    let service = folder.serve("--demo --store memory").await;
    let args = format!("serve --demo --store memory --listen 127.0.0.1:0 --metrics-listen {}", service.address);
    let line = folder.run(&args, "").refused();
    assert!(line.contains("choose another port with --metrics-listen"), "{line}");
    service.stop().await;
}
