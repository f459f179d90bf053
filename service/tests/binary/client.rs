//! The native client against the embedded gateway, used as a user's own program would use it.

use std::{path::Path, time::Duration};

use futures_util::{Stream, StreamExt};
use relogin_client_tokio::{
    Client, Collection, ConnectionState, EndReason, Error, Event, FileStorage, Freshness, ListedSession, MemoryStorage,
    Model, Options, SessionState, Storage,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::program::{Folder, Service};

#[derive(Debug, Deserialize)]
struct Ticker {
    seconds: u64,
}

fn connect(service: &Service, storage: impl Storage) -> Client {
    Options::new(format!("ws://{}/", service.address)).session("session", storage).unwrap().connect()
}

/// Waits for an event. The deadline only ends a test that has failed.
async fn soon<T>(happening: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), happening).await.expect("did not happen")
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    soon(stream.next()).await.expect("the client is at work")
}

/// Waits until the session is in such a state.
async fn session(client: &Client, is_it: impl Fn(&SessionState) -> bool) {
    let mut events = client.events();
    while !is_it(&client.session()) {
        next(&mut events).await;
    }
}

fn is_jane(state: &SessionState) -> bool {
    matches!(state, SessionState::LoggedIn(user) if user.name == "Jane Doe")
}

async fn ticks(ticker: &Model<Ticker>) {
    let mut changes = ticker.changes();
    let first = next(&mut changes).await.unwrap();
    assert_ne!(next(&mut changes).await.unwrap().seconds, first.seconds);
}

/// A fixed `--listen` address, so that a restarted service is found again.
fn again(service: &Service) -> String {
    format!("--demo --listen {}", service.address)
}

#[tokio::test]
async fn a_program_logs_in_and_stays_logged_in_across_restarts_of_the_service() {
    let folder = Folder::new();
    let mut service = folder.serve("--demo").await;
    let client = connect(&service, MemoryStorage::default());
    let Err(error) = soon(client.model::<Ticker>("ticker.model")).await else { panic!("nobody is logged in") };
    assert_eq!(error.code(), Some("system.accessDenied"));
    let Err(error) = soon(client.login("jane", "wrong")).await else { panic!("with a wrong password") };
    assert_eq!(error.code(), Some("session.wrongUsernamePassword"));
    soon(client.login("jane", "jane")).await.unwrap();
    session(&client, is_jane).await;
    let ticker = soon(client.model::<Ticker>("ticker.model")).await.unwrap();
    ticks(&ticker).await;

    for _ in 0..2 {
        let options = again(&service);
        let mut events = client.events();
        let mut fresh = ticker.resource().events();
        service.kill().await;
        while !matches!(next(&mut events).await, Event::Session(SessionState::Reconnecting(_))) {}
        assert!(ticker.get().is_ok(), "the last values are still there");
        service = folder.serve(&options).await;
        session(&client, is_jane).await;
        while !matches!(next(&mut fresh).await, Event::Freshness(_, Freshness::Live)) {}
        ticks(&ticker).await;
    }

    soon(client.logout()).await;
    session(&client, |state| *state == SessionState::Ended(EndReason::LoggedOut)).await;
    while !matches!(ticker.resource().freshness(), Freshness::Failed(_)) {
        next(&mut ticker.resource().events()).await;
    }
    service.stop().await;
}

/// Waits until the list is this long.
async fn listed(list: &Collection<ListedSession>, count: usize) -> Vec<ListedSession> {
    let mut changes = list.changes();
    loop {
        let sessions = list.get().unwrap();
        if sessions.len() == count && sessions.iter().filter(|session| session.current).count() == 1 {
            return sessions;
        }
        next(&mut changes).await.unwrap();
    }
}

