//! SIGHUP: users, secrets and issuers are read again, and nothing ends.

use std::{fs, process::Stdio};

use relogin_tests::res::Res;
use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;

use crate::program::{Folder, Service};

const ISSUERS: &str = "[[issuer]]\nname = \"sso\"\nissuer = \"https://a\"\naudience = \"b\"\nalgorithms = [\"HS256\"]\nkeys = \"sso\"\n\
     authorization = true\n";

fn password_of(name: &str) -> String {
    format!("{name} horse battery")
}

fn add(folder: &Folder, name: &str) {
    folder.run(&format!("user add {name} --password-stdin --password-cost m=8,t=1,p=1"), &password_of(name)).success();
}

/// Has the files read again, and waits for the result in the log.
async fn reload(service: &Service, says: &str) {
    service.signal(Signal::HUP);
    service.says(says).await;
}

async fn relogin(res: &mut Res, key: &mut Value) {
    *key = res.relogin(key, None).await.unwrap().payload().unwrap()["reloginKey"].take();
}

#[tokio::test]
async fn a_hangup_reads_users_secrets_and_issuers_again() {
    let folder = Folder::new();
    add(&folder, "jane");
    fs::write(folder.path("issuers.toml"), ISSUERS).unwrap();
    fs::write(folder.path("sso"), "a".repeat(64)).unwrap();
    folder.run("user list", "").success();
    rustix::fs::chmod(folder.path("sso"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let service = folder.serve("--password-cost m=8,t=1,p=1 --jwt-issuers issuers.toml").await;
    let (mut jane, mut old) = (service.connect().await, service.connect().await);
    let mut key = jane.log_in("jane", &password_of("jane")).await.unwrap()["reloginKey"].take();
    let old_key = old.log_in("jane", &password_of("jane")).await.unwrap()["reloginKey"].take();

    // Another user, a new secret on top, another issuer: at once, and no key is refused.
    let secret = folder.path("relogin-data/secret");
    let before = fs::read_to_string(&secret).unwrap();
    fs::write(&secret, format!("{}\n{before}", "b".repeat(64))).unwrap();
    fs::write(
        folder.path("issuers.toml"),
        format!("{ISSUERS}\n{}", ISSUERS.replace("\"sso\"\nissuer", "\"two\"\nissuer")),
    )
    .unwrap();
    add(&folder, "john");
    reload(&service, "reloaded: 2 users, 2 secrets, 2 issuers").await;
    service.connect().await.log_in("john", &password_of("john")).await.unwrap();
    relogin(&mut jane, &mut key).await;
    relogin(&mut jane, &mut key).await;

    // The old secret is removed: keys by the new one stay valid.
    fs::write(&secret, "b".repeat(64)).unwrap();
    reload(&service, "reloaded: 2 users, 1 secret, 2 issuers").await;
    relogin(&mut jane, &mut key).await;
    let refused = service.connect().await.relogin(&old_key, None).await.unwrap();
    assert_eq!(refused.code(), Some("session.invalidReloginKey"));
    service.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_all_as_it_was_and_the_log_says_why() {
    let folder = Folder::new();
    add(&folder, "jane");
    fs::write(folder.path("issuers.toml"), ISSUERS).unwrap();
    fs::write(folder.path("sso"), "a".repeat(64)).unwrap();
    rustix::fs::chmod(folder.path("sso"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let service = folder.serve("--password-cost m=8,t=1,p=1 --jwt-issuers issuers.toml").await;
    let mut jane = service.connect().await;
    let mut key = jane.log_in("jane", &password_of("jane")).await.unwrap()["reloginKey"].take();
    for (text, reason) in [
        ("c".repeat(64), "has none of the secrets in use: all keys would be refused"),
        ("hunter2!".to_owned(), "line 1 of the secret file"),
    ] {
        fs::write(folder.path("relogin-data/secret"), text).unwrap();
        reload(&service, reason).await;
        relogin(&mut jane, &mut key).await;
    }
    fs::remove_file(folder.path("relogin-data/secret")).unwrap();
    fs::write(folder.path("users.toml"), "[[user]\n").unwrap();
    fs::write(folder.path("issuers.toml"), "[[issuer]]\nname = 5\n").unwrap();
    reload(&service, "reloaded: nothing; the users are unchanged: users file users.toml: line 1").await;
    service.says("the secrets are unchanged: cannot read the secret file").await;
    service.says("the issuers are unchanged: issuers.toml: invalid type").await;
    relogin(&mut jane, &mut key).await;
    service.connect().await.log_in("jane", &password_of("jane")).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_closed_terminal_stops_the_service_cleanly() {
    let folder = Folder::new();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let input = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let service = folder.serve_under(&["setsid", "--ctty"], "--demo", input.into()).await;
    reload(&service, "reloaded: 1 secret").await;
    drop(terminal);
    service.says("stopped").await;
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn under_nohup_hangups_are_ignored() {
    let folder = Folder::new();
    let service = folder.serve_under(&["nohup"], "--demo", Stdio::null()).await;
    service.signal(Signal::HUP);
    service.connect().await.log_in("jane", "jane").await.unwrap();
    service.stop().await;
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(!log.contains("reloaded"), "{log}");
}
