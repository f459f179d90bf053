//! Backups and restores that are killed halfway: none passes for a whole one.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::DirBuilderExt, net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use relogin::{backup::BackupWriter, control::protocol::ExportLine};
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use relogin_store::{SessionStore, sled::SledStore};
use relogin_test_support::nats_server::NatsServer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{nats_gateway::DEADLINE, program::Folder};

/// So many that nothing is over before it is noticed to have begun.
const MANY: u32 = 20_000;

/// A session of the demo's jane.
fn record(n: u32) -> Record {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let connection = ConnectionId::parse(&format!("c{n}")).unwrap();
    Record {
        key_deadline: Timestamp(now + 3_600_000),
        session_deadline: Timestamp(now + 3_600_000),
        ..Record::new(SessionId(id), id, UserId::Number(3), connection, Timestamp(now))
    }
}

/// Starts `relogin` with these arguments, which are to be cut short.
fn start(folder: &Folder, args: &str) -> Child {
    let mut command: Command = folder.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends it as a crash would. It must not have ended before.
fn kill(mut child: Child) {
    assert!(child.try_wait().unwrap().is_none(), "it had ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The one line with which it refused.
fn refused(child: Child) -> String {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let line = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), line.lines().count()), (Some(2), 1), "{line}");
    line
}

/// Waits until this is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect(what);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The files there that are not finished.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    names(folder).into_iter().filter(|name| name.starts_with(".relogin-")).map(|name| folder.join(name)).collect()
}

