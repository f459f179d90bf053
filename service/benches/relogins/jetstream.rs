//! Relogins with sessions in JetStream, by one to three instances, on one nats-server and on three,
//! beside plain updates of the same servers' key-value store: the same size, as many in flight, in
//! turns. And what many sessions take of an instance.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{
    ServerAddr,
    jetstream::{self, kv},
};
use futures_util::{StreamExt, future::join_all, stream};
use relogin_store::{
    SessionStore,
    jetstream::{BucketConfig, JetStreamStore, Replicas},
};
use relogin_test_support::{nats_cluster::Cluster, nats_server::NatsServer};
use relogin_tests::process::Process;

use crate::{
    client::{Kind, round, sessions_at},
    figures::{Round, median, ms},
    million::{record, resident},
};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
const MEASURED: Duration = Duration::from_millis(1_500);
const WARM_UP: Duration = Duration::from_millis(300);
const SESSIONS: u64 = 100_000;

pub(crate) async fn jetstream() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = folder.path().join("nats");
    let server = NatsServer::start(&["--jetstream", "--store_dir", store.to_str().unwrap()]);
    for instances in 1..=3 {
        compare(&server.url(), vec![server.url().parse().unwrap()], 1, instances).await;
    }
    drop(server);
    let cluster = Cluster::start().await;
    for instances in 1..=3 {
        compare(&cluster.url(), cluster.addresses(), 3, instances).await;
    }
    drop(cluster);
    many().await;
}

async fn compare(url: &str, addresses: Vec<ServerAddr>, replicas: usize, instances: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let name = format!("r{replicas}i{instances}");
    let mut processes = Vec::new();
    for _ in 0..instances {
        processes.push(serve(folder.path(), url, &name, replicas).await);
    }
    let client = async_nats::connect(&addresses[..]).await.unwrap();
    let mut plain = Plain::new(client.clone(), format!("plain-{name}"), replicas).await;
    for kind in [Kind::Refresh, Kind::Resume] {
        let mut using = sessions_at(&client, &name, kind, IN_FLIGHT).await;
        let (mut base, mut rounds) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.round(WARM_UP).await;
            base.push(plain.round(MEASURED).await);
            round(&mut using, WARM_UP).await;
            rounds.push(round(&mut using, MEASURED).await);
        }
        let pace = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
        let ratio = median(rounds.iter().zip(&base).map(|(round, base)| round.per_second / base.per_second));
        let (p50, p99) =
            (median(rounds.iter().map(|round| ms(round.p50))), median(rounds.iter().map(|round| ms(round.p99))));
        println!(
            "  R{replicas}, {instances} instances, {kind:?}: {:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms; kv.update {:.0}/s, p50 \
             {:.2} ms; {ratio:.2} of it",
            pace(&rounds),
            pace(&base),
            median(base.iter().map(|round| ms(round.p50))),
        );
        for session in using {
            session.end().await;
        }
    }
    for process in processes {
        process.stop().await.unwrap();
    }
}

/// Updates of records, each of which has its own key.
struct Plain {
    store: kv::Store,
    revisions: Vec<u64>,
    value: Vec<u8>,
}

impl Plain {
    async fn new(client: async_nats::Client, bucket: String, replicas: usize) -> Self {
        let config = kv::Config { bucket, num_replicas: replicas, ..kv::Config::default() };
        let store = jetstream::new(client).create_key_value(config).await.unwrap();
        Self { store, revisions: vec![0; IN_FLIGHT], value: record(1, 1).encode().unwrap() }
    }

    async fn round(&mut self, measured: Duration) -> Round {
        let end = Instant::now() + measured;
        let updating = self.revisions.iter().enumerate().map(|(n, &revision)| {
            let (store, value) = (self.store.clone(), self.value.clone());
            tokio::spawn(async move {
                let (key, mut revision, mut times) = (format!("s.{n}"), revision, Vec::new());
                while Instant::now() < end {
                    let begun = Instant::now();
                    revision = store.update(&key, value.clone().into(), revision).await.unwrap();
                    times.push(begun.elapsed());
                }
                (revision, times)
            })
        });
        let updated: Vec<_> = join_all(updating).await.into_iter().map(Result::unwrap).collect();
        self.revisions = updated.iter().map(|(revision, _)| *revision).collect();
        Round::of(updated.into_iter().flat_map(|(_, took)| took).collect(), measured)
    }
}

/// How soon an instance is ready with many sessions in the bucket, and what each takes of its
/// memory.
async fn many() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kept = folder.path().join("nats");
    let server = NatsServer::start(&["--jetstream", "--store_dir", kept.to_str().unwrap()]);
    let empty = serve(folder.path(), &server.url(), "empty", 1).await;
    let before = resident(&empty);
    empty.stop().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let config = BucketConfig { name: "relogin-many".to_owned(), replicas: Replicas::One };
    let store = JetStreamStore::open(client, &config).await.unwrap();
    let begun = Instant::now();
    stream::iter((0..SESSIONS).map(|n| store.create(record(n, 1))))
        .buffer_unordered(512)
        .for_each(async |created| {
            created.unwrap();
        })
        .await;
    println!("  {SESSIONS} sessions created in {:.1} s", begun.elapsed().as_secs_f64());
    store.close().await.unwrap();
    let begun = Instant::now();
    let full = serve(folder.path(), &server.url(), "many", 1).await;
    let (ready, after) = (begun.elapsed().as_secs_f64(), resident(&full));
    println!(
        "  ready with them after {ready:.2} s; {after} MB resident, {before} MB with none: {} bytes for each session",
        (after - before) * 1_000_000 / SESSIONS
    );
    full.stop().await.unwrap();
}

async fn serve(folder: &Path, url: &str, name: &str, replicas: usize) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_relogin"));
    let (replicas, secret) = (replicas.to_string(), folder.join("secret"));
    let secret = secret.to_str().unwrap();
    let arguments = ["serve", "--demo", "--store", "jetstream", "--name", name, "--replicas", &replicas];
    let arguments = arguments.into_iter().chain(["--nats", url, "--secret-file", secret]);
    let process = Process::start(program, arguments, &folder.join("log"), |command| {
        command.current_dir(folder).env("RELOGIN_LOG", "warn");
    });
    let process = process.unwrap();
    process.line("that it is ready", |line| line.contains("ready on nats").then_some(())).await.unwrap();
    process
}
