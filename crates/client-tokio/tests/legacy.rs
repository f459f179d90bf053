//! The native client on a legacy service (docs/protocol.md, section 2), which is written without
//! our code, behind Resgate.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{path::Path, sync::Mutex, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt};
use log::{Log, Metadata, Record};
use relogin_client_tokio::{Client, EndReason, FileStorage, Model, Options, SessionState};
use relogin_tests::{
    DEADLINE,
    play::{Failure, play},
    stage::{Arrangement, Stage},
};
use serde::Deserialize;
use tokio::time::timeout;

#[derive(Debug, Deserialize)]
struct Ticker {
    seconds: u64,
}

/// What the program's log has of its session, a line each.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "relogin"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// A program whose key lies in `file`, and is used every two seconds.
fn connect(stage: &Stage, file: &Path) -> Client {
    let options = Options::new(stage.gateway_url()).session("session", FileStorage::new(file)).unwrap();
    options.configure(|config| config.session.refresh = Duration::from_secs(2)).connect()
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    timeout(DEADLINE, stream.next()).await.expect("did not happen").expect("the client is at work")
}

async fn session(client: &Client, is_it: impl Fn(&SessionState) -> bool) {
    let mut events = client.events();
    while !is_it(&client.session()) {
        next(&mut events).await;
    }
}

fn is_jane(state: &SessionState) -> bool {
    matches!(state, SessionState::LoggedIn(user) if user.name == "Jane Doe")
}

fn is_over(state: &SessionState) -> bool {
    matches!(state, SessionState::Ended(_) | SessionState::Anonymous)
}

async fn ticks(client: &Client) {
    let ticker: Model<Ticker> = client.model("ticker.model").await.unwrap();
    let mut changes = ticker.changes();
    let first = next(&mut changes).await.unwrap();
    assert_ne!(next(&mut changes).await.unwrap().seconds, first.seconds);
}

#[tokio::test]
async fn a_program_on_a_legacy_service() -> Result<(), Failure> {
    play(Arrangement::Resgate, "a_program_on_a_legacy_service", a_program).await
}

/// The log says what the session manager did, in its order, and no key.
fn says_why(stored: &str) -> Result<()> {
    let stored: serde_json::Value = serde_json::from_str(stored)?;
    let key = stored["key"].as_str().context("a key is stored")?;
    let logged = LOGGED.lock().unwrap();
    let mut lines = logged.iter();
    for line in ["login sent", "answer: generation 1", "relogin sent: generation 1", "answer: generation 2"] {
        assert!(lines.any(|logged| logged.starts_with(&format!("DEBUG {line}"))), "`{line}` in its place: {logged:#?}");
    }
    assert!(!logged.iter().any(|line| line.contains(&key[..8])), "a key is logged: {logged:#?}");
    Ok(())
}

async fn a_program(stage: &mut Stage) -> Result<()> {
    log::set_logger(&Logger).map_err(|_| anyhow::anyhow!("there is a logger already"))?;
    log::set_max_level(log::LevelFilter::Trace);
    stage.legacy_without_page(&["strict"]).await?;
    let file = stage.folder().join("session.key");
    let mut client = connect(stage, &file);
    assert!(client.login("jane", "guess").await.is_err());
    client.login("jane", "jane").await?;
    session(&client, is_jane).await;
    ticks(&client).await;

    // It keeps it by using the key, though no answer has said when.
    let mut events = client.events();
    while client.generation().is_none_or(|generation| generation < 3) {
        next(&mut events).await;
    }

    says_why(&std::fs::read_to_string(&file)?)?;

    for _ in 0..11 {
        drop(client);
        client = connect(stage, &file);
        session(&client, is_jane).await;
    }
    ticks(&client).await;

    stage.kill_gateway().await?;
    session(&client, |state| matches!(state, SessionState::Reconnecting(_))).await;
    stage.start_gateway().await?;
    session(&client, is_jane).await;
    ticks(&client).await;

    // Two programs that share the file take turns.
    let other = connect(stage, &file);
    for program in [&other, &client, &other] {
        session(program, is_jane).await;
    }
    drop(other);
    session(&client, is_jane).await;

    client.logout().await;
    session(&client, |state| *state == SessionState::Ended(EndReason::LoggedOut)).await;
    drop(client);
    let client = connect(stage, &file);
    session(&client, |state| *state == SessionState::Anonymous).await;

    // The file is copied to another machine, and its key used there.
    client.login("jane", "jane").await?;
    session(&client, is_jane).await;
    let copy = stage.folder().join("copy.key");
    std::fs::copy(&file, &copy)?;
    let thief = connect(stage, &copy);
    stage.legacy_says("the second use", "a key was used twice").await?;
    session(&client, is_over).await;
    session(&thief, is_over).await;
    Ok(())
}
