//! The index of embedded stores in memory: the newest revision of every session, and lookups by
//! connection, by user and by deadline. Must not depend on the disk.
//!
//! A million sessions must fit in 400 MB beside the database's own cache, so nothing of a record is
//! kept here except [`Known`], and only once: the tables contain slot numbers. That is about 200
//! bytes for a session with one connection.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    ops::Bound,
};

use hashbrown::HashTable;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};

use super::Revision;

/// What is kept of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) sid: SessionId,
    pub(super) revision: Revision,
    pub(super) deadline: Timestamp,
    pub(super) user: UserId,
    /// Its connections, separated by dots, which no cid contains: one text costs a third of a list
    /// of texts.
    pub(super) connections: Box<str>,
}

impl Known {
    pub(super) fn of(record: &Record, revision: Revision) -> Self {
        Self {
            sid: record.sid,
            revision,
            deadline: record.deadline(),
            user: record.user_id.clone(),
            connections: joined(&record.connections).into(),
        }
    }

    /// True if its connections are exactly these, in this order.
    pub(super) fn is_on(&self, connections: &[ConnectionId]) -> bool {
        split(&self.connections).eq(connections.iter().map(ConnectionId::as_str))
    }

    /// Its connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        split(&self.connections).filter_map(ConnectionId::parse)
    }
}

/// Finds sessions by the contents of their records.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    sessions: HashTable<u32>,
    connections: HashTable<Held>,
    /// The first session of each user; the others are linked from it.
    users: HashTable<u32>,
    deadlines: BTreeSet<(Timestamp, SessionId)>,
    // Keyed at random, because others choose cids and user ids.
    hasher: RandomState,
    sids: SidHasher,
}

#[derive(Debug)]
struct Slot {
    known: Known,
    /// The user's other sessions.
    next: Option<Number>,
    previous: Option<Number>,
}

/// Hashes session ids, which are random bits that nobody chooses: the usual hash, which is made for
/// texts of strangers, takes five times as long, and a request looks up a dozen.
pub(super) type SidHasher = foldhash::fast::RandomState;

/// The number of a slot plus one, so that an empty option costs nothing.
type Number = std::num::NonZeroU32;

/// A connection on a session.
#[derive(Debug)]
struct Held {
    /// The hash of the cid's text.
    hash: u32,
    slot: u32,
}

impl Index {
    /// Inserts all of `sessions`: faster than one by one. Of a session that occurs twice, the last
    /// one counts.
    pub(super) fn with(sessions: Vec<Known>) -> Self {
        let mut index = Self {
            slots: Vec::with_capacity(sessions.len()),
            sessions: HashTable::with_capacity(sessions.len()),
            connections: HashTable::with_capacity(sessions.len()),
            users: HashTable::with_capacity(sessions.len()),
            ..Self::default()
        };
        for known in sessions {
            if index.slot_of(known.sid).is_some() {
                index.remove(known.sid);
            }
            index.take_up(known);
        }
        index.deadlines = index.slots.iter().flatten().map(|slot| (slot.known.deadline, slot.known.sid)).collect();
        index
    }

    /// The newest revision of the session `sid`.
    pub(super) fn revision(&self, sid: SessionId) -> Option<Revision> {
        self.get(sid).map(|known| known.revision)
    }

    /// What is kept of the session `sid`.
    pub(super) fn get(&self, sid: SessionId) -> Option<&Known> {
        Some(self.known(self.slot_of(sid)?))
    }

    /// Inserts a session, or its next revision.
    pub(super) fn put(&mut self, record: &Record, revision: Revision) {
        // Most of it does not change in a refresh.
        if let Some(slot) = self.slot_of(record.sid)
            && let Some(Slot { known, .. }) = &mut self.slots[slot as usize]
            && known.user == record.user_id
            && known.is_on(&record.connections)
        {
            known.revision = revision;
            let deadline = std::mem::replace(&mut known.deadline, record.deadline());
            if deadline != record.deadline() {
                self.deadlines.remove(&(deadline, record.sid));
                self.deadlines.insert((record.deadline(), record.sid));
            }
            return;
        }
        self.put_known(Known::of(record, revision));
    }

    /// The same, from what was kept.
    pub(super) fn put_known(&mut self, known: Known) {
        self.remove(known.sid);
        self.deadlines.insert((known.deadline, known.sid));
        self.take_up(known);
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, sid: SessionId) {
        let hash = self.sids.hash_one(sid);
        let Ok(found) = self.sessions.find_entry(hash, |&slot| known_in(&self.slots, slot).sid == sid) else { return };
        let (slot, _) = found.remove();
        self.leave_user(slot);
        let Some(Slot { known, .. }) = self.slots[slot as usize].take() else { return };
        self.free.push(slot);
        self.deadlines.remove(&(known.deadline, sid));
        for connection in split(&known.connections) {
            let hash = self.hash(connection);
            // If two connections have one hash, either entry will do.
            let is_it = |held: &Held| held.slot == slot && held.hash == hash;
            if let Ok(held) = self.connections.find_entry(spread(hash), is_it) {
                held.remove();
            }
        }
    }

