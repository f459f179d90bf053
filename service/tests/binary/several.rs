//! Several instances on one JetStream bucket: whichever one answers, clients see one service.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::TcpListener,
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{join, join_all},
};
use relogin_test_support::{late_wire::LateWire, nats_server::NatsServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    nats_gateway::{DEADLINE, Gateway},
    program::{Folder, Service},
};

fn jetstream() -> (NatsServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (NatsServer::start(&["--jetstream", "--store_dir", folder.path().to_str().unwrap()]), folder)
}

fn options(nats: &NatsServer, secret: &Folder) -> String {
    let secret = secret.path("secret");
    format!("--demo --listen 127.0.0.1:0 --nats {} --store jetstream --secret-file {}", nats.url(), secret.display())
}

/// Instances on machines of their own, with one secret.
async fn start(count: usize, options: &str) -> Vec<(Folder, Service)> {
    let mut instances = Vec::new();
    for _ in 0..count {
        let folder = Folder::new();
        let service = folder.serve(options).await;
        instances.push((folder, service));
    }
    instances
}

fn jane() -> Value {
    json!({"username": "jane", "password": "jane"})
}

async fn user_on(gateway: &Gateway, on: &str) -> Value {
    gateway.ask(&format!("get.session.user.{on}"), json!({})).await["result"]["model"]["name"].take()
}

/// Two NATS servers, one a leaf of the other, each of which gives a request to the instance that is
/// connected to it. The one that answers sees late what the other has written, so unless it waits,
/// it says what was true before.
#[tokio::test]
async fn an_answer_says_no_less_than_an_event_that_another_instance_has_sent() {
    let (folder, secret) = (Folder::new(), Folder::new());
    let link = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kept = folder.path("nats");
    let nats = |name: &str, config: String| {
        // By default a leaf of a server with JetStream cannot use that.
        fs::write(folder.path(name), format!("{config}\ndefault_js_domain: {{ \"$G\": \"\" }}")).unwrap();
        NatsServer::start(&["--config", folder.path(name).to_str().unwrap()])
    };
    let hub = nats("hub", format!("jetstream {{ store_dir: {kept:?} }}\nleafnodes {{ listen: \"{link}\" }}"));
    let leaf = nats("leaf", format!("leafnodes {{ remotes: [{{ urls: [\"nats://{link}\"] }}] }}"));
    // Less than after which it would read all of the bucket again.
    let wire = LateWire::to(&leaf, "$KV.", Duration::from_millis(300)).await;
    let gateway = async |nats: &NatsServer| {
        Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await
    };
    let (changing, asking) = (gateway(&hub).await, gateway(&leaf).await);
    let linked = async {
        // Until then nobody answers at the leaf.
        while async_nats::jetstream::new(asking.client.clone()).query_account().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, linked).await.expect("the servers find each other");
    let writes = start(1, &options(&hub, &secret)).await;
    let answers = start(1, &options(&leaf, &secret).replace(&leaf.url(), &wire.url())).await;

    let mut key = changing.auth("login", "c0", jane()).await["result"]["reloginKey"].take();
    assert_eq!(user_on(&asking, "c0").await, "Jane Doe");
    for on in ["c1", "c2"] {
        key = changing.auth("relogin", on, json!({"reloginKey": key})).await["result"]["reloginKey"].take();
        assert_eq!(user_on(&asking, on).await, "Jane Doe");
    }
    assert_eq!(changing.auth("logout", "c2", Value::Null).await, json!({"result": null}));
    assert_eq!(user_on(&asking, "c2").await, Value::Null);
    for (_, service) in writes.into_iter().chain(answers) {
        service.stop().await;
    }
}

