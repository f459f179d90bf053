//! Several processes on one store, each of which sees what the others have written as late as it
//! may.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    views::{Truth, View},
    *,
};
use crate::sessions::{
    liveness_probe::ANSWER_DEADLINE,
    request::SessionRequest,
    several::{ENDING, MAX_NOTIFIED, Unconfirmed},
};
use relogin_users::UserChange;

/// One of them.
struct Instance {
    sessions: Arc<Sessions>,
    view: Arc<View>,
    /// While closed, its events wait.
    bus: Arc<Gate>,
}

/// All of them, and their events.
struct Several {
    instances: Vec<Instance>,
    truth: Arc<Mutex<Truth>>,
    users: Arc<Users>,
    published: Subscription,
}

/// A bus whose messages can be held up.
struct Gate {
    bus: Arc<LocalBus>,
    is_open: watch::Sender<bool>,
    /// How many flushes fail.
    failures: AtomicUsize,
}

impl Gate {
    fn of(bus: &Arc<LocalBus>) -> Self {
        Self { bus: Arc::clone(bus), is_open: watch::Sender::new(true), failures: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Bus for Gate {
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
        self.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
        tokio::task::yield_now().await;
        self.bus.publish(subject, payload).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        if self.failures.fetch_update(SeqCst, SeqCst, |failures| failures.checked_sub(1)).is_ok() {
            return Err(BusError::Disconnected);
        }
        self.bus.flush().await
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.bus.link()
    }

    async fn close(&self) -> Result<(), BusError> {
        self.bus.close().await
    }
}

/// A clock that is ahead of the others by some milliseconds.
struct Ahead(Arc<RuntimeClock>, u64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now().plus(self.1)
    }
}

impl Several {
    /// One instance for each clock, which is ahead by that many milliseconds.
    async fn with_clocks(ahead: &[u64]) -> Self {
        let (bus, users) = (Arc::new(LocalBus::new()), Arc::new(Users::default()));
        for (id, name) in [(1, "jane"), (2, "john")] {
            let user = User { id: UserId::Number(id), name: name.to_owned(), role: "user".to_owned() };
            users.known.lock().unwrap().insert(UserId::Number(id), user);
        }
        let (truth, clock) = (Arc::default(), Arc::new(RuntimeClock::new()));
        let instances = ahead.iter().map(|ahead| {
            let view = Arc::new(View::of(&truth));
            let bus = Arc::new(Gate::of(&bus));
            let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
            let policy =
                Policy { key_lifetime: 120_000, session_lifetime: 600_000, refresh: 60_000, revoke_within: None };
            let rules = Rules { policy, keyring };
            let sessions = Sessions::new("session", rules, view.clone(), users.clone(), bus.clone())
                .with_clock(Arc::new(Ahead(Arc::clone(&clock), *ahead)))
                .with_cap(3);
            Instance { sessions: Arc::new(sessions), view, bus }
        });
        let instances = instances.collect();
        let published = bus.subscribe(&[">".to_owned()]).await.unwrap();
        Self { instances, truth, users, published }
    }

    async fn new(count: usize) -> Self {
        Self::with_clocks(&vec![0; count]).await
    }

    fn user(&self, user: i64) -> User {
        self.users.known.lock().unwrap()[&UserId::Number(user)].clone()
    }

    /// The first user's token at gateways, but for the session.
    fn token(&self) -> Token {
        let User { id, role, .. } = self.user(1);
        Token { sid: SessionId([0; 16]), user_id: id, role }
    }

    async fn login(&self, at: usize, on: &str, attempt: Option<u8>) -> Answer {
        let attempt = attempt.map(|attempt| Attempt([attempt; 16]));
        let login = Login { attempt, ..Login::new(cid(on), self.user(1)) };
        self.instances[at].sessions.login(login).await.unwrap()
    }

    async fn relogin(&self, at: usize, on: &str, key: &ReloginKey, attempt: u8) -> Answer {
        let params = using(key, Some(attempt));
        self.instances[at].sessions.relogin(cid(on), &params, None, Browser::default()).await.unwrap()
    }

    async fn logout(&self, at: usize, on: &str) -> Result<(), Denied> {
        self.instances[at].sessions.logout(cid(on), None, None).await.unwrap()
    }

