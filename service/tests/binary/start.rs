//! Starting and stopping: output and exit codes.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use relogin_test_support::nats_server::{NatsServer, Wire};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::Folder;

#[tokio::test]
async fn the_ready_line_names_the_address_and_the_stop_is_clean() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        let service = folder.serve("--demo").await;
        assert!(service.address.starts_with("127.0.0.1:") && !service.address.ends_with(":0"), "{}", service.address);
        assert_eq!(service.get("/healthz").await, 200);
        service.signal(signal);
        assert_eq!(service.ended().await, Some(0));
    }
}

#[test]
fn standard_output_has_the_ready_line_alone() {
    let folder = Folder::new();
    let mut command = folder.command("serve --demo --listen 127.0.0.1:0 --log trace");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(line.starts_with("relogin: ready on http://127.0.0.1:"), "{line}");
    terminate(&mut child);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    assert_eq!(rest, "");
}

/// The audit trail ends when nobody is left to write to it, which may be before it is told to. That
/// is no failure.
#[tokio::test]
async fn a_stop_is_clean_whatever_ends_first() {
    let folder = Folder::new();
    for _ in 0..12 {
        folder.serve("--demo --store memory --audit audit --log warn").await.stop().await;
    }
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// The log asks for what the service cannot know.
#[tokio::test]
async fn listening_beyond_this_machine_asks_for_the_public_url() {
    for (options, is_asked) in [
        ("--listen 0.0.0.0:0", true),
        ("--listen 0.0.0.0:0 --public-url https://chat.example", false),
        ("--listen 127.0.0.1:0", false),
    ] {
        let folder = Folder::new();
        folder.serve(&format!("--demo --store memory {options}")).await.stop().await;
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert_eq!(log.contains("without --public-url"), is_asked, "{options} {log}");
    }
}

#[tokio::test]
async fn a_demo_that_others_can_reach_logs_a_warning() {
    let folder = Folder::new();
    for (address, is_warned) in [("127.0.0.1", false), ("[::1]", false), ("0.0.0.0", true)] {
        let service = folder.serve(&format!("--demo --store memory --listen {address}:0")).await;
        service.stop().await;
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert_eq!(log.contains("anybody can log in, because"), is_warned, "{address}: {log}");
    }
}

/// Neither log nor audit trail is read, and both have more to say than a pipe holds.
#[tokio::test]
async fn pipes_that_nobody_reads_hold_nobody_up() {
    let folder = Folder::new();
    let mut command = folder.command("serve --demo --store memory --listen 127.0.0.1:0 --audit - --log debug");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let address = line.trim().strip_prefix("relogin: ready on http://").unwrap();
    let mut res = relogin_tests::res::Res::connect(&format!("ws://{address}/")).await.unwrap();
    let mut key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    // 200 bytes of each in the trail and more in the log, a pipe holds 64 kB, and what waits is
    // 4,096 lines.
    for _ in 0..6_000 {
        key = res.relogin(&key, None).await.unwrap().payload().unwrap()["reloginKey"].take();
    }
    res.close().await.unwrap();
    terminate(&mut child);
}

pub(crate) fn terminate(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_secret_and_sessions_are_for_their_owner_alone() {
    let folder = Folder::new();
    folder.serve("--demo --data d").await.stop().await;
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("d"), mode("d/secret")), (0o700, 0o600));
    let secret = fs::read_to_string(folder.path("d/secret")).unwrap();
    folder.serve("--demo --data d").await.stop().await;
    assert_eq!(fs::read_to_string(folder.path("d/secret")).unwrap(), secret);
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(!log.contains(secret.trim()));

    // Without anything to store, nothing is written.
    let folder = Folder::new();
    folder.serve("--demo --store memory").await.stop().await;
    let names: Vec<_> = fs::read_dir(folder.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["log"]);
}

