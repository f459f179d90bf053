//! Guesses at passwords: who has failed too often waits, longer each time. Knows no user directory, no RES and no relogin: a
//! relogin key is nothing to be guessed, so nobody's failures here hold up a session that lives.
//!
//! Failures are counted by user name and by remote address. A name that has logged in from an address before is counted
//! apart there, so that a storm of guesses from elsewhere does not keep its owner out. A verdict counts only if its login would
//! still be let in when it is known: of guesses sent all at once, no more come to something than of guesses sent one by one.

mod forgetful;

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use self::forgetful::Forgetful;
use crate::{config::ThrottleKind, users::prepare::prepared_username};

/// Counts failed logins.
#[derive(Debug)]
pub(super) struct Throttle {
    kind: ThrottleKind,
    /// Keyed afresh in each process: what is kept are hashes, of which nobody can make two alike.
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// By user name, or by user name and address for those that have logged in from there.
    users: Forgetful<Failures>,
    addresses: Forgetful<Failures>,
    /// Names and the addresses from which they have logged in.
    at_home: Forgetful<()>,
}

/// A login's keys in the tables above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    user: Option<u64>,
    /// The name and the address together; the address alone.
    from: Option<(u64, u64)>,
}

/// How often one has failed, and when the last time.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// How fast patience runs out.
struct Patience {
    /// So many failures cost no wait.
    free: u32,
    /// The wait after the first one past those; each further one doubles it.
    first: Duration,
}

const USER: Patience = Patience { free: 5, first: Duration::from_secs(1) };
/// Behind one address there may be a whole office.
const ADDRESS: Patience = Patience { free: 20, first: Duration::from_secs(1) };

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long failures that cost no wait yet are remembered, and how long those that do: longer, so that whoever fills the
/// tables with failures of no account does not make others forgotten.
const REMEMBER_FEW: Duration = Duration::from_secs(60 * 60);
const REMEMBER_MANY: Duration = Duration::from_secs(4 * 60 * 60);

/// How long it is remembered from where somebody has logged in.
const REMEMBER_HOME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much each table holds; some 100 bytes each.
const CAPACITY: usize = 65_536;