    async fn user_on(&self, at: usize, on: &str) -> Option<String> {
        self.instances[at].sessions.session_on(&cid(on)).await.unwrap().1.map(|user| user.name)
    }

    fn published(&mut self) -> String {
        events_in(&mut self.published)
    }

    /// Each instance checks what it has not checked yet.
    async fn confirm_late(&self) {
        for confirmed in join_all(self.instances.iter().map(|it| it.sessions.confirm_late())).await {
            confirmed.unwrap();
        }
    }

    async fn sessions_of(&self, user: i64) -> usize {
        let view = View::of(&self.truth);
        view.catch_up();
        view.find_by_user(&UserId::Number(user)).await.unwrap().len()
    }
}

/// The second instance once took the key for an invalid one.
#[tokio::test(start_paused = true)]
async fn a_session_of_one_instance_goes_on_at_the_other_at_once() {
    let mut several = Several::new(2).await;
    let mut key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    assert_eq!(several.user_on(1, "a").await.as_deref(), Some("jane"), "no answer says less than an event before it");
    for generation in 2..6 {
        let at = usize::try_from(generation).unwrap() % 2;
        let next = several.relogin(at, "a", &key, 9).await.unwrap();
        assert_eq!(next.generation, generation);
        key = next.relogin_key;
    }
    several.published();
    several.logout(0, "a").await.unwrap();
    assert_eq!(several.published(), "a user null\na token null");
    assert_eq!(several.relogin(1, "b", &key, 9).await, Err(Denied::InvalidReloginKey));
    assert_eq!(several.user_on(1, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_newer_than_a_stale_record_does_not_mean_a_store_rolled_back() {
    let several = Several::new(2).await;
    let mut key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    several.instances[1].view.catch_up();
    for attempt in 2..5 {
        key = several.relogin(0, "a", &key, attempt).await.unwrap().relogin_key;
    }
    assert_eq!(several.relogin(1, "a", &key, 9).await.unwrap().generation, 5);
}

#[tokio::test(start_paused = true)]
async fn a_retry_at_another_instance_gets_the_same_key_and_reuse_is_detected_there() {
    let mut several = Several::new(2).await;
    let first = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    several.instances[1].view.catch_up();
    let second = several.relogin(0, "a", &first, 2).await.unwrap();
    assert_eq!(several.relogin(1, "a", &first, 2).await.unwrap(), second);
    several.published();
    assert_eq!(several.relogin(1, "thief", &first, 3).await, Err(Denied::InvalidReloginKey));
    assert_eq!(several.published(), "a rotated 3\na user null\na token null");
    assert_eq!(several.relogin(0, "a", &second.relogin_key, 4).await, Err(Denied::InvalidReloginKey));
}

/// Otherwise its page would say that the key was refused, and not that it was stolen.
#[tokio::test(start_paused = true)]
async fn an_owner_is_notified_of_a_theft_before_another_instance_refuses_its_key() {
    let mut several = Several::new(2).await;
    let first = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    let second = several.relogin(0, "a", &first, 2).await.unwrap().relogin_key;
    several.published();
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let theft =
        tokio::spawn(
            async move { late.relogin(cid("thief"), &using(&first, Some(3)), None, Browser::default()).await },
        );
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The theft is not announced yet, so the session lives.
    let third = several.relogin(1, "a", &second, 4).await.unwrap().relogin_key;
    several.published();
    several.instances[0].bus.is_open.send_replace(true);
    assert_eq!(theft.await.unwrap().unwrap(), Err(Denied::InvalidReloginKey));
    assert_eq!(several.published(), "a rotated 3\na rotated 4\na user null\na token null");
    assert_eq!(several.relogin(1, "a", &third, 5).await, Err(Denied::InvalidReloginKey));
}

/// The instance whose events are late corrects them, right after its answer.
#[tokio::test(start_paused = true)]
async fn after_events_that_crossed_a_connection_shows_what_is_stored() {
    let mut several = Several::new(2).await;
    let key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    several.published();
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let relogin =
        tokio::spawn(async move { late.relogin(cid("b"), &using(&key, Some(2)), None, Browser::default()).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    several.logout(1, "b").await.unwrap();
    assert_eq!(several.published(), "b user null\nb token null\na user null\na token null");
    several.instances[0].bus.is_open.send_replace(true);
    relogin.await.unwrap().unwrap().unwrap();
    assert_eq!(several.published(), "a rotated 2\nb token \"user\"\nb user \"jane\"", "after the end");
    let late = &several.instances[0].sessions;
    late.confirm_urgent().await;
    late.confirm_late().await.unwrap();
    assert_eq!(several.published(), "b user null\nb token null");
}

/// A refresh sends the user only, and does not check that before its answer. The model found this.
#[tokio::test(start_paused = true)]
async fn a_user_who_was_shown_late_by_a_refresh_is_taken_back_a_moment_later() {
    let mut several = Several::new(2).await;
    let key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    let sid = ReloginKey::session(&key).unwrap();
    several.published();
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let token = Token { sid, ..several.token() };
    let using = using(&key, Some(2));
    let refresh = tokio::spawn({
        let late = late.clone();
        async move { late.relogin(cid("a"), &using, Some(token), Browser::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    several.logout(1, "a").await.unwrap();
    several.published();
    several.instances[0].bus.is_open.send_replace(true);
    refresh.await.unwrap().unwrap().unwrap();
    assert_eq!(several.published(), "a user \"jane\"", "and nobody is logged in");
    late.confirm_wanted().await;
    late.confirm_late().await.unwrap();
    assert_eq!(several.published(), "a user null\na token null");
    late.confirm_late().await.unwrap();
    assert_eq!(several.published(), "", "once");
    // A correct connection gets nothing more, and an end at the same instance is sent once.
    let key = several.login(0, "a", Some(2)).await.unwrap().relogin_key;
    for attempt in 3..5 {
        let token = Token { sid: ReloginKey::session(&key).unwrap(), ..several.token() };
        let params = self::using(&key, Some(attempt));
        late.relogin(cid("a"), &params, Some(token), Browser::default()).await.unwrap().ok();
        several.published();
        if attempt == 4 {
            several.logout(0, "a").await.unwrap();
            assert_eq!(several.published(), "a user null\na token null");
        }
        late.confirm_late().await.unwrap();
        assert_eq!(several.published(), "");
    }
}

/// The look fails, because the store does not answer.
#[tokio::test(start_paused = true)]
async fn a_connection_is_corrected_once_the_store_answers_again() {
    a_connection_is_corrected_after(|late| late.view.failures.store(1, SeqCst)).await;
}

/// The look fails, because nobody knows whether the bus's servers have what was published.
#[tokio::test(start_paused = true)]
async fn a_connection_is_corrected_once_the_bus_is_flushed() {
    a_connection_is_corrected_after(|late| late.bus.failures.store(1, SeqCst)).await;
}

/// After a look that fails.
async fn a_connection_is_corrected_after(fail_once: impl FnOnce(&Instance)) {
    let mut several = Several::new(2).await;
    let key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let relogin = tokio::spawn({
        let late = late.clone();
        async move { late.relogin(cid("b"), &using(&key, Some(2)), None, Browser::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    several.logout(1, "b").await.unwrap();
    several.published();
    fail_once(&several.instances[0]);
    several.instances[0].bus.is_open.send_replace(true);
    relogin.await.unwrap().unwrap().unwrap();
    assert!(several.published().ends_with("b token \"user\"\nb user \"jane\""));
    late.confirm_wanted().await;
    late.confirm_late().await.unwrap_err();
    assert_eq!(several.published(), "", "nothing is known yet");
    late.confirm_wanted().await;
    late.confirm_late().await.unwrap();
    assert_eq!(several.published(), "b user null\nb token null");
}

#[test]
fn a_bounded_number_of_connections_waits_for_a_look() {
    let unconfirmed = Unconfirmed::default();
    unconfirmed.add((0..=MAX_NOTIFIED).map(|n| (cid(&format!("c{n}")), None)));
    assert_eq!(unconfirmed.lock().len(), MAX_NOTIFIED);
}

/// As above, but the one that was late is killed before it checks.
#[tokio::test(start_paused = true)]
async fn late_events_of_a_killed_instance_are_corrected_by_the_other() {
    let mut several = Several::new(2).await;
    let key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let relogin =
        tokio::spawn(async move { late.relogin(cid("b"), &using(&key, Some(2)), None, Browser::default()).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    several.logout(1, "b").await.unwrap();
    several.published();
    several.instances[0].bus.is_open.send_replace(true);
    relogin.await.unwrap().unwrap().unwrap();
    assert_eq!(several.published(), "a rotated 2\nb token \"user\"\nb user \"jane\"");
    assert_eq!(several.user_on(1, "b").await, None, "its gateway has a user and the store has none");
    assert_eq!(several.instances[1].sessions.resend().await.unwrap(), 2);
    let published = several.published();
    for line in ["a user null", "a token null", "b user null", "b token null"] {
        assert!(published.contains(line), "{published}");
    }
    // What was sent long ago is not sent again.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(several.instances[1].sessions.resend().await.unwrap(), 0);
    // And a connection that is logged in stays so.
    several.login(1, "c", None).await.unwrap();
    several.published();
    several.instances[1].sessions.resend().await.unwrap();
    assert_eq!(several.published(), "c token \"user\"\nc user \"jane\"");
}

/// Gateways drop the events that come before the answer to a get.
#[tokio::test(start_paused = true)]
async fn events_sent_while_a_get_is_answered_are_sent_again_after_it() {
    let mut several = Several::new(2).await;
    let sessions = several.instances[0].sessions.clone();
    let (answered, user) = sessions.session_on(&cid("a")).await.unwrap();
    assert_eq!((answered, user), (None, None));
    several.login(1, "a", None).await.unwrap();
    several.published();
    // Only now the answer comes to the gateway.
    sessions.confirm_session(&cid("a"), answered).await.unwrap();
    assert_eq!(several.published(), "a token \"user\"\na user \"jane\"");
    // The same when the renewal of a token clears its connection.
    several.instances[0].bus.is_open.send_replace(false);
    let late = several.instances[0].sessions.clone();
    let renewal = tokio::spawn(async move { late.renew(&cid("b"), SessionId([9; 16])).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    several.login(1, "b", None).await.unwrap();
    several.instances[0].bus.is_open.send_replace(true);
    renewal.await.unwrap().unwrap();
    assert!(several.published().ends_with("b user null\nb token null\nb token \"user\"\nb user \"jane\""));
}

/// Others may change without end what a connection should show.
#[tokio::test(start_paused = true)]
async fn a_connection_is_corrected_a_limited_number_of_times() {
    let mut several = Several::new(2).await;
    several.login(1, "a", None).await.unwrap();
    let Instance { sessions, view, .. } = &several.instances[0];
    let (sessions, view) = (sessions.clone(), view.clone());
    let (session, _) = sessions.session_on(&cid("a")).await.unwrap();
    several.published();

    view.flips.store(15, SeqCst);
    sessions.confirm_session(&cid("a"), session).await.unwrap();
    let published = several.published();
    assert_eq!(published.matches("a token").count(), 15, "{published}");
    assert!(published.ends_with("a user null\na token null"), "{published}");

    view.flips.store(16, SeqCst);
    let contended = sessions.confirm_session(&cid("a"), None).await;
    assert!(matches!(contended, Err(SessionsError::Contended)), "{contended:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_logins_at_once_on_one_connection_one_wins_and_no_session_is_left_over() {
    for attempts in [[None, None], [Some(1), Some(2)]] {
        let mut several = Several::new(2).await;
        let (first, second) = tokio::join!(several.login(0, "a", attempts[0]), several.login(1, "a", attempts[1]));
        let answers = [first, second];
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        assert!(answers.contains(&Err(Denied::AlreadyLoggedIn)));
        assert_eq!(several.sessions_of(1).await, 1);
        assert!(several.published().ends_with("a user \"jane\""));
        let key = answers.into_iter().find_map(Result::ok).unwrap().relogin_key;
        several.relogin(0, "b", &key, 7).await.unwrap();
    }
    // A login that is sent again is one login.
    let several = Several::new(2).await;
    let (first, second) = tokio::join!(several.login(0, "a", Some(1)), several.login(1, "a", Some(1)));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(several.sessions_of(1).await, 1);
}

/// The session that the last token event names.
fn last_token(published: &mut Subscription) -> Value {
    let published = std::iter::from_fn(|| tokio::task::unconstrained(published.next()).now_or_never()?);
    let token = published.filter(|event| event.subject.starts_with("conn.")).last().unwrap();
    serde_json::from_slice::<Value>(&token.payload).unwrap()["tid"].take()
}

/// The client was answered by the one that was faster, and had sent its login again because the
/// other one was slow. The session of that one once took the connection, and nobody had its key.
#[tokio::test(start_paused = true)]
async fn a_login_written_after_its_repetition_was_answered_makes_no_second_session() {
    for attempts in [[1, 1], [1, 2]] {
        let mut several = Several::new(2).await;
        several.instances[1].view.holds_new.send_replace(true);
        let slow = &several.instances[1].view.holds_new;
        let (second, first) = tokio::join!(several.login(1, "a", Some(attempts[1])), async {
            while slow.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            let answer = several.login(0, "a", Some(attempts[0])).await;
            slow.send_replace(false);
            answer
        });
        assert_eq!(several.sessions_of(1).await, 1);
        let first = first.unwrap();
        if attempts[0] == attempts[1] {
            assert_eq!(second.as_ref(), Ok(&first), "one login, one key");
        } else {
            assert_eq!(second, Err(Denied::AlreadyLoggedIn));
        }
        let sid = first.relogin_key.session().unwrap();
        assert_eq!(several.instances[0].sessions.session_on(&cid("a")).await.unwrap().0, Some(sid));
        assert_eq!(last_token(&mut several.published), sid.to_text());
        several.instances[1].sessions.logout(cid("a"), Some(sid), None).await.unwrap().unwrap();
        assert_eq!(several.sessions_of(1).await, 0, "nothing is left that nobody could end");
    }
}

/// The session of the slow one is written, and its events are on their way.
#[tokio::test(start_paused = true)]
async fn a_login_repeated_before_its_second_session_is_withdrawn_gets_the_key_of_the_first() {
    let several = Several::new(3).await;
    let (slow, bus) = (&several.instances[1].view.holds_new, &several.instances[1].bus.is_open);
    slow.send_replace(true);
    bus.send_replace(false);
    let (second, (first, third)) = tokio::join!(several.login(1, "a", Some(1)), async {
        while slow.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        let first = several.login(0, "a", Some(1)).await;
        slow.send_replace(false);
        while bus.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(several.sessions_of(1).await, 2);
        let third = several.login(2, "a", Some(1)).await;
        bus.send_replace(true);
        (first, third)
    });
    let first = first.unwrap();
    assert_eq!([second.as_ref(), third.as_ref()], [Ok(&first); 2]);
    assert_eq!(several.sessions_of(1).await, 1);
    several.relogin(2, "a", &first.relogin_key, 2).await.unwrap();
}

/// What is left then, ADR 0085 says.
#[tokio::test(start_paused = true)]
async fn a_slow_login_whose_instance_is_killed_leaves_its_connection_and_can_be_ended() {
    let mut several = Several::new(2).await;
    let key = {
        let (slow, bus) = (&several.instances[1].view.holds_new, &several.instances[1].bus.is_open);
        slow.send_replace(true);
        bus.send_replace(false);
        let killed = several.login(1, "a", Some(1));
        let answered = async {
            while slow.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            let key = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
            slow.send_replace(false);
            while bus.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            key
        };
        tokio::select! { biased; _ = killed => unreachable!("its events wait"), key = answered => key }
    };
    let Instance { sessions, view, .. } = &several.instances[0];
    view.catch_up();
    let sid = key.session().unwrap();
    let both = view.find_all_by_connection(&cid("a")).await.unwrap();
    let [left] = both.iter().copied().filter(|found| *found != sid).collect::<Vec<_>>().try_into().unwrap();
    sessions.resend().await.unwrap();
    assert_eq!(view.find_all_by_connection(&cid("a")).await.unwrap(), [sid]);
    assert_eq!(last_token(&mut several.published), sid.to_text());
    assert_eq!(several.sessions_of(1).await, 2, "its user sees both");
    sessions.serve(&SessionRequest::OnSession(left, Command::Revoke)).await.unwrap().unwrap();
    assert_eq!(several.sessions_of(1).await, 1);
    several.relogin(0, "a", &key, 3).await.unwrap();
}

/// By the instance that was slow, once the store answers again.
#[tokio::test(start_paused = true)]
async fn a_slow_login_whose_write_gets_no_answer_leaves_its_connection() {
    let mut several = Several::new(2).await;
    let view = &several.instances[1].view;
    view.holds_new.send_replace(true);
    let (failed, first) = tokio::join!(
        several.instances[1]
            .sessions
            .login(Login { attempt: Some(Attempt([1; 16])), ..Login::new(cid("a"), several.user(1)) }),
        async {
            while view.holds_new.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            let first = several.login(0, "a", Some(1)).await.unwrap();
            view.unanswered_new.store(1, SeqCst);
            view.holds_new.send_replace(false);
            first
        }
    );
    assert!(matches!(failed, Err(SessionsError::Store(StoreError::Shortage(_)))), "{failed:?}");
    view.catch_up();
    assert_eq!(view.find_all_by_connection(&cid("a")).await.unwrap().len(), 2);
    several.confirm_late().await;
    let sid = first.relogin_key.session().unwrap();
    assert_eq!(view.find_all_by_connection(&cid("a")).await.unwrap(), [sid]);
    assert_eq!(last_token(&mut several.published), sid.to_text());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_two_instances_put_on_two_sessions_stays_on_one() {
    let mut several = Several::new(2).await;
    let jane = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    let other = several.login(1, "b", Some(2)).await.unwrap().relogin_key;
    for instance in &several.instances {
        instance.view.catch_up();
    }
    let (first, second) = tokio::join!(several.relogin(0, "c", &jane, 3), several.relogin(1, "c", &other, 4));
    let (first, second) = (first.unwrap().relogin_key, second.unwrap().relogin_key);
    several.confirm_late().await;
    let view = &several.instances[0].view;
    view.catch_up();
    let [held] = view.find_all_by_connection(&cid("c")).await.unwrap().try_into().unwrap();
    let token = events_in(&mut several.published);
    assert!(token.lines().rfind(|line| line.starts_with("c token")).is_some_and(|line| !line.ends_with("null")));
    assert!([&first, &second].iter().any(|key| key.session() == Some(held)));
    // Both go on.
    several.relogin(1, "d", &first, 5).await.unwrap();
    several.relogin(0, "e", &second, 6).await.unwrap();
}

/// All at the same moment, or with clocks that differ by a minute.
#[tokio::test(start_paused = true)]
async fn an_overdue_session_is_ended_by_one_instance_and_its_end_sent_once() {
    for clocks in [[0, 0, 0], [0, 60_000, 1_000]] {
        let mut several = Several::with_clocks(&clocks).await;
        for n in 0..50 {
            let login = Login::new(cid(&format!("c{n}")), User { id: UserId::Number(n), ..several.user(1) });
            several.instances[0].sessions.login(login).await.unwrap().unwrap();
        }
        for instance in &several.instances {
            instance.view.catch_up();
        }
        several.published();
        let stop = CancellationToken::new();
        let sweeping = several.instances.iter().map(|it| tokio::spawn(expiry::run(it.sessions.clone(), stop.clone())));
        let sweeping: Vec<_> = sweeping.collect();
        tokio::time::sleep(Duration::from_secs(120) + ENDING * 3).await;
        let published = several.published();
        assert_eq!(published.lines().count(), 100, "each connection its user and its token, once:\n{published}");
        stop.cancel();
        join_all(sweeping).await;
        assert!(several.truth.lock().unwrap().is_empty());
    }
}

/// By its clock the session was last used before it began; of one process that would mean that a
/// crash came between the session and its events.
#[tokio::test(start_paused = true)]
async fn a_login_repeated_at_an_instance_that_began_later_makes_no_second_session() {
    let several = Several::with_clocks(&[0, 60_000]).await;
    let first = several.login(0, "a", Some(1)).await.unwrap();
    assert_eq!(several.login(1, "a", Some(1)).await.unwrap().relogin_key, first.relogin_key);
    assert_eq!(several.sessions_of(1).await, 1);
    assert_eq!(several.relogin(0, "a", &first.relogin_key, 2).await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_crash_interrupted_is_sent_by_another_instance_after_a_while() {
    let mut several = Several::new(3).await;
    several.login(0, "a", None).await.unwrap();
    several.published();
    // The first ends after it has marked the session.
    several.instances[0].bus.is_open.send_replace(false);
    let cut_short = several.instances[0].sessions.clone();
    let logout = tokio::spawn(async move { cut_short.logout(cid("a"), None, None).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    logout.abort();
    let stop = CancellationToken::new();
    for instance in &several.instances[1..] {
        instance.view.catch_up();
        tokio::spawn(expiry::run(instance.sessions.clone(), stop.clone()));
    }
    tokio::time::sleep(ENDING / 2).await;
    assert_eq!(several.published(), "", "it may only be slow");
    tokio::time::sleep(ENDING * 2).await;
    assert_eq!(several.published(), "a user null\na token null", "by one of them");
    assert!(several.truth.lock().unwrap().is_empty());
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn user_changes_and_the_session_limit_cover_the_sessions_of_all_instances() {
    let mut several = Several::new(3).await;
    for (at, on) in ["a", "b", "c", "d"].into_iter().enumerate() {
        several.login(at % 3, on, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(several.sessions_of(1).await, 3, "three are allowed");
    assert!(several.published().contains("a token null"));
    let change = UserChange { id: UserId::Number(1), is_password_new: true, keep: None };
    several.instances[1].sessions.apply_user_change(&change).await.unwrap();
    assert_eq!(several.sessions_of(1).await, 0);
    let published = several.published();
    for on in ["b", "c", "d"] {
        assert!(published.contains(&format!("{on} token null")), "{published}");
    }
}

/// The model found this: an instance that asked took silence for absence, also of a connection that
/// had relogged in at another one meanwhile.
#[tokio::test(start_paused = true)]
async fn a_connection_that_relogs_in_at_another_instance_while_it_is_probed_stays() {
    let several = Several::new(2).await;
    let mut key = several.login(0, "c0", None).await.unwrap().relogin_key;
    for (attempt, on) in (2..).zip(["c1", "c2", "c3", "c4"]) {
        key = several.relogin(0, on, &key, attempt).await.unwrap().relogin_key;
    }
    let (probing, sid) = (&several.instances[0].sessions, ReloginKey::session(&key).unwrap());
    probing.probe_connections().await.unwrap().expect("five are more than the threshold");
    for on in ["c2", "c4"] {
        probing.renew(&cid(on), sid).await.unwrap();
    }
    several.relogin(1, "c1", &key, 9).await.unwrap();
    tokio::time::sleep(ANSWER_DEADLINE).await;
    probing.probe_connections().await.unwrap();
    let record = probing.on_connection(&cid("c4")).await.unwrap().unwrap();
    let left: Vec<_> = record.connections.iter().map(ConnectionId::as_str).collect();
    assert_eq!(left, ["c2", "c4", "c1"], "neither c0 nor c3, of which there is no sign");
}

/// That a connection leaves its session, because it has not answered a probe.
fn prune(key: &ReloginKey, silent: &str, asked_by: &str) -> SessionRequest {
    let prune = Command::Prune { unresponsive: vec![cid(silent)], asked_by: cid(asked_by) };
    SessionRequest::OnSession(ReloginKey::session(key).unwrap(), prune)
}

/// The model found this: it was cleared before the write, and then that was not done.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_to_leave_and_was_faster_elsewhere_gets_its_session_back() {
    let mut several = Several::new(2).await;
    let first = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    let second = several.relogin(0, "b", &first, 2).await.unwrap().relogin_key;
    several.instances[0].bus.is_open.send_replace(false);
    let (pruning, prune) = (several.instances[0].sessions.clone(), prune(&second, "a", "b"));
    let pruning = tokio::spawn(async move { pruning.serve(&prune).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let token = Token { sid: ReloginKey::session(&second).unwrap(), ..several.token() };
    let (params, other) = (using(&second, Some(3)), several.instances[1].sessions.clone());
    other.relogin(cid("a"), &params, Some(token), Browser::default()).await.unwrap().unwrap();
    several.published();
    several.instances[0].bus.is_open.send_replace(true);
    pruning.await.unwrap().unwrap();
    several.confirm_late().await;
    let published = several.published();
    assert!(published.starts_with("a user null\na token null\n"), "{published}");
    assert!(published.ends_with("a token \"user\"\na user \"jane\""), "{published}");
}

/// The model found this: an event of another process could come between clearing it and the write,
/// and be checked before that write.
#[tokio::test(start_paused = true)]
async fn who_leaves_is_cleared_once_more_after_the_write() {
    let mut several = Several::new(2).await;
    let first = several.login(0, "a", Some(1)).await.unwrap().relogin_key;
    let second = several.relogin(0, "b", &first, 2).await.unwrap().relogin_key;
    several.published();
    several.instances[0].sessions.serve(&prune(&second, "a", "b")).await.unwrap().unwrap();
    assert_eq!(several.published(), ["a user null\na token null"; 2].join("\n"));
    assert_eq!(several.user_on(1, "a").await, None);
}

/// The model found this: each ended the sessions that the others had just made.
#[tokio::test(start_paused = true)]
async fn logins_at_once_at_several_instances_leave_as_many_sessions_as_allowed() {
    let several = Several::new(5).await;
    let on = ["a", "b", "c", "d", "e"];
    let logins = join_all((0..5).map(|at| several.login(at, on[at], None))).await;
    assert!(logins.iter().all(Result::is_ok), "{logins:?}");
    assert_eq!(several.sessions_of(1).await, 3);
}

/// Many clients and three processes, in an order that the seed decides.
#[tokio::test(start_paused = true)]
async fn whatever_crosses_connections_show_what_is_stored_in_the_end() {
    for seed in 0..200_u64 {
        let several = Several::new(3).await;
        let keys = Arc::new(Mutex::new(Vec::new()));
        let workers = (0..6).map(|worker| {
            let keys = Arc::clone(&keys);
            let mut random = StdRng::seed_from_u64(seed * 6 + worker);
            let (sessions, views): (Vec<_>, Vec<_>) =
                several.instances.iter().map(|it| (it.sessions.clone(), it.view.clone())).unzip();
            let users = Arc::clone(&several.users);
            tokio::spawn(async move {
                let mut draw = |below: usize| random.random_range(..below);
                for _ in 0..8 {
                    for _ in 0..draw(4) {
                        tokio::task::yield_now().await;
                    }
                    if draw(2) == 0 {
                        views[draw(3)].catch_up();
                    }
                    let (at, on, age) = (&sessions[draw(3)], cid(&format!("c{}", draw(4))), draw(3));
                    let key: Option<ReloginKey> = keys.lock().unwrap().iter().rev().nth(age).cloned();
                    let attempt = Some(u8::try_from(draw(3)).unwrap());
                    let answer = match (draw(8), key) {
                        (0, _) => at.logout(on, None, None).await.map(|_| None),
                        (1, Some(key)) => at.expire(ReloginKey::session(&key).unwrap()).await.map(|()| None),
                        (2.., Some(key)) => {
                            at.relogin(on, &using(&key, attempt), None, Browser::default()).await.map(Result::ok)
                        }
                        _ => {
                            let user = users.known.lock().unwrap()[&UserId::Number(1)].clone();
                            at.login(Login::new(on, user)).await.map(Result::ok)
                        }
                    };
                    if let Some(logged_in) = answer.unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
                        keys.lock().unwrap().push(logged_in.relogin_key);
                    }
                }
            })
        });
        let stop = CancellationToken::new();
        let confirming = several.instances.iter().map(|it| {
            let (sessions, stop) = (it.sessions.clone(), stop.clone());
            tokio::spawn(async move {
                while stop.run_until_cancelled(sessions.confirm_wanted()).await.is_some() {
                    sessions.confirm_late().await.unwrap();
                }
            })
        });
        let confirming: Vec<_> = confirming.collect();
        for worker in join_all(workers).await {
            worker.unwrap();
        }
        stop.cancel();
        for confirmed in join_all(confirming).await {
            confirmed.unwrap();
        }
        several.confirm_late().await;
        let mut several = several;
        let mut last = HashMap::new();
        for line in several.published().lines() {
            if let [on, "token", token] = line.split(' ').collect::<Vec<_>>()[..] {
                last.insert(on.to_owned(), token != "null");
            }
        }
        for (on, is_logged_in) in last {
            let all = &several.instances[0].view;
            all.catch_up();
            let held = all.find_all_by_connection(&cid(&on)).await.unwrap();
            assert!(held.len() < 2, "seed {seed}: {on} is on several sessions");
            assert_eq!(is_logged_in, several.user_on(0, &on).await.is_some(), "seed {seed}: {on}");
        }
    }
}
