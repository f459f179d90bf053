//! Operators ask a running service on its control socket.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use relogin_test_support::nats_server::{NatsServer, Wire};
use relogin_tests::res::Res;
use serde_json::{Value, json};

use crate::{nats_gateway::DEADLINE, program::Folder};

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn status(folder: &Folder) -> Value {
    serde_json::from_str(&folder.run("status --json", "").success()).unwrap()
}

/// Sends bytes to the socket, and returns the line that comes back.
fn send(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn status_says_how_the_service_is() {
    let folder = Folder::new();
    let socket = folder.path("relogin-data/control.sock");
    let service = folder.serve("--demo --name login").await;
    let mode = fs::symlink_metadata(&socket).unwrap().permissions().mode();
    assert!(is_socket(&socket) && mode & 0o7777 == 0o600, "{mode:o}");

    let mut client = service.connect().await;
    let jane = json!({"username": "jane", "password": "jane"});
    client.request("auth.login.login", Some(jane)).await.unwrap().payload().unwrap();
    let mut answer = status(&folder);
    assert!(answer["started"].take().as_u64() > Some(1_700_000_000_000) && answer["uptime"].take().is_u64());
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "name": "login",
        "ready": true,
        "problem": null,
        "started": null,
        "uptime": null,
        "store": "sled",
        "sessions": 1,
        "connections": 1,
        "bus": {"kind": "local", "connected": true},
        "instances": null,
    });
    assert_eq!(answer, expected);
    let shown = folder.run("status", "").success();
    for line in ["name        login\n", "ready       yes\n", "sessions    1\n", "connections 1\n"] {
        assert!(shown.contains(line), "{shown}");
    }

    // From elsewhere, with the same data folder, or with its socket.
    let elsewhere = Folder::new();
    for option in
        [format!("--data {}", socket.parent().unwrap().display()), format!("--control-socket {}", socket.display())]
    {
        assert!(elsewhere.run(&format!("status {option}"), "").success().contains("login"));
    }
    service.stop().await;
    assert!(!socket.exists());
    let line = folder.run("status", "").refused();
    assert!(line.starts_with("relogin: no service listens on the control socket relogin-data/control.sock"), "{line}");
}

#[tokio::test]
async fn the_socket_of_a_killed_service_is_replaced_and_that_of_a_live_one_is_not() {
    let (folder, other) = (Folder::new(), Folder::new());
    let socket = folder.path("relogin-data/control.sock");
    let service = folder.serve("--demo").await;
    service.kill().await;
    assert!(is_socket(&socket), "nobody has removed it");
    assert!(folder.run("status", "").refused().contains("no service listens"));

    let service = folder.serve("--demo").await;
    assert_eq!(status(&folder)["ready"], true);
    let taken = format!("serve --demo --listen 127.0.0.1:0 --control-socket {}", socket.display());
    let (code, line) = other.run(&taken, "").failure();
    assert!(code == Some(2) && line.contains("another process listens on the control socket"), "{line}");
    assert_eq!(status(&folder)["ready"], true);

    // What another process has put there is not removed.
    fs::remove_file(&socket).unwrap();
    let _squatter = UnixListener::bind(&socket).unwrap();
    service.stop().await;
    assert!(is_socket(&socket));

    // Neither is a file that somebody needs.
    let file = other.path("notes");
    fs::write(&file, "notes").unwrap();
    let taken = format!("serve --demo --listen 127.0.0.1:0 --control-socket {}", file.display());
    let (code, line) = other.run(&taken, "").failure();
    assert!(code == Some(2) && line.contains("notes is there and no socket"), "{line}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "notes");
}

#[tokio::test]
async fn a_service_has_no_socket_where_none_is_wanted_or_none_can_be() {
    let folder = Folder::new();
    let service = folder.serve("--demo --control-socket off").await;
    assert!(!folder.path("relogin-data/control.sock").exists());
    assert!(folder.run("status --control-socket off", "").refused().contains("--control-socket is off"));
    service.stop().await;
    // Nothing is written for a service that keeps nothing.
    let service = folder.serve("--demo --store memory --data memory").await;
    assert!(!folder.path("memory").exists());
    service.stop().await;
    // Longer than the path of a socket may be.
    let long = "l".repeat(120);
    let service = folder.serve(&format!("--demo --data {long}")).await;
    service.says("operators cannot ask this service: cannot listen on the control socket").await;
    service.stop().await;
}

#[tokio::test]
async fn requests_are_bounded_in_size_and_time() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let socket = folder.path("relogin-data/control.sock");
    let status = r#"{"command":"status"}"#;
    let answer = |bytes: &[u8]| serde_json::from_str::<Value>(&send(&socket, bytes)).unwrap();
    // As long as it may be, with and without its line break.
    let longest = format!("{status:4096}");
    for request in [format!("{longest}\n"), format!("{status}\n")] {
        assert_eq!(answer(request.as_bytes())["status"]["ready"], true);
    }
    for (request, code) in [
        (format!("{longest} \n"), "tooLong"),
        (" ".repeat(100_000), "tooLong"),
        ("{\"command\":\"stop\"}\n".to_owned(), "invalidRequest"),
        ("[]\n".to_owned(), "invalidRequest"),
        ("\n".to_owned(), "invalidRequest"),
    ] {
        assert_eq!(answer(request.as_bytes())["error"]["code"], code);
    }
    // Those who say nothing, or not all, take the places of others for a while only.
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    (&silent[0]).write_all(b"{").unwrap();
    assert_eq!(answer(format!("{status}\n").as_bytes())["status"]["ready"], true);
    drop(silent);
    service.stop().await;
}