impl Throttle {
    pub(super) fn new(kind: ThrottleKind) -> Self {
        let counts = Counts {
            users: Forgetful::new(CAPACITY),
            addresses: Forgetful::new(CAPACITY),
            at_home: Forgetful::new(CAPACITY),
        };
        Self { kind, hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Takes a login in; refused with the time to wait if the name or the address has failed too often.
    pub(super) fn admit(&self, username: &str, remote_addr: Option<&str>, now: Instant) -> Result<Guess, Duration> {
        let name = prepared_username(username);
        let from = remote_addr
            .and_then(network)
            .map(|network| (self.hasher.hash_one((&name, network)), self.hasher.hash_one(network)));
        let mut counts = self.lock();
        let is_at_home = from.is_some_and(|(pair, _)| counts.at_home.get(pair, now).is_some());
        let guess = Guess {
            user: (self.kind != ThrottleKind::Off).then(|| match from {
                Some((pair, _)) if is_at_home => pair,
                _ => self.hasher.hash_one(&name),
            }),
            from,
        };
        match counts.wait(guess, self.kind, now) {
            Some(wait) => Err(wait),
            None => Ok(guess),
        }
    }

    /// What becomes of a login whose credentials were right, or wrong: refused with the time to wait if others have failed
    /// meanwhile.
    pub(super) fn settle(&self, guess: Guess, is_right: bool, now: Instant) -> Result<(), Duration> {
        let mut counts = self.lock();
        if let Some(wait) = counts.wait(guess, self.kind, now) {
            return Err(wait);
        }
        if is_right {
            counts.right(guess, now);
        } else {
            counts.wrong(guess, now);
        }
        Ok(())
    }

    /// Takes a token of an issuer in; refused with the time to wait if too many have come from the address that nobody had signed. Those
    /// are counted apart from passwords, and say nothing of any user.
    pub(super) fn admit_token(&self, remote_addr: Option<&str>, now: Instant) -> Result<Guess, Duration> {
        let from = remote_addr.and_then(network).map(|network| self.hasher.hash_one(("token", network)));
        let guess = Guess { user: None, from: from.map(|address| (address, address)) };
        self.lock().wait(guess, self.kind, now).map_or(Ok(guess), Err)
    }

    /// The token was one that nobody had signed.
    pub(super) fn forged(&self, guess: Guess, now: Instant) {
        self.lock().wrong(guess, now);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// How long the login has to wait.
    fn wait(&mut self, guess: Guess, kind: ThrottleKind, now: Instant) -> Option<Duration> {
        let user = guess.user.and_then(|user| self.users.get(user, now)).map(|failures| failures.until(&USER));
        let address = match guess.from {
            Some((_, address)) if kind == ThrottleKind::All => self.addresses.get(address, now),
            _ => None,
        };
        let address = address.map(|failures| failures.until(&ADDRESS));
        let wait = user.max(address)?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn wrong(&mut self, guess: Guess, now: Instant) {
        if let Some(user) = guess.user {
            fail(&mut self.users, user, &USER, now);
        }
        if let Some((_, address)) = guess.from {
            fail(&mut self.addresses, address, &ADDRESS, now);
        }
    }

    /// Its user is forgiven. Its address is not: whoever has one account could wash off the guesses at others by it.
    fn right(&mut self, guess: Guess, now: Instant) {
        if let Some(user) = guess.user {
            self.users.remove(user);
        }
        if let Some((pair, _)) = guess.from {
            self.at_home.insert(pair, (), now, REMEMBER_HOME);
        }
    }
}

impl Failures {
    /// Until when the next login has to wait.
    fn until(self, patience: &Patience) -> Instant {
        let Some(past) = self.count.checked_sub(patience.free + 1) else { return self.last };
        let wait = patience.first.saturating_mul(2_u32.saturating_pow(past));
        self.last + wait.min(LONGEST)
    }
}

fn fail(table: &mut Forgetful<Failures>, key: u64, patience: &Patience, now: Instant) {
    let count = table.get(key, now).map_or(0, |failures| failures.count).saturating_add(1);
    let remember = if count > patience.free { REMEMBER_MANY } else { REMEMBER_FEW };
    table.insert(key, Failures { count, last: now }, now, remember);
}

/// Whose address it is, as far as that can be told: an IPv4 address, or the /64 that one IPv6 customer has. None for loopback,
/// where a proxy on this machine stands for everybody.
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
        assert!(throttle.admit_token(Some("203.0.113.8:5"), now).is_ok() && throttle.admit("jane", from, now).is_ok());
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

        /// A login, and its verdict in the same moment. The seconds to wait if it is refused.
        fn login(&self, username: &str, from: &str, is_right: bool) -> Result<(), u64> {
            let settled = self
                .throttle
                .admit(username, Some(from), self.now)
                .and_then(|guess| self.throttle.settle(guess, is_right, self.now));
            settled.map_err(|wait| wait.as_secs())
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
            assert_eq!(world.fail("JANE", "1.1.1.1:2"), Ok(()), "whoever has waited may try");
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

    #[test]
    fn of_guesses_sent_at_once_no_more_come_to_something() {
        let world = World::new(ThrottleKind::All);
        let admitted: Vec<_> =
            (0..500).map(|n| world.throttle.admit("jane", Some(&format!("1.1.{n}.1:1")), world.now)).collect();
        let told = admitted.iter().map(|guess| world.throttle.settle(guess.unwrap(), false, world.now));
        assert_eq!(told.filter(Result::is_ok).count(), 6);
        let right = world.throttle.settle(admitted[0].unwrap(), true, world.now);
        assert_eq!(right, Err(SECOND), "the right one among them is not told either");

        // Many right ones at once are no guesses.
        let admitted: Vec<_> = (0..500).map(|_| world.throttle.admit("john", None, world.now)).collect();
        assert!(admitted.iter().all(|guess| world.throttle.settle(guess.unwrap(), true, world.now).is_ok()));
    }

    #[test]
    fn what_is_switched_off_counts_nothing() {
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
