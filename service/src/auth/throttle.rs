//! Throttles password guesses: after too many failures callers wait, longer each time. Must not
//! depend on user directories, RES or relogin. A relogin key cannot be guessed, so failures here
//! never delay a live session.
//!
//! Failures are counted by username and by remote address. A user who has logged in from an address
//! before, or in a browser with its cookie, is counted separately there, so that a storm of guesses
//! from elsewhere does not keep the owner out. A guess counts from the moment its check begins, as
//! if it were wrong: of guesses sent at once, no more are checked than of guesses sent one by one.
//! Guesses over the allowance wait until the outcomes of the others are known.
//!
//! Of several instances each counts what all have checked (`outcomes.rs`). What is being checked
//! elsewhere is not known: of guesses sent at once, each of n instances checks what one would.

mod expiring_map;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_users::prepare::prepared_username;
use tokio::{sync::Notify, time::Instant};

use self::expiring_map::ExpiringMap;
use super::queue::Party;

/// Whose failed logins delay the next ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThrottleKind {
    /// Those of the user and of the remote address.
    #[default]
    All,
    /// Those of the user.
    User,
    /// Nobody's.
    Off,
}

/// Counts failed logins.
#[derive(Debug)]
pub(super) struct Throttle {
    kind: ThrottleKind,
    /// Keyed afresh in each process: only hashes are stored, and nobody can produce a collision.
    hasher: RandomState,
    counts: Mutex<Counts>,
    settled: Notify,
}

#[derive(Debug)]
struct Counts {
    /// By username, or by username and place for users who have logged in from there.
    users: Table,
    addresses: Table,
    /// Names, and the places from which they have logged in.
    known: ExpiringMap<()>,
}

/// Failures, and guesses whose outcome is not known yet.
#[derive(Debug)]
struct Table {
    back_off: BackOff,
    failures: ExpiringMap<Failures>,
    in_flight: HashMap<u64, u32>,
}

/// The place that a login comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginPlace<'a> {
    /// `ip:port`, as the gateway reports it.
    pub(super) remote_addr: Option<&'a str>,
    /// The digest of the browser's cookie.
    pub(super) cookie: Option<[u8; 32]>,
    /// The connection's id.
    pub(super) connection: &'a str,
}

/// A login attempt, as keys of the tables above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Failures are counted for this: the name, or the name at a known place.
    user: Option<u64>,
    /// Failures are also counted for this.
    address: Option<u64>,
    /// The address's failures delay it.
    heeds_address: bool,
    /// The name at this address, and with this cookie.
    places: [Option<u64>; 2],
    party: Party,
}

/// A guess whose password is being checked. Taken back on drop, as if it had never happened.
#[derive(Debug)]
pub(super) struct LoginAttempt<'a> {
    throttle: &'a Throttle,
    caller: Caller,
}

/// The number of failures, and the time of the last one.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// The back-off policy.
#[derive(Debug)]
struct BackOff {
    /// This many failures cause no delay.
    free: u32,
    /// The delay after the first failure beyond those; each further one doubles it.
    first: Duration,
}

/// Whether a guess may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Admission {
    /// Now.
    Now,
    /// When the outcomes of the guesses before it are known.
    Later,
    /// Not before this much time has passed.
    In(Duration),
}

const USER: BackOff = BackOff { free: 5, first: Duration::from_secs(1) };
/// A whole office may share one address.
const ADDRESS: BackOff = BackOff { free: 20, first: Duration::from_secs(1) };

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long failures that cause no delay yet are remembered, and how long those that do: longer, so
/// that filling the tables with failures of made-up names does not evict others.
const REMEMBER_FEW: Duration = Duration::from_secs(60 * 60);
const REMEMBER_MANY: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a place of a successful login is remembered.
const REMEMBER_KNOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Entries per table; about 100 bytes each.
const CAPACITY: usize = 65_536;

/// How many logins of an address, of a connection, or of a user at a known place may wait for their
/// check.
const ADDRESS_SHARE: usize = 64;
const OWN_SHARE: usize = 8;

