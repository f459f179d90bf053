//! Users change their own passwords: in the users file, in memory, and where a program or several
//! instances keep them.

use std::{fs, os::unix::fs::PermissionsExt};

use relogin_test_support::nats_server::NatsServer;
use relogin_tests::res::{Answer, Res};
use serde_json::{Value, json};

use crate::{
    nats_gateway::Gateway,
    program::{Folder, Service},
};

const CHEAP: &str = "--password-cost m=8,t=1,p=1";
const OLD: &str = "open sesame";
const NEW: &str = "correct horse";
const CHANGE: &str = "session.user.{cid}.change";

fn with_jane() -> Folder {
    let folder = Folder::new();
    folder.run(&format!("user add jane --password-stdin {CHEAP}"), OLD).success();
    folder
}

async fn change(res: &mut Res, current: &str, new: &str) -> Answer {
    let params = json!({"current": current, "new": new});
    res.request("auth.session.changePassword", Some(params)).await.unwrap()
}

/// A login on a new connection: it, and the key; or the error's code.
async fn log_in(service: &Service, password: &str) -> Result<(Res, Value), String> {
    let mut res = service.connect().await;
    let params = json!({"username": "jane", "password": password});
    let answer = res.request("auth.session.login", Some(params)).await.unwrap();
    match answer.code().map(str::to_owned) {
        Some(code) => Err(code),
        None => Ok((res, answer.payload().unwrap()["reloginKey"].take())),
    }
}

#[tokio::test]
async fn the_session_in_which_a_password_is_changed_stays_and_all_others_end() {
    let folder = with_jane();
    let path = folder.path("users.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "# Ours\n").unwrap();
    let options = format!("--audit audit {CHEAP}");
    let service = folder.serve(&options).await;
    let (mut here, key) = log_in(&service, OLD).await.unwrap();
    let (mut elsewhere, lost) = log_in(&service, OLD).await.unwrap();
    elsewhere.user().await.unwrap();

    assert_eq!(change(&mut service.connect().await, OLD, NEW).await.code(), Some("session.notLoggedIn"));
    assert_eq!(change(&mut here, "wrong horse", NEW).await.code(), Some("session.wrongPassword"));
    assert_eq!(change(&mut here, OLD, "horse").await.code(), Some("session.passwordTooShort"));
    assert_eq!(change(&mut here, OLD, "Password1").await.code(), Some("session.passwordTooWeak"));
    let params = Some(json!({"current": OLD}));
    let answer = here.request("auth.session.changePassword", params).await.unwrap();
    assert_eq!(answer.code(), Some("system.invalidParams"));
    assert!(log_in(&service, OLD).await.is_ok(), "nothing has changed yet");

    assert_eq!(change(&mut here, OLD, NEW).await.payload().unwrap(), Value::Null);
    elsewhere.event_where(CHANGE, |data| data["values"]["id"].is_null()).await.unwrap();
    assert_eq!(log_in(&service, OLD).await.err().as_deref(), Some("session.wrongUsernamePassword"));
    let (mut later, _) = log_in(&service, NEW).await.unwrap();
    // The service sees the file that it has written, and tells nobody once more.
    service.says("the users file has changed").await;
    folder.run(&format!("user add john --password-stdin {CHEAP}"), "open john").success();
    service.says("users=2").await;
    assert_eq!(later.user().await.unwrap()["name"], "jane");
    assert_eq!(here.user().await.unwrap()["name"], "jane");
    let key = here.relogin(&key, None).await.unwrap().payload().unwrap()["reloginKey"].take();
    let refused = service.connect().await.relogin(&lost, None).await.unwrap();
    assert_eq!(refused.code(), Some("session.invalidReloginKey"));
    service.stop().await;

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# Ours\n"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let service = folder.serve(&options).await;
    let mut res = service.connect().await;
    assert_eq!(res.relogin(&key, None).await.unwrap().code(), None, "also after a restart");
    assert!(log_in(&service, NEW).await.is_ok());
    service.stop().await;

    let trail = fs::read_to_string(folder.path("audit")).unwrap();
    let events: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let [changed] = of("password_changed")[..] else { panic!("{trail}") };
    assert!(changed["user"] == 1 && changed["session"].is_string() && changed["connection"].is_string(), "{changed}");
    assert_eq!((of("password_change_failed").len(), of("revoked").len()), (1, 2), "{trail}");
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(![OLD, NEW].iter().any(|secret| log.contains(secret) || trail.contains(secret)));
}

/// Whoever has a session, but not the password, guesses no faster than at the login form.
#[tokio::test]
async fn guesses_of_the_current_password_are_throttled_like_logins() {
    let folder = with_jane();
    let service = folder.serve(CHEAP).await;
    let (mut here, _) = log_in(&service, OLD).await.unwrap();
    // They count together.
    for _ in 0..3 {
        assert_eq!(log_in(&service, "wrong horse").await.err().as_deref(), Some("session.wrongUsernamePassword"));
        assert_eq!(change(&mut here, "wrong horse", NEW).await.code(), Some("session.wrongPassword"));
    }
    let refused = change(&mut here, OLD, NEW).await;
    assert_eq!(refused.code(), Some("session.tooManyAttempts"), "{refused:?}");
    service.stop().await;
}

#[tokio::test]
async fn the_length_is_an_option_and_what_was_shorter_before_stays_valid() {
    let folder = with_jane();
    assert_eq!(
        folder.run("user passwd jane --password-stdin", "horse").refused(),
        "relogin: the password is too short; it needs 8 characters or more"
    );
    assert!(folder.run("user add john --password-stdin", "password1").refused().contains("too easy to guess"));
    assert!(folder.run("user add johannes --password-stdin", "Johannes").refused().contains("the username"));
    let service = folder.serve(&format!("--password-min-length 15 {CHEAP}")).await;
    let (mut here, _) = log_in(&service, OLD).await.unwrap();
    let refused = change(&mut here, OLD, NEW).await;
    assert_eq!(refused.code(), Some("session.passwordTooShort"));
    assert!(format!("{refused:?}").contains("15"), "{refused:?}");
    assert_eq!(change(&mut here, OLD, "correct horse battery").await.code(), None);
    service.stop().await;
}

#[tokio::test]
async fn users_of_the_demo_change_theirs_until_it_stops() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let (mut here, _) = log_in(&service, "jane").await.unwrap();
    assert_eq!(change(&mut here, "jane", NEW).await.code(), None);
    assert!(log_in(&service, "jane").await.is_err() && log_in(&service, NEW).await.is_ok());
    service.stop().await;
    let service = folder.serve("--demo").await;
    assert!(log_in(&service, "jane").await.is_ok());
    service.stop().await;
}

