//! Three instances on a bucket with three replicas: when a NATS server is lost, sessions wait and
//! go on.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use async_nats::Client;
use relogin_test_support::nats_cluster::Cluster;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    nats_gateway::insist,
    program::{Folder, Service},
};

const STREAM: &str = "KV_relogin-session";

/// A browser: it has a key, and retries until it gets an answer.
struct Browser<'a> {
    client: &'a Client,
    on: String,
    key: Value,
    generation: u64,
}

impl Browser<'_> {
    async fn ask(&self, method: &str, params: Value) -> Value {
        insist(self.client, method, &self.on, params).await.0
    }

    async fn login(client: &Client, n: usize) -> Browser<'_> {
        let mut browser = Browser { client, on: format!("c{n}"), key: Value::Null, generation: 1 };
        let params = json!({"username": "jane", "password": "jane", "attempt": format!("{n:021}A")});
        browser.key = browser.ask("login", params).await["result"]["reloginKey"].take();
        assert!(browser.key.is_string());
        browser
    }

    async fn relogin(&mut self) {
        let attempt = format!("{:021}A", self.generation);
        let mut answer = self.ask("relogin", json!({"reloginKey": self.key, "attempt": attempt})).await;
        self.generation += 1;
        assert_eq!(answer["result"]["generation"], self.generation, "{answer}");
        self.key = answer["result"]["reloginKey"].take();
    }
}

async fn start(cluster: &Cluster, secret: &Folder) -> Vec<(Folder, Service)> {
    let secret = secret.path("secret");
    let options = format!(
        "--demo --listen 127.0.0.1:0 --nats {} --store jetstream --replicas 3 --secret-file {}",
        cluster.url(),
        secret.display()
    );
    let mut instances = Vec::new();
    for _ in 0..3 {
        let folder = Folder::new();
        let service = folder.serve(&options).await;
        instances.push((folder, service));
    }
    instances
}

async fn relogin_all(browsers: &mut [Browser<'_>]) {
    futures_util::future::join_all(browsers.iter_mut().map(Browser::relogin)).await;
}

/// The buckets that one of them makes have no leader for a moment. An operator found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_start_at_once_all_come_up() {
    let (cluster, shared) = (Cluster::start().await, Folder::new());
    let file = |name: &str, text: &str| {
        fs::write(shared.path(name), text).unwrap();
        fs::set_permissions(shared.path(name), Permissions::from_mode(0o600)).unwrap();
        shared.path(name).display().to_string()
    };
    let secret = file("secret", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
    let passphrase = file("passphrase", "a passphrase that is long enough\n");
    for (bucket, secret) in [("one", ["--secret-file", &secret]), ("two", ["--secret-passphrase", &passphrase])] {
        let options = format!(
            "--demo --listen 127.0.0.1:0 --nats {} --name {bucket} --store jetstream --replicas 3 {}",
            cluster.url(),
            secret.join(" ")
        );
        let folders = [(); 3].map(|()| Folder::new());
        let services = futures_util::future::join_all(folders.iter().map(|folder| folder.serve(&options))).await;
        for service in services {
            service.stop().await;
        }
    }
}

/// Else the secrets would be lost with one server, and the services would refuse the bucket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_secrets_are_on_as_many_servers_as_the_sessions() {
    let (cluster, folder) = (Cluster::start().await, Folder::new());
    let write = |name: &str, text: &str| {
        fs::write(folder.path(name), text).unwrap();
        fs::set_permissions(folder.path(name), Permissions::from_mode(0o600)).unwrap();
    };
    write("passphrase", "a passphrase that is long enough\n");
    let options = format!("--demo --nats {} --store jetstream --replicas 3", cluster.url());
    folder.serve(&format!("{options} --secret-file secret")).await.stop().await;
    let place = format!("--nats {} --secret-passphrase passphrase", cluster.url());
    let said = folder.run(&format!("secret import secret {place}"), "").success();
    assert_eq!(said, "secrets in the bucket relogin-session-secrets: 1; replicas: 3\n");
    folder.serve(&format!("{options} --secret-passphrase passphrase")).await.stop().await;
}

/// While some requests were answered and others are pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_when_the_bucket_s_leader_is_killed() {
    let (mut cluster, secret) = (Cluster::start().await, Folder::new());
    let _instances = start(&cluster, &secret).await;
    let client = async_nats::connect(cluster.addresses()).await.unwrap();
    let mut browsers = Vec::new();
    for n in 0..10 {
        browsers.push(Browser::login(&client, n).await);
    }
    for _ in 0..3 {
        let leader = cluster.leader(STREAM).await;
        let using = relogin_all(&mut browsers);
        let killing = async {
            tokio::task::yield_now().await;
            cluster.kill(leader);
        };
        tokio::join!(using, killing);
        relogin_all(&mut browsers).await;
        cluster.restart(leader);
    }
    cluster.leader(STREAM).await;
    for browser in &browsers {
        let done = browser.ask("logout", json!({})).await;
        assert_eq!(done, json!({"result": null}));
        let refused = browser.ask("relogin", json!({"reloginKey": browser.key})).await;
        assert_eq!(refused["error"]["code"], "session.invalidReloginKey", "{refused}");
    }
}

/// A frozen server is not noticed at once, and returns stale data when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_when_the_bucket_s_leader_stands_still() {
    let (cluster, secret) = (Cluster::start().await, Folder::new());
    let _instances = start(&cluster, &secret).await;
    let leader = cluster.leader(STREAM).await;
    let client = async_nats::connect(cluster.addresses()).await.unwrap();
    let mut browsers = Vec::new();
    for n in 0..10 {
        browsers.push(Browser::login(&client, n).await);
    }
    cluster.signal(leader, Signal::STOP);
    let client = cluster.client_without(leader).await;
    for browser in &mut browsers {
        browser.client = &client;
    }
    relogin_all(&mut browsers).await;
    relogin_all(&mut browsers).await;
    cluster.signal(leader, Signal::CONT);
    relogin_all(&mut browsers).await;
    cluster.leader(STREAM).await;
    relogin_all(&mut browsers).await;
}

/// The configurations that operators start from.
#[test]
fn the_configurations_in_deploy_are_valid() {
    let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let folder = tempfile::tempdir().unwrap();
    for file in ["nats-server-r1.conf", "nats-server-r3.conf"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
        let mut command = std::process::Command::new(&program);
        command.args(["-t", "-c"]).arg(path).current_dir(&folder);
        command.envs([("NAME", "n1"), ("DATA", "data"), ("PORT", "4222"), ("ROUTE", "6222")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