/// NATS picks one of three for each request, so a session that only one knew of would be lost
/// before long.
#[tokio::test]
async fn whichever_instance_answers_a_session_goes_on_and_ends_everywhere() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let instances = start(3, &options).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    for round in 0..40 {
        let on = |part: &str| format!("c{round}{part}");
        let first = gateway.auth("login", &on("a"), jane()).await["result"]["reloginKey"].take();
        assert!(first.is_string());
        assert_eq!(user_on(&gateway, &on("a")).await, "Jane Doe");
        let mut key = first.clone();
        for generation in 2..7 {
            let part = ["a", "b"][generation % 2];
            let attempt = format!("{generation:021}A");
            let params = json!({"reloginKey": key, "attempt": attempt});
            let mut next = gateway.auth("relogin", &on(part), params.clone()).await["result"].take();
            assert_eq!(next["generation"], generation, "{next}");
            // Its answer was lost, say.
            assert_eq!(gateway.auth("relogin", &on(part), params).await["result"], next);
            assert_eq!(user_on(&gateway, &on(part)).await, "Jane Doe");
            key = next["reloginKey"].take();
        }
        // A client that still has the first key.
        let ends_by_reuse = round % 2 == 0;
        if ends_by_reuse {
            let stolen = gateway.auth("relogin", &on("thief"), json!({"reloginKey": first})).await;
            assert_eq!(stolen["error"]["code"], "session.invalidReloginKey", "{stolen}");
        } else {
            let done = gateway.auth("logout", &on("a"), Value::Null).await;
            assert_eq!(done, json!({"result": null}));
        }
        for part in ["a", "b", "thief"] {
            assert_eq!(user_on(&gateway, &on(part)).await, Value::Null);
        }
        let refused = gateway.auth("relogin", &on("a"), json!({"reloginKey": key})).await;
        assert_eq!(refused["error"]["code"], "session.invalidReloginKey", "{refused}");
    }
    for (_, service) in instances {
        assert_eq!(service.get("/healthz").await, 200);
        service.stop().await;
    }
}

#[tokio::test]
async fn instances_come_and_go_and_sessions_stay() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let mut instances = start(2, &options).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let mut keys = Vec::new();
    for n in 0..8 {
        keys.push(gateway.auth("login", &format!("c{n}"), jane()).await["result"]["reloginKey"].take());
    }
    for round in 0_u64..4 {
        match round {
            0 => instances.extend(start(1, &options).await),
            1 => instances.remove(0).1.stop().await,
            2 => instances.remove(0).1.kill().await,
            _ => instances.extend(start(1, &options).await),
        }
        for (n, key) in keys.iter_mut().enumerate() {
            let next = gateway.auth("relogin", &format!("c{n}"), json!({"reloginKey": key})).await["result"].take();
            assert_eq!(next["generation"], round + 2, "{next}");
            *key = next["reloginKey"].clone();
        }
    }
    for (_, service) in instances {
        service.stop().await;
    }
}

#[tokio::test]
async fn an_instance_with_other_options_does_not_start_and_says_which() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let instances = start(1, &options).await;
    let other = Folder::new();
    let refused = |options: &str| other.run(&format!("serve {options}"), "").refused();
    let line = refused(&format!("{options} --refresh 5m"));
    assert!(line.contains("runs with another --refresh: 60 s, not 300 s"), "{line}");
    // All of them, also what follows from what was given: a key lives no longer than its session.
    let line = refused(&format!("{options} --session-lifetime 12h --sessions-per-user 7"));
    let expected = "runs with another --key-lifetime: 86400 s, not 43200 s, another --session-lifetime: 2592000 s, \
                    not 43200 s, another --sessions-per-user: 100, not 7; start all of them with the same";
    assert!(line.contains(expected), "{line}");
    let line = refused(&options.replace(secret.path("secret").to_str().unwrap(), "secret"));
    assert!(line.contains("runs with another secret"), "{line}");
    let line = refused(&format!("{options} --bucket other"));
    assert!(line.contains("would answer the same requests from its own store"), "{line}");
    for (_, service) in instances {
        service.stop().await;
    }
}