#[tokio::test]
async fn a_program_changes_the_passwords_of_its_users_if_it_offers_that() {
    let folder = Folder::new();
    let program = "#!/bin/sh\nread -r question\ncase $question in\n\
        *'\"new\"'*) echo \"$question\" >> asked; cat answer;;\n\
        *) echo '{\"user\":{\"id\":3,\"name\":\"Jane Doe\",\"role\":\"user\"}}';;\nesac\n";
    fs::write(folder.path("users"), program).unwrap();
    fs::set_permissions(folder.path("users"), fs::Permissions::from_mode(0o700)).unwrap();
    let service = folder.serve("--users exec:./users").await;
    let (mut here, key) = log_in(&service, OLD).await.unwrap();
    let (mut elsewhere, _) = log_in(&service, OLD).await.unwrap();
    elsewhere.user().await.unwrap();
    for (answer, code) in [
        (r#"{"user":{"id":3,"name":"Jane Doe","role":"user"}}"#, Some("session.passwordNotChangeable")),
        (r#"{"changed":false}"#, Some("session.wrongPassword")),
        (r#"{"changed":false,"weak":true}"#, Some("session.passwordTooWeak")),
        (r#"{"changed":7}"#, Some("system.internalError")),
        (r#"{"changed":true}"#, None),
    ] {
        fs::write(folder.path("answer"), answer).unwrap();
        assert_eq!(change(&mut here, OLD, NEW).await.code(), code, "{answer}");
    }
    elsewhere.event_where(CHANGE, |data| data["values"]["id"].is_null()).await.unwrap();
    assert_eq!(here.relogin(&key, None).await.unwrap().code(), None);
    let asked = fs::read_to_string(folder.path("asked")).unwrap();
    let question: Value = serde_json::from_str(asked.lines().next().unwrap()).unwrap();
    assert_eq!((&question["id"], &question["current"], &question["new"]), (&json!(3), &json!(OLD), &json!(NEW)));
    assert!(question["sid"].is_string() && question["remoteAddr"].is_string(), "{question}");
    service.stop().await;
}

/// Each instance has a users file of its own: a password would change at one of them only.
#[tokio::test]
async fn where_instances_share_sessions_a_users_file_offers_no_change() {
    let (kept, folder) = (tempfile::tempdir().unwrap(), with_jane());
    let nats = NatsServer::start(&["--jetstream", "--store_dir", kept.path().to_str().unwrap()]);
    let mut gateway = Gateway::connect(&nats.url()).await;
    let options = format!("--nats {} --store jetstream --secret-file secret {CHEAP}", nats.url());
    let service = folder.serve(&options).await;
    gateway.receives("system.reset").await;
    let login = gateway.auth("login", "c1", json!({"username": "jane", "password": OLD})).await;
    assert!(login["result"].is_object(), "{login}");
    let before = fs::read_to_string(folder.path("users.toml")).unwrap();
    let answer = gateway.auth("changePassword", "c1", json!({"current": OLD, "new": NEW})).await;
    assert_eq!(answer["error"]["code"], "session.passwordNotChangeable", "{answer}");
    assert_eq!(fs::read_to_string(folder.path("users.toml")).unwrap(), before);
    service.stop().await;
}
