//! Relogins with sessions in JetStream, by one to three instances, on one nats-server and on three,
//! beside plain updates of the same servers' key-value store, and beside a responder that does one
//! such update for each request before it answers: the same size, as many in flight, in turns. And
//! what many sessions take of an instance, and of the bucket.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{
    ServerAddr,
    jetstream::{self, kv},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use relogin_store::{
    SessionStore,
    jetstream::{BucketConfig, JetStreamStore, Replicas},
};
use relogin_test_support::nats_server::NatsServer;
use relogin_tests::process::{Process, processor_time};
use rustix::process::{Pid, getpid};

use crate::{
    client::{Kind, Session, round, sessions_at},
    cluster::Cluster,
    figures::{Round, load, median, ms},
    million::{record, resident, resident_of, size},
    responder::{RESPONDER, UPDATED, update},
};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
const MEASURED: Duration = Duration::from_millis(1_500);
const WARM_UP: Duration = Duration::from_millis(300);
const SESSIONS: u64 = 100_000;
const MILLION: u64 = 1_000_000;

pub(crate) async fn jetstream() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = folder.path().join("nats");
    let server = NatsServer::start(&["--jetstream", "--store_dir", store.to_str().unwrap()]);
    let pid = Pid::from_child(&server.child);
    for instances in 1..=3 {
        compare(&server.url(), vec![server.url().parse().unwrap()], 1, instances, &[pid]).await;
    }
    drop(server);
    let cluster = Cluster::start().await;
    for instances in 1..=3 {
        compare(&cluster.url(), cluster.addresses(), 3, instances, &cluster.pids()).await;
    }
    drop(cluster);
    many(SESSIONS).await;
}

/// A million sessions in one bucket.
pub(crate) async fn bucket() {
    many(MILLION).await;
}

async fn compare(url: &str, addresses: Vec<ServerAddr>, replicas: usize, instances: usize, servers: &[Pid]) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let name = format!("r{replicas}i{instances}");
    let mut processes = Vec::new();
    for _ in 0..instances {
        processes.push(serve(folder.path(), url, &name, replicas).await);
    }
    let responder = respond(folder.path(), url, replicas).await;
    let client = async_nats::connect(&addresses[..]).await.unwrap();
    let mut plain = Plain::new(client.clone(), format!("plain-{name}"), replicas).await;
    for kind in [Kind::Refresh, Kind::Resume] {
        let mut using = sessions_at(&client, &name, kind, IN_FLIGHT).await;
        let mut updating = sessions_at(&client, "session", kind, IN_FLIGHT).await;
        let [mut base, mut most, mut rounds] = [const { Vec::new() }; 3];
        let [mut of_responder, mut of_relogin] = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            plain.round(WARM_UP).await;
            base.push(plain.round(MEASURED).await);
            for (sessions, rounds, times, processes) in [
                (&mut updating, &mut most, &mut of_responder, std::slice::from_ref(&responder)),
                (&mut using, &mut rounds, &mut of_relogin, &processes[..]),
            ] {
                round(sessions, WARM_UP).await;
                let before = processor_times(processes, servers);
                let measured = round(sessions, MEASURED).await;
                let after = processor_times(processes, servers);
                let of_one = |n: usize| {
                    (after[n] - before[n]).as_secs_f64() * 1e6 / (measured.per_second * MEASURED.as_secs_f64())
                };
                times.push([0, 1, 2].map(of_one));
                rounds.push(measured);
            }
        }
        println!("  R{replicas}, {instances} instances, {kind:?}:");
        print("kv.update", &base, None, None);
        print("a responder that updates", &most, Some(&base), Some(&of_responder));
        print("relogin", &rounds, Some(&base), Some(&of_relogin));
        let of_most = median(rounds.iter().zip(&most).map(|(round, most)| round.per_second / most.per_second));
        println!("    {of_most:.2} of the responder");
        for session in using {
            session.end().await;
        }
    }
    for process in processes {
        process.stop().await.unwrap();
    }
    responder.kill().await.unwrap();
}

fn print(who: &str, rounds: &[Round], base: Option<&[Round]>, times: Option<&[[f64; 3]]>) {
    let of_all = |what: fn(&Round) -> f64| median(rounds.iter().map(what));
    let (pace, p50, p99) =
        (of_all(|round| round.per_second), of_all(|round| ms(round.p50)), of_all(|round| ms(round.p99)));
    print!("    {who:<25} {pace:>7.0}/s, p50 {p50:>6.2} ms, p99 {p99:>6.2} ms");
    if let Some(base) = base {
        let ratios = rounds.iter().zip(base).map(|(round, base)| round.per_second / base.per_second);
        print!(", {:.2} of kv.update", median(ratios));
    }
    match times {
        Some(times) => {
            let [own, server, client] = [0, 1, 2].map(|n| median(times.iter().map(|times| times[n])));
            println!("; processor: {own:.1} us there, {server:.1} us in nats-server, {client:.1} us here");
        }
        None => println!(),
    }
}

