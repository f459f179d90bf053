//! The users program (`--users exec:…`), with real programs. In a test binary of its own, because a
//! program that starts holds for a moment what its parent has open, also files that another test
//! locks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use relogin_host::errors::Chain;
use relogin_session::{Secret, SessionId, User, UserId};
use relogin_users::{
    Credentials, PasswordChange, PasswordChanged, PasswordCheck, UserDirectory,
    exec::{ExecDirectory, Limits},
};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use tokio::time::timeout;

/// A directory that runs a shell script.
fn sh(script: &str) -> ExecDirectory {
    within(Limits::default(), script)
}

fn within(limits: Limits, script: &str) -> ExecDirectory {
    ExecDirectory::new("sh".into(), vec!["-c".into(), script.into()], limits)
}

async fn verify(directory: &ExecDirectory) -> Result<PasswordCheck, String> {
    let password = Secret::new("hunter2".to_owned());
    let credentials = Credentials { username: "jane", password: &password, remote_addr: None };
    directory.verify(credentials, &|| {}).await.map_err(|error| Chain(&error).to_string())
}

async fn find(directory: &ExecDirectory) -> Result<Option<User>, String> {
    directory.find(&UserId::Number(3)).await.map_err(|error| Chain(&error).to_string())
}

#[tokio::test]
async fn the_program_is_asked_and_believed() {
    let jane = User { id: UserId::Number(3), name: "Jane".into(), role: "user".into() };
    let directory = sh(r#"read -r question
        case $question in
        '{"username":"jane","password":"hunter2","remoteAddr":null}'|'{"id":3}')
            echo '{"user":{"id":3,"name":"Jane","role":"user"}}';;
        *) exit 1;;
        esac"#);
    assert_eq!(verify(&directory).await, Ok(PasswordCheck::Right(jane.clone())));
    assert_eq!(find(&directory).await, Ok(Some(jane)));
    let nobody = sh(r#"echo '{"user":null}'"#);
    assert_eq!((verify(&nobody).await, find(&nobody).await), (Ok(PasswordCheck::Wrong(None)), Ok(None)));
}

#[tokio::test]
async fn the_program_changes_passwords_if_it_offers_that() {
    let (id, session) = (UserId::Number(3), SessionId([0; 16]));
    let [current, new] = ["hunter2", "correct horse"].map(|text| Secret::new(text.to_owned()));
    let change = PasswordChange { id: &id, session, current: &current, new: &new, remote_addr: None };
    let offers = sh(r#"read -r question
        case $question in
        '{"id":3,"current":"hunter2","new":"correct horse","sid":"AAAAAAAAAAAAAAAAAAAAAA","remoteAddr":null}')
            echo '{"changed":true}';;
        *) exit 1;;
        esac"#);
    assert_eq!(offers.change_password(change, &|| {}).await.unwrap(), PasswordChanged::Changed);
    // One from before there were changes answers whose id it is.
    let offers_none = sh(r#"echo '{"user":{"id":3,"name":"Jane","role":"user"}}'"#);
    assert_eq!(offers_none.change_password(change, &|| {}).await.unwrap(), PasswordChanged::NotOffered);
    assert!(sh("echo").change_password(change, &|| {}).await.is_err());
}

#[tokio::test]
async fn an_unusable_answer_is_an_internal_error_and_is_not_quoted() {
    for (script, expected) in [
        ("cat", "failed: its answer cannot be read"),
        ("", "failed: its answer cannot be read"),
        ("cat; exit 3", "ended with exit status: 3"),
        ("kill -9 $$", "ended with signal: 9"),
        ("head -c 70000 /dev/zero", "wrote more than 65536 bytes"),
        ("yes", "wrote more than 65536 bytes"),
    ] {
        let error = verify(&sh(script)).await.unwrap_err();
        assert!(error.contains(expected), "{script}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let missing = ExecDirectory::new("/no/such/program".into(), vec![], Limits::default());
    let error = find(&missing).await.unwrap_err();
    assert!(error.contains("cannot start the users program \"/no/such/program\": No such file"), "{error}");
}

/// A program that never answers and says so through a pipe, whose reader sees when no such program
/// is left.
fn hanging(pipe: &Path, deadline: Duration) -> ExecDirectory {
    rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let limits = Limits { deadline, ..Limits::default() };
    within(limits, &format!("exec 3>'{}'; echo >&3; exec sleep 1000", pipe.display()))
}

#[tokio::test]
async fn a_program_that_hangs_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let directory = hanging(&pipe, Duration::from_secs(1));
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut reader = OpenOptions::new().read(true).custom_flags(flags).open(&pipe).unwrap();
    assert!(find(&directory).await.unwrap_err().ends_with("did not answer in time"));
    // With a program alive at the other end, this would be told to come again.
    assert!(reader.read_to_end(&mut Vec::new()).is_ok());
}

#[tokio::test]
async fn the_program_of_a_caller_who_gives_up_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let directory = hanging(&pipe, Duration::from_secs(1_000_000));
    let runs = tokio::task::spawn_blocking(move || {
        let mut reader = File::open(pipe).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        reader
    });
    let mut reader = tokio::select! {
        reader = runs => reader.unwrap(),
        answer = find(&directory) => panic!("{answer:?}"),
    };
    let end = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()).unwrap());
    assert_eq!(timeout(Duration::from_secs(60), end).await.expect("it is killed").unwrap(), 0);
}

#[tokio::test]
async fn few_programs_run_at_a_time_and_logins_hold_up_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // A login's program answers once the gate was opened; any other at once.
    let script = format!(
        r#"read -r question; case $question in *password*) read -r word <'{}';; esac; echo '{{"user":null}}'"#,
        gate.display()
    );
    let directory = within(Limits { running: 1, waiting: 1, ..Limits::default() }, &script);
    let [mut first, mut second] = [(), ()].map(|()| Box::pin(verify(&directory)));
    assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
    assert!(verify(&directory).await.unwrap_err().contains("too many password checks are waiting"));
    assert_eq!(find(&directory).await, Ok(None));
    for waiting in [first, second] {
        // Returns once the program is there to read it.
        let gate = gate.clone();
        let opened = tokio::task::spawn_blocking(move || std::fs::write(gate, "open\n").unwrap());
        assert_eq!(waiting.await, Ok(PasswordCheck::Wrong(None)));
        opened.await.unwrap();
    }
}
