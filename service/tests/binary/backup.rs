//! Backups of a running service, and what becomes of them.

use std::{
    cell::Cell,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use relogin_test_support::nats_server::NatsServer;
use serde_json::{Value, json};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    nats_gateway::Gateway,
    program::{Folder, Service},
    rollback::Browser,
};

/// The folder of a machine that has nothing but the secret of another one.
fn with_secret_of(of: &Folder) -> Folder {
    let folder = Folder::new();
    let data = folder.path("relogin-data");
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    fs::copy(of.path("relogin-data/secret"), data.join("secret")).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_what_was_answered_before_it() {
    const BROWSERS: usize = 4;
    let nats = NatsServer::start(&[]);
    let options = format!("--demo --nats {}", nats.url());
    let folder = Folder::new();
    let service = folder.serve(&options).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &nats.url()).await;
    let [mut bound, mut bearer, mut unused, mut ended] = [const { Vec::new() }; 4];
    for n in 0..BROWSERS {
        bound.push(Browser::login(&gateway, format!("bound{n}"), true).await);
        bearer.push(Browser::login(&gateway, format!("bearer{n}"), false).await);
        unused.push(Browser::login(&gateway, format!("unused{n}"), n % 2 == 0).await);
        ended.push(Browser::login(&gateway, format!("ended{n}"), false).await);
    }
    for browser in bound.iter_mut().chain(&mut bearer).chain(&mut unused) {
        browser.goes_on().await;
    }

    let ((answers, mut count), is_over) = (watch::channel(0), Cell::new(false));
    let busy = async {
        let mut browser = Browser::login(&gateway, "busy".to_owned(), true).await;
        for n in 0.. {
            browser.goes_on().await;
            if n % 8 == 0 {
                Browser::login(&gateway, format!("new{n}"), false).await;
            }
            answers.send_replace(n);
            if is_over.get() {
                return;
            }
        }
    };
    let backing_up = async {
        loop {
            let before = *count.wait_for(|answers| *answers > 3).await.unwrap();
            let mut command = folder.command("backup backup");
            let done = spawn_blocking(move || command.output()).await.unwrap().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            // Requests were answered while it was made.
            if *count.borrow() > before {
                break;
            }
        }
        is_over.set(true);
    };
    tokio::join!(busy, backing_up);
    assert_eq!(fs::metadata(folder.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);

    // What is answered from here on is not in it.
    for browser in bound.iter_mut().chain(&mut bearer) {
        browser.goes_on().await;
    }
    for browser in &ended {
        browser.logs_out().await;
    }
    let mut lost = Vec::new();
    for n in 0..BROWSERS {
        lost.push(Browser::login(&gateway, format!("lost{n}"), n % 2 == 0).await);
    }
    service.stop().await;

    let restored = with_secret_of(&folder);
    let said = restored.run(&format!("restore {}", folder.path("backup").display()), "").success();
    assert!(said.contains("are restored and compared"), "{said}");
    let service = restored.serve(&options).await;
    // A proven device goes on, whatever it has used since; and so do keys that nobody has used.
    for browser in bound.iter_mut().chain(&mut unused) {
        browser.goes_on().await;
        browser.goes_on().await;
    }
    // Of a bearer session nobody knows who has used its keys since.
    for browser in bearer.iter_mut().chain(&mut lost) {
        browser.is_over().await;
    }
    // A logout since then is undone, as docs/operations.md says.
    for browser in &mut ended {
        browser.goes_on().await;
    }
    // The bearers' lines are the last, and may come after the answers.
    service.says_times("outcome=store_rolled_back", BROWSERS).await;
    let said = service.said();
    assert_eq!(said.matches("outcome=recovered").count(), BROWSERS, "{said}");
    assert_eq!(said.matches("outcome=store_rolled_back").count(), BROWSERS, "{said}");
    service.stop().await;
}

#[tokio::test]
async fn a_bucket_is_backed_up_while_it_is_used_and_restored_into_a_bucket_or_a_data_folder() {
    let jetstream = tempfile::tempdir().unwrap();
    let nats = NatsServer::with_jetstream(jetstream.path(), "-1");
    let (folder, url) = (Folder::new(), nats.url());
    let options = |store: &str| format!("--demo --nats {url} --secret-file secret {store}");
    let service = folder.serve(&options("--store jetstream")).await;
    let gateway = Gateway::receiving("system.reset", async_nats::ConnectOptions::new(), &url).await;
    let mut browsers = Vec::new();
    for n in 0..4 {
        browsers.push(Browser::login(&gateway, format!("c{n}"), n % 2 == 0).await);
    }
    let bucket = format!("jetstream:relogin-session --nats {url}");
    let said = folder.run(&format!("backup backup --from {bucket}"), "").success();
    assert!(said.contains("sessions: 4;"), "{said}");
    let refused = folder.run(&format!("restore backup --to {bucket}"), "").refused();
    assert!(refused.contains("stop all instances"), "{refused}");
    service.stop().await;

    let context = async_nats::jetstream::new(gateway.client.clone());
    context.delete_key_value("relogin-session").await.unwrap();
    folder.run(&format!("restore backup --to {bucket}"), "").success();
    let service = folder.serve(&options("--store jetstream")).await;
    for browser in &mut browsers {
        browser.goes_on().await;
    }
    service.stop().await;

    folder.run(&format!("backup backup --from {bucket}"), "").success();
    folder.run("restore backup --secret-file secret", "").success();
    let service = folder.serve(&options("--store sled")).await;
    for browser in &mut browsers {
        browser.goes_on().await;
    }
    service.stop().await;
}

/// A session of the demo.
async fn login(service: &Service) -> Value {
    let jane = json!({"username": "jane", "password": "jane"});
    let mut client = service.connect().await;
    client.request("auth.session.login", Some(jane)).await.unwrap().payload().unwrap()["reloginKey"].clone()
}

async fn resume(service: &Service, key: &Value) {
    let mut client = service.connect().await;
    let answer = client.request("auth.session.relogin", Some(json!({"reloginKey": key}))).await.unwrap();
    assert!(answer.payload().unwrap()["reloginKey"].is_string());
}

#[tokio::test]
async fn a_restore_checks_the_backup_the_secret_and_what_is_there() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let key = login(&service).await;
    let said = folder.run("backup backup", "").success();
    assert!(said.contains("sessions: 1;") && said.contains("without the secret"), "{said}");
    let backup = folder.path("backup");
    let restore = format!("restore {}", backup.display());

    // What is not whole is refused before anything is made.
    let whole = fs::read(&backup).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (content, expected) in [(&whole[..whole.len() - 20], "its end is missing"), (&flipped, "it is damaged in line")]
    {
        let other = with_secret_of(&folder);
        fs::write(other.path("bad"), content).unwrap();
        let refused = other.run("restore bad", "").refused();
        assert!(refused.contains("cannot use the backup bad") && refused.contains(expected), "{refused}");
        assert_eq!(names(&other.path("relogin-data")), ["secret"]);
    }

    // What is there is not overwritten, least of all under a service.
    let refused = folder.run(&restore, "").refused();
    assert!(refused.contains("relogin-data/sessions already") && refused.contains("--replace"), "{refused}");
    let refused = folder.run(&format!("{restore} --replace"), "").refused();
    assert!(refused.contains("a service uses the data folder"), "{refused}");
    let made = |name: &String| name.starts_with("replaced-") || name.starts_with("sessions.");
    assert!(!names(&folder.path("relogin-data")).iter().any(made));
    resume(&service, &key).await;
    service.stop().await;

    // Without the secret of then, the sessions are of no use.
    let other = Folder::new();
    let refused = other.run(&restore, "").refused();
    assert!(refused.contains("there is no secret in relogin-data/secret"), "{refused}");
    let other = with_secret_of(&folder);
    fs::write(other.path("relogin-data/secret"), "ab".repeat(32)).unwrap();
    let refused = other.run(&restore, "").refused();
    assert!(refused.contains("is another one than when the backup was made"), "{refused}");
    other.run(&format!("{restore} --without-secret"), "").success();

    // A service that does not run; and what was there is kept.
    folder.run("backup stopped", "").success();
    let said = folder.run(&format!("{restore} --replace"), "").success();
    assert!(said.contains("relogin-data/replaced-"), "{said}");
    let aside = names(&folder.path("relogin-data")).into_iter().find(|name| name.starts_with("replaced-")).unwrap();
    assert!(folder.path("relogin-data").join(aside).join("sessions/journal").is_dir());
    let service = folder.serve("--demo").await;
    // The key of then: it was used since, and that is forgotten.
    resume(&service, &key).await;
    service.stop().await;
}

