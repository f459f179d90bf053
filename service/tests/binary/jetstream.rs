//! Sessions in JetStream: another machine continues them.

use futures_util::TryStreamExt;
use relogin_test_support::nats_server::NatsServer;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{nats_gateway::Gateway, program::Folder};

fn credentials() -> Value {
    json!({"username": "jane", "password": "jane"})
}

fn jetstream() -> (NatsServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (NatsServer::start(&["--jetstream", "--store_dir", folder.path().to_str().unwrap()]), folder)
}

fn options(nats: &NatsServer, secret: &Folder) -> String {
    let secret = secret.path("secret");
    format!("--demo --listen 127.0.0.1:0 --nats {} --store jetstream --secret-file {}", nats.url(), secret.display())
}

#[tokio::test]
async fn a_session_goes_on_at_another_machine_and_its_used_keys_end_it() {
    let (nats, _kept) = jetstream();
    let (first, second) = (Folder::new(), Folder::new());
    let options = options(&nats, &first);
    let mut gateway = Gateway::connect(&nats.url()).await;
    let service = first.serve(&options).await;
    gateway.receives("system.reset").await;
    let key = gateway.auth("login", "c1", credentials()).await["result"]["reloginKey"].take();
    assert!(key.is_string());
    service.kill().await;
    assert!(!first.path("relogin-data").exists(), "nothing is kept on the machine");

    let service = second.serve(&options).await;
    gateway.receives("system.reset").await;
    let model = gateway.ask("get.session.user.c1", json!({})).await["result"]["model"].take();
    assert_eq!(model, json!({"id": 3, "name": "Jane Doe", "role": "user"}));
    let next = gateway.auth("relogin", "c2", json!({"reloginKey": key})).await["result"].take();
    assert_eq!(next["generation"], 2, "{next}");
    assert_eq!(service.get("/healthz").await, 200);
    // The first key in other hands.
    let stolen = gateway.auth("relogin", "c3", json!({"reloginKey": key})).await;
    assert_eq!(stolen["error"]["code"], "session.invalidReloginKey", "{stolen}");
    let owner = gateway.auth("relogin", "c2", json!({"reloginKey": next["reloginKey"]})).await;
    assert_eq!(owner["error"]["code"], "session.invalidReloginKey", "{owner}");
    service.stop().await;
}

#[tokio::test]
async fn a_frozen_nats_server_does_not_end_the_service() {
    let (nats, _kept) = jetstream();
    let folder = Folder::new();
    let mut gateway = Gateway::connect(&nats.url()).await;
    let service = folder.serve(&options(&nats, &folder)).await;
    gateway.receives("system.reset").await;
    let key = gateway.auth("login", "c1", credentials()).await["result"]["reloginKey"].take();
    nats.signal(Signal::STOP);
    nats.signal(Signal::CONT);
    let next = gateway.auth("relogin", "c2", json!({"reloginKey": key})).await["result"].take();
    assert_eq!(next["generation"], 2, "{next}");
    // A stop does not wait for it.
    nats.signal(Signal::STOP);
    service.stop().await;
}

/// A mistyped name is no empty store.
#[tokio::test]
async fn a_source_that_is_not_there_is_not_made_and_not_copied() {
    let ((nats, _kept), folder) = (jetstream(), Folder::new());
    for _ in 0..2 {
        for (from, to, said) in [
            ("jetstream:typo", "sled:copy", "there is no JetStream bucket \"typo\""),
            ("sled:typo", "jetstream:copy", "there is no session store in typo"),
        ] {
            let line = folder.run(&format!("store copy --from {from} --to {to} --nats {}", nats.url()), "").refused();
            assert!(line.contains(said), "{line}");
        }
    }
    assert!(!folder.path("typo").exists() && !folder.path("copy").exists());
    let client = async_nats::connect(nats.url()).await.unwrap();
    let streams = async_nats::jetstream::new(client).stream_names().try_collect::<Vec<_>>().await.unwrap();
    assert!(streams.is_empty(), "{streams:?}");
}

#[tokio::test]
async fn sessions_move_from_a_folder_to_a_bucket_and_back() {
    let (nats, _kept) = jetstream();
    let (old, new, last) = (Folder::new(), Folder::new(), Folder::new());
    let mut gateway = Gateway::connect(&nats.url()).await;
    let secret = old.path("secret").display().to_string();
    let on_disk = format!("--demo --nats {} --secret-file {secret} --data", nats.url());
    let service = old.serve(&format!("{on_disk} data")).await;
    gateway.receives("system.reset").await;
    let mut keys = Vec::new();
    for n in 0..20 {
        keys.push(gateway.auth("login", &format!("c{n}"), credentials()).await["result"]["reloginKey"].take());
    }
    let copy = |folder: &Folder, from: &str, to: &str| {
        folder.run(&format!("store copy --from {from} --to {to} --nats {}", nats.url()), "")
    };
    let line = copy(&old, "sled:data", "jetstream:relogin-session").refused();
    assert!(line.contains("stop all instances, then run the command again") && !line.contains("--name"), "{line}");
    service.stop().await;
    for were_there in [0, 20] {
        let said = copy(&old, "sled:data", "jetstream:relogin-session").success();
        let expected = format!("all sessions are copied and compared: 20, of which were there already: {were_there}\n");
        assert!(said.ends_with(&expected), "{said}");
    }
    let mut relogin = async |gateway: &Gateway, generation: u64| {
        for (n, key) in keys.iter_mut().enumerate() {
            let model = gateway.ask(&format!("get.session.user.c{n}"), json!({})).await["result"]["model"].take();
            assert_eq!(model["name"], "Jane Doe", "its connection is on it");
            let next = gateway.auth("relogin", &format!("c{n}"), json!({"reloginKey": key})).await["result"].take();
            assert_eq!(next["generation"], generation, "{next}");
            *key = next["reloginKey"].clone();
        }
    };
    let service = new.serve(&format!("{on_disk} none --store jetstream")).await;
    relogin(&gateway, 2).await;
    service.stop().await;
    // The old folder is not overwritten.
    let line = copy(&old, "jetstream:relogin-session", "sled:data").refused();
    assert!(line.contains("the target has 20 sessions that are missing from the source or differ from it"), "{line}");
    copy(&last, "jetstream:relogin-session", "sled:data").success();
    let service = last.serve(&format!("{on_disk} data")).await;
    relogin(&gateway, 3).await;
    service.stop().await;
}
