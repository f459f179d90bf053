//! A restart of the service, while gateways and browsers go on.

use super::*;

impl World {
    /// A login whose process ends between the write and the first event: neither gateway nor
    /// browser gets it.
    async fn login_unheard_of(self, on: &str, attempt: Option<u8>) -> Self {
        self.bus.fails.store(true, SeqCst);
        assert!(matches!(self.log_in(on, 1, attempt, None).await, Err(SessionsError::Bus(_))));
        assert_eq!(self.sessions_of(1).await, 1);
        self.restarted().await
    }

    async fn log_in(
        &self,
        on: &str,
        user: i64,
        attempt: Option<u8>,
        token: Option<SessionId>,
    ) -> Result<Answer, SessionsError> {
        let user = self.users.known.lock().unwrap()[&UserId::Number(user)].clone();
        let attempt = attempt.map(|attempt| Attempt([attempt; 16]));
        if self.sessions.is_logged_in(&cid(on), attempt, token).await? {
            return Ok(Err(Denied::AlreadyLoggedIn));
        }
        self.sessions.login(Login { attempt, token, ..Login::new(cid(on), user) }).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_login_blocks_nobody() {
    for (first, second) in [(None, None), (None, Some(1)), (Some(1), None), (Some(1), Some(2))] {
        let mut world = World::new().await.login_unheard_of("a", first).await;
        let answer = world.log_in("a", 1, second, None).await.unwrap().unwrap();
        assert_eq!((answer.generation, world.published().as_str()), (1, "a token \"user\"\na user \"jane\""));
        assert_eq!(world.sessions_of(1).await, 1, "no session is left over");
        world.relogin("b", &answer.relogin_key).await.unwrap();
    }
}

/// The new process has a clock that is an hour behind the former one's.
#[tokio::test(start_paused = true)]
async fn an_orphaned_login_blocks_nobody_after_the_clock_was_set_back() {
    let mut world = World::new().await;
    let hour = 3_600_000;
    world.login("a", 1).await.unwrap();
    let stored = world.store.find_by_connection(&cid("a")).await.unwrap().unwrap();
    let mut ahead = stored.record.clone();
    for time in [&mut ahead.created, &mut ahead.last_seen, &mut ahead.key_deadline, &mut ahead.session_deadline] {
        *time = time.plus(hour);
    }
    world.store.replace(ahead, stored.revision).await.unwrap();
    world = world.restarted().await;
    world.log_in("a", 1, None, None).await.unwrap().unwrap();
    assert_eq!(world.sessions_of(1).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_repeated_after_the_restart_gets_what_it_would_have_got() {
    let mut world = World::new().await.login_unheard_of("a", Some(1)).await;
    let sid = world.store.find_by_connection(&cid("a")).await.unwrap().unwrap().record.sid;
    let answer = world.log_in("a", 1, Some(1), None).await.unwrap().unwrap();
    assert_eq!(answer.relogin_key.parse().unwrap().sid, sid);
    assert_eq!(world.published(), "a token \"user\"\na user \"jane\"");
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_events_were_sent_outlives_the_restart() {
    let world = World::new().await;
    let sid = world.login("a", 1).await.unwrap().relogin_key.parse().unwrap().sid;
    let mut world = world.restarted().await;
    assert_eq!(world.log_in("a", 2, None, Some(sid)).await.unwrap(), Err(Denied::AlreadyLoggedIn));
    assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("jane")));
    // Of this process's own making: the second of two logins at once has no token either.
    world.login("b", 1).await.unwrap();
    assert_eq!(world.log_in("b", 2, None, None).await.unwrap(), Err(Denied::AlreadyLoggedIn));
}

/// The relogin's connection has no event of it, but the session has others.
#[tokio::test(start_paused = true)]
async fn a_session_with_other_connections_goes_on_without_the_one_that_logs_in() {
    let world = World::new().await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    world.bus.fails.store(true, SeqCst);
    world.sessions.relogin(cid("b"), &using(&first, Some(1)), None, Browser::default()).await.unwrap_err();
    let mut world = world.restarted().await;
    world.log_in("b", 2, None, None).await.unwrap().unwrap();
    assert_eq!(world.published(), "b token \"user\"\nb user \"john\"");
    assert_eq!(
        (world.user_on("a").await.as_deref(), world.user_on("b").await.as_deref()),
        (Some("jane"), Some("john"))
    );
}

#[tokio::test(start_paused = true)]
async fn old_connections_refresh_log_out_and_are_cleared_at_ends() {
    let world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.attempt("b", &key, 1).await.unwrap();
    world.login("c", 2).await.unwrap();
    world.login("d", 2).await.unwrap();
    let mut world = world.restarted().await;
    // The lost reply is asked for again, on the connection that it was asked on.
    let second = world.attempt("b", &key, 1).await.unwrap();
    assert_eq!((second.generation, world.published().as_str()), (2, "a rotated 2\nb token \"user\"\nb user \"jane\""));
    world.attempt("a", &second.relogin_key, 2).await.unwrap();
    assert_eq!(world.published(), "b rotated 3\na token \"user\"\na user \"jane\"");
    world.logout("a").await;
    assert_eq!(world.published(), "a user null\na token null\nb user null\nb token null");
    // An end that the former process had no time to announce.
    world.bus.fails.store(true, SeqCst);
    assert!(matches!(world.sessions.logout(cid("c"), None, None).await, Err(SessionsError::Bus(_))));
    let mut world = world.restarted().await;
    let stop = CancellationToken::new();
    let expiring = tokio::spawn(expiry::run(world.sessions.clone(), stop.clone()));
    // Virtual time: it passes once nobody has anything left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((world.published().as_str(), world.sessions_of(2).await), ("c user null\nc token null", 1));
    stop.cancel();
    expiring.await.unwrap();
}
