//! Missing NATS permissions are reported at the start, and when they are withdrawn later.

use std::fs;

use async_nats::ConnectOptions;
use relogin_test_support::nats_server::NatsServer;
use rustix::process::Signal;
use serde_json::json;

use crate::{nats_gateway::Gateway, program::Folder};

/// A server with two users: `service`, with these permissions, and `gateway`, which may do
/// everything.
struct Permitting {
    folder: Folder,
    server: NatsServer,
}

impl Permitting {
    fn start(permissions: &str) -> Self {
        let folder = Folder::new();
        write(&folder, permissions);
        let server = NatsServer::start(&["--config", folder.path("nats.conf").to_str().unwrap()]);
        Self { folder, server }
    }

    /// Changes the service's permissions.
    fn change(&self, permissions: &str) {
        write(&self.folder, permissions);
        self.server.signal(Signal::HUP);
    }

    fn url(&self) -> String {
        format!("nats://service:s3rvice@{}", self.server.address)
    }

    async fn gateway(&self) -> Gateway {
        let options = ConnectOptions::with_user_and_password("gateway".to_owned(), "gateway".to_owned());
        Gateway::connect_with(options, &self.server.url()).await
    }
}

fn write(folder: &Folder, permissions: &str) {
    let config = format!(
        r#"authorization {{ users = [
            {{ user: service, password: s3rvice, permissions: {{ {permissions} }} }}
            {{ user: gateway, password: gateway }}
        ] }}"#
    );
    fs::write(folder.path("nats.conf"), config).unwrap();
}

const ALL: &str = r#"publish: ">", subscribe: ">""#;

