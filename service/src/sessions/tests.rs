//! Sessions over the memory store and the local bus, with rivals and failures in between.

mod bound;
mod cap;
mod copies;
mod jwt;
mod operators;
mod restart;
mod several;
mod user;
mod views;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use relogin_bus::{Guard, Link, Mailbox, Subscription, Tag, local::LocalBus};
use relogin_session::{Keyring, Policy, ReloginKey, UserId};
use relogin_store::{Revision, Stored, memory::MemoryStore};
use relogin_users::{Credentials, PasswordCheck};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{clock::tests::RuntimeClock, expiry};

/// The users, the bus and the store, each of which can be made to fail.
pub(crate) struct World {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) store: Arc<Rival>,
    pub(crate) bus: Arc<Frail>,
    users: Arc<Users>,
    clock: Arc<RuntimeClock>,
    pub(crate) published: Subscription,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (store, users) = (Arc::new(Rival::default()), Arc::new(Users::default()));
        for (id, name) in [(1, "jane"), (2, "john")] {
            let user = User { id: UserId::Number(id), name: name.to_owned(), role: "user".to_owned() };
            users.known.lock().unwrap().insert(UserId::Number(id), user);
        }
        let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
        Self::over(store, users, Arc::new(RuntimeClock::new()), keyring).await
    }

    /// The next process, on the same store and with the same users. Gateways and what they know
    /// live on.
    async fn restarted(self) -> Self {
        // Its start takes a moment.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.with_keyring(Keyring::new(vec![vec![1; 32]]).unwrap()).await
    }

    /// The same, with another keyring.
    async fn with_keyring(self, keyring: Keyring) -> Self {
        let Self { store, users, clock, .. } = self;
        Self::over(store, users, clock, keyring).await
    }

    async fn over(store: Arc<Rival>, users: Arc<Users>, clock: Arc<RuntimeClock>, keyring: Keyring) -> Self {
        let bus = Arc::new(Frail::default());
        let published = bus.subscribe(&[">".to_owned()]).await.unwrap();
        let rules = Rules {
            policy: Policy { key_lifetime: 120_000, session_lifetime: 600_000, refresh: 60_000, revoke_within: None },
            keyring,
        };
        let sessions =
            Sessions::new("session", rules, store.clone(), users.clone(), bus.clone()).with_clock(clock.clone());
        Self { sessions: Arc::new(sessions), store, bus, users, clock, published }
    }

    pub(crate) async fn login(&self, on: &str, user: i64) -> Answer {
        let user = self.users.known.lock().unwrap()[&UserId::Number(user)].clone();
        self.sessions.login(Login::new(cid(on), user)).await.unwrap()
    }

    /// As a legacy client.
    pub(crate) async fn relogin(&self, on: &str, key: &ReloginKey) -> Answer {
        self.sessions.relogin(cid(on), &using(key, None), None, Browser::default()).await.unwrap()
    }

    /// As a client of ours.
    pub(crate) async fn attempt(&self, on: &str, key: &ReloginKey, attempt: u8) -> Answer {
        self.sessions.relogin(cid(on), &using(key, Some(attempt)), None, Browser::default()).await.unwrap()
    }

    async fn logout(&self, on: &str) {
        self.sessions.logout(cid(on), None, None).await.unwrap().unwrap();
    }

    pub(crate) async fn user_on(&self, on: &str) -> Option<String> {
        self.sessions.session_on(&cid(on)).await.unwrap().1.map(|user| user.name)
    }

    /// The events since this was called last.
    pub(crate) fn published(&mut self) -> String {
        events_in(&mut self.published)
    }

    async fn sessions_of(&self, user: i64) -> usize {
        self.store.find_by_user(&UserId::Number(user)).await.unwrap().len()
    }
}

/// The events since this was called last: `connection kind name`, one a line.
fn events_in(published: &mut Subscription) -> String {
    let mut lines = Vec::new();
    // Without tokio's budget, which would say after some messages that there are none.
    while let Some(Some(message)) = tokio::task::unconstrained(published.next()).now_or_never() {
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        let parts: Vec<_> = message.subject.split('.').collect();
        lines.push(match parts[..] {
            ["conn", on, "token"] => format!("{on} token {}", payload["token"]["role"]),
            ["event", "session", "user", on, "change"] => format!("{on} user {}", payload["values"]["name"]),
            ["event", "session", "user", on, "rotated"] => format!("{on} rotated {}", payload["generation"]),
            ["system", "tokenReset"] => {
                assert_eq!(payload["subject"], "auth.session.renew");
                format!("probe of {}", payload["tids"].as_array().unwrap().len())
            }
            _ => panic!("{}", message.subject),
        });
    }
    lines.join("\n")
}

