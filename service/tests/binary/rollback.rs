//! A NATS server that has lost what it had acknowledged, as after a power loss without
//! `sync_interval: always`; and a bucket that is deleted.

use std::{fs, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_session::{ReloginKey, api::proof_message};
use relogin_test_support::nats_server::{NatsServer, copy_folder};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    nats_gateway::{DEADLINE, Gateway, insist},
    program::{Folder, Service, all_say_times},
};

/// A browser with one session.
pub(crate) struct Browser<'a> {
    gateway: &'a Gateway,
    on: String,
    device: Option<EcdsaKeyPair>,
    key: Value,
    uses: usize,
}

impl<'a> Browser<'a> {
    pub(crate) async fn login(gateway: &'a Gateway, on: String, is_bound: bool) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let device = is_bound.then(|| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
        });
        let mut params = json!({"username": "jane", "password": "jane", "attempt": format!("{:021}A", 0)});
        if let Some(device) = &device {
            let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&device.public_key().as_ref()[part]));
            params["device"] = json!({"publicKey": {"kty": "EC", "crv": "P-256", "x": x, "y": y}});
        }
        let (mut answer, _) = insist(&gateway.client, "login", &on, params).await;
        assert_eq!(answer["result"]["bound"].as_bool().unwrap_or_default(), is_bound, "{answer}");
        Self { gateway, on, device, key: answer["result"]["reloginKey"].take(), uses: 0 }
    }

    /// Uses its key, and has the next one if there is one.
    async fn relogin(&mut self) -> Value {
        self.uses += 1;
        let mut params = json!({"reloginKey": self.key, "attempt": format!("{:021}A", self.uses)});
        if let Some(device) = &self.device {
            let (challenge, _) = insist(&self.gateway.client, "challenge", &self.on, Value::Null).await;
            let challenge = &challenge["result"]["challenge"];
            let key = ReloginKey::new(self.key.as_str().unwrap().to_owned());
            let message = proof_message(challenge.as_str().unwrap(), &key);
            let signature = device.sign(&SystemRandom::new(), &message).unwrap();
            params["proof"] = json!({"challenge": challenge, "signature": URL_SAFE_NO_PAD.encode(signature)});
        }
        let (answer, _) = insist(&self.gateway.client, "relogin", &self.on, params).await;
        if answer["result"]["reloginKey"].is_string() {
            self.key = answer["result"]["reloginKey"].clone();
        }
        answer
    }

    pub(crate) async fn goes_on(&mut self) {
        let answer = self.relogin().await;
        assert!(answer["result"]["reloginKey"].is_string(), "{}: {answer}", self.on);
    }

    pub(crate) async fn logs_out(&self) {
        let (answer, _) = insist(&self.gateway.client, "logout", &self.on, Value::Null).await;
        assert!(answer["result"].is_null() && answer["error"].is_null(), "{}: {answer}", self.on);
    }

    pub(crate) async fn is_over(&mut self) {
        let answer = self.relogin().await;
        assert_eq!(answer["error"]["code"], "session.invalidReloginKey", "{}: {answer}", self.on);
    }
}

async fn start(count: usize, nats: &NatsServer, secret: &Folder) -> Vec<(Folder, Service)> {
    let (url, secret) = (nats.url(), secret.path("secret"));
    let options =
        format!("--demo --listen 127.0.0.1:0 --nats {url} --store jetstream --secret-file {}", secret.display());
    let mut instances = Vec::new();
    for _ in 0..count {
        let folder = Folder::new();
        let service = folder.serve(&options).await;
        instances.push((folder, service));
    }
    instances
}

/// Some of each kind, so that each instance has to do with it.
const BROWSERS: usize = 6;

async fn lose_acknowledged_writes(instances: usize) {
    let (folder, copy, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Folder::new());
    let nats = NatsServer::with_jetstream(folder.path(), "-1");
    let instances = start(instances, &nats, &secret).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let (mut bound, mut bearer, mut unused) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..BROWSERS {
        bound.push(Browser::login(&gateway, format!("bound{n}"), true).await);
        bearer.push(Browser::login(&gateway, format!("bearer{n}"), false).await);
        unused.push(Browser::login(&gateway, format!("unused{n}"), false).await);
    }
    for browser in bound.iter_mut().chain(&mut bearer) {
        browser.goes_on().await;
    }
    let port = nats.kill();
    copy_folder(folder.path(), copy.path());

    // What is answered from here on is lost.
    let nats = NatsServer::with_jetstream(folder.path(), &port);
    for browser in bound.iter_mut().chain(&mut bearer) {
        browser.goes_on().await;
    }
    let mut lost = Vec::new();
    for n in 0..BROWSERS {
        lost.push(Browser::login(&gateway, format!("lost{n}"), n % 2 == 0).await);
    }
    let _ = nats.kill();

    let _nats = NatsServer::with_jetstream(copy.path(), &port);
    for browser in bound.iter_mut().chain(&mut unused) {
        browser.goes_on().await;
        browser.goes_on().await;
    }
    for browser in bearer.iter_mut().chain(&mut lost) {
        browser.is_over().await;
        browser.is_over().await;
    }
    // A new login works on every instance.
    for n in 0..BROWSERS {
        let mut again = Browser::login(&gateway, format!("again{n}"), false).await;
        again.goes_on().await;
        again.goes_on().await;
    }
    // Lines may come after the answers.
    for outcome in ["outcome=recovered", "outcome=store_rolled_back"] {
        all_say_times(instances.iter().map(|(_, service)| service), outcome, BROWSERS).await;
    }
    let mut said = String::new();
    for (folder, service) in instances {
        assert_eq!(service.get("/healthz").await, 200);
        service.stop().await;
        said += &fs::read_to_string(folder.path("log")).unwrap();
    }
    assert_eq!(said.matches("outcome=recovered").count(), BROWSERS, "{said}");
    assert_eq!(said.matches("outcome=store_rolled_back").count(), BROWSERS, "{said}");
}

#[tokio::test]
async fn a_lost_acknowledged_write_costs_a_bound_session_nothing_and_ends_a_bearer_one() {
    lose_acknowledged_writes(1).await;
}

/// What they know is ahead of the bucket.
#[tokio::test]
async fn two_instances_notice_that_their_bucket_was_rolled_back() {
    lose_acknowledged_writes(2).await;
}

#[tokio::test]
async fn without_its_bucket_an_instance_answers_nothing_and_ends_no_session_until_it_is_there() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Folder::new());
    let nats = NatsServer::with_jetstream(folder.path(), "-1");
    let instances = start(1, &nats, &secret).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let browser = Browser::login(&gateway, "c1".to_owned(), false).await;
    let context = async_nats::jetstream::new(gateway.client.clone());
    context.delete_key_value("relogin-session").await.unwrap();
    let refused = gateway.auth("relogin", "c1", json!({"reloginKey": browser.key})).await;
    assert_eq!(refused["error"]["code"], "system.internalError", "{refused}");
    let service = &instances[0].1;
    service.says("there is no JetStream bucket").await;
    assert_eq!(service.get("/healthz").await, 503);
    // It is made again, by an instance that starts.
    let another = start(1, &nats, &secret).await;
    let healthy = async {
        while service.get("/healthz").await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, healthy).await.expect("it goes on with the bucket");
    let (ended, _) = insist(&gateway.client, "relogin", "c1", json!({"reloginKey": browser.key})).await;
    assert_eq!(ended["error"]["code"], "session.invalidReloginKey", "it was deleted with all others");
    for (_, service) in instances.into_iter().chain(another) {
        service.stop().await;
    }
}