impl Throttle {
    pub(super) fn new(kind: ThrottleKind) -> Self {
        let counts =
            Counts { users: Table::new(USER), addresses: Table::new(ADDRESS), known: ExpiringMap::new(CAPACITY) };
        Self { kind, hasher: RandomState::new(), counts: Mutex::new(counts), settled: Notify::new() }
    }

    /// The login attempt of this name and place.
    pub(super) fn caller(&self, username: &str, place: LoginPlace<'_>, now: Instant) -> Caller {
        let LoginPlace { remote_addr, cookie, connection } = place;
        let name = prepared_username(username);
        let network = remote_addr.and_then(network);
        let at_address = network.map(|network| self.hash((&name, network)));
        let in_browser = cookie.map(|cookie| self.hash((&name, cookie)));
        let places = [at_address, in_browser];
        let known = {
            let counts = self.lock();
            // The browser first, because others may share its address.
            [in_browser, at_address].into_iter().flatten().find(|place| counts.known.get(*place, now).is_some())
        };
        let address = network.map(|network| self.hash(network)).filter(|_| self.kind == ThrottleKind::All);
        let party = match (known, address) {
            (Some(key), _) => Party { key, is_known: true, share: OWN_SHARE },
            (None, Some(key)) => Party { key, is_known: false, share: ADDRESS_SHARE },
            // An address that stands for everybody, or by which nobody is judged.
            (None, None) => Party { key: self.hash(("connection", connection)), is_known: false, share: OWN_SHARE },
        };
        Caller {
            user: (self.kind != ThrottleKind::Off).then(|| known.unwrap_or_else(|| self.hash(&name))),
            address,
            heeds_address: known.is_none(),
            places,
            party,
        }
    }

    /// How long the caller has to wait because of earlier failures; none if its login may queue for
    /// its check.
    pub(super) fn wait(&self, caller: &Caller, now: Instant) -> Option<Duration> {
        match self.lock().admission(caller, now) {
            Admission::In(wait) => Some(wait),
            Admission::Now | Admission::Later => None,
        }
    }

    /// Begins a guess, once the outcomes of those before it are known. Call it when its check can
    /// begin.
    ///
    /// # Errors
    /// The time to wait, if the name or the address has failed too often by then.
    pub(super) async fn begin(&self, caller: Caller) -> Result<LoginAttempt<'_>, Duration> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Registered before the check, so that no wake-up is missed in between.
            settled.as_mut().enable();
            match self.try_begin(caller, Instant::now()) {
                Ok(guess) => return Ok(guess),
                Err(Some(wait)) => return Err(wait),
                Err(None) => settled.await,
            }
        }
    }

    fn try_begin(&self, caller: Caller, now: Instant) -> Result<LoginAttempt<'_>, Option<Duration>> {
        let mut counts = self.lock();
        match counts.admission(&caller, now) {
            Admission::Now => {}
            Admission::Later => return Err(None),
            Admission::In(wait) => return Err(Some(wait)),
        }
        counts.each_table(&caller, Table::begin);
        Ok(LoginAttempt { throttle: self, caller })
    }

    /// Another instance has checked a password.
    pub(super) fn count(&self, username: &str, place: LoginPlace<'_>, is_right: bool, now: Instant) {
        let caller = self.caller(username, place, now);
        let mut counts = self.lock();
        if is_right {
            counts.right(&caller, now);
        } else {
            counts.each_table(&caller, |table, key| table.fail(key, now));
        }
    }

    /// Accepts a third-party token; refused with the time to wait if too many tokens with wrong
    /// signatures have come from the address. Those are counted apart from passwords, and concern
    /// no user.
    pub(super) fn admit_token(&self, remote_addr: Option<&str>, now: Instant) -> Result<TokenSource, Duration> {
        let network = remote_addr.and_then(network).filter(|_| self.kind == ThrottleKind::All);
        let address = network.map(|network| self.hash(("token", network)));
        let wait = address.and_then(|address| self.lock().addresses.wait(address, now));
        wait.map_or(Ok(TokenSource(address)), Err)
    }

    /// The token had a wrong signature.
    pub(super) fn forged(&self, TokenSource(address): TokenSource, now: Instant) {
        if let Some(address) = address {
            self.lock().addresses.fail(address, now);
        }
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a third-party token came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenSource(Option<u64>);

impl Caller {
    /// The party that it waits as for a password check.
    pub(super) fn party(&self) -> Party {
        self.party
    }
}

impl LoginAttempt<'_> {
    /// The password was right.
    pub(super) fn right(self, now: Instant) {
        self.throttle.lock().right(&self.caller, now);
    }

    /// The password was wrong.
    pub(super) fn wrong(self, now: Instant) {
        self.throttle.lock().each_table(&self.caller, |table, key| table.fail(key, now));
    }
}