#[tokio::test]
async fn overdue_sessions_are_ended_by_one_instance_and_their_ends_sent_once() {
    const SESSIONS: usize = 30;
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = format!("{} --key-lifetime 3s --session-lifetime 3s", options(&nats, &secret));
    let instances = start(3, &options).await;
    let mut gateway = Gateway::receiving("event.session.>", async_nats::ConnectOptions::new(), &nats.url()).await;
    for n in 0..SESSIONS {
        assert!(gateway.auth("login", &format!("c{n}"), jane()).await["result"]["reloginKey"].is_string());
    }
    let (mut told, mut ended) = (HashMap::new(), HashSet::new());
    while ended.len() < SESSIONS {
        let (subject, payload) = gateway.receives_next().await;
        let change: Value = serde_json::from_slice(&payload).unwrap();
        if change["values"]["id"].is_null() {
            *told.entry(subject.clone()).or_insert(0) += 1;
            ended.insert(subject);
        }
    }
    // Whatever else they have to say is said before they end.
    for (_, service) in instances {
        service.stop().await;
    }
    gateway.ends_with("event.session.end").await;
    while let (subject, _) = gateway.receives_next().await
        && subject != "event.session.end"
    {
        *told.entry(subject).or_insert(0) += 1;
    }
    assert!(told.values().all(|&times| times == 1), "{told:?}");
}

/// Of three instances, each has checked some of the passwords.
#[tokio::test]
async fn failed_logins_count_at_all_instances() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let instances = start(3, &options).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    for round in 0..3 {
        // The username of nobody does as well.
        let guess = async |n: i32| {
            let params = json!({"username": format!("nobody{round}"), "password": "guess"});
            gateway.auth("login", &format!("c{round}-{n}"), params).await["error"]["code"].take()
        };
        for n in 0..6 {
            assert_eq!(guess(n).await, "session.wrongUsernamePassword");
        }
        assert_eq!(guess(7).await, "session.tooManyAttempts");
    }
    for (_, service) in instances {
        service.stop().await;
    }
}

/// The users service takes its time, so no instance knows of the others' outcomes yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_guesses_sent_at_once_each_instance_checks_as_many_as_one_would() {
    const INSTANCES: usize = 3;
    const GUESSES: usize = 60;
    const CHECKED: usize = 6 * INSTANCES;
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let mut checks = gateway.client.queue_subscribe("my.users", "users".to_owned()).await.unwrap();
    let options = options(&nats, &secret).replace("--demo", "--users nats:my.users");
    let instances = start(INSTANCES, &options).await;
    let guess = async |n: usize| {
        let params = json!({"username": "jane", "password": "guess"});
        gateway.auth("login", &format!("c{n}"), params).await["error"]["code"].take()
    };
    let checking = async {
        let mut pending = Vec::new();
        while pending.len() < CHECKED {
            pending.push(timeout(DEADLINE, checks.next()).await.expect("they check as many").unwrap());
        }
        for check in pending {
            gateway.client.publish(check.reply.unwrap(), r#"{"user":null}"#.into()).await.unwrap();
        }
    };
    let (answers, ()) = join(join_all((0..GUESSES).map(&guess)), checking).await;
    let count = |code: &str| answers.iter().filter(|answer| *answer == code).count();
    let (wrong, refused) = (count("session.wrongUsernamePassword"), count("session.tooManyAttempts"));
    assert_eq!((wrong, refused), (CHECKED, GUESSES - CHECKED), "{answers:?}");
    for n in GUESSES..GUESSES + 2 * INSTANCES {
        assert_eq!(guess(n).await, "session.tooManyAttempts", "wherever");
    }
    for (_, service) in instances {
        service.stop().await;
    }
}

/// As pages do that store the key themselves. Each connection gets its key, whoever answers and
/// however long the passwords queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_at_once_without_an_attempt_id_all_get_their_key() {
    const LOGINS: usize = 24;
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let instances = start(3, &options(&nats, &secret)).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let answers = join_all((0..LOGINS).map(async |n| gateway.auth("login", &format!("c{n}"), jane()).await)).await;
    assert!(answers.iter().all(|answer| answer["result"]["reloginKey"].is_string()), "{answers:?}");
    for n in 0..LOGINS {
        assert_eq!(user_on(&gateway, &format!("c{n}")).await, "Jane Doe");
    }
    for (_, service) in instances {
        service.stop().await;
    }
}

