//! Secrets that the instances keep in NATS, encrypted under a passphrase.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::{join, join_all};
use relogin_test_support::nats_server::NatsServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    nats_gateway::{Gateway, insist},
    program::{Folder, Service},
};

struct Bed {
    nats: NatsServer,
    _kept: TempDir,
    passphrases: Folder,
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Bed {
    fn new() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let nats = NatsServer::with_jetstream(kept.path(), "-1");
        let passphrases = Folder::new();
        write_private(&passphrases.path("right"), "correct horse battery\n");
        write_private(&passphrases.path("wrong"), "another horse battery\n");
        write_private(&passphrases.path("short"), "horse\n");
        Self { nats, _kept: kept, passphrases }
    }

    fn options(&self, passphrase: &str) -> String {
        let passphrase = self.passphrases.path(passphrase);
        format!("--nats {} --secret-passphrase {}", self.nats.url(), passphrase.display())
    }

    async fn serve(&self) -> (Folder, Service) {
        let folder = Folder::new();
        let options = format!(
            "--demo --listen 127.0.0.1:0 --store jetstream --log info,relogin::reload=debug {}",
            self.options("right")
        );
        let service = folder.serve(&options).await;
        (folder, service)
    }

    async fn gateway(&self) -> Gateway {
        Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &self.nats.url()).await
    }

    /// `relogin secret` with these arguments.
    async fn secret(&self, arguments: &str) -> String {
        let folder = Folder::new();
        let arguments = format!("secret {arguments} {}", self.options("right"));
        tokio::task::spawn_blocking(move || folder.run(&arguments, "").success()).await.unwrap()
    }
}

async fn login(gateway: &Gateway, on: &str) -> Value {
    gateway.auth("login", on, json!({"username": "jane", "password": "jane"})).await["result"]["reloginKey"].take()
}

async fn relogin(gateway: &Gateway, on: &str, key: &Value) -> Value {
    insist(&gateway.client, "relogin", on, json!({"reloginKey": key})).await.0
}

