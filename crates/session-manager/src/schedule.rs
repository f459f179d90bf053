//! When the key is used next, and how long a use that failed may wait: by lengths of time only,
//! counted from when the key was sent. Must not depend on dates.

use std::time::Duration;

use crate::{backoff::Backoff, record::Granted, turn::Turn};

/// A refresh that is asked for more often than this is a mistake of the service's.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// And one that is asked for later than this would outgrow the timers of browsers.
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How far from the service's clock ours may be when a key expires: by this, for messages take
/// time, and by a hundredth of its life, for no two clocks go alike.
const MARGIN: Duration = Duration::from_secs(1);
/// The delay of a use that failed is bounded by what is left of its key's life, but not below this:
/// a length of its own, which need not be the first one of the back-off.
const MIN_RETRY: Duration = Duration::from_millis(250);

/// The times of the key in storage.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// How often a key is used whose service does not say it.
    default_refresh: Duration,
    refresh_in: Duration,
    expires_in: Duration,
    refresh: Option<Duration>,
    expires: Option<Duration>,
    /// When it has expired for certain; `expires` is when it may have.
    dead: Option<Duration>,
    backoff: Backoff,
}

impl Schedule {
    pub(crate) fn new(default_refresh: Duration) -> Self {
        Self {
            default_refresh,
            refresh_in: MAX_REFRESH,
            expires_in: Duration::MAX,
            refresh: None,
            expires: None,
            dead: None,
            backoff: Backoff::default(),
        }
    }

    /// When the key will be used next.
    pub(crate) fn refresh(&self) -> Option<Duration> {
        self.refresh
    }

    /// Whether the last key that was seen cannot be good any more.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.dead.is_some_and(|dead| now.saturating_add(self.expires_in / 100).saturating_add(MARGIN) >= dead)
    }

    /// What the service has answered `now` says how long its keys live; a legacy service does not.
    pub(crate) fn granted(&mut self, granted: &Granted, now: Duration) {
        let refresh_in = granted.refresh_in.map_or(self.default_refresh, Duration::from_millis);
        self.refresh_in = refresh_in.clamp(MIN_REFRESH, MAX_REFRESH);
        self.expires_in = granted.expires_in.map_or(Duration::MAX, Duration::from_millis);
        self.dead = Some(now.saturating_add(self.expires_in));
        self.backoff.reset();
    }

    /// The key that is in storage now was made at `since` at the earliest.
    pub(crate) fn begin(&mut self, since: Duration, turn: &mut Turn) {
        // Not so late that nothing is left of its life for a use that fails.
        let latest = (self.expires_in - self.expires_in / 10).max(MIN_REFRESH);
        self.refresh = Some(since.saturating_add(turn.dice.about(self.refresh_in).min(latest)));
        self.expires = Some(since.saturating_add(self.expires_in));
        self.dead = Some(turn.after(self.expires_in));
    }

    /// A sibling has made the key and will use it next; if it does not, because it is gone, we do.
    pub(crate) fn stand_by(&mut self, since: Duration, turn: &mut Turn) {
        let refresh_in = self.refresh_in;
        self.refresh_in = refresh_in.saturating_add(refresh_in / 2);
        self.begin(since, turn);
        self.refresh_in = refresh_in;
    }

    /// Nothing is to be used for now.
    pub(crate) fn pause(&mut self) {
        self.refresh = None;
    }

    /// There is no key any more.
    pub(crate) fn end(&mut self) {
        (self.refresh, self.expires) = (None, None);
    }

    /// When a use that failed is tried again: with back-off, whose delay is bounded by a quarter of
    /// what is left of the key's life.
    pub(crate) fn retry(&mut self, turn: &mut Turn) -> Duration {
        let left = self.expires.and_then(|expires| expires.checked_sub(turn.now)).filter(|left| !left.is_zero());
        let longest = left.map_or(Duration::MAX, |left| (left / 4).max(MIN_RETRY));
        let wait = self.backoff.next(&mut turn.dice).min(longest);
        turn.after(wait)
    }
}

#[cfg(test)]
mod tests {
    use relogin_session::Attempt;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::wire;

    fn schedule(refresh_in: u64, expires_in: u64) -> Schedule {
        granted(&json!({"reloginKey": "k", "generation": 1, "expiresIn": expires_in, "refreshIn": refresh_in}))
    }

    fn granted(answer: &Json) -> Schedule {
        let mut schedule = Schedule::new(Duration::from_secs(60));
        let answer = wire::logged_in(answer.clone()).unwrap();
        schedule.granted(&Granted::read(answer, None, Attempt([0; 16])).unwrap(), Duration::ZERO);
        schedule.begin(Duration::ZERO, &mut Turn::new([1; 24], Duration::ZERO, Duration::ZERO));
        schedule
    }

    #[test]
    fn no_retry_waits_longer_than_a_quarter_of_what_is_left_of_the_keys_life() {
        let mut schedule = schedule(5_000, 10_000);
        let mut now = Duration::from_secs(5);
        let mut tries = 0;
        while now < Duration::from_secs(9) {
            let mut turn = Turn::new([tries; 24], now, now);
            let next = schedule.retry(&mut turn);
            let left = Duration::from_secs(10) - now;
            assert!(next > now && next - now <= (left / 4).max(MIN_RETRY), "{now:?} {next:?}");
            (now, tries) = (next, tries + 1);
        }
        assert!(tries >= 5, "{tries}");
        let late = Duration::from_secs(60);
        assert!(schedule.retry(&mut Turn::new([3; 24], late, late)) > late, "an old key is tried at leisure");
    }

    #[test]
    fn a_refresh_comes_while_the_key_lives_whatever_the_service_asks_for() {
        assert!(schedule(100_000, 100_000).refresh().unwrap() <= Duration::from_secs(90));
        assert!(schedule(0, 0).refresh().unwrap() > Duration::ZERO);
        assert!(schedule(u64::MAX, u64::MAX).refresh().unwrap() <= MAX_REFRESH * 11 / 10);
    }

    #[test]
    fn a_key_of_a_legacy_service_is_used_as_often_as_the_options_say_and_never_expires_here() {
        let schedule = granted(&json!({"reloginKey": "any text"}));
        let refresh = schedule.refresh().unwrap();
        assert!(Duration::from_secs(54) <= refresh && refresh <= Duration::from_secs(66), "{refresh:?}");
        assert!(!schedule.is_over(Duration::from_secs(100 * 365 * 24 * 60 * 60)));
        let schedule = granted(&json!({"reloginKey": "any text", "expiresIn": 10_000}));
        assert!(schedule.refresh().unwrap() <= Duration::from_secs(9), "what is said counts");
    }
}
