//! Relogins a second over NATS, with 64 in flight, beside a responder that answers the same bytes without doing anything: what
//! Relogin costs is the distance between the two.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people who measure")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_nats::Client;
use futures_util::{StreamExt, future::join_all};
use relogin_tests::process::Process;
use serde_json::{Value, json};

#[path = "../tests/nats_server/mod.rs"]
#[expect(dead_code, reason = "a bench cuts no wires")]
mod nats_server;

const IN_FLIGHT: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(8);

/// The argument with which this program is the responder.
const RESPONDER: &str = "responder";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [RESPONDER, url] => runtime.block_on(respond(url)),
        // Cargo says so; without, somebody runs all targets as tests.
        [.., "--bench"] => runtime.block_on(bench()),
        _ => {}
    }
}

async fn bench() {
    let constant = figures(None).await;
    println!("constant responder      {constant}");
    for store in ["memory", "sled"] {
        let figures = figures(Some(store)).await;
        let share = 100.0 * figures.per_second / constant.per_second;
        println!("relogin, store {store:<6}   {figures}, {share:.0} % of the constant responder");
    }
}

/// What was measured.
struct Figures {
    per_second: f64,
    median: Duration,
    slowest_hundredth: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let Self { per_second, median, slowest_hundredth } = self;
        write!(f, "{per_second:>8.0}/s, p50 {:.2} ms, p99 {:.2} ms", ms(*median), ms(*slowest_hundredth))
    }
}

/// Relogins of a service with this store, on a folder of its own; without one, of the constant responder.
async fn figures(store: Option<&str>) -> Figures {
    let nats = nats_server::NatsServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let here = std::env::current_exe().unwrap();
    let url = nats.url();
    let (program, arguments) = match store {
        Some(store) => {
            (Path::new(env!("CARGO_BIN_EXE_relogin")), vec!["serve", "--demo", "--store", store, "--nats", &url])
        }
        None => (here.as_path(), vec![RESPONDER, &url]),
    };
    let server = Process::start(program, arguments, &log, |command| {
        command.current_dir(folder.path()).env("RELOGIN_LOG", "warn");
    })
    .unwrap();
    server.line("that it is ready", |line| line.contains("ready on nats").then_some(())).await.unwrap();

    let client = async_nats::connect(&url).await.unwrap();
    let logins = (0..IN_FLIGHT).map(|n| Session::log_in(client.clone(), format!("c{n}")));
    let sessions = join_all(logins).await;
    let begin = Instant::now() + WARM_UP;
    let workers = sessions.into_iter().map(|session| tokio::spawn(session.relogins(begin, begin + MEASURED)));
    let mut times: Vec<Duration> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    server.kill().await.unwrap();
    times.sort_unstable();
    Figures {
        per_second: times.len() as f64 / MEASURED.as_secs_f64(),
        median: times[times.len() / 2],
        slowest_hundredth: times[times.len() * 99 / 100],
    }
}

/// A connection to a gateway, and the session on it.
struct Session {
    client: Client,
    connection: String,
    key: Value,
}

impl Session {
    async fn log_in(client: Client, connection: String) -> Self {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        let params = json!({"username": "jane", "password": "jane"});
        let request = json!({"cid": connection, "token": null, "params": params}).to_string();
        client.publish_with_reply("auth.session.login", inbox, request.into()).await.unwrap();
        loop {
            let answer = answers.next().await.unwrap().payload;
            // Not a request for patience while the password check queues.
            if answer.starts_with(b"{") {
                return Self { client, connection, key: key_in(&answer) };
            }
        }
    }

    /// One relogin after the other until `end`; how long each took that began after `begin`.
    async fn relogins(mut self, begin: Instant, end: Instant) -> Vec<Duration> {
        let mut times = Vec::new();
        loop {
            let sent = Instant::now();
            if sent >= end {
                return times;
            }
            let request =
                json!({"cid": self.connection, "token": null, "params": {"reloginKey": self.key}}).to_string();
            let answer = self.client.request("auth.session.relogin", request.into()).await.unwrap();
            self.key = key_in(&answer.payload);
            if sent >= begin {
                times.push(sent.elapsed());
            }
        }
    }
}

fn key_in(answer: &[u8]) -> Value {
    let mut answer: Value = serde_json::from_slice(answer).unwrap();
    let key = answer["result"]["reloginKey"].take();
    assert!(key.is_string(), "{answer}");
    key
}

/// Answers each request with what a relogin is answered with.
async fn respond(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let mut requests = client.subscribe("auth.session.>").await.unwrap();
    client.flush().await.unwrap();
    println!("ready on nats");
    let result = json!({"reloginKey": "k".repeat(75), "generation": 1, "expiresIn": 120_000, "refreshIn": 60_000});
    let answer = bytes::Bytes::from(json!({ "result": result }).to_string());
    while let Some(request) = requests.next().await {
        client.publish(request.reply.unwrap(), answer.clone()).await.unwrap();
    }
}
