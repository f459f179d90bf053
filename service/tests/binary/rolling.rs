//! Upgrades while sessions go on: one instance after the other, and records of several formats in
//! one bucket.

use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::kv::Store;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use relogin_session::{ConnectionId, Device, Keyring, MadeBy, PastAttempt, Record, SessionId, Timestamp, UserId};
use relogin_test_support::nats_server::NatsServer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    nats_gateway::{Gateway, insist},
    program::{Folder, Service},
};

/// How many browsers use their keys meanwhile.
const BROWSERS: usize = 12;

async fn serve(nats: &NatsServer, secret: &Folder) -> (Folder, Service) {
    let secret = secret.path("secret");
    let options = format!(
        "--demo --listen 127.0.0.1:0 --nats {} --store jetstream --secret-file {}",
        nats.url(),
        secret.display()
    );
    let folder = Folder::new();
    let service = folder.serve(&options).await;
    (folder, service)
}

async fn login(gateway: &Gateway, on: &str) -> Value {
    let params = json!({"username": "jane", "password": "jane"});
    gateway.auth("login", on, params).await["result"]["reloginKey"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_restarted_one_after_the_other_and_no_request_is_sent_more_than_twice() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Folder::new());
    let nats = NatsServer::with_jetstream(folder.path(), "-1");
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(serve(&nats, &secret).await);
    }
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let is_done = AtomicBool::new(false);
    let browsing = (0..BROWSERS).map(async |n| {
        let (client, on) = (&gateway.client, format!("c{n}"));
        let mut key = login(&gateway, &on).await;
        let (mut generation, mut most) = (1, 1);
        while !is_done.load(Ordering::Relaxed) {
            let params = json!({"reloginKey": key, "attempt": format!("{generation:021}A")});
            let (mut answer, sent) = insist(client, "relogin", &on, params).await;
            generation += 1;
            assert_eq!(answer["result"]["generation"], generation, "{on}: {answer}");
            key = answer["result"]["reloginKey"].take();
            most = most.max(sent);
        }
        (generation, most)
    });
    let restarting = async {
        for instance in &mut instances {
            let (_, old) = std::mem::replace(instance, serve(&nats, &secret).await);
            old.stop().await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let (browsed, ()) = tokio::join!(futures_util::future::join_all(browsing), restarting);
    assert!(browsed.iter().all(|(generation, most)| *generation > 3 && *most <= 2), "{browsed:?}");
    for (_, service) in instances {
        service.stop().await;
    }
}

/// A session as an earlier format has it.
#[derive(Serialize)]
struct RecordV2 {
    sid: SessionId,
    user_id: UserId,
    created: Timestamp,
    last_seen: Timestamp,
    key_deadline: Timestamp,
    session_deadline: Timestamp,
    generation: u64,
    salt: [u8; 16],
    connections: Vec<ConnectionId>,
    device: Device,
    cookie: Option<[u8; 32]>,
    made_by: MadeBy,
    past: Vec<PastAttempt>,
}

impl RecordV2 {
    fn encode(record: Record) -> Vec<u8> {
        let Record { sid, user_id, created, last_seen, key_deadline, session_deadline, .. } = record;
        let Record { generation, salt, connections, device, cookie, made_by, past, .. } = record;
        let v2 = Self {
            sid,
            user_id,
            created,
            last_seen,
            key_deadline,
            session_deadline,
            generation,
            salt,
            connections,
            device,
            cookie,
            made_by,
            past,
        };
        postcard::to_extend(&v2, vec![2]).unwrap()
    }
}

/// The bucket, as another instance has it.
struct Bucket(Store);

impl Bucket {
    async fn of(gateway: &Gateway) -> Self {
        Self(async_nats::jetstream::new(gateway.client.clone()).get_key_value("relogin-session").await.unwrap())
    }

    fn key(sid: SessionId) -> String {
        format!("s.{}", URL_SAFE_NO_PAD.encode(sid.0))
    }

    async fn read(&self, sid: SessionId) -> (Vec<u8>, u64) {
        let entry = self.0.entry(Self::key(sid)).await.unwrap().unwrap();
        (entry.value.to_vec(), entry.revision)
    }

    async fn write(&self, sid: SessionId, bytes: Vec<u8>, revision: u64) {
        self.0.update(Self::key(sid), bytes.into(), revision).await.unwrap();
    }
}

/// As while instances are upgraded one after the other: an older one uses a key in between, and
/// writes its own format.
#[tokio::test]
async fn a_session_goes_on_whichever_format_its_record_was_written_in_last() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Folder::new());
    let nats = NatsServer::with_jetstream(folder.path(), "-1");
    let instances = [serve(&nats, &secret).await, serve(&nats, &secret).await];
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let text = std::fs::read_to_string(secret.path("secret")).unwrap();
    let keyring = Keyring::new(vec![STANDARD.decode(text.trim()).unwrap()]).unwrap();
    let bucket = Bucket::of(&gateway).await;
    let mut key = login(&gateway, "c1").await;
    let sid = relogin_session::ReloginKey::new(key.as_str().unwrap().to_owned()).session().unwrap();
    for round in 1..10 {
        let (bytes, revision) = bucket.read(sid).await;
        let mut record = Record::decode(&bytes).unwrap();
        assert_eq!(bytes, record.encode().unwrap(), "they write the newest format");
        record.generation += 1;
        let made_by = MadeBy { attempt: None, ..record.made_by.clone() };
        record.made_by = made_by;
        let newer = keyring.mint(sid, &record.salt, record.generation);
        bucket.write(sid, RecordV2::encode(record), revision).await;
        let params = json!({"reloginKey": newer.expose(), "attempt": format!("{round:021}A")});
        let mut answer = gateway.auth("relogin", "c1", params).await;
        assert_eq!(answer["result"]["generation"], round * 2 + 1, "{answer}");
        key = answer["result"]["reloginKey"].take();
    }
    // The last of them, and where it has not been used.
    let elsewhere = gateway.auth("relogin", "c2", json!({"reloginKey": key, "attempt": format!("{:021}A", 99)})).await;
    assert_eq!(elsewhere["result"]["generation"], 20, "{elsewhere}");
    for (_, service) in instances {
        service.stop().await;
    }
}