    /// The session of `connection`: of several, the one written last.
    pub(super) fn session_on(&self, connection: &ConnectionId) -> Option<SessionId> {
        self.known_on(connection).max_by_key(|known| known.revision).map(|known| known.sid)
    }

    /// The sessions of `connection`, the one written last first. Several only if different
    /// processes have put it on them.
    pub(super) fn sessions_on(&self, connection: &ConnectionId) -> Vec<SessionId> {
        let mut found: Vec<_> = self.known_on(connection).map(|known| (known.revision, known.sid)).collect();
        found.sort_unstable_by_key(|found| std::cmp::Reverse(*found));
        found.into_iter().map(|(_, sid)| sid).collect()
    }

    fn known_on(&self, connection: &ConnectionId) -> impl Iterator<Item = &Known> {
        let hash = self.hash(connection.as_str());
        let is_on = move |known: &&Known| split(&known.connections).any(|other| other == connection.as_str());
        let held = self.connections.iter_hash(spread(hash)).filter(move |held| held.hash == hash);
        held.map(|held| self.known(held.slot)).filter(is_on)
    }

    /// The sessions of `user`, in the order of their ids.
    pub(super) fn sessions_of(&self, user: &UserId) -> Vec<SessionId> {
        let hash = self.hasher.hash_one(user);
        let mut next = self.users.find(hash, |&slot| self.known(slot).user == *user).copied();
        let mut sessions = Vec::new();
        while let Some(Slot { known, next: following, .. }) = next.and_then(|slot| self.slots[slot as usize].as_ref()) {
            sessions.push(known.sid);
            next = following.map(slot_numbered);
        }
        sessions.sort_unstable();
        sessions
    }

    /// At most `limit` sessions whose deadline is at or before `until`, earliest first.
    pub(super) fn overdue(&self, until: Timestamp, limit: usize) -> Vec<SessionId> {
        self.deadlines.range(..=(until, SessionId([u8::MAX; 16]))).take(limit).map(|&(_, sid)| sid).collect()
    }

    /// At most `limit` sessions after `after`, in the order of deadlines and ids.
    pub(super) fn page(&self, after: Option<(Timestamp, SessionId)>, limit: usize) -> Vec<(Timestamp, SessionId)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.deadlines.range((from, Bound::Unbounded)).take(limit).copied().collect()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// How many connections are on them.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many slots there are, for [`Index::in_slots`].
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The sessions in some of the slots.
    pub(super) fn in_slots(&self, slots: std::ops::Range<usize>) -> impl Iterator<Item = &Known> {
        self.slots[slots].iter().flatten().map(|slot| &slot.known)
    }

    /// Puts a session into a slot and into all tables except the one of deadlines.
    fn take_up(&mut self, known: Known) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("memory does not hold as many sessions")
        });
        for connection in split(&known.connections) {
            let hash = self.hash(connection);
            self.connections.insert_unique(spread(hash), Held { hash, slot }, |held| spread(held.hash));
        }
        let (of_sid, of_user) = (self.sids.hash_one(known.sid), self.hasher.hash_one(&known.user));
        let first = self.users.find_mut(of_user, |&slot| known_in(&self.slots, slot).user == known.user);
        let next = first.map(|first| std::mem::replace(first, slot));
        let is_new_user = next.is_none();
        if let Some(Slot { previous, .. }) = next.and_then(|next| self.slots[next as usize].as_mut()) {
            *previous = Some(number_of(slot));
        }
        self.slots[slot as usize] = Some(Slot { known, next: next.map(number_of), previous: None });
        let (slots, sids, hasher) = (&self.slots, &self.sids, &self.hasher);
        self.sessions.insert_unique(of_sid, slot, |&slot| sids.hash_one(known_in(slots, slot).sid));
        if is_new_user {
            self.users.insert_unique(of_user, slot, |&slot| hasher.hash_one(&known_in(slots, slot).user));
        }
    }

    /// Removes a slot from its user's sessions.
    fn leave_user(&mut self, slot: u32) {
        let Some(Slot { known, next, previous }) = &self.slots[slot as usize] else { return };
        let (next, previous) = (*next, *previous);
        if previous.is_none()
            && let Ok(mut first) = self.users.find_entry(self.hasher.hash_one(&known.user), |&first| first == slot)
        {
            match next {
                Some(next) => *first.get_mut() = slot_numbered(next),
                None => drop(first.remove()),
            }
        }
        if let Some(Some(before)) = previous.map(|before| &mut self.slots[slot_numbered(before) as usize]) {
            before.next = next;
        }
        if let Some(Some(after)) = next.map(|after| &mut self.slots[slot_numbered(after) as usize]) {
            after.previous = previous;
        }
    }

    fn slot_of(&self, sid: SessionId) -> Option<u32> {
        self.sessions.find(self.sids.hash_one(sid), |&slot| self.known(slot).sid == sid).copied()
    }

    fn known(&self, slot: u32) -> &Known {
        known_in(&self.slots, slot)
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is one")]
    fn hash(&self, connection: &str) -> u32 {
        self.hasher.hash_one(connection) as u32
    }
}

