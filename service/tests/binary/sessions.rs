//! Sessions over restarts, crashes and the end of a service that has work to do; through the
//! embedded gateway and over NATS.

use std::fs;

use relogin_test_support::nats_server::{NatsServer, Wire};
use relogin_tests::res::{Answer, Res};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{nats_gateway::Gateway, program::Folder};

const USER: &str = "session.user.{cid}";

fn jane() -> Value {
    json!({"id": 3, "name": "Jane Doe", "role": "user"})
}

fn nobody() -> Value {
    json!({"id": null, "name": null, "role": null})
}

fn credentials() -> Value {
    json!({"username": "jane", "password": "jane"})
}

async fn is_refused(res: &mut Res, key: &Value) {
    assert_eq!(res.relogin(key, None).await.unwrap().code(), Some("session.invalidReloginKey"));
}

#[tokio::test]
async fn a_session_survives_stop_and_crash_and_its_used_keys_do_not() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut res = service.connect().await;
    let mut key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    service.stop().await;

    for round in 0..3 {
        let service = folder.serve("--demo").await;
        let mut res = service.connect().await;
        let mut next = res.relogin(&key, None).await.unwrap().payload().unwrap();
        assert_eq!(next["generation"], round + 2);
        assert_eq!(res.user().await.unwrap(), jane());
        let used = std::mem::replace(&mut key, next["reloginKey"].take());
        service.kill().await;
        // A used key in other hands ends the session, also when the service that took it is no
        // more.
        if round == 2 {
            let service = folder.serve("--demo").await;
            let mut thief = service.connect().await;
            is_refused(&mut thief, &used).await;
            is_refused(&mut thief, &key).await;
            service.stop().await;
        }
    }
}

#[tokio::test]
async fn a_logout_survives_a_crash() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut res = service.connect().await;
    let key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    let user = res.user().await.unwrap();
    assert_eq!(user, jane());
    assert_eq!(res.request("auth.session.logout", None).await.unwrap().payload().unwrap(), Value::Null);
    service.kill().await;
    let service = folder.serve("--demo").await;
    is_refused(&mut service.connect().await, &key).await;
    service.stop().await;
}

#[tokio::test]
async fn a_session_that_expired_while_nobody_was_there_is_over() {
    let folder = Folder::new();
    let service = folder.serve("--demo --key-lifetime 1ms").await;
    let mut res = service.connect().await;
    let key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    // Its end is announced.
    if res.user().await.unwrap() != nobody() {
        res.event(&format!("{USER}.change")).await.unwrap();
    }
    is_refused(&mut res, &key).await;
    service.stop().await;
}

/// What a restart did to those who stayed connected (to another gateway, over NATS), in the guide's
/// own service.
#[tokio::test]
async fn over_nats_a_restart_changes_nothing_for_those_who_are_logged_in() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let mut gateway = Gateway::connect(&nats.url()).await;
    let options = format!("--demo --nats {}", nats.url());
    let service = folder.serve(&options).await;
    let reset = json!({"resources": ["session.>", "ticker.>"], "access": ["session.>", "ticker.>"]});
    assert_eq!(gateway.receives("system.reset").await, reset);
    let key = gateway.auth("login", "c1", credentials()).await["result"]["reloginKey"].take();
    let token = gateway.receives("conn.c1.token").await;
    service.kill().await;

    let service = folder.serve(&options).await;
    assert_eq!(gateway.receives("system.reset").await, reset);
    let model = gateway.ask("get.session.user.c1", json!({})).await["result"]["model"].take();
    assert_eq!(model, jane());
    let again = gateway.auth_with("login", "c1", &token["token"], credentials()).await;
    assert_eq!(again["error"]["code"], "session.alreadyLoggedIn");
    let next = gateway.auth("relogin", "c1", json!({"reloginKey": key})).await["result"].take();
    assert_eq!(next["generation"], 2, "{next}");
    let access = json!({"cid": "c1", "token": token["token"]});
    assert_eq!(gateway.ask("access.ticker.model", access).await, json!({"result": {"get": true}}));
    assert_eq!(gateway.auth("logout", "c1", Value::Null).await, json!({"result": null}));
    assert_eq!(
        gateway.receives("event.session.user.c1.change").await["values"],
        jane(),
        "of the relogin: its token was not in place"
    );
    assert_eq!(gateway.receives("event.session.user.c1.change").await["values"], nobody());
    assert_eq!(gateway.receives("conn.c1.token").await, json!({"token": null}));
    let new = gateway.auth("login", "c1", credentials()).await;
    assert_eq!(new["result"]["generation"], 1, "{new}");
    service.stop().await;
}

