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
    wire.cut();
    service.says("lost the connection to NATS").await;
    let ran = folder.run("status", "");
    assert_eq!(ran.failure(), (Some(1), String::new()));
    wire.mend();
    service.stop().await;
}