#[tokio::test]
async fn obstacles_at_the_start_are_reported_in_one_line() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(folder.path(name), text).unwrap();
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("short", "c2hvcnQ=\n", 0o600);
    write("open", &"A".repeat(43), 0o644);
    write("garbage", "hunter2!\n", 0o600);
    write("bad.toml", "refesh = \"1m\"\n", 0o600);
    write("users.bad", "[[user]]\nid = 1\n", 0o600);
    write("plain", "#!/bin/sh\n", 0o600);
    write("bad-user.toml", "[[user]]\nid = 1\nusername = \"\"\nname = \"\"\nrole = \"\"\npassword = \"x\"\n", 0o600);
    write("bad-value.toml", "# Ours\nname = 5\n", 0o600);
    let running = folder.serve("--demo --data used").await;

    let cases = [
        (format!("serve --listen {busy}"), format!("cannot listen on {busy}: another program has this port; ")),
        (
            "serve --listen 127.0.0.1:0 --demo --data used".to_owned(),
            "cannot use the data folder used: stop the other relogin, or choose another one with --data: ".to_owned(),
        ),
        (
            "serve --listen 127.0.0.1:0 --data short".to_owned(),
            "cannot create the data folder short; choose another one with --data: ".to_owned(),
        ),
        (
            "serve --listen 127.0.0.1:0 --secret-file short".to_owned(),
            "the secret in line 1 of short has 5 bytes and needs 32 or more; ".to_owned(),
        ),
        (
            "serve --listen 127.0.0.1:0 --secret-file open".to_owned(),
            "the secret file open has mode 644, too open for a secret; run: chmod 600 open".to_owned(),
        ),
        (
            "serve --listen 127.0.0.1:0 --secret-file garbage".to_owned(),
            "line 1 of the secret file garbage is neither base64 nor hexadecimal; ".to_owned(),
        ),
        (
            "serve --listen 127.0.0.1:0 --secret-file no/such".to_owned(),
            "cannot create the secret file no/such: No such file or directory".to_owned(),
        ),
        (
            "serve --users no.toml".to_owned(),
            "there is no users file no.toml; create it with `relogin user add`".to_owned(),
        ),
        ("serve --users users.bad".to_owned(), "users file users.bad: line 1: missing field `username`".to_owned()),
        ("serve --config no.toml".to_owned(), "cannot read the configuration file no.toml: No such file".to_owned()),
        ("serve --config bad.toml".to_owned(), "bad.toml, line 1: unknown field `refesh`, expected one of ".to_owned()),
        (
            "serve --refresh 2h --key-lifetime 1h".to_owned(),
            "--refresh is not shorter than the key lifetime of 1h; ".to_owned(),
        ),
        ("serve --name a.b".to_owned(), "--name \"a.b\" is not one part of a resource name; ".to_owned()),
        ("serve --gateway none".to_owned(), "--gateway needs --nats: ".to_owned()),
        (
            "serve --users exec:./none".to_owned(),
            "there is no users program ./none; name one with --users exec:PROGRAM, ".to_owned(),
        ),
        ("serve --users exec:no-such-program".to_owned(), "there is no users program no-such-program; ".to_owned()),
        (
            "serve --users exec:./plain".to_owned(),
            "the users program ./plain is not executable; run: chmod +x ./plain".to_owned(),
        ),
        ("serve --users exec:.".to_owned(), "there is no users program .; ".to_owned()),
        (
            "serve --users bad-user.toml".to_owned(),
            "users file bad-user.toml: line 6, password: the password of user \"\" cannot be used: ".to_owned(),
        ),
        ("serve --config bad-value.toml".to_owned(), "bad-value.toml, line 2: name: invalid type: integer ".to_owned()),
        ("serve --log inof".to_owned(), "--log \"inof\" is not a log filter, because \"inof\" is neither ".to_owned()),
        ("serve --verbose".to_owned(), "unexpected argument '--verbose' found; see `relogin serve --help`".to_owned()),
        (
            "serve --lisen x".to_owned(),
            "unexpected argument '--lisen' found; a similar argument exists: '--listen'; see `relogin serve --help`"
                .to_owned(),
        ),
    ];
    for (args, expected) in cases {
        let line = folder.run(&args, "").refused();
        assert!(line.starts_with(&format!("relogin: {expected}")), "{args}\n  says {line}\n  and not {expected}");
    }
    let line = folder.run_with("serve --demo", &[("RUST_LOG", "relogin=loud")], "").refused();
    assert!(line.starts_with("relogin: RUST_LOG \"relogin=loud\" is not a log filter"), "{line}");
    running.stop().await;
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let folder = Folder::new();
    fs::write(folder.path("relogin.toml"), "listen = \"file\"\nrefresh = \"file\"\n").unwrap();
    fs::write(folder.path("other.toml"), "listen = \"other\"\n").unwrap();
    let env = [("RELOGIN_LISTEN", "env")];
    let refused = |args: &str, env: &[(&str, &str)]| folder.run_with(args, env, "").refused();
    assert!(refused("serve --listen flag", &env).starts_with("relogin: --listen \"flag\" is not an address"));
    assert!(refused("serve", &env).starts_with("relogin: RELOGIN_LISTEN \"env\" is not an address"));
    assert!(refused("serve", &[]).starts_with("relogin: relogin.toml, line 1: listen \"file\" is not an address"));
    assert!(refused("serve", &[("RELOGIN_LISTEN", "")]).starts_with("relogin: relogin.toml, line 1: listen \"file\""));
    assert!(refused("serve --config other.toml", &[]).starts_with("relogin: other.toml, line 1: listen \"other\""));
    assert!(
        refused("serve", &[("RELOGIN_CONFIG", "other.toml")])
            .starts_with("relogin: other.toml, line 1: listen \"other\"")
    );
    assert!(
        refused("serve --listen 127.0.0.1:0", &[])
            .starts_with("relogin: relogin.toml, line 2: refresh \"file\" is not a duration")
    );
    fs::remove_file(folder.path("relogin.toml")).unwrap();
    let args = "serve --listen 127.0.0.1:0";
    for (name, value) in [
        ("NATS", "http://x"),
        ("GATEWAY", "x"),
        ("STORE", "x"),
        ("NAME", "a.b"),
        ("KEY_LIFETIME", "x"),
        ("SESSION_LIFETIME", "x"),
        ("REFRESH", "x"),
        ("ALLOW_ORIGIN", "x"),
        ("DEMO", "x"),
        ("LOG", "relogin=loud"),
    ] {
        let name = format!("RELOGIN_{name}");
        let line = refused(args, &[(&name, value)]);
        assert!(line.starts_with(&format!("relogin: {name} ")), "{name}: {line}");
    }
}

#[tokio::test]
async fn with_nats_alone_there_is_no_http() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let service = folder.serve(&format!("--demo --nats {}", nats.url())).await;
    assert_eq!(service.address, "", "relogin: ready on nats");
    service.stop().await;
    let service = folder.serve(&format!("--demo --nats {} --listen 127.0.0.1:0", nats.url())).await;
    assert_eq!(service.get("/healthz").await, 200);
    service.stop().await;
}

#[tokio::test]
async fn health_is_asked_for_by_the_program_itself() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let wire = Wire::to(&nats).await;
    let service = folder.serve(&format!("--demo --nats {} --listen 127.0.0.1:0", wire.url())).await;
    let ask = format!("health {}", service.address);
    assert_eq!(folder.run(&ask, "").success(), "");
    wire.cut();
    service.says("lost the connection to the message bus").await;
    let (code, said) = folder.run(&ask, "").failure();
    assert_eq!((code, said.as_str()), (Some(1), "relogin: the connection to NATS is lost\n"));
    service.kill().await;
    assert!(folder.run(&ask, "").refused().starts_with("relogin: nobody answers at 127.0.0.1:"));
    assert!(folder.run("health 8080", "").refused().contains("is not an address"));
}