/// Another instance corrects what a killed one may have sent late.
#[tokio::test]
async fn a_killed_instance_is_noticed_and_connections_get_their_events_again() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let mut instances = start(2, &options).await;
    let mut gateway = Gateway::receiving("conn.*.token", async_nats::ConnectOptions::new(), &nats.url()).await;
    let (_, killed) = instances.pop().unwrap();
    killed.kill().await;
    // Until NATS has noticed, some requests go to the dead.
    let asking = async {
        loop {
            let asked = gateway.auth("login", "c1", jane());
            if let Ok(answer) = timeout(Duration::from_secs(3), asked).await {
                break answer;
            }
        }
    };
    let answer = timeout(DEADLINE, asking).await.expect("the other one answers");
    assert!(answer["result"]["reloginKey"].is_string() || answer["error"]["code"] == "session.alreadyLoggedIn");
    let token = gateway.receives("conn.c1.token").await;
    let (_, survivor) = instances.pop().unwrap();
    survivor.says("another instance has vanished: connections get their events again connections=1").await;
    assert_eq!(gateway.receives("conn.c1.token").await, token);
    survivor.stop().await;
}

/// The answers to a liveness probe come to the instance that has asked, whichever that was.
#[tokio::test]
async fn a_probe_finds_the_lost_connection_whichever_instance_asks() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let options = options(&nats, &secret);
    let instances = start(3, &options).await;
    let mut gateway = Gateway::connect(&nats.url()).await;
    let mut key = gateway.auth("login", "c0", jane()).await["result"]["reloginKey"].take();
    let sid = gateway.receives("conn.c0.token").await["token"].take();
    for n in 1..6 {
        let params = json!({"reloginKey": key, "attempt": format!("{n:021}A")});
        key = gateway.auth("relogin", &format!("c{n}"), params).await["result"]["reloginKey"].take();
    }
    // c0 does not answer.
    let question = gateway.receives("system.tokenReset").await;
    let subject = question["subject"].as_str().unwrap().to_owned();
    for n in 1..6 {
        let answer = gateway.ask(&subject, json!({"cid": format!("c{n}"), "token": sid, "params": null})).await;
        assert_eq!(answer, json!({"result": null}));
    }
    assert_eq!(gateway.receives("conn.c0.token").await, json!({"token": null}));
    for n in 1..6 {
        assert_eq!(user_on(&gateway, &format!("c{n}")).await, "Jane Doe");
    }
    assert_eq!(user_on(&gateway, "c0").await, Value::Null);
    for (_, service) in instances {
        service.stop().await;
    }
}

/// Whichever instance has answered a list is told by the bucket what the others do.
#[tokio::test]
async fn a_list_of_sessions_shows_what_another_instance_has_made_and_ended() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let instances = start(3, &options(&nats, &secret)).await;
    let mut gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    gateway.auth("login", "c0", jane()).await;
    let mut listed = gateway.ask("get.session.sessions.c0", json!({})).await["result"]["collection"].take();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let mut until = async |count: usize| {
        while listed.as_array().map(Vec::len) != Some(count) {
            let reset = gateway.receives("system.reset").await["resources"].take();
            if reset.as_array().unwrap().contains(&json!("session.sessions.c0")) {
                listed = gateway.ask("get.session.sessions.c0", json!({})).await["result"]["collection"].take();
            }
        }
    };
    let other = Gateway::receiving("unused", async_nats::ConnectOptions::new(), &nats.url()).await;
    for n in 1..10 {
        assert!(other.auth("login", &format!("c{n}"), jane()).await["result"]["reloginKey"].is_string());
        until(1 + n).await;
    }
    for n in 1..5 {
        other.auth("logout", &format!("c{n}"), Value::Null).await;
        until(10 - n).await;
    }
    assert_eq!(other.auth("revokeOthers", "c9", Value::Null).await, json!({"result": {"revoked": 5}}));
    until(0).await;
    for n in 0..9 {
        assert_eq!(user_on(&other, &format!("c{n}")).await, Value::Null);
    }
    assert_eq!(user_on(&other, "c9").await, "Jane Doe");
    for (_, service) in instances {
        service.stop().await;
    }
}