/// A use of the key, without proof.
fn using(key: &ReloginKey, attempt: Option<u8>) -> ReloginParams {
    ReloginParams { relogin_key: key.clone(), attempt: attempt.map(|attempt| Attempt([attempt; 16])), proof: None }
}

pub(crate) fn cid(name: &str) -> ConnectionId {
    ConnectionId::parse(name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_login_sends_its_events_before_its_reply() {
    let mut world = World::new().await;
    assert_eq!(world.user_on("a").await, None);
    let logged_in = world.login("a", 1).await.unwrap();
    assert_eq!((logged_in.generation, logged_in.expires_in, logged_in.refresh_in), (1, 120_000, 60_000));
    assert_eq!(world.published(), "a token \"user\"\na user \"jane\"");
    assert_eq!(world.user_on("a").await.as_deref(), Some("jane"));

    assert_eq!(world.login("a", 2).await, Err(Denied::AlreadyLoggedIn));
    assert_eq!(world.published(), "");
    assert_eq!(world.user_on("a").await.as_deref(), Some("jane"));
}

#[tokio::test(start_paused = true)]
async fn a_legacy_relogin_moves_the_session_and_a_used_key_ends_it() {
    let mut world = World::new().await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    let second = world.relogin("b", &first).await.unwrap();
    assert_eq!(second.generation, 2);
    assert_eq!(world.published(), "a rotated 2\na user null\na token null\nb token \"user\"\nb user \"jane\"");
    assert_eq!((world.user_on("a").await, world.user_on("b").await.as_deref()), (None, Some("jane")));

    assert_eq!(world.relogin("a", &first).await, Err(Denied::InvalidReloginKey));
    assert_eq!(world.published(), "b rotated 3\nb user null\nb token null");
    assert_eq!(world.relogin("b", &second.relogin_key).await, Err(Denied::InvalidReloginKey));
    assert_eq!((world.published(), world.sessions_of(1).await), (String::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn attempts_share_the_session_and_retry() {
    let mut world = World::new().await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    let second = world.attempt("b", &first, 1).await.unwrap();
    assert_eq!(world.published(), "a rotated 2\nb token \"user\"\nb user \"jane\"");
    assert_eq!(world.attempt("c", &first, 1).await.unwrap(), second, "the reply was lost, and the connection");
    assert_eq!(world.published(), "b user null\nb token null\na rotated 3\nc token \"user\"\nc user \"jane\"");
    for (on, user) in [("a", Some("jane")), ("b", None), ("c", Some("jane"))] {
        assert_eq!(world.user_on(on).await.as_deref(), user, "{on}");
    }
    assert_eq!(world.attempt("d", &first, 2).await, Err(Denied::InvalidReloginKey));
    assert_eq!(world.published().lines().count(), 6);
}

/// A thief has copied storage while the key was in use: key and attempt.
#[tokio::test(start_paused = true)]
async fn of_owner_and_thief_only_the_last_holds_the_session_and_then_nobody() {
    let mut world = World::new().await;
    let first = world.login("owner", 1).await.unwrap().relogin_key;
    let second = world.attempt("owner", &first, 1).await.unwrap().relogin_key;
    assert_eq!(world.attempt("thief", &first, 1).await.unwrap().relogin_key, second);
    assert_eq!((world.user_on("owner").await, world.user_on("thief").await.as_deref()), (None, Some("jane")));
    // The owner's browser gets that and uses what it has.
    world.published();
    let third = world.attempt("owner", &second, 2).await.unwrap().relogin_key;
    assert_eq!(world.published(), "thief user null\nthief token null\nowner token \"user\"\nowner user \"jane\"");
    assert_eq!(world.attempt("thief", &second, 3).await, Err(Denied::InvalidReloginKey));
    assert_eq!(world.attempt("owner", &third, 4).await, Err(Denied::InvalidReloginKey));
    assert_eq!(world.sessions_of(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_late_ends_nothing() {
    let mut world = World::new().await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    let second = world.attempt("a", &first, 1).await.unwrap().relogin_key;
    world.attempt("b", &second, 2).await.unwrap();
    world.published();
    assert_eq!(world.attempt("a", &first, 1).await, Err(Denied::InvalidReloginKey));
    assert_eq!((world.published(), world.user_on("b").await.as_deref()), (String::new(), Some("jane")));
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_comes_late_ends_no_later_session() {
    let mut world = World::new().await;
    world.login("a", 1).await.unwrap();
    let sid = world.sessions.on_connection(&cid("a")).await.unwrap().unwrap().sid;
    world.sessions.logout(cid("a"), Some(sid), Some(sid)).await.unwrap().unwrap();
    world.login("a", 2).await.unwrap();
    world.published();
    world.sessions.logout(cid("a"), Some(sid), Some(sid)).await.unwrap().unwrap();
    assert_eq!(world.sessions.logout(cid("a"), Some(sid), None).await.unwrap(), Err(Denied::NotLoggedIn));
    assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("john")));
    // The connection has moved on to another session, and its gateway did not know that yet.
    let key = world.login("b", 1).await.unwrap().relogin_key;
    let sid = key.parse().unwrap().sid;
    let johns = world.sessions.on_connection(&cid("a")).await.unwrap().unwrap().sid;
    world.attempt("a", &key, 1).await.unwrap();
    world.published();
    world.sessions.logout(cid("a"), Some(johns), Some(johns)).await.unwrap().unwrap();
    assert_eq!((world.published(), world.sessions_of(2).await), (String::new(), 0));
    assert_eq!(world.user_on("a").await.as_deref(), Some("jane"));
    // And nobody logs others out by their session's name.
    assert_eq!(world.sessions.logout(cid("stranger"), Some(sid), None).await.unwrap(), Err(Denied::NotLoggedIn));
    assert_eq!((world.published(), world.sessions_of(1).await), (String::new(), 1));
}

#[tokio::test(start_paused = true)]
async fn malformed_and_forged_keys_change_nothing() {
    let mut world = World::new().await;
    let logged_in = world.login("a", 1).await.unwrap();
    world.published();
    for text in ["", "constructor", &"A".repeat(75), &logged_in.relogin_key.expose()[..74]] {
        let answer = world.relogin("a", &ReloginKey::new(text.to_owned())).await;
        assert_eq!(answer, Err(Denied::InvalidReloginKey), "{text}");
    }
    assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("jane")));
}

#[tokio::test(start_paused = true)]
async fn logout_clears_every_connection_of_the_session() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.attempt("b", &key, 1).await.unwrap();
    world.login("other", 1).await.unwrap();
    world.published();
    world.logout("b").await;
    assert_eq!(world.published(), "b user null\nb token null\na user null\na token null");
    assert_eq!((world.sessions_of(1).await, world.user_on("other").await.as_deref()), (1, Some("jane")));
    // Nobody is logged in here any more: cleared all the same.
    world.logout("b").await;
    assert_eq!(world.published(), "b user null\nb token null");
}

#[tokio::test(start_paused = true)]
async fn logout_finds_the_session_by_the_tokens_sid() {
    let mut world = World::new().await;
    world.login("a", 1).await.unwrap();
    world.published();
    let sid = world.sessions.on_connection(&cid("a")).await.unwrap().unwrap().sid;
    world.sessions.logout(cid("lost"), None, Some(sid)).await.unwrap().unwrap();
    assert_eq!(world.published(), "lost user null\nlost token null\na user null\na token null");
    assert_eq!(world.sessions_of(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_relogin_takes_the_connection_off_its_other_session() {
    let mut world = World::new().await;
    let janes = world.login("a", 1).await.unwrap().relogin_key;
    let johns = world.login("b", 2).await.unwrap().relogin_key;
    world.published();
    world.relogin("a", &johns).await.unwrap();
    assert_eq!(world.published(), "b rotated 2\nb user null\nb token null\na token \"user\"\na user \"john\"");
    // Jane's session lives, on no connection.
    world.relogin("c", &janes).await.unwrap();
    assert_eq!(world.published(), "c token \"user\"\nc user \"jane\"");
    assert_eq!(world.user_on("a").await.as_deref(), Some("john"));
}

/// The relogin has taken `a` off its session when the others get their turns: `a` logs in again,
/// and the session that the relogin is for ends. What the relogin then says to `a` must not be what
/// it would have said before.
#[tokio::test(start_paused = true)]
async fn a_refused_relogin_leaves_a_login_alone_that_was_faster() {
    let mut world = World::new().await;
    world.login("a", 1).await.unwrap();
    let key = world.login("b", 1).await.unwrap().relogin_key;
    world.published();
    let (relogin, login, ()) = tokio::join!(world.attempt("a", &key, 1), world.login("a", 2), world.logout("b"));
    assert_eq!((relogin, login.is_ok()), (Err(Denied::InvalidReloginKey), true));
    assert_eq!(world.user_on("a").await.as_deref(), Some("john"));
    assert_eq!(world.published(), "a token \"user\"\na user \"john\"\nb user null\nb token null");
}

#[tokio::test(start_paused = true)]
async fn a_refused_relogin_leaves_the_connections_session_alone() {
    let mut world = World::new().await;
    world.login("a", 1).await.unwrap();
    let johns = world.login("b", 2).await.unwrap().relogin_key;
    world.logout("b").await;
    world.published();
    assert_eq!(world.relogin("a", &johns).await, Err(Denied::InvalidReloginKey));
    assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("jane")));
}

#[tokio::test(start_paused = true)]
async fn a_login_disposes_of_what_is_over_on_its_connection() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.attempt("b", &key, 1).await.unwrap();
    world.published();
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!((world.user_on("a").await, world.published()), (None, String::new()));
    world.login("b", 2).await.unwrap();
    assert_eq!(
        world.published(),
        "a user null\na token null\nb user null\nb token null\nb token \"user\"\nb user \"john\""
    );
    assert_eq!(world.sessions_of(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_users_session_ends() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    world.users.known.lock().unwrap().clear();
    assert_eq!(world.user_on("a").await, None);
    assert_eq!(world.relogin("b", &key).await, Err(Denied::InvalidReloginKey));
    assert_eq!((world.published().as_str(), world.sessions_of(1).await), ("a user null\na token null", 0));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_fails_ends_nothing() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    world.users.fails.store(true, SeqCst);
    let failed = world.sessions.relogin(cid("b"), &using(&key, None), None, Browser::default()).await;
    assert!(matches!(failed, Err(SessionsError::Directory(_))), "{failed:?}");
    world.users.fails.store(false, SeqCst);
    assert_eq!(world.published(), "");
    world.relogin("b", &key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_loser_of_a_race_decides_again() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    world.store.conflicts.store(3, SeqCst);
    assert_eq!(world.attempt("b", &key, 1).await.unwrap().generation, 2);
    assert_eq!(world.published(), "a rotated 2\nb token \"user\"\nb user \"jane\"");
    world.store.conflicts.store(usize::MAX, SeqCst);
    let contended = world.sessions.relogin(cid("b"), &using(&key, None), None, Browser::default()).await;
    assert!(matches!(contended, Err(SessionsError::Contended)), "{contended:?}");
    assert_eq!(world.user_on("b").await.as_deref(), Some("jane"));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_end_is_sent_again() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.login("b", 2).await.unwrap();
    world.published();
    world.bus.fails.store(true, SeqCst);
    assert!(matches!(world.sessions.logout(cid("a"), None, None).await, Err(SessionsError::Bus(_))));
    world.bus.fails.store(false, SeqCst);
    // As after a crash at this point: over for good, but its connection has a token.
    assert_eq!((world.user_on("a").await, world.published()), (None, String::new()));
    assert_eq!(world.relogin("c", &key).await, Err(Denied::InvalidReloginKey));
    assert_eq!(world.sessions_of(1).await, 1);
    let stop = CancellationToken::new();
    let expiring = tokio::spawn(expiry::run(world.sessions.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((world.published().as_str(), world.sessions_of(1).await), ("a user null\na token null", 0));
    assert_eq!(world.user_on("b").await.as_deref(), Some("john"));
    stop.cancel();
    expiring.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leaves_is_cleared_even_if_the_write_fails() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    world.store.broken.store(true, SeqCst);
    assert!(matches!(
        world.sessions.relogin(cid("b"), &using(&key, None), None, Browser::default()).await,
        Err(SessionsError::Store(_))
    ));
    world.store.broken.store(false, SeqCst);
    assert_eq!(world.published(), "a rotated 2\na user null\na token null");
    // Its client relogins, and all is as before.
    assert_eq!(world.relogin("a", &key).await.unwrap().generation, 2);
    assert_eq!(world.published(), "a token \"user\"\na user \"jane\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_logins_at_once_one_wins_and_no_session_is_left_over() {
    let world = Arc::new(World::new().await);
    for round in 0..100 {
        let on = format!("c{round}");
        let logins = (0..4).map(|_| {
            let (world, on) = (world.clone(), on.clone());
            tokio::spawn(async move { world.login(&on, 1).await })
        });
        let answers: Vec<_> = join_all(logins).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == Err(Denied::AlreadyLoggedIn)).count(), 3);
        assert_eq!(world.sessions_of(1).await, round + 1);
    }
}

/// Whatever happens at once to a few connections, in the end the last events of each are what the
/// store has for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_sent_in_the_order_of_the_writes() {
    let mut world = World::new().await;
    let keys = Arc::new(Mutex::new(vec![ReloginKey::new(String::new())]));
    let workers = (0..8_u32).map(|worker| {
        let (sessions, users, keys) = (world.sessions.clone(), world.users.clone(), keys.clone());
        tokio::spawn(async move {
            // A small generator of our own: the same sequence of requests in each run.
            let mut state = worker + 1;
            let mut draw = |below: usize| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as usize % below
            };
            for _ in 0..400 {
                let on = cid(&format!("c{}", draw(5)));
                let key = {
                    let keys = keys.lock().unwrap();
                    keys[keys.len().saturating_sub(1 + draw(3))].clone()
                };
                let attempt = [None, Some(draw(3) as u8)][draw(2)];
                let answer = match draw(10) {
                    0 => sessions.logout(on, None, None).await.map(|_| None),
                    1..4 => {
                        let user = users.known.lock().unwrap()[&UserId::Number(1)].clone();
                        let attempt = attempt.map(|attempt| Attempt([attempt; 16]));
                        sessions.login(Login { attempt, ..Login::new(on, user) }).await.map(Result::ok)
                    }
                    _ => sessions.relogin(on, &using(&key, attempt), None, Browser::default()).await.map(Result::ok),
                };
                if let Some(logged_in) = answer.unwrap() {
                    keys.lock().unwrap().push(logged_in.relogin_key);
                }
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    let mut published: HashMap<String, (String, String)> = HashMap::new();
    for line in world.published().lines() {
        let parts: Vec<_> = line.split(' ').collect();
        let on = published.entry(parts[0].to_owned()).or_default();
        match parts[1] {
            "token" => parts[2].clone_into(&mut on.0),
            "user" => parts[2].clone_into(&mut on.1),
            _ => {}
        }
    }
    assert_eq!(published.len(), 5);
    for (on, published) in published {
        let expected = match world.user_on(&on).await {
            Some(_) => ("\"user\"", "\"jane\""),
            None => ("null", "null"),
        };
        assert_eq!((published.0.as_str(), published.1.as_str()), expected, "{on}");
    }
}

/// A user directory that can fail.
#[derive(Default)]
struct Users {
    known: Mutex<HashMap<UserId, User>>,
    fails: AtomicBool,
}

#[async_trait]
impl UserDirectory for Users {
    async fn verify(&self, _: Credentials<'_>, _: &(dyn Fn() + Send + Sync)) -> Result<PasswordCheck, DirectoryError> {
        unreachable!("sessions know no passwords")
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        if self.fails.load(SeqCst) {
            return Err(DirectoryError::Failed("out of order".into()));
        }
        Ok(self.known.lock().unwrap().get(id).cloned())
    }
}

/// A bus that can fail.
#[derive(Default)]
pub(crate) struct Frail {
    bus: LocalBus,
    pub(crate) fails: AtomicBool,
}

#[async_trait]
impl Bus for Frail {
    async fn listen(&self, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        self.bus.listen(pattern, mailbox, tag).await
    }

    async fn listen_in_group(
        &self,
        pattern: &str,
        group: &str,
        mailbox: &Mailbox,
        tag: Tag,
    ) -> Result<Guard, BusError> {
        self.bus.listen_in_group(pattern, group, mailbox, tag).await
    }

    async fn ask(&self, subject: &str, payload: Bytes, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        self.bus.ask(subject, payload, mailbox, tag).await
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        if self.fails.load(SeqCst) {
            return Err(BusError::Disconnected);
        }
        // Others get on in between.
        tokio::task::yield_now().await;
        self.bus.publish(subject, payload).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.bus.flush().await
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.bus.link()
    }

    async fn close(&self) -> Result<(), BusError> {
        self.bus.close().await
    }
}

/// A store on which another process may be faster, or which can fail.
#[derive(Default)]
pub(crate) struct Rival {
    store: MemoryStore,
    conflicts: AtomicUsize,
    broken: AtomicBool,
    /// Each write takes a tenth of a second.
    pub(crate) is_slow: AtomicBool,
}

#[async_trait]
impl SessionStore for Rival {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.store.create(record).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.store.load(sid).await
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        if self.broken.load(SeqCst) {
            return Err(StoreError::Backend("out of order".into()));
        }
        if self.conflicts.try_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StoreError::Conflict);
        }
        // Others get on in between.
        tokio::task::yield_now().await;
        if self.is_slow.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.store.replace(record, revision).await
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.store.remove(sid, revision).await
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.store.find_by_connection(connection).await
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        self.store.find_by_user(user).await
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.store.overdue(until, limit).await
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_deadline().await
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        self.store.page(after, limit).await
    }

    async fn count(&self) -> Result<usize, StoreError> {
        self.store.count().await
    }

    async fn deadline_moved(&self) {
        self.store.deadline_moved().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