/// Three that start at the same time make one secret; it is replaced twice while keys are used at
/// all of them, and in the end the former ones are forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_rotated_while_three_instances_run_and_no_key_is_refused() {
    let bed = Bed::new();
    let instances = join_all((0..3).map(|_| bed.serve())).await;
    let gateway = bed.gateway().await;
    let (unused, forgotten) = (login(&gateway, "unused").await, login(&gateway, "forgotten").await);
    let is_done = AtomicBool::new(false);
    let browsing = (0..6).map(async |n| {
        let on = format!("c{n}");
        let mut key = login(&gateway, &on).await;
        while !is_done.load(Ordering::Relaxed) {
            let answer = relogin(&gateway, &on, &key).await;
            assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
            key = answer["result"]["reloginKey"].clone();
            // As a client would, but sooner.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        (on, key)
    });
    let rotating = async {
        for secrets in [2, 3] {
            let said = bed.secret("rotate").await;
            let waits = "waiting for up to 60 s until the new secret is known; instances: 3";
            assert_eq!(said, format!("{waits}\nthe new secret signs; instances: 3; secrets: {secrets}\n"));
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let (browsed, ()) = join(join_all(browsing), rotating).await;
    assert!(relogin(&gateway, "unused", &unused).await["result"]["reloginKey"].is_string());
    // Signed with the newest secret, wherever.
    let mut newest = Vec::new();
    for (on, key) in browsed {
        let key = relogin(&gateway, &on, &key).await["result"]["reloginKey"].take();
        newest.push((on, key));
    }
    assert_eq!(bed.secret("prune").await, "all secrets but the one that signs are forgotten\n");
    for (_, service) in &instances {
        service.says("the secrets in the bucket have changed secrets=1").await;
    }
    for (on, key) in newest {
        assert!(relogin(&gateway, &on, &key).await["result"]["reloginKey"].is_string());
    }
    let refused = relogin(&gateway, "forgotten", &forgotten).await;
    assert_eq!(refused["error"]["code"], "session.invalidReloginKey", "{refused}");
    for (_, service) in instances {
        service.stop().await;
    }
}

#[tokio::test]
async fn only_the_passphrase_opens_the_secrets_and_those_of_a_file_can_be_imported() {
    let (bed, folder) = (Bed::new(), Folder::new());
    let refused = |arguments: String| folder.run(&arguments, "").refused();
    let line = refused(format!("secret rotate {}", bed.options("right")));
    assert!(line.contains("there are no secrets in the bucket relogin-session-secrets yet"), "{line}");
    // With the file.
    let on_file = format!("--demo --nats {} --store jetstream --secret-file", bed.nats.url());
    let service = folder.serve(&format!("{on_file} secret")).await;
    let gateway = bed.gateway().await;
    let key = login(&gateway, "c1").await;
    service.stop().await;
    let said = bed.secret(&format!("import {}", folder.path("secret").display())).await;
    assert_eq!(said, "secrets in the bucket relogin-session-secrets: 1; replicas: 1\n");
    let line = refused(format!("secret import {} {}", folder.path("secret").display(), bed.options("right")));
    assert!(line.contains("has secrets already"), "{line}");
    // They are to be on as many servers as the sessions.
    let line = refused(format!("serve --demo --store jetstream --replicas 3 {}", bed.options("right")));
    assert!(line.contains("has 1 replicas and not 3"), "{line}");
    // Who mistypes the bucket makes no other one.
    let line = refused(format!("secret rotate --bucket mistyped {}", bed.options("right")));
    assert!(line.contains("there are no secrets in the bucket mistyped-secrets yet"), "{line}");
    let context = async_nats::jetstream::new(gateway.client.clone());
    assert!(context.get_stream("KV_mistyped-secrets").await.is_err());
    // Without it.
    let (_folder, service) = bed.serve().await;
    assert!(relogin(&gateway, "c1", &key).await["result"]["reloginKey"].is_string());
    let other = |passphrase: &str| format!("serve --demo --store jetstream {}", bed.options(passphrase));
    let line = refused(other("wrong"));
    assert!(line.contains("the passphrase does not open the secrets in the bucket"), "{line}");
    let line = refused(other("short"));
    assert!(line.contains("has 5 bytes and needs 16 or more"), "{line}");
    service.stop().await;
}

/// The former passphrase opens nothing any more, and running instances go on.
#[tokio::test]
async fn the_passphrase_is_changed_while_instances_run() {
    let bed = Bed::new();
    let instances = [bed.serve().await, bed.serve().await];
    let gateway = bed.gateway().await;
    let key = login(&gateway, "c1").await;
    let (right, new, former) =
        (bed.passphrases.path("right"), bed.passphrases.path("new"), bed.passphrases.path("former"));
    write_private(&new, "a third horse battery\n");
    fs::copy(&right, &former).unwrap();
    // There is something in the history that has to go.
    bed.secret("rotate").await;
    let said = bed.secret(&format!("passphrase {}", new.display())).await;
    assert_eq!(said, "the secrets are encrypted under the new passphrase; put it in the file of each service\n");
    for (_, service) in &instances {
        let unchanged = |how: &str| format!("the secrets are {how}: the passphrase does not open the secrets");
        service.says(&unchanged("unchanged")).await;
        // Each look finds that, and one in a minute says so.
        service.says_times(&unchanged("still unchanged"), 3).await;
        assert_eq!(service.said().matches(&unchanged("unchanged")).count(), 1, "{}", service.said());
    }
    let key = relogin(&gateway, "c1", &key).await["result"]["reloginKey"].take();
    assert!(key.is_string());
    let context = async_nats::jetstream::new(gateway.client.clone());
    let mut stream = context.get_stream("KV_relogin-session-secrets").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1, "nothing is left that the former one opens");
    // Each follows its own file; here they have one.
    fs::copy(&new, &right).unwrap();
    let said = bed.secret("rotate").await;
    assert!(said.ends_with("the new secret signs; instances: 2; secrets: 3\n"), "{said}");
    assert!(relogin(&gateway, "c1", &key).await["result"]["reloginKey"].is_string());
    let folder = Folder::new();
    let line = folder.run(&format!("serve --demo --store jetstream {}", bed.options("former")), "").refused();
    assert!(line.contains("the passphrase does not open the secrets in the bucket"), "{line}");
    for (_, service) in instances {
        service.stop().await;
    }
}

/// It would never know the new secret, however long the command waits.
#[tokio::test]
async fn a_secret_is_not_rotated_beside_an_instance_that_has_a_file() {
    let (bed, folder) = (Bed::new(), Folder::new());
    let on_file = format!("--demo --nats {} --store jetstream --secret-file secret", bed.nats.url());
    folder.serve(&on_file).await.stop().await;
    bed.secret(&format!("import {}", folder.path("secret").display())).await;
    // The same secret, so they run side by side.
    let (with_file, (_folder, with_passphrase)) = (folder.serve(&on_file).await, bed.serve().await);
    let line = folder.run(&format!("secret rotate {}", bed.options("right")), "").refused();
    assert!(line.contains("instances named \"session\" with a secret file: 1"), "{line}");
    with_file.stop().await;
    let said = bed.secret("rotate").await;
    assert!(said.ends_with("the new secret signs; instances: 1; secrets: 2\n"), "nothing was made before: {said}");
    with_passphrase.stop().await;
}

/// Also after a rotation, and with a key of the former secret.
#[tokio::test]
async fn sessions_go_on_with_the_file_that_secrets_are_exported_to() {
    let (bed, folder) = (Bed::new(), Folder::new());
    let (_folder, service) = bed.serve().await;
    let gateway = bed.gateway().await;
    let former = login(&gateway, "c1").await;
    bed.secret("rotate").await;
    let newest = login(&gateway, "c2").await;
    service.stop().await;
    let file = folder.path("exported");
    let said = bed.secret(&format!("export {}", file.display())).await;
    assert_eq!(said, format!("secrets in the file {}: 2\n", file.display()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let line = folder.run(&format!("secret export {} {}", file.display(), bed.options("right")), "").refused();
    assert!(line.contains("File exists"), "{line}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let on_file = format!("--demo --nats {} --store jetstream --secret-file exported", bed.nats.url());
    let service = folder.serve(&on_file).await;
    for (on, key) in [("c1", former), ("c2", newest)] {
        let answer = relogin(&gateway, on, &key).await;
        assert_eq!(answer["result"]["generation"], 2, "{answer}");
    }
    service.stop().await;
}