/// The processor time so far of all instances, of the NATS servers, and of this process.
fn processor_times(processes: &[Process], servers: &[Pid]) -> [Duration; 3] {
    let times = processes.iter().map(|process| process.processor_time().unwrap());
    let servers = servers.iter().map(|pid| processor_time(*pid).unwrap());
    [times.sum(), servers.sum(), processor_time(getpid()).unwrap()]
}

/// Updates of records, each of which has its own key.
struct Plain {
    store: kv::Store,
    revisions: Vec<u64>,
    value: Bytes,
}

impl Plain {
    async fn new(client: async_nats::Client, bucket: String, replicas: usize) -> Self {
        let config = kv::Config { bucket, num_replicas: replicas, ..kv::Config::default() };
        let store = jetstream::new(client).create_key_value(config).await.unwrap();
        Self { store, revisions: vec![0; IN_FLIGHT], value: record(1, 1).encode().unwrap().into() }
    }

    async fn round(&mut self, measured: Duration) -> Round {
        let end = Instant::now() + measured;
        let updating = self.revisions.iter().enumerate().map(|(n, &revision)| {
            let (store, value) = (self.store.clone(), self.value.clone());
            tokio::spawn(async move {
                let (key, mut revision, mut times) = (format!("s.{n}"), revision, Vec::new());
                while Instant::now() < end {
                    let begun = Instant::now();
                    revision = update(&store, &key, &value, revision).await.unwrap();
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

/// How soon an instance is ready with many sessions in the bucket, what each takes of its memory
/// and of the disk, and how it is then.
async fn many(sessions: u64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kept = folder.path().join("nats");
    let server = NatsServer::start(&["--jetstream", "--store_dir", kept.to_str().unwrap()]);
    let empty = serve(folder.path(), &server.url(), "empty", 1).await;
    let before = resident(&empty);
    empty.stop().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let config = BucketConfig { name: "relogin-many".to_owned(), replicas: Replicas::One };
    let store = JetStreamStore::open(client.clone(), &config).await.unwrap();
    let begun = Instant::now();
    stream::iter((0..sessions).map(|n| store.create(record(n, 1))))
        .buffer_unordered(512)
        .for_each(async |created| {
            created.unwrap();
        })
        .await;
    println!("  {sessions} sessions created in {:.1} s", begun.elapsed().as_secs_f64());
    store.close().await.unwrap();
    drop(store);
    println!(
        "  on the server: {} bytes a session on disk, {} MB resident (load {})",
        size(&kept) / sessions,
        resident_of(server.child.id()),
        load()
    );
    let begun = Instant::now();
    let full = serve(folder.path(), &server.url(), "many", 1).await;
    let (ready, after) = (begun.elapsed().as_secs_f64(), resident(&full));
    println!(
        "  ready with them after {ready:.2} s; {after} MB resident, {before} MB with none: {} bytes for each session (load {})",
        (after - before) * 1_000_000 / sessions,
        load()
    );
    for kind in [Kind::Refresh, Kind::Resume] {
        let mut using = sessions_at(&client, "many", kind, IN_FLIGHT).await;
        round(&mut using, WARM_UP).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&mut using, MEASURED).await);
        }
        print(&format!("{kind:?}"), &rounds, None, None);
        join_all(using.iter().map(Session::end)).await;
    }
    println!("  then: {} MB resident, the server {} MB", resident(&full), resident_of(server.child.id()));
    full.stop().await.unwrap();
    let begun = Instant::now();
    let again = serve(folder.path(), &server.url(), "many", 1).await;
    println!(
        "  started again: ready after {:.2} s, {} MB resident (load {})",
        begun.elapsed().as_secs_f64(),
        resident(&again),
        load()
    );
    again.stop().await.unwrap();
}

async fn respond(folder: &Path, url: &str, replicas: usize) -> Process {
    let here = std::env::current_exe().unwrap();
    let part = UPDATED[usize::from(replicas == 3)];
    let process = Process::start(&here, [RESPONDER, part, url], &folder.join("responder.log"), |command| {
        command.current_dir(folder);
    });
    let process = process.unwrap();
    process.line("that it is ready", |line| line.contains("ready on nats").then_some(())).await.unwrap();
    process
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
