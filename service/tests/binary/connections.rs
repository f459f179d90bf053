//! Closed connections, connections that the service does not know, and proofs of possession; over
//! NATS, where gateways and their connections outlive the service.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_session::{ReloginKey, api::proof_message};
use relogin_test_support::nats_server::NatsServer;
use relogin_tests::res::Res;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until};

use crate::{nats_gateway::Gateway, program::Folder};

fn credentials() -> Value {
    json!({"username": "jane", "password": "jane"})
}

/// An attempt of this number: 128 bits in base64url.
fn attempt(n: usize) -> String {
    format!("{n:021}A")
}

/// Jane on the connections `c0` to `c<n>`, and the next key.
async fn many_connections(gateway: &Gateway, connections: usize) -> Value {
    let mut key = gateway.auth("login", "c0", credentials()).await["result"]["reloginKey"].take();
    for n in 1..connections {
        let params = json!({"reloginKey": key, "attempt": attempt(n)});
        key = gateway.auth("relogin", &format!("c{n}"), params).await["result"]["reloginKey"].take();
        assert!(key.is_string());
    }
    key
}

#[tokio::test]
async fn unresponsive_connections_are_detached_and_those_whose_session_is_gone_are_cleared() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let mut gateway = Gateway::connect(&nats.url()).await;
    let service = folder.serve(&format!("--demo --nats {}", nats.url())).await;
    let key = many_connections(&gateway, 4).await;
    let token = gateway.receives("conn.c3.token").await["token"].take();
    let params = json!({"reloginKey": key, "attempt": attempt(9)});
    let key = gateway.auth("relogin", "c4", params).await["result"]["reloginKey"].take();
    let asked = gateway.receives("system.tokenReset").await;
    assert_eq!(asked, json!({"tids": [token["sid"]], "subject": "auth.session.renew"}));
    for there in ["c1", "c4"] {
        let renewed = gateway.auth_with("renew", there, &token, Value::Null).await;
        assert_eq!(renewed, json!({"result": null}));
    }
    let mut detached = Vec::new();
    while detached.len() < 3 {
        let (subject, payload) = gateway.receives_next().await;
        if subject.starts_with("conn.") && payload == br#"{"token":null}"# {
            detached.push(subject);
        }
    }
    assert_eq!(detached, ["conn.c0.token", "conn.c2.token", "conn.c3.token"]);

    // A connection that is alive after all comes back; one that missed it is cleared when it
    // renews.
    let params = json!({"reloginKey": key, "attempt": attempt(10)});
    let back = gateway.auth("relogin", "c2", params).await;
    assert!(back["result"]["reloginKey"].is_string(), "{back}");
    gateway.auth_with("renew", "c3", &token, Value::Null).await;
    assert_eq!(gateway.receives("conn.c3.token").await, json!({"token": null}));
    for (on, user) in [("c1", json!(3)), ("c2", json!(3)), ("c3", Value::Null), ("c4", json!(3))] {
        let model = gateway.ask(&format!("get.session.user.{on}"), json!({})).await;
        assert_eq!(model["result"]["model"]["id"], user, "{on}");
    }
    service.stop().await;
}

/// The same with the embedded gateway, which probes its connections by itself.
#[tokio::test]
async fn closed_connections_are_detached_and_open_ones_stay() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let mut gateway = Gateway::connect(&nats.url()).await;
    let options = format!("--demo --gateway embedded --listen 127.0.0.1:0 --nats {}", nats.url());
    let service = folder.serve(&options).await;
    let (mut tabs, mut key) = (Vec::<(String, Res)>::new(), Value::Null);
    for n in 0..6 {
        // With the fifth connection the others are asked whether they are there; three have closed.
        if n == 4 {
            for (_, closing) in tabs.drain(1..) {
                closing.close().await.unwrap();
            }
        }
        let mut tab = service.connect().await;
        key = match n {
            0 => tab.log_in("jane", "jane").await.unwrap(),
            _ => tab.relogin(&key, Some(&attempt(n))).await.unwrap().payload().unwrap(),
        }["reloginKey"]
            .take();
        tabs.push((given(&mut gateway).await, tab));
    }
    for _ in 0..3 {
        let gone = cleared(&mut gateway).await;
        assert!(tabs.iter().all(|(there, _)| *there != gone), "{gone} is open");
    }
    // Open connections are still logged in; and the probe has ended, since the next one begins.
    for (_, tab) in &mut tabs {
        assert_eq!(tab.user().await.unwrap()["id"], 3);
    }
    service.stop().await;
}