/// As an older instance meets what a newer one has written.
#[tokio::test]
async fn a_record_of_a_newer_format_is_left_as_it_is() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Folder::new());
    let nats = NatsServer::with_jetstream(folder.path(), "-1");
    let (_folder, service) = serve(&nats, &secret).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let bucket = Bucket::of(&gateway).await;
    let (key, other) = (login(&gateway, "c1").await, login(&gateway, "c2").await);
    let sid = relogin_session::ReloginKey::new(key.as_str().unwrap().to_owned()).session().unwrap();
    let (mut bytes, revision) = bucket.read(sid).await;
    let readable = bytes.clone();
    bytes[0] += 1;
    bucket.write(sid, bytes.clone(), revision).await;
    let use_of = async |on: &str, key: &Value| gateway.auth("relogin", on, json!({"reloginKey": key})).await;
    for on in ["c1", "c3"] {
        assert_eq!(use_of(on, &key).await["error"]["code"], "system.internalError");
    }
    let logout = gateway.auth("logout", "c1", Value::Null).await;
    assert_eq!(logout["error"]["code"], "system.internalError", "{logout}");
    assert_eq!(use_of("c2", &other).await["result"]["generation"], 2);
    let (left, revision) = bucket.read(sid).await;
    assert_eq!(left, bytes);
    // An instance that knows the format goes on with it.
    bucket.write(sid, readable, revision).await;
    let (answer, _) = insist(&gateway.client, "relogin", "c1", json!({"reloginKey": key})).await;
    assert_eq!(answer["result"]["generation"], 2, "{answer}");
    service.stop().await;
}