impl Drop for LoginAttempt<'_> {
    fn drop(&mut self) {
        self.throttle.lock().each_table(&self.caller, Table::end);
        self.throttle.settled.notify_waiters();
    }
}

impl Counts {
    fn admission(&self, caller: &Caller, now: Instant) -> Admission {
        let user = caller.user.map_or(Admission::Now, |user| self.users.admission(user, now));
        let address = caller.address.filter(|_| caller.heeds_address);
        user.max(address.map_or(Admission::Now, |address| self.addresses.admission(address, now)))
    }

    /// The same for the user and for the address.
    fn each_table(&mut self, caller: &Caller, mut then: impl FnMut(&mut Table, u64)) {
        for (table, key) in [(&mut self.users, caller.user), (&mut self.addresses, caller.address)] {
            if let Some(key) = key {
                then(table, key);
            }
        }
    }

    /// Clears the user's failures, but not the address's: otherwise anybody with one account could
    /// wash off guesses at others.
    fn right(&mut self, caller: &Caller, now: Instant) {
        if let Some(user) = caller.user {
            self.users.failures.remove(user);
        }
        for place in caller.places.into_iter().flatten() {
            self.known.insert(place, (), now, REMEMBER_KNOWN);
        }
    }
}

impl Table {
    fn new(back_off: BackOff) -> Self {
        Self { back_off, failures: ExpiringMap::new(CAPACITY), in_flight: HashMap::new() }
    }