#[tokio::test]
async fn a_service_that_cannot_answer_clients_says_why() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let wire = Wire::to(&nats).await;
    let service = folder.serve(&format!("--demo --nats {}", wire.url())).await;
    assert_eq!(status(&folder)["bus"], json!({"kind": "nats", "connected": true}));
    // On NATS nobody is answered who was not meant to be.
    let line = folder.run(&format!("status --nats {}", nats.url()), "").refused();
    assert_eq!(line, "relogin: no service named \"session\" answers operators on this NATS; it needs --control-nats");
    wire.cut();
    service.says("lost the connection to NATS").await;
    let ran = folder.run("status", "");
    assert_eq!(ran.failure(), (Some(1), String::new()));
    wire.mend();
    service.stop().await;
}

/// The output of a run, as JSON.
fn json_of(folder: &Folder, args: &str) -> Value {
    serde_json::from_str(&folder.run(args, "").success()).unwrap()
}

async fn user_on(client: &mut Res) -> Value {
    let answer = client.request("get.session.user.{cid}", None).await.unwrap();
    answer.ok().unwrap()["models"]["session.user.{cid}"]["id"].take()
}

fn ids(sessions: &Value) -> Vec<&str> {
    sessions.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn sessions_are_listed_shown_and_ended() {
    let folder = Folder::new();
    let service = folder.serve("--demo --audit audit").await;
    assert_eq!(json_of(&folder, "session list --json"), json!([]));
    let mut clients = Vec::new();
    for user in ["jane", "jane", "jane", "admin"] {
        let mut client = service.connect().await;
        client.log_in(user, user).await.unwrap();
        clients.push(client);
    }
    let sessions = json_of(&folder, "session list --json");
    let (mut first, found) = (sessions[0].clone(), ids(&sessions));
    assert_eq!(found.len(), 4);
    for time in ["created", "lastSeen", "expires"] {
        assert!(first[time].take().as_u64() > Some(1_700_000_000_000), "{time}");
    }
    let expected = json!({
        "id": found[0], "userId": 3, "username": "jane", "name": null, "label": null, "browser": null,
        "system": null, "address": "127.0.0.1", "created": null, "lastSeen": null, "expires": null,
        "connections": 1, "bound": false,
    });
    assert_eq!(first, expected);
    // By name and by id.
    for user in ["admin", "ADMIN", "1"] {
        let of_one = json_of(&folder, &format!("session list --json --user {user}"));
        assert_eq!(ids(&of_one), [found[3]], "{user}");
    }
    let table = folder.run("session list", "").success();
    assert!(table.starts_with("ID ") && table.lines().count() == 5 && table.contains("  3     jane   "), "{table}");

    let details = json_of(&folder, &format!("session show {} --json", found[0]));
    assert_eq!(
        details["session"],
        sessions[0]
            .as_object()
            .map(|it| {
                let mut session = it.clone();
                session["name"] = json!("Jane Doe");
                Value::Object(session)
            })
            .unwrap()
    );
    assert_eq!(
        (&details["role"], &details["generation"], &details["boundToCookie"]),
        (&json!("user"), &json!(1), &json!(false))
    );
    assert_eq!(details["connections"].as_array().unwrap().len(), 1);
    let shown = folder.run(&format!("session show {}", found[0]), "").success();
    assert!(shown.contains("name        Jane Doe\n") && shown.contains("bound       no\n"), "{shown}");

    // One that is there, and one that is not, and what has ended already.
    let none = "AAAAAAAAAAAAAAAAAAAAAA";
    let (code, problem) = folder.run(&format!("session revoke {} {none}", found[0]), "").failure();
    assert_eq!((code, problem), (Some(1), format!("relogin: there is no session {none}\n")));
    assert_eq!(user_on(&mut clients[0]).await, Value::Null);
    assert_eq!(user_on(&mut clients[1]).await, 3);
    for again in ["show", "revoke"] {
        let (code, problem) = folder.run(&format!("session {again} {}", found[0]), "").failure();
        assert_eq!((code, problem), (Some(1), format!("relogin: there is no session {}\n", found[0])));
    }
    assert_eq!(folder.run("session revoke --user jane", "").success(), "revoked 2 sessions of jane\n");
    assert_eq!(folder.run("session revoke --user jane", "").success(), "revoked 0 sessions of jane\n");
    for client in &mut clients[1..3] {
        assert_eq!(user_on(client).await, Value::Null);
    }
    for command in ["list", "revoke"] {
        let (code, problem) = folder.run(&format!("session {command} --user jnae"), "").failure();
        assert_eq!((code, problem.as_str()), (Some(1), "relogin: there is no user \"jnae\", and no session of one\n"));
    }
    assert_eq!(ids(&json_of(&folder, "session list --json")), [found[3]]);
    assert_eq!(user_on(&mut clients[3]).await, 1);
    service.stop().await;
    let audit = fs::read_to_string(folder.path("audit")).unwrap();
    let revoked = audit.lines().filter(|line| line.contains("\"event\":\"revoked_by_operator\""));
    assert_eq!(revoked.count(), 3, "{audit}");
}

/// More than one page has.
#[tokio::test]
async fn a_long_list_is_complete() {
    let folder = Folder::new();
    let service = folder.serve("--demo --sessions-per-user 1000").await;
    let mut clients = Vec::new();
    for _ in 0..120 {
        let mut client = service.connect().await;
        client.log_in("john", "john").await.unwrap();
        clients.push(client);
    }
    for user in ["", " --user john"] {
        let sessions = json_of(&folder, &format!("session list --json{user}"));
        let unique: std::collections::HashSet<_> = ids(&sessions).into_iter().collect();
        assert_eq!((sessions.as_array().unwrap().len(), unique.len()), (120, 120));
        let ends: Vec<_> = sessions.as_array().unwrap().iter().map(|session| session["expires"].as_u64()).collect();
        assert!(ends.is_sorted());
    }
    assert_eq!(folder.run("session list", "").success().lines().count(), 121);
    let socket = folder.path("relogin-data/control.sock");
    let page = serde_json::from_str::<Value>(&send(&socket, b"{\"command\":\"sessions\"}\n")).unwrap();
    assert_eq!(page["sessions"]["sessions"].as_array().unwrap().len(), 100);
    assert_eq!(folder.run("session revoke --user john", "").success(), "revoked 120 sessions of john\n");
    service.stop().await;
}
