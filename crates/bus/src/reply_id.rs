//! The last part of a reply subject, which identifies the pending request. It is random, so that a
//! service that receives one request cannot answer the next one in another's name. Must not depend
//! on a transport.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use rand::RngExt;

/// The last part of a reply subject: 64 bits of a cryptographically secure generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReplyId(u64);

impl ReplyId {
    /// The id written as `text`; none if it is invalid, or not in the form that [`fmt::Display`]
    /// writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for ReplyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A map by reply ids. They are random bits of this process, so they need no hash that resists
/// chosen keys, as SipHash does.
pub(super) type ByReplyId<T> = HashMap<ReplyId, T, foldhash::fast::RandomState>;

/// Puts `value` into `waiting` under a new id.
pub(super) fn insert<T>(waiting: &mut ByReplyId<T>, value: T) -> ReplyId {
    // The thread's own generator draws a block of bits at a time, with a key from the system that
    // it changes from time to time.
    let mut rng = rand::rng();
    loop {
        let id = ReplyId(rng.random());
        if let Entry::Vacant(place) = waiting.entry(id) {
            place.insert(value);
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form_and_do_not_follow_each_other() {
        let mut waiting = ByReplyId::default();
        let ids: Vec<_> = (0..4096).map(|n| insert(&mut waiting, n)).collect();
        assert_eq!(waiting.len(), 4096);
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(ReplyId::parse(&id.to_string()).and_then(|id| waiting.get(&id)), Some(&n));
        }
        // Each bit is as often the same as in the id before as it is not: of 4,095 pairs, 2,048
        // give or take 32 (one standard deviation).
        for bit in 0..64 {
            let same = ids.windows(2).filter(|pair| (pair[0].0 ^ pair[1].0) >> bit & 1 == 0).count();
            assert!((1_600..2_500).contains(&same), "bit {bit}: {same}");
        }
        for text in ["", "1", "000000000000000g", "+00000000000001", "000000000000000A", "00000000000000011"] {
            assert_eq!(ReplyId::parse(text), None, "{text}");
        }
    }
}