#[tokio::test]
async fn missing_nats_permissions_are_reported_at_the_start() {
    let folder = Folder::new();
    for (permissions, options, expected) in [
        (r#"publish: ">", subscribe: { deny: "auth.session.>" }"#, "", r#"subscribe to "auth.session.>""#),
        (r#"publish: ">", subscribe: { deny: "access.session" }"#, "", r#"subscribe to "access.session""#),
        (
            r#"publish: ">", subscribe: { allow: ["_INBOX.>", "auth.>", "get.>", "access.>"] }"#,
            "",
            "subscribe to \"call.session.>\"",
        ),
        (r#"publish: { deny: "conn.>" }"#, "", r#"publish to "conn.*.token""#),
        (
            r#"publish: { deny: "event.session.>" }"#,
            "",
            r#"publish to "event.session.user.*.change" and publish to "event.session.user.*.rotated""#,
        ),
        (r#"publish: { deny: "system.>" }"#, "", r#"publish to "system.tokenReset""#),
        (r#"publish: { deny: "system.reset" }"#, "", r#"publish to "system.reset""#),
        (r#"publish: { deny: "system.tokenReset" }"#, "", r#"publish to "system.tokenReset""#),
        (r#"subscribe: { deny: "my.users.changed" }"#, "--users nats:my.users", r#"subscribe to "my.users.changed""#),
        (
            r#"subscribe: { deny: "conn.*.token" }"#,
            "--gateway embedded --listen 127.0.0.1:0",
            r#"subscribe to "conn.*.token""#,
        ),
        (
            r#"subscribe: { deny: "relogin.session.control" }"#,
            "--control-nats",
            r#"subscribe to "relogin.session.control""#,
        ),
        (
            r#"subscribe: { deny: "relogin.session.control.each" }"#,
            "--control-nats",
            r#"subscribe to "relogin.session.control.each""#,
        ),
    ] {
        let nats = Permitting::start(permissions);
        let demo = if options.contains("--users") { "" } else { "--demo" };
        let args = format!("serve --store memory --nats {} {demo} {options}", nats.url());
        let line = folder.run(args.split_whitespace().collect::<Vec<_>>().join(" ").as_str(), "").refused();
        let expected = format!(
            "relogin: the NATS server at {} does not permit this user to {expected}; add it to the user's permissions",
            nats.server.url()
        );
        assert_eq!(line, expected, "{permissions}");
    }
    // Not even those that every request needs.
    for permissions in [r#"subscribe: { deny: "_INBOX.>" }"#, r#"publish: { deny: "_INBOX.>" }"#] {
        let nats = Permitting::start(permissions);
        let line = folder.run(&format!("serve --demo --store memory --nats {}", nats.url()), "").refused();
        assert!(line.contains(r#"let this user subscribe and publish to "_INBOX.>""#), "{line}");
    }
}

#[tokio::test]
async fn with_the_documented_permissions_it_starts_and_works() {
    let nats = Permitting::start(
        r#"publish: ["conn.*.token", "event.session.>", "system.reset", "system.tokenReset", "_INBOX.>", "relogin.session.instance", "event.ticker.>"],
           subscribe: ["auth.session.>", "access.session", "access.session.>", "get.session.>", "call.session.>", "_INBOX.>", "relogin.session.instance", "access.ticker.>", "get.ticker.>"]"#,
    );
    let gateway = nats.gateway().await;
    let folder = Folder::new();
    let service = folder.serve(&format!("--demo --store memory --log warn --nats {}", nats.url())).await;
    let answer = gateway.auth("login", "c1", json!({"username": "jane", "password": "jane"})).await;
    assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
    service.stop().await;
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_withdrawn_nats_permission_is_reported_until_it_is_back() {
    let nats = Permitting::start(ALL);
    let gateway = nats.gateway().await;
    let folder = Folder::new();
    let service = folder.serve(&format!("--demo --store memory --listen 127.0.0.1:0 --nats {}", nats.url())).await;
    let jane = json!({"username": "jane", "password": "jane"});
    let key = gateway.auth("login", "c1", jane.clone()).await["result"]["reloginKey"].take();
    assert_eq!(service.get("/healthz").await, 200);

    // A subscription shows at once, a subject that is published to when it is used next.
    nats.change(r#"publish: ">", subscribe: { deny: "auth.session.>" }"#);
    service.says(r#"NATS no longer permits this user to subscribe to "auth.session.>""#).await;
    assert_eq!(service.get("/healthz").await, 503);
    nats.change(ALL);
    service.says("NATS permits again what it had refused").await;
    assert_eq!(service.get("/healthz").await, 200);
    let key = gateway.auth("relogin", "c1", json!({"reloginKey": key})).await["result"]["reloginKey"].take();
    assert!(key.is_string());

    nats.change(r#"publish: { deny: "conn.>" }"#);
    // It may be asked before the server has read its configuration again.
    let mut n = 0;
    while service.get("/healthz").await == 200 {
        n += 1;
        gateway.auth("login", &format!("d{n}"), jane.clone()).await;
    }
    service.says(r#"NATS no longer permits this user to publish to "conn.*.token""#).await;
    assert_eq!(service.get("/healthz").await, 503);
    nats.change(ALL);
    while service.get("/healthz").await != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let answer = gateway.auth("relogin", "c2", json!({"reloginKey": key})).await;
    assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
    service.stop().await;
}

/// Other instances are then not noticed, and everything else works.
#[tokio::test]
async fn without_permission_for_the_instance_subject_it_starts_with_a_warning() {
    let nats = Permitting::start(r#"publish: { deny: "relogin.>" }, subscribe: { deny: "relogin.>" }"#);
    let folder = Folder::new();
    let service = folder.serve(&format!("--demo --store memory --nats {}", nats.url())).await;
    service.says("another instance of the same name would not be noticed").await;
    service.stop().await;
}

/// Thousands of names then have a subscription each, and everything works.
#[tokio::test]
async fn a_gateway_that_may_not_listen_to_all_events_starts_with_a_warning() {
    let subscribe = r#"["auth.session.>", "access.session", "access.session.>", "get.session.>", "call.session.>",
        "_INBOX.>", "relogin.session.instance", "access.ticker.>", "get.ticker.>", "conn.*.token", "system.*""#;
    let warning = r#"subscribe to "event.>": each name that clients subscribe to takes 8 KiB of memory more"#;
    for (events, warns) in [(r#""event.>""#, false), (r#""event.session.>", "event.ticker.>""#, true)] {
        let nats = Permitting::start(&format!(r#"publish: ">", subscribe: {subscribe}, {events}]"#));
        let folder = Folder::new();
        let options =
            format!("--demo --store memory --listen 127.0.0.1:0 --gateway embedded --log warn --nats {}", nats.url());
        let service = folder.serve(&options).await;
        if warns {
            service.says(warning).await;
        }
        assert_eq!(service.get("/healthz").await, 200);
        service.stop().await;
        let log = fs::read_to_string(folder.path("log")).unwrap();
        assert_eq!(log.contains("WARN"), warns, "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
}

/// An instance with other options would not be noticed.
#[tokio::test]
async fn instances_that_could_not_find_each_other_do_not_share_sessions() {
    let permitting = Permitting::start(r#"publish: ">", subscribe: { deny: "relogin.session.instance" }"#);
    let options = format!("serve --demo --nats {} --store jetstream --secret-file secret", permitting.url());
    let line = permitting.folder.run(&options, "").refused();
    assert!(line.contains("by which instances with the same sessions find each other"), "{line}");
}

/// The service listens to the subject, and need not be permitted to publish there.
#[tokio::test]
async fn operators_must_be_permitted_to_ask_on_nats() {
    let (nats, folder) = (Permitting::start(r#"publish: { deny: "relogin.*.control" }"#), Folder::new());
    let service = folder.serve(&format!("--demo --store memory --control-nats --nats {}", nats.url())).await;
    let line = folder.run(&format!("session list --nats {}", nats.url()), "").refused();
    assert!(line.contains(r#"does not permit this user to publish to "relogin.session.control""#), "{line}");
    service.stop().await;
}
