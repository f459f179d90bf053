//! A client's state as a number: equal for clients that do the same from here on. Made of its
//! `Debug` form, which has all of it but the texts of keys; those are told apart by session and
//! generation, which stand beside them. Times are replaced by their order.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::{self, Debug, Write},
    hash::{Hash, Hasher},
    time::Duration,
};

/// A smaller value is a length of time; this or a greater one is a point in time.
pub const DAWN: Duration = Duration::from_secs(1_000_000);
/// This or a greater one means never.
const DUSK: Duration = Duration::from_secs(1_000_000_000);

/// The number of what `value` shows of itself.
#[must_use]
pub fn of(value: &impl Debug) -> u64 {
    let mut text = String::with_capacity(8192);
    write!(text, "{value:?}").expect("a string takes everything");
    let times = times(&text);
    let mut order: Vec<Duration> = times.iter().map(|(_, _, time)| *time).collect();
    order.sort_unstable();
    order.dedup();
    let mut hasher = DefaultHasher::new();
    let mut from = 0;
    for (start, end, time) in times {
        hasher.write(&text.as_bytes()[from..start]);
        order.binary_search(&time).expect("it is one of them").hash(&mut hasher);
        from = end;
    }
    hasher.write(&text.as_bytes()[from..]);
    hasher.finish()
}

/// Whether two states hash the same: the checker tells states apart by no more than that, so what a
/// hash leaves out is left out here, too.
#[must_use]
pub fn is_same(one: &impl Hash, other: &impl Hash) -> bool {
    number(one) == number(other)
}

fn number(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Where points in time stand in the text.
fn times(text: &str) -> Vec<(usize, usize, Duration)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() || (at > 0 && is_word(bytes[at - 1])) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b'.') {
            at += 1;
        }
        let is_seconds = bytes.get(at) == Some(&b's') && !bytes.get(at + 1).is_some_and(|next| is_word(*next));
        if let Some(time) = is_seconds.then(|| seconds(&text[start..at])).flatten()
            && (DAWN..DUSK).contains(&time)
        {
            at += 1;
            found.push((start, at, time));
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let nanos = format!("{part:0<9}");
    Some(Duration::new(whole.parse().ok()?, nanos.get(..9)?.parse().ok()?))
}

/// A number in place of what it was made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Canon(pub u64);

impl Debug for Canon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64, ms: u64) -> Duration {
        DAWN + Duration::from_secs(seconds) + Duration::from_millis(ms)
    }

    #[test]
    fn the_order_of_times_counts_and_their_distance_does_not() {
        assert_eq!(of(&(s(1, 0), s(2, 500), 7)), of(&(s(5, 250), s(900, 1), 7)));
        assert_ne!(of(&(s(1, 0), s(2, 500))), of(&(s(2, 500), s(1, 0))));
        assert_ne!(of(&(s(1, 0), s(1, 0))), of(&(s(1, 0), s(1, 1))));
    }

    #[test]
    fn lengths_of_time_and_numbers_count_as_they_are() {
        let length = Duration::from_secs(10);
        assert_ne!(of(&(s(1, 0), length)), of(&(s(1, 0), length * 2)));
        assert_ne!(of(&(s(1, 0), 1_000_001)), of(&(s(1, 0), 1_000_002)));
        assert_ne!(of(&Duration::MAX), of(&DAWN));
    }
}
