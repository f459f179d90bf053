//! A service or gateway waits for some things when it starts, and not for others.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use async_nats::ConnectOptions;
use relogin_test_support::{nats_cluster::Cluster, nats_server::NatsServer, soon};
use rustix::process::Signal;

use crate::program::{Folder, Starting};

const WAITING: &str = "waiting for it for up to";

/// A secret, or a passphrase for those in NATS.
const SECRETS: [&str; 2] = ["--secret-file secret", "--secret-passphrase passphrase"];

fn folder() -> Folder {
    let folder = Folder::new();
    fs::write(folder.path("passphrase"), "correct horse battery\n").unwrap();
    fs::set_permissions(folder.path("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// The options of `relogin serve` for sessions of one process; none: `relogin gateway`.
const OF_ONE_PROCESS: [Option<&str>; 3] =
    [Some("--store sled --data data"), Some("--store memory --gateway embedded"), None];

/// Starts what [`OF_ONE_PROCESS`] describes.
fn launch(folder: &Folder, of_one_process: Option<&str>, nats: &str) -> Starting {
    match of_one_process {
        Some(store) => folder.launch(&format!("--demo --listen 127.0.0.1:0 --nats {nats} {store}")),
        None => {
            fs::write(folder.path("resgate.json"), format!(r#"{{"natsUrl": "{nats}"}}"#)).unwrap();
            folder.launch_gateway("resgate.json")
        }
    }
}

/// An address where nobody listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Waits until somebody has tried this address several times.
async fn tries_in_vain(address: &str) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    for _ in 0..3 {
        soon(listener.accept()).await.unwrap();
    }
}

fn options(nats: &str, secret: &str) -> String {
    format!("--demo --listen 127.0.0.1:0 --store jetstream --nats {nats} {secret}")
}

#[tokio::test]
async fn an_instance_that_starts_before_nats_waits_for_it() {
    for secret in SECRETS {
        let (folder, address) = (folder(), nowhere());
        let starting = folder.launch(&options(&format!("nats://{address}"), secret));
        starting.says(WAITING).await;
        starting.says(&format!("no NATS server answers at nats://{address}")).await;
        tries_in_vain(&address).await;
        let (_, port) = address.rsplit_once(':').unwrap();
        let kept = folder.path("nats");
        let _nats = NatsServer::with_jetstream(&kept, port);
        let service = starting.ready().await;
        assert_eq!(service.get("/healthz").await, 200);
        service.stop().await;
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert_eq!(log.matches(WAITING).count(), 1, "{log}");
    }
}

/// Whatever it keeps sessions in, and also without any.
#[tokio::test]
async fn a_service_or_gateway_that_starts_before_nats_waits_for_it() {
    for of_one_process in OF_ONE_PROCESS {
        let (folder, address) = (folder(), nowhere());
        let starting = launch(&folder, of_one_process, &format!("nats://{address}"));
        starting.says(WAITING).await;
        starting.says(&format!("no NATS server answers at nats://{address}")).await;
        tries_in_vain(&address).await;
        let (_, port) = address.rsplit_once(':').unwrap();
        let _nats = NatsServer::start(&["--port", port]);
        let server = starting.ready().await;
        assert_eq!(server.get("/healthz").await, 200);
        server.stop().await;
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert_eq!(log.matches(WAITING).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let (folder, nowhere) = (folder(), format!("nats://{}", nowhere()));
    let waiting = OF_ONE_PROCESS.map(|of_one_process| launch(&folder, of_one_process, &nowhere));
    let instance = folder.launch(&options(&nowhere, SECRETS[0]));
    for starting in waiting.into_iter().chain([instance]) {
        starting.says(WAITING).await;
        starting.signal(Signal::TERM);
        assert_eq!(starting.ended().await, Some(0));
    }
}

/// One of three servers is there, which can decide nothing. Then another one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_starts_before_jetstream_waits_for_it() {
    let mut cluster = Cluster::start().await;
    for secret in SECRETS {
        cluster.kill(1);
        cluster.kill(2);
        let folder = folder();
        let starting = folder.launch(&format!("{} --replicas 3", options(&cluster.url(), secret)));
        starting.says(WAITING).await;
        cluster.restart(1);
        cluster.restart(2);
        let service = starting.ready().await;
        assert_eq!(service.get("/healthz").await, 200);
        service.stop().await;
    }
}

/// In one line, which is not that it waits.
#[test]
fn what_does_not_come_by_waiting_is_refused_at_once() {
    for secret in SECRETS {
        let folder = folder();
        let refused = |options: &str| folder.run(&format!("serve {options}"), "").refused();
        let plain = NatsServer::start(&[]);
        let line = refused(&options(&plain.url(), secret));
        assert!(line.contains("there is no JetStream for this user at the NATS server"), "{line}");
        let closed = NatsServer::start(&["--user", "jane", "--pass", "jane"]);
        // The client of NATS has a line of its own for that.
        let line = refused(&format!("{} --log info,async_nats=off", options(&closed.url(), secret)));
        assert!(line.contains("rejects the login"), "{line}");
        let kept = folder.path("nats");
        let nats = NatsServer::with_jetstream(&kept, "-1");
        let line = refused(&format!("{} --replicas 3", options(&nats.url(), secret)));
        assert!(line.contains("replicas > 1 not supported in non-clustered mode"), "{line}");
    }
}

/// A login, with another kind of store and without one.
#[tokio::test]
async fn a_login_that_nats_rejects_is_not_tried_again() {
    let closed = NatsServer::start(&["--user", "jane", "--pass", "jane"]);
    for of_one_process in OF_ONE_PROCESS {
        let folder = folder();
        let starting = launch(&folder, of_one_process, &closed.url());
        starting.says("rejects the login").await;
        assert_eq!(starting.ended().await, Some(2));
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert!(!log.contains(WAITING), "{log}");
    }
}

/// A server does not answer what it does not permit.
#[test]
fn what_nats_does_not_permit_of_jetstream_is_refused_at_once() {
    for (denied, secret) in [
        ("$JS.API.>", SECRETS[0]),
        ("$JS.API.>", SECRETS[1]),
        ("$KV.relogin-session.>", SECRETS[0]),
        ("$KV.relogin-session-secrets.>", SECRETS[1]),
        ("$KV.relogin-session.>", SECRETS[1]),
    ] {
        let folder = folder();
        let config = format!(
            "jetstream {{ store_dir: {:?} }}\nauthorization {{ users = [\n{{ user: jane, password: jane, permissions: \
             {{ publish: {{ deny: {denied:?} }}, subscribe: \">\" }} }} ] }}",
            folder.path("nats")
        );
        fs::write(folder.path("nats.conf"), config).unwrap();
        let nats = NatsServer::start(&["--config", folder.path("nats.conf").to_str().unwrap()]);
        let url = format!("nats://jane:jane@{}", nats.address);
        let line = folder.run(&format!("serve {}", options(&url, secret)), "").refused();
        let subject = denied.trim_end_matches('>');
        assert!(line.contains(&format!("does not permit this user to publish to \"{subject}")), "{denied}: {line}");
    }
}

/// With more in the bucket than the server sends ahead, which asks for leave to go on.
#[tokio::test]
async fn a_missing_permission_for_flow_control_is_refused_at_once() {
    let folder = folder();
    let config = format!(
        "jetstream {{ store_dir: {:?} }}\nauthorization {{ users = [\n{{ user: all, password: all }}\n{{ user: jane, \
         password: jane, permissions: {{ publish: {{ deny: \"$JS.FC.>\" }}, subscribe: \">\" }} }} ] }}",
        folder.path("nats")
    );
    fs::write(folder.path("nats.conf"), config).unwrap();
    let nats = NatsServer::start(&["--config", folder.path("nats.conf").to_str().unwrap()]);
    let url = |user: &str| format!("nats://{user}:{user}@{}", nats.address);
    folder.serve(&options(&url("all"), SECRETS[0])).await.stop().await;
    let login = ConnectOptions::with_user_and_password("all".to_owned(), "all".to_owned());
    let context = async_nats::jetstream::new(login.connect(&nats.address).await.unwrap());
    for n in 0..200 {
        // The store passes over keys that it does not know.
        let subject = format!("$KV.relogin-session.other.{n}");
        context.publish(subject, vec![0; 100_000].into()).await.unwrap().await.unwrap();
    }
    let line = folder.run(&format!("serve {}", options(&url("jane"), SECRETS[0])), "").refused();
    assert!(line.contains("does not permit this user to publish to \"$JS.FC."), "{line}");
}