#[tokio::test]
async fn a_list_of_sessions_is_live_and_a_session_on_it_is_ended_from_another_program() {
    let folder = Folder::new();
    let mut service = folder.serve("--demo").await;
    let [owner, stranger] = [(), ()].map(|()| connect(&service, MemoryStorage::default()));
    soon(owner.login("jane", "jane")).await.unwrap();
    let list = soon(owner.sessions()).await.unwrap();
    soon(listed(&list, 1)).await;
    soon(stranger.login("jane", "jane")).await.unwrap();
    let sessions = soon(listed(&list, 2)).await;
    assert!(sessions[1].current && !sessions[0].current, "the newest login is first: {sessions:?}");
    assert_eq!(sessions[0].address.as_deref(), Some("127.0.0.1"));
    let theirs = soon(stranger.sessions()).await.unwrap();
    assert!(soon(listed(&theirs, 2)).await[0].current);

    soon(owner.revoke(sessions[0].id)).await.unwrap();
    session(&stranger, |state| *state == SessionState::Ended(EndReason::LoggedOutElsewhere)).await;
    soon(listed(&list, 1)).await;
    assert_eq!(soon(owner.revoke(sessions[0].id)).await.unwrap_err().code(), Some("session.noSuchSession"));
    while !matches!(theirs.resource().freshness(), Freshness::Failed(_)) {
        next(&mut theirs.resource().events()).await;
    }

    // The list goes on where the service is another one, and so is the connection.
    let options = format!("{} --revoke-within 1ms", again(&service));
    service.kill().await;
    service = folder.serve(&options).await;
    session(&owner, is_jane).await;
    soon(stranger.login("jane", "jane")).await.unwrap();
    soon(listed(&list, 2)).await;
    assert_eq!(soon(owner.revoke_others()).await.unwrap_err().code(), Some("session.loginTooOld"));
    service.stop().await;
}

#[tokio::test]
async fn a_file_keeps_the_session_from_one_run_to_the_next_and_for_several_at_once() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let file = || FileStorage::new(folder.path("key"));
    let first = connect(&service, file());
    soon(first.login("jane", "jane")).await.unwrap();
    drop(first);
    let programs: Vec<Client> = (0..4).map(|_| connect(&service, file())).collect();
    for program in &programs {
        session(program, is_jane).await;
    }
    soon(programs[0].logout()).await;
    for program in &programs {
        session(program, |state| matches!(state, SessionState::Ended(_))).await;
    }
    assert!(!Path::new(&folder.path("key")).exists());
    service.stop().await;
}

#[tokio::test]
async fn a_plain_client_calls_authenticates_and_reads() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let client = Options::new(format!("ws://{}/", service.address)).connect();
    // The login grants a subscription from before it, at once.
    let user = soon(client.model::<Value>("session.user.{cid}")).await.unwrap();
    assert_eq!(user.get().unwrap()["id"], Value::Null);
    let mut changes = user.changes();
    let credentials = json!({"username": "jane", "password": "jane"});
    let answer: Value = soon(client.auth("session", "login", credentials)).await.unwrap();
    assert!(answer["reloginKey"].is_string());
    assert_eq!(next(&mut changes).await.unwrap()["name"], "Jane Doe");
    let ticker: Ticker = soon(client.get("ticker.model")).await.unwrap();
    let ticking = soon(client.model::<Ticker>("ticker.model")).await.unwrap();
    assert!(ticking.get().unwrap().seconds >= ticker.seconds);
    let Err(Error::Format(_)) = soon(client.model::<Vec<u8>>("ticker.model")).await else {
        panic!("a model is no list")
    };
    let Err(error) = soon(client.call::<()>("ticker.model", "stop", ())).await else { panic!("it has no methods") };
    assert_eq!(error.code(), Some("system.accessDenied"));
    service.stop().await;
}

#[tokio::test]
async fn without_a_gateway_commands_wait_and_then_fail() {
    let folder = Folder::new();
    let service = folder.serve("--demo").await;
    let url = format!("ws://{}/", service.address);
    let options = again(&service);
    service.stop().await;
    let client = Options::new(&url).configure(|config| config.request_timeout = Duration::from_millis(200)).connect();
    let Err(error) = soon(client.get::<Value>("a")).await else { panic!("nobody answers") };
    assert_eq!(error.code(), Some("system.timeout"));
    assert!(matches!(client.connection(), ConnectionState::Reconnecting { .. }));
    let client = Options::new(&url).connect();
    let get = tokio::spawn(async move { client.get::<Value>("session.user.{cid}").await.map(drop) });
    let service = folder.serve(&options).await;
    soon(get).await.unwrap().unwrap();
    service.stop().await;
}

#[tokio::test]
async fn of_several_gateways_a_client_uses_one_that_is_there() {
    let folders = [Folder::new(), Folder::new()];
    let [first, second] = [folders[0].serve("--demo").await, folders[1].serve("--demo").await];
    let options = again(&first);
    let client = Options::new([&first, &second].map(|service| format!("ws://{}/", service.address))).connect();
    // What was asked while the connection was being lost fails.
    let works = async || soon(async { while client.get::<Value>("session.user.{cid}").await.is_err() {} }).await;
    works().await;
    first.stop().await;
    works().await;
    let first = folders[0].serve(&options).await;
    second.stop().await;
    works().await;
    first.stop().await;
}

#[test]
fn clients_can_be_sent_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Client>();
    shared::<Model<Ticker>>();
    shared::<relogin_client_tokio::Changes<Ticker>>();
}