#[tokio::test]
async fn losing_nats_for_a_while_does_not_end_the_service() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let wire = Wire::to(&nats).await;
    let mut gateway = Gateway::connect(&nats.url()).await;
    let service = folder.serve(&format!("--demo --listen 127.0.0.1:0 --nats {}", wire.url())).await;
    gateway.receives("system.reset").await;
    let key = gateway.auth("login", "c1", credentials()).await["result"]["reloginKey"].take();

    wire.cut();
    service.says("lost the connection to the message bus").await;
    assert_eq!(service.get("/healthz").await, 503);
    wire.mend();
    gateway.receives("system.reset").await;
    assert_eq!(service.get("/healthz").await, 200);
    let next = gateway.auth("relogin", "c2", json!({"reloginKey": key})).await;
    assert_eq!(next["result"]["generation"], 2, "{next}");
    // Nor is it a reason not to end when told to.
    wire.cut();
    service.stop().await;
}

/// A server that stands still is found out by its silence, which takes a while. No stop waits for
/// that.
#[tokio::test]
async fn a_stop_does_not_wait_for_nats() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let service = folder.serve(&format!("--demo --audit audit --audit-subject my.audit --nats {}", nats.url())).await;
    nats.signal(Signal::STOP);
    service.stop().await;
    let log = std::fs::read_to_string(folder.path("log")).unwrap();
    assert!(log.contains("cannot send the last messages") && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn when_told_to_stop_it_answers_what_clients_have_asked() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut res = service.connect().await;
        let login = res.send("auth.session.login", Some(credentials())).await.unwrap();
        // Answered at once, and sent behind the login: so that has arrived.
        assert_eq!(res.request(&format!("get.{USER}"), None).await.unwrap().code(), None);
        clients.push((res, login));
    }
    service.signal(Signal::TERM);
    for (mut res, login) in clients {
        let answer = res.answer(login).await.unwrap();
        assert!(matches!(answer, Answer::Result(_)), "{answer:?}");
        assert_eq!(res.closed().await.unwrap().unwrap().code, 1001.into());
    }
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn when_told_to_stop_it_closes_a_few_connections_at_once_and_says_when_to_come_back() {
    let folder = Folder::new();
    let service = folder.serve("--demo --drain 1d").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(service.connect().await);
    }
    service.signal(Signal::TERM);
    for res in clients {
        let frame = res.closed().await.unwrap().unwrap();
        assert_eq!(frame.code, 1001.into());
        let reason: serde_json::Value = serde_json::from_str(&frame.reason).unwrap();
        assert_eq!(reason["retryAfter"], 2, "of 2,500 a second");
    }
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn when_told_to_stop_it_answers_what_came_over_nats() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let gateway = Gateway::connect(&nats.url()).await;
    let service = folder.serve(&format!("--demo --nats {}", nats.url())).await;
    let mut logins = Vec::new();
    for n in 0..20 {
        let payload = json!({"cid": format!("c{n}"), "token": null, "params": credentials()});
        logins.push(gateway.send("auth.session.login", payload).await);
    }
    // The last one was either answered or asked for more time: it has arrived.
    let mut last = logins.pop().unwrap();
    last.next().await;
    service.signal(Signal::TERM);
    for login in logins {
        let answer = login.answer().await;
        assert_eq!(answer["result"]["generation"], 1, "{answer}");
    }
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let gateway = Gateway::connect(&nats.url()).await;
    let service = folder.serve(&format!("--demo --nats {}", nats.url())).await;
    let mut logins = Vec::new();
    for n in 0..400 {
        let payload = json!({"cid": format!("c{n}"), "token": null, "params": credentials()});
        logins.push(gateway.send("auth.session.login", payload).await);
    }
    logins.last_mut().unwrap().next().await;
    service.signal(Signal::TERM);
    service.says("send the signal again to stop at once").await;
    service.signal(Signal::INT);
    assert_eq!(service.ended().await, Some(1), "it has not done all it had to do");
}

