//! Counts the relogin keys that are made, for the metrics: their rates say how many of the sessions
//! in use are bound, and how many are not. Must not know what a session is allowed to do.

use std::sync::atomic::{AtomicU64, Ordering};

use relogin_session::{Outcome, Record};

/// Counts by what a session is bound to and by what made its key, of this process.
#[derive(Debug, Default)]
pub struct KeyCounts([[AtomicU64; 2]; 3]);

impl KeyCounts {
    const SESSIONS: [&str; 3] = ["bearer", "cookie", "bound"];
    const MADE_BY: [&str; 2] = ["login", "use"];

    /// Counts the key of `record` if a decision with this outcome has made it.
    pub(super) fn count(&self, outcome: Outcome, record: &Record) {
        let made_by = match outcome {
            Outcome::LoggedIn => 0,
            Outcome::Rotated | Outcome::Recovered => 1,
            _ => return,
        };
        let session = match record {
            _ if record.is_bound() => 2,
            Record { cookie: Some(_), .. } => 1,
            _ => 0,
        };
        self.0[session][made_by].fetch_add(1, Ordering::Relaxed);
    }

    /// How many keys were made: for which sessions, and by what.
    pub fn by_words(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        Self::SESSIONS.into_iter().zip(&self.0).flat_map(|(session, counts)| {
            let count = move |(made_by, count): (_, &AtomicU64)| ([session, made_by], count.load(Ordering::Relaxed));
            Self::MADE_BY.into_iter().zip(counts).map(count)
        })
    }
}

#[cfg(test)]
mod tests {
    use relogin_session::{ConnectionId, Device, SessionId, Timestamp, UserId};

    use super::*;
    use crate::proof::{self, tests::TestDevice};

    #[test]
    fn keys_are_counted_by_what_binds_their_session_and_what_made_them() {
        let on = ConnectionId::parse("c").unwrap();
        let bearer = Record::new(SessionId([1; 16]), [2; 16], UserId::Number(1), on, Timestamp(0));
        let cookie = Record { cookie: Some([3; 32]), ..bearer.clone() };
        let device = Device { public_key: proof::admit(&TestDevice::p256().public_key()), ..Device::default() };
        let bound = Record { device, ..cookie.clone() };
        let counts = KeyCounts::default();
        for (record, uses) in [(&bearer, 1), (&cookie, 2), (&bound, 3)] {
            counts.count(Outcome::LoggedIn, record);
            for _ in 0..uses {
                counts.count(Outcome::Rotated, record);
            }
        }
        counts.count(Outcome::Recovered, &bound);
        // These come with a key that was made before, or with none.
        for outcome in [Outcome::Retried, Outcome::CaughtUp, Outcome::ReuseDetected, Outcome::LoggedOut] {
            counts.count(outcome, &bearer);
        }
        let words: Vec<_> = counts.by_words().map(|([session, by], count)| format!("{session} {by} {count}")).collect();
        let expected =
            ["bearer login 1", "bearer use 1", "cookie login 1", "cookie use 2", "bound login 1", "bound use 4"];
        assert_eq!(words, expected);
    }
}
