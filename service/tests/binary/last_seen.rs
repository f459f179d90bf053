//! The last seen users, in the bucket of the sessions: changes while no instance runs count at the
//! next start, and no sessions are ended back and forth while a new users file reaches one instance
//! after the other.

use std::{collections::HashSet, fs, path::Path};

use async_nats::{ConnectOptions, jetstream::kv::Store};
use relogin_test_support::nats_server::NatsServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, sleep, timeout};

use crate::{
    nats_gateway::{DEADLINE, Gateway, insist},
    program::{Folder, Service},
};

/// A NATS server, and the folder with the secret of all instances and the newest users file.
struct Bed {
    nats: NatsServer,
    _kept: TempDir,
    newest: Folder,
}

impl Bed {
    /// With two users, whose passwords are "first words".
    fn new() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let nats = NatsServer::with_jetstream(kept.path(), "-1");
        let bed = Self { nats, _kept: kept, newest: Folder::new() };
        for name in ["jane", "john"] {
            bed.user(&format!("add {name} --password-stdin --password-cost m=8,t=1,p=1"), "first words");
        }
        bed
    }

    fn user(&self, arguments: &str, input: &str) {
        self.newest.run(&format!("user {arguments}"), input).success();
    }

    fn change_password(&self, name: &str) {
        self.user(&format!("passwd {name} --password-stdin --password-cost m=8,t=1,p=1"), "second words");
    }

    fn options(&self) -> String {
        let secret = self.newest.path("secret");
        let (nats, secret) = (self.nats.url(), secret.display());
        format!("--listen 127.0.0.1:0 --throttle off --nats {nats} --secret-file {secret}")
    }

    /// An instance with a copy of the users file that is the newest now.
    async fn serve(&self) -> (Folder, Service) {
        let folder = Folder::new();
        copy_users(&self.newest, &folder);
        let service = folder.serve(&format!("{} --store jetstream", self.options())).await;
        (folder, service)
    }

    async fn gateway(&self) -> Gateway {
        Gateway::receiving("conn.*.token", ConnectOptions::new(), &self.nats.url()).await
    }

    async fn bucket(&self) -> Store {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        async_nats::jetstream::new(client).get_key_value("relogin-session").await.unwrap()
    }

    /// Waits until something else is kept than `before`, and returns it.
    async fn kept(&self, before: Option<&[u8]>) -> Vec<u8> {
        let bucket = self.bucket().await;
        let keeping = async {
            loop {
                match bucket.get("users").await.unwrap() {
                    Some(kept) if before != Some(&*kept) => break kept.to_vec(),
                    _ => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(DEADLINE, keeping).await.expect("the last seen users are kept in time")
    }
}

fn copy_users(from: &Folder, to: &Folder) {
    // In the place of what is there, so that it is complete.
    fs::copy(from.path("users.toml"), to.path("users.new")).unwrap();
    fs::rename(to.path("users.new"), to.path("users.toml")).unwrap();
}

fn remove_lines_of(name: &str, path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let mut users: Vec<_> = text.split("[[user]]").collect();
    users.retain(|user| !user.contains(&format!("username = \"{name}\"")));
    fs::write(path, users.join("[[user]]")).unwrap();
}

async fn login(gateway: &Gateway, on: &str, name: &str, password: &str) -> Value {
    let params = json!({"username": name, "password": password});
    let (mut answer, _) = insist(&gateway.client, "login", on, params).await;
    assert!(answer["result"]["reloginKey"].is_string(), "{name}: {answer}");
    answer["result"]["reloginKey"].take()
}

/// Uses a key; its successor, if it is accepted.
async fn relogin(gateway: &Gateway, on: &str, key: &Value) -> Option<Value> {
    let (mut answer, _) = insist(&gateway.client, "relogin", on, json!({"reloginKey": key})).await;
    answer["result"].get_mut("reloginKey").map(Value::take)
}

/// Waits until these connections are logged out.
async fn are_logged_out(gateway: &mut Gateway, on: &[&str]) {
    let mut waiting: HashSet<_> = on.iter().map(|on| format!("conn.{on}.token")).collect();
    while !waiting.is_empty() {
        let (subject, payload) = gateway.receives_next().await;
        if payload == br#"{"token":null}"# {
            waiting.remove(&subject);
        }
    }
}

#[tokio::test]
async fn a_password_changed_while_no_instance_runs_ends_only_that_users_sessions() {
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (_folder, service) = bed.serve().await;
    let (jane, john) =
        (login(&gateway, "c1", "jane", "first words").await, login(&gateway, "c2", "john", "first words").await);
    let kept = bed.kept(None).await;
    assert!(!String::from_utf8_lossy(&kept).contains("argon2"), "no hash is kept");
    service.stop().await;
    bed.change_password("jane");
    let (_folder, service) = bed.serve().await;
    are_logged_out(&mut gateway, &["c1"]).await;
    assert_eq!(relogin(&gateway, "c1", &jane).await, None);
    let john = relogin(&gateway, "c2", &john).await.expect("nobody has changed his password");
    // Once: what was announced is kept, so a session with the new password stays.
    bed.kept(Some(&kept)).await;
    let jane = login(&gateway, "c1", "jane", "second words").await;
    service.stop().await;
    let (folder, service) = bed.serve().await;
    let kept = bed.kept(None).await;
    bed.user("disable john", "");
    copy_users(&bed.newest, &folder);
    bed.kept(Some(&kept)).await;
    assert_eq!(relogin(&gateway, "c2", &john).await, None, "whatever else there was to tell has been told");
    assert!(relogin(&gateway, "c1", &jane).await.is_some());
    service.stop().await;
}

#[tokio::test]
async fn a_user_removed_while_no_instance_runs_is_logged_out_but_nobody_by_an_empty_file() {
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (_folder, service) = bed.serve().await;
    let (jane, john) =
        (login(&gateway, "c1", "jane", "first words").await, login(&gateway, "c2", "john", "first words").await);
    let kept = bed.kept(None).await;
    service.stop().await;

    let users = bed.newest.path("users.toml");
    let text = fs::read_to_string(&users).unwrap();
    fs::write(&users, "").unwrap();
    let (folder, service) = bed.serve().await;
    service.says("the users are unchanged: users file users.toml is empty").await;
    let jane = relogin(&gateway, "c1", &jane).await.expect("she is among the last seen users");
    fs::write(&users, text).unwrap();
    remove_lines_of("jane", &users);
    copy_users(&bed.newest, &folder);
    // Before that it is not known whether more of the file comes.
    service.says("users are missing from the users file").await;
    service.stop().await;

    let (_folder, service) = bed.serve().await;
    let jane = relogin(&gateway, "c1", &jane).await.expect("her removal is not certain yet");
    are_logged_out(&mut gateway, &["c1"]).await;
    assert_eq!(relogin(&gateway, "c1", &jane).await, None);
    assert!(relogin(&gateway, "c2", &john).await.is_some());
    let kept = bed.kept(Some(&kept)).await;
    assert!(!String::from_utf8_lossy(&kept).contains("\"jane\""));
    service.stop().await;
}

/// As where the file is part of what is deployed: each instance has the new one from its start, and
/// one of the old kind comes back in between.
#[tokio::test]
async fn while_a_new_users_file_reaches_one_instance_after_the_other_nothing_is_ended_back_and_forth() {
    const DISPUTED: &str = "not all instances have the same users";
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (old, first) = bed.serve().await;
    let (_folder, second) = bed.serve().await;
    let jane = login(&gateway, "c1", "jane", "first words").await;
    let mut john = login(&gateway, "c2", "john", "first words").await;
    let kept = bed.kept(None).await;

    bed.change_password("jane");
    second.stop().await;
    let (_folder, second) = bed.serve().await;
    second.says(DISPUTED).await;
    let jane = relogin(&gateway, "c1", &jane).await.expect("nobody knows yet which file is the newer one");
    // Made by the old password, at the instance that still has it.
    let meanwhile = loop {
        let params = json!({"username": "jane", "password": "first words"});
        let (mut answer, _) = insist(&gateway.client, "login", "c3", params).await;
        if answer["result"]["reloginKey"].is_string() {
            break answer["result"]["reloginKey"].take();
        }
    };
    first.stop().await;
    let (_folder, first) = bed.serve().await;
    are_logged_out(&mut gateway, &["c1", "c3"]).await;
    for (on, key) in [("c1", &jane), ("c3", &meanwhile)] {
        assert_eq!(relogin(&gateway, on, key).await, None, "{on}");
    }
    let kept = bed.kept(Some(&kept)).await;

    // A session that neither has notified of anything, and then one of them comes with the former
    // file.
    let mut jane = login(&gateway, "c1", "jane", "second words").await;
    for _ in 0..2 {
        let service = old.serve(&format!("{} --store jetstream", bed.options())).await;
        service.says(DISPUTED).await;
        jane = relogin(&gateway, "c1", &jane).await.expect("the others have told it already");
        john = relogin(&gateway, "c2", &john).await.expect("he is in both files");
        service.stop().await;
    }
    assert_eq!(bed.bucket().await.get("users").await.unwrap().unwrap(), kept, "what all had is kept");
    for service in [first, second] {
        service.stop().await;
    }
}

/// The one that has seen the new password notified all sessions before there was this one.
#[tokio::test]
async fn who_got_in_by_a_former_password_at_an_instance_that_has_gone_since_is_logged_out() {
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (folder, first) = bed.serve().await;
    let (_folder, second) = bed.serve().await;
    login(&gateway, "c1", "jane", "first words").await;
    let mut john = login(&gateway, "c2", "john", "first words").await;
    let kept = bed.kept(None).await;
    bed.change_password("jane");
    copy_users(&bed.newest, &folder);
    are_logged_out(&mut gateway, &["c1"]).await;
    let meanwhile = loop {
        let params = json!({"username": "jane", "password": "first words"});
        let (mut answer, _) = insist(&gateway.client, "login", "c3", params).await;
        if answer["result"]["reloginKey"].is_string() {
            break answer["result"]["reloginKey"].take();
        }
    };
    second.stop().await;
    are_logged_out(&mut gateway, &["c3"]).await;
    assert_eq!(relogin(&gateway, "c3", &meanwhile).await, None);
    bed.kept(Some(&kept)).await;
    john = relogin(&gateway, "c2", &john).await.expect("he has the same password");
    relogin(&gateway, "c2", &john).await.unwrap();
    first.stop().await;
}

/// There is nothing to compare with; from then on there is.
#[tokio::test]
async fn a_bucket_of_an_earlier_version_has_no_last_seen_users_and_gets_them() {
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (_folder, service) = bed.serve().await;
    let jane = login(&gateway, "c1", "jane", "first words").await;
    bed.kept(None).await;
    service.stop().await;
    bed.bucket().await.purge("users").await.unwrap();
    bed.change_password("jane");
    let (_folder, service) = bed.serve().await;
    bed.kept(None).await;
    let jane = relogin(&gateway, "c1", &jane).await.expect("nobody has known her former password");
    service.stop().await;
    bed.change_password("jane");
    let (_folder, service) = bed.serve().await;
    are_logged_out(&mut gateway, &["c1"]).await;
    assert_eq!(relogin(&gateway, "c1", &jane).await, None);
    service.stop().await;
}

#[tokio::test]
async fn last_seen_users_move_with_the_sessions() {
    let bed = Bed::new();
    let mut gateway = bed.gateway().await;
    let (disk, last) = (Folder::new(), Folder::new());
    copy_users(&bed.newest, &disk);
    let copy = |folder: &Folder, from: &str, to: &str| {
        folder.run(&format!("store copy --from {from} --to {to} --nats {}", bed.nats.url()), "").success()
    };
    let service = disk.serve(&format!("{} --data data", bed.options())).await;
    let (jane, john) =
        (login(&gateway, "c1", "jane", "first words").await, login(&gateway, "c2", "john", "first words").await);
    let known = disk.path("data/users.known");
    let saving = async {
        while !known.exists() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, saving).await.expect("the last seen users are saved");
    service.stop().await;
    copy(&disk, "sled:data", "jetstream:relogin-session");
    let kept = bed.kept(None).await;

    bed.change_password("jane");
    let (_folder, service) = bed.serve().await;
    bed.kept(Some(&kept)).await;
    assert_eq!(relogin(&gateway, "c1", &jane).await, None);
    let john = relogin(&gateway, "c2", &john).await.unwrap();
    service.stop().await;

    copy(&last, "jetstream:relogin-session", "sled:data");
    bed.change_password("john");
    copy_users(&bed.newest, &last);
    let service = last.serve(&format!("{} --data data", bed.options())).await;
    are_logged_out(&mut gateway, &["c2"]).await;
    assert_eq!(relogin(&gateway, "c2", &john).await, None);
    service.stop().await;
}

#[tokio::test]
async fn more_users_than_a_message_has_room_for_are_reported() {
    let bed = Bed::new();
    let users = bed.newest.path("users.toml");
    let text = fs::read_to_string(&users).unwrap();
    // One with a name as long as those of thousands.
    let long = format!("\nname = \"{}\"", "j".repeat(1 << 20));
    fs::write(&users, text.replace("\nname = \"jane\"", &long)).unwrap();
    let gateway = bed.gateway().await;
    let (_folder, service) = bed.serve().await;
    service.says("cannot save the last seen users: ").await;
    assert!(
        service.said().contains("are more than the NATS server takes in one message, 1048576; raise its max_payload")
    );
    login(&gateway, "c2", "john", "first words").await;
    service.stop().await;
}