/// Waits until some of the backup is written.
async fn is_being_written(folder: &Path) {
    let begun = async || unfinished(folder).iter().any(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
    until("the backup is being written", begun).await;
}

fn data_folder(folder: &Folder) -> PathBuf {
    let data = folder.path("relogin-data");
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    data
}

/// The command, beside a service that sends some of its sessions and then nothing.
#[tokio::test]
async fn a_backup_that_is_killed_or_not_sent_to_its_end_leaves_the_former_one() {
    let folder = Folder::new();
    let place = folder.path(".");
    let service = UnixListener::bind(data_folder(&folder).join("control.sock")).unwrap();
    // As one that is asked for its sessions, and is in the middle of them.
    let halfway = || {
        let (stream, _) = service.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        assert_eq!(request, "{\"command\":\"export\"}\n");
        (&stream).write_all(b"{\"export\":{}}\n").unwrap();
        for n in 0..200 {
            let line = ExportLine::Session(STANDARD.encode(record(n).encode().unwrap()));
            writeln!(&stream, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
        stream
    };
    fs::write(folder.path("former"), "the former one").unwrap();
    let before = names(&place);
    for name in ["former", "new"] {
        let command = start(&folder, &format!("backup {name}"));
        let stream = halfway();
        is_being_written(&place).await;
        kill(command);
        drop(stream);
        let left = unfinished(&place);
        assert_eq!(left.len(), 1, "{left:?}");
        let line = folder.run(&format!("restore {}", left[0].display()), "").refused();
        assert!(line.contains("its end is missing"), "{line}");
        // Somebody may still be writing it; an hour later nobody is, and the next one removes it.
        let file = fs::File::options().write(true).open(&left[0]).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 60 * 60)).unwrap();

        let command = start(&folder, &format!("backup {name}"));
        drop(halfway());
        let line = refused(command);
        assert!(line.contains("the service has stopped before it had sent all sessions"), "{line}");
        assert_eq!(names(&place), before);
        assert_eq!(fs::read_to_string(folder.path("former")).unwrap(), "the former one");
    }
}

#[tokio::test]
async fn a_service_that_is_killed_in_the_middle_of_a_backup_leaves_the_former_one() {
    let folder = Folder::new();
    let data = data_folder(&folder);
    let store = SledStore::open(&data.join("sessions")).unwrap();
    for some in (0..MANY).collect::<Vec<_>>().chunks(512) {
        futures_util::future::try_join_all(some.iter().map(|&n| store.create(record(n)))).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let service = folder.serve("--demo").await;
    fs::write(folder.path("backup"), "the former one").unwrap();
    let before = names(&folder.path("."));
    let command = start(&folder, "backup backup");
    is_being_written(&folder.path(".")).await;
    let pid = Pid::from_child(&command);
    kill_process(pid, Signal::STOP).unwrap();
    service.kill().await;
    kill_process(pid, Signal::CONT).unwrap();
    refused(command);
    assert_eq!(names(&folder.path(".")), before);
    assert_eq!(fs::read_to_string(folder.path("backup")).unwrap(), "the former one");
    // Without a service the command reads the data folder itself.
    let said = folder.run("backup backup", "").success();
    assert!(said.contains(&format!("sessions: {MANY};")), "{said}");
}

/// A backup with many sessions.
fn backup(path: &Path) {
    let mut writer = BackupWriter::begin(Vec::new(), 1, Vec::new()).unwrap();
    for n in 0..MANY {
        writer.session(record(n).sid, &record(n).encode().unwrap()).unwrap();
    }
    fs::write(path, writer.end().unwrap().0).unwrap();
}

fn secret(path: &Path) {
    relogin::secret::write_new(path, &relogin::secret::fresh_line().unwrap()).unwrap();
}

#[tokio::test]
async fn nothing_starts_on_a_data_folder_whose_restore_was_killed_until_another_completes_it() {
    let folder = Folder::new();
    backup(&folder.path("backup"));
    secret(&folder.path("secret"));
    let journal = folder.path("relogin-data/sessions.restore/journal");
    let restore = "restore backup --secret-file secret";
    for _ in 0..2 {
        let command = start(&folder, restore);
        until("sessions are being restored", async || fs::exists(&journal).unwrap()).await;
        kill(command);
        assert_eq!(names(&folder.path("relogin-data")), ["sessions.restore"]);
        for args in ["serve --demo --secret-file secret --listen 127.0.0.1:0", "serve --demo --listen 127.0.0.1:0"] {
            let line = folder.run(args, "").refused();
            assert!(line.contains("relogin-data is not complete: `relogin restore` has not ended"), "{line}");
        }
        // Neither a secret nor a store of its own.
        assert_eq!(names(&folder.path("relogin-data")), ["sessions.restore"]);
    }
    let said = folder.run(restore, "").success();
    assert!(said.contains(&format!("restored and compared: {MANY}\n")), "{said}");
    let service = folder.serve("--demo --secret-file secret").await;
    let status: Value = serde_json::from_str(&folder.run("status --json", "").success()).unwrap();
    assert_eq!(status["sessions"], json!(MANY));
    service.stop().await;
}

#[tokio::test]
async fn nothing_starts_on_a_bucket_whose_restore_was_killed_until_another_completes_it() {
    let jetstream = tempfile::tempdir().unwrap();
    let nats = NatsServer::with_jetstream(jetstream.path(), "-1");
    let folder = Folder::new();
    backup(&folder.path("backup"));
    secret(&folder.path("secret"));
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let on = format!("jetstream:relogin-session --nats {} --secret-file secret", nats.url());
    let restore = format!("restore backup --to {on}");
    let command = start(&folder, &restore);
    let has_some = async || match context.get_stream("KV_relogin-session").await {
        Ok(stream) => stream.cached_info().state.messages > 10,
        Err(_) => false,
    };
    until("sessions are being restored", has_some).await;
    kill(command);
    let serve = format!("--demo --store jetstream --nats {} --secret-file secret", nats.url());
    let expected = "\"relogin-session\" does not have all its sessions: `relogin restore` has not ended";
    for args in [
        format!("serve {serve} --listen 127.0.0.1:0"),
        format!("backup other --from {on}"),
        format!("store copy --from jetstream:relogin-session --to sled:copy --nats {}", nats.url()),
    ] {
        let line = folder.run(&args, "").refused();
        assert!(line.contains(expected), "{line}");
    }
    let said = folder.run(&restore, "").success();
    assert!(said.contains(&format!("restored and compared: {MANY}\n")), "{said}");
    let service = folder.serve(&format!("{serve} --listen 127.0.0.1:0")).await;
    service.stop().await;
}