    /// How long the next guess has to wait.
    fn wait(&self, key: u64, now: Instant) -> Option<Duration> {
        let until = self.failures.get(key, now)?.until(&self.back_off);
        let wait = until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Whether the next guess may begin. It may if it could even if all guesses in flight were
    /// wrong.
    fn admission(&self, key: u64, now: Instant) -> Admission {
        if let Some(wait) = self.wait(key, now) {
            return Admission::In(wait);
        }
        let failed = self.failures.get(key, now).map_or(0, |failures| failures.count);
        // The last of these causes the next delay.
        let at_once = (self.back_off.free + 1).saturating_sub(failed).max(1);
        let in_flight = self.in_flight.get(&key).copied().unwrap_or(0);
        if in_flight < at_once { Admission::Now } else { Admission::Later }
    }

    fn begin(&mut self, key: u64) {
        *self.in_flight.entry(key).or_default() += 1;
    }

    fn end(&mut self, key: u64) {
        if let Some(in_flight) = self.in_flight.get_mut(&key) {
            *in_flight -= 1;
            if *in_flight == 0 {
                self.in_flight.remove(&key);
            }
        }
    }

    fn fail(&mut self, key: u64, now: Instant) {
        let count = self.failures.get(key, now).map_or(0, |failures| failures.count).saturating_add(1);
        let remember = if count > self.back_off.free { REMEMBER_MANY } else { REMEMBER_FEW };
        self.failures.insert(key, Failures { count, last: now }, now, remember);
    }
}

impl Failures {
    /// Until when the next login has to wait.
    fn until(self, back_off: &BackOff) -> Instant {
        let Some(past) = self.count.checked_sub(back_off.free + 1) else { return self.last };
        let wait = back_off.first.saturating_mul(2_u32.saturating_pow(past));
        self.last + wait.min(LONGEST)
    }
}

/// The address that is judged: an IPv4 address, or the /64 that one IPv6 customer has. None for
/// loopback, where a proxy on this machine stands for everybody.
fn network(remote_addr: &str) -> Option<IpAddr> {
    let ip = match remote_addr.parse::<SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) => remote_addr.parse().ok()?,
    };
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
        ip => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_tokens_make_tokens_from_their_address_wait_and_no_password() {
        let (throttle, now) = (Throttle::new(ThrottleKind::All), Instant::now());
        let from = Some("203.0.113.7:5");
        for _ in 0..21 {
            let guess = throttle.admit_token(from, now).unwrap();
            throttle.forged(guess, now);
        }
        assert_eq!(throttle.admit_token(from, now).unwrap_err(), SECOND);
        assert!(throttle.admit_token(Some("203.0.113.8:5"), now).is_ok());
        let jane = throttle.caller("jane", LoginPlace { remote_addr: from, cookie: None, connection: "c" }, now);
        assert_eq!(throttle.wait(&jane, now), None);
        assert!(throttle.admit_token(from, now + SECOND).is_ok());
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// A throttle and the time.
    struct World {
        throttle: Throttle,
        now: Instant,
    }

    impl World {
        fn new(kind: ThrottleKind) -> Self {
            Self { throttle: Throttle::new(kind), now: Instant::now() }
        }

        fn caller(&self, username: &str, from: &str) -> Caller {
            let place = LoginPlace { remote_addr: Some(from), cookie: None, connection: "c" };
            self.throttle.caller(username, place, self.now)
        }

        /// A login, and its verdict in the same moment. The seconds to wait if it is refused.
        fn login(&self, username: &str, from: &str, is_right: bool) -> Result<(), u64> {
            self.log_in(self.caller(username, from), is_right)
        }

        fn log_in(&self, caller: Caller, is_right: bool) -> Result<(), u64> {
            match self.throttle.try_begin(caller, self.now) {
                Ok(guess) if is_right => guess.right(self.now),
                Ok(guess) => guess.wrong(self.now),
                Err(Some(wait)) => return Err(wait.as_secs()),
                Err(None) => panic!("no login is before it"),
            }
            Ok(())
        }

        fn fail(&self, username: &str, from: &str) -> Result<(), u64> {
            self.login(username, from, false)
        }
    }

    #[test]
    fn the_wait_grows_with_each_failure_up_to_its_longest_and_is_over_some_time() {
        let mut world = World::new(ThrottleKind::All);
        for _ in 0..5 {
            assert_eq!(world.fail("jane", "1.1.1.1:1"), Ok(()));
        }
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(world.fail("JANE", "1.1.1.1:2"), Ok(()), "after the wait, another try is allowed");
            // What is refused is no failure: it makes nobody wait longer.
            for _ in 0..3 {
                assert_eq!(world.fail("Jane", "1.1.1.2:1"), Err(wait), "and from anywhere");
            }
            assert_eq!(world.login("jane", "1.1.1.1:1", true), Err(wait), "a right password is not even looked at");
            world.now += Duration::from_secs(wait);
        }
        world.now += REMEMBER_MANY;
        for _ in 0..5 {
            assert_eq!(world.fail("jane", "1.1.1.1:1"), Ok(()), "all is forgotten");
        }
    }

    #[test]
    fn a_right_password_forgives_the_user_and_not_the_address() {
        let mut world = World::new(ThrottleKind::All);
        for round in 0..4 {
            for _ in 0..5 {
                assert_eq!(world.fail("jane", "1.1.1.1:1"), Ok(()), "{round}");
            }
            assert_eq!(world.login("jane", "1.1.1.1:1", true), Ok(()));
        }
        assert_eq!(world.fail("john", "1.1.1.1:1"), Ok(()), "the 21st of the address");
        assert_eq!(world.login("mary", "1.1.1.1:9", true), Err(1));
        assert_eq!(world.login("mary", "1.1.1.2:9", true), Ok(()));
        world.now += SECOND;
        assert_eq!(world.login("mary", "1.1.1.1:9", true), Ok(()));
    }

    #[test]
    fn a_storm_from_elsewhere_does_not_keep_the_owner_out_at_home() {
        let mut world = World::new(ThrottleKind::All);
        assert_eq!(world.login("jane", "9.9.9.9:1", true), Ok(()));
        for n in 0..6 {
            assert_eq!(world.fail("jane", &format!("1.1.1.{n}:1")), Ok(()));
        }
        assert_eq!(world.login("jane", "1.1.1.77:1", true), Err(1));
        assert_eq!(world.login("jane", "9.9.9.9:2", true), Ok(()));
        // And who guesses from there is counted there.
        for _ in 0..6 {
            assert_eq!(world.fail("jane", "9.9.9.9:3"), Ok(()));
        }
        assert_eq!(world.login("jane", "9.9.9.9:2", true), Err(1));
        world.now += SECOND;
        assert_eq!(world.login("jane", "9.9.9.9:2", true), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn of_login_attempts_sent_at_once_no_more_are_checked_than_one_by_one() {
        let world = World::new(ThrottleKind::All);
        let caller = |n: u32| world.caller("jane", &format!("1.1.{n}.1:1"));
        let mut guesses: Vec<_> = (0..6).map(|n| world.throttle.try_begin(caller(n), world.now).unwrap()).collect();
        // They count as soon as they have begun: the next one waits for what becomes of them.
        assert_eq!(world.throttle.try_begin(caller(7), world.now).unwrap_err(), None);
        let mut seventh = Box::pin(world.throttle.begin(caller(7)));
        assert!(futures_util::poll!(&mut seventh).is_pending());
        // One that comes to nothing is given back.
        drop(guesses.pop());
        let mut guess = seventh.await.unwrap();
        let mut checked = 6;
        let refused = loop {
            guess.wrong(world.now);
            if let Some(before) = guesses.pop() {
                guess = before;
                continue;
            }
            match world.throttle.begin(caller(8)).await {
                Ok(next) => guess = next,
                Err(wait) => break wait,
            }
            checked += 1;
        };
        assert_eq!((checked, refused), (6, SECOND));
        assert!(world.throttle.lock().users.in_flight.is_empty(), "nothing is left behind");

        // Many right ones at once are no guesses.
        let logins = (0..500).map(async |_| {
            let guess = world.throttle.begin(world.caller("john", "2.2.2.2:1")).await.unwrap();
            tokio::task::yield_now().await;
            guess.right(world.now);
        });
        futures_util::future::join_all(logins).await;
    }

    #[test]
    fn a_browser_that_the_user_has_logged_in_with_is_known_wherever_it_is() {
        for remote_addr in [None, Some("127.0.0.1:7"), Some("9.9.9.9:7")] {
            let world = World::new(ThrottleKind::All);
            let with = |cookie: u8| {
                let place = LoginPlace { remote_addr, cookie: Some([cookie; 32]), connection: "c" };
                world.throttle.caller("jane", place, world.now)
            };
            assert_eq!(world.log_in(with(1), true), Ok(()));
            for _ in 0..6 {
                assert_eq!(world.log_in(world.caller("jane", "1.1.1.1:1"), false), Ok(()));
            }
            assert_eq!(world.log_in(world.caller("jane", "1.1.1.2:1"), true), Err(1));
            assert_eq!(world.log_in(with(1), true), Ok(()), "{remote_addr:?}");
            assert!(with(1).party().is_known);
            // A cookie that anybody can make up does not get around the name's failures, unless the
            // address is known.
            let other = world.log_in(with(2), false);
            assert_eq!(other.is_ok(), remote_addr == Some("9.9.9.9:7"), "{remote_addr:?}");
        }
    }

    #[test]
    fn a_known_user_does_not_wait_for_the_failures_of_their_address() {
        let world = World::new(ThrottleKind::All);
        assert_eq!(world.login("jane", "1.1.1.1:1", true), Ok(()));
        for n in 0..21 {
            assert_eq!(world.fail(&format!("user{n}"), "1.1.1.1:1"), Ok(()));
        }
        assert_eq!(world.login("mary", "1.1.1.1:9", true), Err(1));
        assert_eq!(world.login("jane", "1.1.1.1:9", true), Ok(()));
        // But guesses at them are counted for it.
        for _ in 0..6 {
            assert_eq!(world.fail("jane", "1.1.1.1:9"), Ok(()));
        }
        assert_eq!(world.login("mary", "1.1.1.1:9", true), Err(64), "the 27th failure of the address");
    }

    #[test]
    fn callers_are_told_apart_by_address_or_else_by_connection() {
        let party = |kind, name: &str, remote_addr, connection| {
            let throttle = Throttle::new(kind);
            let place = |remote_addr, connection| LoginPlace { remote_addr, cookie: None, connection };
            let now = Instant::now();
            let one = throttle.caller("jane", place(Some("1.1.1.1:1"), "a"), now).party();
            let two = throttle.caller(name, place(Some(remote_addr), connection), now).party();
            one == two
        };
        assert!(party(ThrottleKind::All, "john", "1.1.1.1:2", "b"));
        assert!(!party(ThrottleKind::All, "jane", "1.1.1.2:1", "a"));
        assert!(!party(ThrottleKind::All, "jane", "127.0.0.1:1", "a"));
        for kind in [ThrottleKind::User, ThrottleKind::Off] {
            assert!(party(kind, "john", "1.1.1.2:1", "a"), "{kind:?}");
            assert!(!party(kind, "jane", "1.1.1.1:1", "b"), "{kind:?}");
        }
    }

    #[test]
    fn what_another_instance_has_checked_counts_as_if_it_was_here() {
        let mut world = World::new(ThrottleKind::All);
        fn place(remote_addr: &str) -> LoginPlace<'_> {
            LoginPlace { remote_addr: Some(remote_addr), cookie: None, connection: "c" }
        }
        for n in 0..6 {
            let from = format!("1.1.1.{n}:1");
            world.throttle.count("jane", place(&from), false, world.now);
        }
        assert_eq!(world.login("jane", "9.9.9.9:1", true), Err(1));
        world.now += SECOND;
        world.throttle.count("jane", place("9.9.9.9:1"), true, world.now);
        for n in 0..6 {
            assert_eq!(world.fail("jane", &format!("1.1.1.{n}:1")), Ok(()), "a right one clears what was there");
        }
        assert_eq!(world.login("jane", "1.1.1.9:1", true), Err(1));
        assert_eq!(world.login("jane", "9.9.9.9:1", true), Ok(()), "and its place is known");
    }

    #[test]
    fn a_throttle_that_is_off_counts_nothing() {
        for (kind, by_user, by_address) in
            [(ThrottleKind::All, true, true), (ThrottleKind::User, true, false), (ThrottleKind::Off, false, false)]
        {
            let world = World::new(kind);
            for n in 0..6 {
                assert_eq!(world.fail("jane", &format!("1.1.1.{n}:1")), Ok(()));
            }
            assert_eq!(world.fail("jane", "1.1.1.9:1").is_err(), by_user, "{kind:?}");
            for n in 0..21 {
                assert_eq!(world.fail(&format!("user{n}"), "2.2.2.2:1"), Ok(()));
            }
            assert_eq!(world.fail("user99", "2.2.2.2:1").is_err(), by_address, "{kind:?}");
        }
    }

    #[test]
    fn an_address_is_who_is_behind_it() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (remote_addr, expected) in [
            ("203.0.113.7:51423", ip("203.0.113.7")),
            ("203.0.113.7", ip("203.0.113.7")),
            ("[2001:db8:1:2:3:4:5:6]:443", ip("2001:db8:1:2::")),
            ("2001:db8:1:2:ffff::1", ip("2001:db8:1:2::")),
            ("[::ffff:203.0.113.7]:1", ip("203.0.113.7")),
            ("127.0.0.1:1", None),
            ("[::1]:1", None),
            ("[::ffff:127.0.0.1]:1", None),
            ("", None),
            ("localhost:1", None),
            ("@", None),
        ] {
            assert_eq!(network(remote_addr), expected, "{remote_addr}");
        }
        let world = World::new(ThrottleKind::All);
        for n in 0..21 {
            assert_eq!(world.fail(&format!("user{n}"), &format!("[2001:db8::{n}]:1")), Ok(()));
        }
        assert_eq!(world.fail("john", "[2001:db8::ffff:1]:1"), Err(1));
        assert_eq!(world.fail("john", "[2001:db8:0:1::1]:1"), Ok(()), "another customer's");
    }
}
