//! Reports to the operator what strangers are refused for: each thing once an hour, at most one a
//! second, and no more different ones than are remembered. Must not read a clock.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What was reported within the hour.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    recent: HashSet<(&'static str, String)>,
    since: Option<Instant>,
    last: Option<Instant>,
}

/// How many different ones are reported in an hour.
const MAX: usize = 128;

/// How many characters of a stranger's text are reported.
const MAX_WORDS: usize = 128;

const PERIOD: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_secs(1);

impl Complaints {
    /// What to report about `what`, which is of this `kind`; none if it has been reported, or too
    /// much has.
    pub(super) fn note(&self, kind: &'static str, what: &str, now: Instant) -> Option<String> {
        let words: String = what.chars().take(MAX_WORDS).collect();
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            reported.recent.clear();
            reported.since = Some(now);
        }
        let is_too_soon = reported.last.is_some_and(|last| now.duration_since(last) < PAUSE);
        if is_too_soon || reported.recent.len() >= MAX || !reported.recent.insert((kind, words.clone())) {
            return None;
        }
        reported.last = Some(now);
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_is_logged_once_an_hour_one_a_second_and_a_limited_number_in_all() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let is_logged =
            |what: &str, second: u64| complaints.note("x", what, start + Duration::from_secs(second)).is_some();
        assert!(is_logged("a", 0) && !is_logged("a", 0) && !is_logged("a", 1));
        assert!(!is_logged("b", 0) && is_logged("b", 1) && !is_logged("b", 2));
        assert!(complaints.note("y", "a", start + Duration::from_secs(2)).is_some(), "of another kind");
        assert!(is_logged("a", 3600) && !is_logged("a", 3601));
        let reported = (0..1000).filter(|i| is_logged(&i.to_string(), 3602 + i)).count();
        assert_eq!(reported, MAX - 1);
        assert!(is_logged("b", 7200));
    }

    #[test]
    fn no_more_of_a_strangers_words_is_kept_than_is_logged() {
        let complaints = Complaints::default();
        assert_eq!(complaints.note("x", &"ü".repeat(10_000), Instant::now()), Some("ü".repeat(MAX_WORDS)));
    }
}
