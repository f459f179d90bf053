//! Spans that are sent to a collector: which, and that no secret is in them; and that a collector
//! that is gone, or does not answer, hurts nobody.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value::{IntValue, StringValue},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use relogin_test_support::{nats_server::NatsServer, soon};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use crate::program::{Folder, Service};

/// A collector that takes spans, over HTTP in protobuf.
#[derive(Clone, Default)]
struct Collector(Arc<Collected>);

#[derive(Default)]
struct Collected {
    bodies: Mutex<Vec<Bytes>>,
    requests: AtomicUsize,
    arrived: Notify,
}

impl Collector {
    /// Starts it, with this answer to everything. Returns its URL as well.
    async fn start(status: StatusCode) -> (Self, String) {
        let collector = Self::default();
        let collected = Arc::clone(&collector.0);
        let take = move |body: Bytes| async move {
            collected.bodies.lock().unwrap().push(body);
            collected.requests.fetch_add(1, SeqCst);
            collected.arrived.notify_one();
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.0.bodies.lock().unwrap().clone();
        let decoded = bodies.into_iter().map(|body| ExportTraceServiceRequest::decode(body).unwrap());
        let scopes = decoded.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits until something is found in all spans so far.
    async fn find<T>(&self, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
        let finding = async {
            loop {
                if let Some(found) = find(&self.spans()) {
                    break found;
                }
                self.0.arrived.notified().await;
            }
        };
        tokio::time::timeout(crate::nats_gateway::DEADLINE, finding).await.unwrap_or_else(|_| {
            let names: Vec<_> = self.spans().iter().map(|span| span.name.clone()).collect();
            panic!("no span of {what} among {names:?}")
        })
    }

    async fn requests(&self, count: usize) {
        let counting = async {
            while self.0.requests.load(SeqCst) < count {
                self.0.arrived.notified().await;
            }
        };
        tokio::time::timeout(crate::nats_gateway::DEADLINE, counting).await.unwrap();
    }

    fn contains(&self, text: &str) -> bool {
        let bodies = self.0.bodies.lock().unwrap();
        bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        StringValue(text) => Some(text),
        _ => None,
    }
}

/// The span of that name that ended with this, and those within it.
fn request(spans: &[Span], name: &str, outcome: &str) -> Option<(Span, Vec<String>)> {
    let is_it = |span: &&Span| span.name == name && attribute(span, "outcome") == Some(outcome);
    let request = spans.iter().find(is_it)?.clone();
    let is_within = |span: &&Span| span.trace_id == request.trace_id && span.parent_span_id == request.span_id;
    let within = spans.iter().filter(is_within).map(|span| span.name.clone()).collect();
    Some((request, within))
}

/// With spans on their way at once.
async fn serve(folder: &Folder, options: &str) -> Service {
    folder.serve_with(options, &[("OTEL_BSP_SCHEDULE_DELAY", "10")]).await
}

const PASSWORD: &str = "Tr0ub4dor&3-of-the-test";

async fn folder_with_a_user() -> Folder {
    let folder = Folder::new();
    folder.run("user add jane --name Somebody --role user --password-stdin", &format!("{PASSWORD}\n")).success();
    folder
}

#[tokio::test]
async fn a_relogin_is_traced_to_the_disk_and_no_secret_is() {
    let (collector, url) = Collector::start(StatusCode::OK).await;
    let folder = folder_with_a_user().await;
    let service = serve(&folder, &format!("--otlp {url} --ws-compression=false")).await;
    let mut client = service.connect().await;
    let first = client.log_in("jane", PASSWORD).await.unwrap()["reloginKey"].clone();
    let attempt = "AAAAAAAAAAAAAAAAAAAAAA";
    // On another connection, which gets its token and its user.
    let mut client = service.connect().await;
    let second = client.relogin(&first, Some(attempt)).await.unwrap().payload().unwrap()["reloginKey"].clone();
    client.relogin(&Value::from("no key"), None).await.unwrap();
    client
        .request("auth.session.login", Some(json!({"username": "jane", "password": "wrong-of-the-test"})))
        .await
        .unwrap();
    client.request("auth.session.logout", None).await.unwrap();

    let (relogin, within) = collector
        .find("a relogin", |spans| {
            request(spans, "relogin", "result").filter(|(_, within)| within.iter().any(|name| name == "store replace"))
        })
        .await;
    assert_eq!(relogin.kind, SpanKind::Server as i32);
    assert!(relogin.parent_span_id.is_empty());
    assert!(relogin.end_time_unix_nano > relogin.start_time_unix_nano);
    let waited = relogin.attributes.iter().find(|attribute| attribute.key == "waited_us").unwrap();
    assert!(matches!(waited.value.as_ref().unwrap().value, Some(IntValue(0..))), "{waited:?}");
    let keys: Vec<_> = relogin.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["method", "waited_us", "outcome"]);
    for part in ["store replace", "bus publish", "bus answer"] {
        assert!(within.iter().any(|name| name == part), "{part}: {within:?}");
    }
    let has_all = |spans: &[Span]| {
        let (_, within) = request(spans, "login", "result")?;
        let has = |part: &str| within.iter().any(|name| name == part);
        (has("users verify") && has("store create")).then_some(())
    };
    collector.find("a login", has_all).await;
    let denied = collector.find("a denied relogin", |spans| request(spans, "relogin", "denied")).await;
    assert!(denied.0.status.is_none_or(|status| status.code() == SpanStatus::Unset));
    collector.find("a logout", |spans| request(spans, "logout", "result")).await;
    // Of the embedded gateway: what it has asked the service.
    let is_asked = |span: &&Span| span.name == "auth" && attribute(span, "service") == Some("session");
    collector.find("the gateway", |spans| spans.iter().find(is_asked).cloned()).await;

    service.stop().await;
    let (first, second) = (first.as_str().unwrap(), second.as_str().unwrap());
    for secret in [PASSWORD, "wrong-of-the-test", first, second, &first[..20], attempt, "no key", "jane", "Somebody"] {
        assert!(!collector.contains(secret), "{secret} was sent");
    }
    assert!(collector.contains("relogin"), "what is there is found");
}

/// With NATS, and a bucket of JetStream: round trips to NATS are spans as well.
#[tokio::test]
async fn a_relogin_is_traced_to_jetstream() {
    let (collector, url) = Collector::start(StatusCode::OK).await;
    let folder = folder_with_a_user().await;
    let stored = tempfile::tempdir().unwrap();
    let nats = NatsServer::with_jetstream(stored.path(), "-1");
    let options = format!(
        "--otlp {url} --nats {} --gateway embedded --listen 127.0.0.1:0 --store jetstream --secret-file secret",
        nats.url()
    );
    let service = serve(&folder, &options).await;
    let mut client = service.connect().await;
    let key = client.log_in("jane", PASSWORD).await.unwrap()["reloginKey"].clone();
    let mut other = service.connect().await;
    other.relogin(&key, None).await.unwrap().ok().unwrap();
    let is_whole = |spans: &[Span]| {
        let (_, within) = request(spans, "relogin", "result")?;
        within.iter().any(|name| name == "store replace").then_some(())
    };
    collector.find("a relogin", is_whole).await;
    service.stop().await;
    assert!(!collector.contains(key.as_str().unwrap()) && !collector.contains(PASSWORD));
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_once_and_sessions_go_on() {
    let (collector, url) = Collector::start(StatusCode::FORBIDDEN).await;
    let folder = Folder::new();
    let service = serve(&folder, &format!("--demo --store memory --otlp {url}")).await;
    let mut client = service.connect().await;
    client.log_in("jane", "jane").await.unwrap();
    for count in 1..=4 {
        client.request("auth.session.challenge", None).await.unwrap();
        collector.requests(count).await;
    }
    service.says("cannot send traces").await;
    service.stop().await;
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert_eq!(log.matches("cannot send traces").count(), 1, "{log}");
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_holds_up_neither_requests_nor_the_stop() {
    // Accepts, and never answers; and one where nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), gone] {
        let folder = Folder::new();
        let service = serve(&folder, &format!("--demo --store memory --otlp http://{address}")).await;
        let mut client = service.connect().await;
        client.log_in("jane", "jane").await.unwrap();
        if address == gone {
            service.says("cannot send traces").await;
        } else {
            soon(silent.accept()).await.unwrap();
        }
        // More than may wait.
        for _ in 0..3000 {
            client.request("auth.session.challenge", None).await.unwrap();
        }
        service.stop().await;
    }
}

#[test]
fn a_collector_is_named_by_an_http_url() {
    let folder = Folder::new();
    for url in ["localhost:4318", "https://collector:4318", "http://", "grpc://collector:4317", "x"] {
        let line = folder.run(&format!("serve --demo --otlp {url}"), "").refused();
        assert!(line.contains("--otlp") && line.contains("http://"), "{line}");
    }
}