/// The connection that is given a token next.
async fn given(gateway: &mut Gateway) -> String {
    token_event(gateway, |token| !token.is_null()).await
}

/// The connection whose token is taken away next.
async fn cleared(gateway: &mut Gateway) -> String {
    token_event(gateway, Value::is_null).await
}

async fn token_event(gateway: &mut Gateway, is_it: impl Fn(&Value) -> bool) -> String {
    loop {
        let (subject, payload) = gateway.receives_next().await;
        if let Some(cid) = subject.strip_prefix("conn.").and_then(|rest| rest.strip_suffix(".token")) {
            let event: Value = serde_json::from_slice(&payload).unwrap();
            if is_it(&event["token"]) {
                return cid.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn sessions_that_expired_meanwhile_are_reported_after_the_start() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let mut gateway = Gateway::connect(&nats.url()).await;
    let options = format!("--demo --key-lifetime 2s --nats {}", nats.url());
    let service = folder.serve(&options).await;
    gateway.auth("login", "c1", credentials()).await;
    let over = Instant::now() + Duration::from_secs(2);
    service.kill().await;
    // The session expires meanwhile.
    sleep_until(over).await;
    let service = folder.serve(&options).await;
    gateway.receives("system.reset").await;
    let new = gateway.auth("login", "c2", credentials()).await;
    assert_eq!(new["result"]["generation"], 1);
    let model = gateway.ask("get.session.user.c1", json!({})).await["result"]["model"].take();
    assert_eq!(model["id"], Value::Null);
    service.stop().await;
    // It may be sent again, but it was sent.
    let mut told = Vec::new();
    while !told.contains(&"conn.c1.token null".to_owned()) {
        let (subject, payload) = gateway.receives_next().await;
        let payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
        told.push(format!("{subject} {}", payload["token"]));
    }
}

#[tokio::test]
async fn a_device_proves_itself_to_the_next_process_too() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let gateway = Gateway::connect(&nats.url()).await;
    let options = format!("--demo --nats {}", nats.url());
    let service = folder.serve(&options).await;
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let device = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&device.public_key().as_ref()[part]));
    let mut params = credentials();
    params["device"] = json!({"publicKey": {"kty": "EC", "crv": "P-256", "x": x, "y": y}});
    let login = gateway.auth("login", "c1", params).await["result"].take();
    assert_eq!(login["bound"], true);

    let use_of = async |key: &Value, challenge: &Value| {
        let relogin_key = ReloginKey::new(key.as_str().unwrap().to_owned());
        let message = proof_message(challenge.as_str().unwrap(), &relogin_key);
        let signature = URL_SAFE_NO_PAD.encode(device.sign(&random, &message).unwrap());
        let proof = json!({"challenge": challenge, "signature": signature});
        gateway.auth("relogin", "c1", json!({"reloginKey": key, "proof": proof})).await
    };
    // The answer is lost with the process, and the challenge is the former process's.
    let first = &login["reloginKey"];
    let challenge = gateway.auth("challenge", "c1", Value::Null).await["result"]["challenge"].take();
    let second = use_of(first, &challenge).await["result"].take();
    assert_eq!(second["generation"], 2);
    service.kill().await;
    let service = folder.serve(&options).await;
    assert_eq!(use_of(first, &challenge).await["result"]["reloginKey"], second["reloginKey"]);
    let bare = json!({"reloginKey": second["reloginKey"]});
    assert_eq!(gateway.auth("relogin", "c2", bare).await["error"]["code"], "session.invalidReloginKey");
    assert_eq!(use_of(&second["reloginKey"], &challenge).await["result"]["generation"], 3);
    service.stop().await;
    let log = std::fs::read_to_string(folder.path("log")).unwrap();
    let line = log.lines().find(|line| line.contains("outcome=proof_missing")).unwrap();
    assert!(line.contains("INFO") && line.contains("connection=c2"), "{line}");
}