#[tokio::test]
async fn a_secret_in_a_backup_is_encrypted_and_restored_with_its_passphrase() {
    let (folder, other) = (Folder::new(), Folder::new());
    let service = folder.serve("--demo").await;
    let key = login(&service).await;
    let secret = fs::read_to_string(folder.path("relogin-data/secret")).unwrap();
    for (name, text) in [("passphrase", "correct horse battery"), ("wrong", "another horse battery")] {
        fs::write(folder.path(name), text).unwrap();
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let said = folder.run("backup backup --secret-passphrase passphrase", "").success();
    assert!(said.contains("with the secret, encrypted"), "{said}");
    assert!(!fs::read_to_string(folder.path("backup")).unwrap().contains(secret.trim()));
    service.kill().await;

    let restore = |passphrase: &str| {
        let (backup, passphrase) = (folder.path("backup"), folder.path(passphrase));
        format!("restore {} --secret-passphrase {}", backup.display(), passphrase.display())
    };
    let refused = other.run(&restore("wrong"), "").refused();
    assert!(refused.contains("the passphrase does not open the secret"), "{refused}");
    other.run(&restore("passphrase"), "").success();
    assert_eq!(fs::read_to_string(other.path("relogin-data/secret")).unwrap(), secret);
    let service = other.serve("--demo").await;
    resume(&service, &key).await;
    service.stop().await;
}

#[tokio::test]
async fn a_full_disk_leaves_the_former_backup_and_no_half_one() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    for _ in 0..8 {
        login(&service).await;
    }
    fs::write(folder.path("backup"), "the former one").unwrap();
    let before = names(&folder.path("."));
    // Files may have 1 KiB at most, and a program is not ended by more, but told.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" backup \"$1\"";
    for name in ["backup", "new"] {
        let output = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_relogin"), name])
            .current_dir(folder.path("."))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains("File too large"), "{said}");
    }
    assert_eq!(names(&folder.path(".")), before);
    assert_eq!(fs::read_to_string(folder.path("backup")).unwrap(), "the former one");
    assert!(folder.run("backup backup", "").success().contains("sessions: 8;"));
    service.stop().await;
}

#[tokio::test]
async fn a_data_folder_of_a_later_version_is_refused_by_name_and_an_older_one_upgraded() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let key = login(&service).await;
    service.stop().await;
    let marker: PathBuf = folder.path("relogin-data/sessions/format");
    let own = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, "relogin-sessions 99 9.9.9\n").unwrap();
    for args in ["serve --demo --listen 127.0.0.1:0", "store check", "store repair", "backup backup"] {
        let refused = folder.run(args, "").refused();
        let names_both = refused.contains("has format 99, of relogin 9.9.9")
            && refused.contains(concat!("this is relogin ", env!("CARGO_PKG_VERSION")));
        assert!(names_both && refused.contains("start relogin 9.9.9 or later"), "{args}: {refused}");
    }
    assert!(!folder.path("backup").exists());
    // From before there were formats.
    fs::remove_file(&marker).unwrap();
    let service = folder.serve("--demo").await;
    resume(&service, &key).await;
    assert_eq!(fs::read_to_string(&marker).unwrap(), own);
    service.stop().await;
}