/// True if a deadline has appeared that is earlier than all before.
pub(super) fn is_earlier(after: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    after.is_some_and(|after| before.is_none_or(|before| after < before))
}

fn known_in(slots: &[Option<Slot>], slot: u32) -> &Known {
    &slots[slot as usize].as_ref().expect("tables name only slots that are taken").known
}

fn number_of(slot: u32) -> Number {
    Number::MIN.saturating_add(slot)
}

fn slot_numbered(number: Number) -> u32 {
    number.get() - 1
}

/// A hash as the tables need it, which use both its ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn joined(connections: &[ConnectionId]) -> String {
    let mut joined = String::with_capacity(connections.iter().map(|one| one.as_str().len() + 1).sum());
    for connection in connections {
        if !joined.is_empty() {
            joined.push('.');
        }
        joined.push_str(connection.as_str());
    }
    joined
}

fn split(joined: &str) -> impl Iterator<Item = &str> {
    joined.split('.').filter(|connection| !connection.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{super::contract, *};

    fn record(n: u8, user: u8, deadline: u64, on: &[u8]) -> Record {
        Record {
            user_id: UserId::Number(user.into()),
            key_deadline: Timestamp(deadline),
            connections: on.iter().map(|on| contract::cid(&format!("c{on}"))).collect(),
            ..contract::record(n, &[])
        }
    }

    proptest! {
        /// Against looking at all records.
        #[test]
        fn lookups_agree_with_a_scan_of_all_records(
            steps in prop::collection::vec((0..9_u8, 0..3_u8, 0..6_u64, prop::collection::btree_set(0..4_u8, 0..3), any::<bool>()), 0..60),
            is_made_anew in any::<bool>(),
        ) {
            let mut index = Index::default();
            let mut all = BTreeMap::new();
            for (revision, (n, user, deadline, on, is_gone)) in (1..).zip(steps) {
                // Each session has connections of its own.
                let on: Vec<_> = on.into_iter().map(|on| n * 10 + on).collect();
                let record = record(n, user, deadline, &on);
                if is_gone {
                    index.remove(record.sid);
                    all.remove(&record.sid);
                } else {
                    index.put(&record, Revision(revision));
                    all.insert(record.sid, (record, Revision(revision)));
                }
            }
            if is_made_anew {
                index = Index::with(index.in_slots(0..index.slots()).cloned().collect());
            }
            for n in 0..9 {
                let sid = SessionId([n; 16]);
                let expected = all.get(&sid).map(|(record, revision)| Known::of(record, *revision));
                prop_assert_eq!(index.get(sid), expected.as_ref());
                for on in n * 10..n * 10 + 4 {
                    let connection = ConnectionId::parse(&format!("c{on}")).unwrap();
                    let expected = all.get(&sid).filter(|(record, _)| record.is_on(&connection)).map(|_| sid);
                    prop_assert_eq!(index.session_on(&connection), expected);
                }
            }
            for user in 0..3 {
                let of = |(record, _): &&(Record, Revision)| record.user_id == UserId::Number(user);
                let expected: Vec<_> = all.values().filter(of).map(|(record, _)| record.sid).collect();
                prop_assert_eq!(index.sessions_of(&UserId::Number(user)), expected);
            }
            let mut deadlines: Vec<_> = all.values().map(|(record, _)| (record.deadline(), record.sid)).collect();
            deadlines.sort();
            prop_assert_eq!(index.next_deadline(), deadlines.first().map(|(deadline, _)| *deadline));
            let overdue: Vec<_> = deadlines.iter().filter(|(at, _)| at.0 <= 3).map(|(_, sid)| *sid).collect();
            prop_assert_eq!(index.overdue(Timestamp(3), 99), overdue);
            prop_assert_eq!(index.len(), all.len());
        }
    }
}