#[tokio::test]
async fn requests_sent_twice_on_one_connection_do_no_harm() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut res = service.connect().await;
    let logins = [
        res.send("auth.session.login", Some(credentials())).await.unwrap(),
        res.send("auth.session.login", Some(credentials())).await.unwrap(),
    ];
    let mut keys = Vec::new();
    for login in logins {
        match res.answer(login).await.unwrap() {
            Answer::Result(mut result) => keys.push(result["payload"]["reloginKey"].take()),
            error => assert_eq!(error.code(), Some("session.alreadyLoggedIn")),
        }
    }
    assert_eq!(keys.len(), 1);

    let params = json!({"reloginKey": keys[0]});
    let relogins = [
        res.send("auth.session.relogin", Some(params.clone())).await.unwrap(),
        res.send("auth.session.relogin", Some(params)).await.unwrap(),
    ];
    let mut successors = Vec::new();
    for relogin in relogins {
        successors.push(res.answer(relogin).await.unwrap().payload().unwrap()["reloginKey"].take());
    }
    assert_eq!(successors[0], successors[1]);
    assert_eq!(res.user().await.unwrap(), jane());
    res.request("auth.session.logout", None).await.unwrap();
    res.event_where(&format!("{USER}.change"), |data| data["values"] == nobody()).await.unwrap();
    is_refused(&mut res, &successors[0]).await;
    service.stop().await;
}

#[tokio::test]
async fn a_malformed_key_ends_neither_the_service_nor_a_session() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut guest = service.connect().await;
    is_refused(&mut guest, &"constructor".into()).await;
    let mut res = service.connect().await;
    let key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    for bad in ["constructor", "__proto__", ""] {
        is_refused(&mut guest, &bad.into()).await;
    }
    assert_eq!(res.relogin(&key, None).await.unwrap().payload().unwrap()["generation"], 2);
    service.stop().await;
}

#[tokio::test]
async fn the_demos_counter_runs_for_those_who_are_logged_in() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let mut res = service.connect().await;
    let denied = res.request("subscribe.ticker.model", None).await.unwrap();
    assert_eq!(denied.code(), Some("system.accessDenied"));
    res.log_in("guest", "guest").await.unwrap();
    let model = res.request("subscribe.ticker.model", None).await.unwrap().ok().unwrap();
    let seconds = model["models"]["ticker.model"]["seconds"].as_u64().unwrap();
    assert!(res.event("ticker.model.change").await.unwrap()["values"]["seconds"].as_u64().unwrap() > seconds);
    service.stop().await;
}

#[tokio::test]
async fn users_come_and_go_while_it_runs() {
    let folder = Folder::new();
    let service = folder.serve("--store memory").await;
    service.says("nobody can log in yet").await;
    let login = async |res: &mut Res, username: &str, password: &str| {
        let params = json!({"username": username, "password": password});
        res.request("auth.session.login", Some(params)).await.unwrap()
    };
    let mut res = service.connect().await;
    assert_eq!(login(&mut res, "jane", "sesame").await.code(), Some("session.wrongUsernamePassword"));

    folder.run("user add Jane --password-stdin", "open sesame").success();
    service.says("users=1").await;
    let key = login(&mut res, "jANE", "open sesame").await.payload().unwrap()["reloginKey"].take();

    let path = folder.path("users.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "[[user]]\nid = 1\n").unwrap();
    service.says("the users are unchanged: users file users.toml: line 1: missing field").await;
    assert_eq!(login(&mut service.connect().await, "jane", "open sesame").await.code(), None);
    fs::write(&path, good + "# mended\n").unwrap();

    folder.run("user add john --password-stdin", "open john").success();
    service.says("users=2").await;
    folder.run("user remove jane", "").success();
    // So that the number says that the file was read after the removal.
    folder.run("user add mary --password-stdin", "open mary").success();
    folder.run("user add kate --password-stdin", "open kate").success();
    service.says("users=3").await;
    assert_eq!(login(&mut service.connect().await, "john", "open john").await.code(), None);
    is_refused(&mut res, &key).await;
    assert_eq!(
        login(&mut service.connect().await, "jane", "open sesame").await.code(),
        Some("session.wrongUsernamePassword")
    );
    service.stop().await;
}

#[tokio::test]
async fn the_log_keeps_secrets_at_every_level() {
    let folder = Folder::new();
    let nats = NatsServer::start(&[]);
    folder.run("user add jane --password-stdin", "open-sesame").success();
    let options = format!("--log trace --gateway embedded --listen 127.0.0.1:0 --nats {}", nats.url());
    let service = folder.serve(&options).await;
    let mut res = service.connect().await;
    let first = res.log_in("jane", "open-sesame").await.unwrap()["reloginKey"].take();
    let second = res.relogin(&first, None).await.unwrap().payload().unwrap()["reloginKey"].take();
    is_refused(&mut service.connect().await, &first).await;
    service.stop().await;
    let log = fs::read_to_string(folder.path("log")).unwrap();
    let secret = fs::read_to_string(folder.path("relogin-data/secret")).unwrap();
    for secret in ["open-sesame", first.as_str().unwrap(), second.as_str().unwrap(), secret.trim(), "$argon2id$"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
    assert!(log.contains("TRACE"), "it was asked for");
}