/// Whichever of them is asked: each knows all sessions, and an end is everywhere at once.
#[tokio::test]
async fn operators_ask_any_instance_on_nats() {
    let ((nats, _kept), secret) = (jetstream(), Folder::new());
    let instances = start(2, &format!("{} --control-nats --sessions-per-user 1000", options(&nats, &secret))).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let operator = Folder::new();
    let ask = |command: &str| operator.run(&format!("{command} --nats {}", nats.url()), "");
    let json_of = |command: &str| -> Value { serde_json::from_str(&ask(command).success()).unwrap() };
    let (mut keys, count) = (HashMap::new(), 130);
    for n in 0..count {
        let answer = gateway.auth("login", &format!("c{n}"), jane()).await;
        keys.insert(format!("c{n}"), answer["result"]["reloginKey"].clone());
    }
    // NATS picks an instance for each page.
    let mut sessions = Value::Null;
    for _ in 0..6 {
        sessions = json_of("session list --json");
        let ids: HashSet<_> = sessions.as_array().unwrap().iter().map(|session| session["id"].to_string()).collect();
        assert_eq!((sessions.as_array().unwrap().len(), ids.len()), (count, count));
    }
    let all = json_of("status --json");
    let (statuses, mut ids) = (all["instances"].as_array().unwrap(), HashSet::new());
    for status in statuses {
        assert_eq!((&status["sessions"], &status["store"]), (&json!(count), &json!("jetstream")));
        ids.insert(status["instances"]["this"].as_str().unwrap());
    }
    assert_eq!((statuses.len(), ids.len(), &all["missing"]), (2, 2, &json!([])), "{all}");
    let table = ask("status").success();
    assert!(table.starts_with("INSTANCE ") && ids.iter().all(|id| table.contains(id)), "{table}");
    for session in sessions.as_array().unwrap().iter().take(6) {
        let id = session["id"].as_str().unwrap();
        let details = json_of(&format!("session show --json {id}"));
        let on = details["connections"][0].as_str().unwrap();
        assert_eq!(ask(&format!("session revoke {id}")).success(), format!("revoked session {id}\n"));
        // Whoever answers these.
        for _ in 0..4 {
            assert_eq!(user_on(&gateway, on).await, Value::Null);
            let refused = gateway.auth("relogin", on, json!({"reloginKey": keys[on]})).await;
            assert_eq!(refused["error"]["code"], "session.invalidReloginKey", "{refused}");
            let (code, _) = ask(&format!("session revoke {id}")).failure();
            assert_eq!(code, Some(1));
        }
    }
    assert_eq!(ask("session revoke --user jane").success(), format!("revoked {} sessions of jane\n", count - 6));
    assert_eq!(json_of("session list --json --user jane"), json!([]));
    // Those that are gone without a word are missed, until the others have forgotten them.
    let mut instances = instances.into_iter();
    instances.next().unwrap().1.kill().await;
    let ran = ask("status --json");
    assert_eq!(ran.failure().0, Some(1));
    let all: Value = serde_json::from_slice(ran.output()).unwrap();
    assert_eq!((all["instances"].as_array().unwrap().len(), all["missing"].as_array().unwrap().len()), (1, 1), "{all}");
    for (_, service) in instances {
        service.stop().await;
    }
    let line = ask("status").refused();
    assert_eq!(line, "relogin: no service named \"session\" answers operators on this NATS; it needs --control-nats");
}
