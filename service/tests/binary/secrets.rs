//! No secret is in the log at its most verbose level, or in the audit trail.

use std::fs;

use relogin_test_support::nats_server::NatsServer;
use relogin_tests::secrets;
use serde_json::{Value, json};

use crate::{
    nats_gateway::Gateway,
    program::{Folder, Service},
};

const PASSWORD: &str = "correct-horse-battery";
const GUESS: &str = "wrong-horse-battery";
const NATS_PASSWORD: &str = "nats-horse-battery";

/// A folder with one user.
fn with_jane() -> Folder {
    let folder = Folder::new();
    folder.run("user add jane --password-stdin --password-cost m=8,t=1,p=1", PASSWORD).success();
    folder
}

/// Fails if the service's output contains one of `secrets`, or something that looks like one.
/// Returns the audit trail.
async fn looked_through(folder: &Folder, service: Service, secrets: &[Value]) -> Vec<Value> {
    service.stop().await;
    let log = fs::read_to_string(folder.path("log")).unwrap();
    let trail = fs::read_to_string(folder.path("audit")).unwrap();
    assert!(log.contains(" TRACE ") && log.contains(" DEBUG "), "the log has its most verbose levels");
    for line in log.lines().chain(trail.lines()) {
        assert_eq!(secrets::found_in(line), None, "{line}");
        for secret in secrets.iter().map(|secret| secret.as_str().unwrap()).chain([PASSWORD, GUESS, "$argon2id$"]) {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
    trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(trail: &[Value]) -> Vec<&str> {
    trail.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_secret_is_in_log_or_audit_trail_behind_the_embedded_gateway() {
    let folder = with_jane();
    let service = folder.serve("--log trace --audit audit").await;
    let mut res = service.connect().await;
    let attempt = "c2VjcmV0LWF0dGVtcHQtMQ";
    let login = |password: &str| json!({"username": "jane", "password": password, "label": "laptop"});
    let refused = res.request("auth.session.login", Some(login(GUESS))).await.unwrap();
    assert_eq!(refused.code(), Some("session.wrongUsernamePassword"));
    // People type their password where the name belongs, and programs send it in the wrong shape.
    res.request("auth.session.login", Some(json!({"username": PASSWORD, "password": "x"}))).await.unwrap();
    res.request("auth.session.login", Some(json!({"username": "jane", "password": {PASSWORD: PASSWORD}})))
        .await
        .unwrap();
    res.send_text(format!("{{\"id\":9,\"method\":\"auth.session.login\",\"params\":{PASSWORD}")).await.unwrap();
    let first = res.request("auth.session.login", Some(login(PASSWORD))).await.unwrap().payload().unwrap();
    let first = first["reloginKey"].clone();
    let second = res.relogin(&first, Some(attempt)).await.unwrap().payload().unwrap()["reloginKey"].clone();
    assert_eq!(res.relogin(&first, Some(attempt)).await.unwrap().payload().unwrap()["reloginKey"], second);
    let mut thief = service.connect().await;
    let forged = json!(format!("{}x", &second.as_str().unwrap()[..74]));
    thief.relogin(&forged, None).await.unwrap();
    assert_eq!(thief.relogin(&first, None).await.unwrap().code(), Some("session.invalidReloginKey"));
    let trail = looked_through(&folder, service, &[first, second, forged, json!(attempt)]).await;
    let expected = ["login_failed", "login_failed", "logged_in", "rotated", "retried", "reuse_detected"];
    assert_eq!(events(&trail), expected);
    assert!(trail.iter().all(|line| line["remoteAddr"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:"))));
}

#[tokio::test]
async fn no_json_web_token_is_in_log_or_audit_trail() {
    let folder = with_jane();
    let service = folder.serve("--log trace --audit audit --key-format jwt").await;
    let mut res = service.connect().await;
    let login = json!({"username": "jane", "password": PASSWORD});
    let first = res.request("auth.session.login", Some(login)).await.unwrap().payload().unwrap()["reloginKey"].clone();
    let second = res.relogin(&first, None).await.unwrap().payload().unwrap()["reloginKey"].clone();
    let forged = json!(format!("{}.c2ln", second.as_str().unwrap().rsplit_once('.').unwrap().0));
    assert_eq!(res.relogin(&forged, None).await.unwrap().code(), Some("session.invalidReloginKey"));
    let mut thief = service.connect().await;
    assert_eq!(thief.relogin(&first, None).await.unwrap().code(), Some("session.invalidReloginKey"));
    let trail = looked_through(&folder, service, &[first, second, forged]).await;
    assert_eq!(events(&trail), ["logged_in", "rotated", "reuse_detected"]);
}

#[tokio::test]
async fn no_secret_is_in_log_or_audit_trail_over_nats() {
    let nats = NatsServer::start(&["--user", "relogin", "--pass", NATS_PASSWORD]);
    let folder = with_jane();
    let url = nats.url().replace("nats://", &format!("nats://relogin:{NATS_PASSWORD}@"));
    // Not on the command line, which is in the tests' log and visible on the machine.
    fs::write(folder.path("relogin.toml"), format!("nats = \"{url}\"\n")).unwrap();
    let options = "--log trace --audit audit --audit-subject my.audit --password-cost m=16,t=1,p=1";
    let service = folder.serve(options).await;
    let known = async_nats::ConnectOptions::with_user_and_password("relogin".into(), NATS_PASSWORD.into());
    let mut gateway = Gateway::connect_with(known, &nats.url()).await;
    let login = |password: &str| json!({"username": "jane", "password": password});
    gateway.auth("login", "c1", login(GUESS)).await;
    let first = gateway.auth("login", "c1", login(PASSWORD)).await["result"]["reloginKey"].clone();
    assert!(fs::read_to_string(folder.path("users.toml")).unwrap().contains("$m=16,t=1,p=1$"), "the hash is renewed");
    let second = gateway.auth("relogin", "c1", json!({"reloginKey": first})).await["result"]["reloginKey"].clone();
    gateway.auth("logout", "c1", json!(null)).await;
    let mut published = Vec::new();
    while published.last().is_none_or(|line: &Value| line["event"] != "logged_out") {
        published.push(gateway.receives("my.audit").await);
    }
    let trail = looked_through(&folder, service, &[first, second, json!(NATS_PASSWORD)]).await;
    assert_eq!(events(&trail), ["login_failed", "logged_in", "rotated", "logged_out"]);
    assert_eq!(published, trail);
}
