//! The bucket as this process knows it: the newest record of each session, what finds it, and what
//! is in doubt. Must not depend on NATS.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};

use crate::{
    ChangeListener, Revision, SessionChange, StoreError, Stored,
    index::{Index, Known},
};

/// A record and its encoded form.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) record: Box<Record>,
    pub(super) bytes: Box<[u8]>,
}

impl Encoded {
    pub(super) fn new(record: Record) -> Result<Self, StoreError> {
        let bytes = record.encode().map_err(|error| StoreError::Record(record.sid, error))?;
        Ok(Self { record: record.into(), bytes: bytes.into() })
    }

    pub(super) fn decode(sid: SessionId, bytes: &[u8]) -> Result<Self, StoreError> {
        let record = Record::decode(bytes).map_err(|error| StoreError::Record(sid, error))?;
        Ok(Self { record: record.into(), bytes: bytes.into() })
    }
}

/// What a message of the bucket does to its session.
#[derive(Debug)]
pub(super) enum Change {
    /// This is its record now.
    Put(Encoded),
    /// It is removed.
    Remove,
}

/// The bucket's newest state, as far as this process knows.
#[derive(Default)]
pub(super) struct Replica {
    /// Counts the bucket's histories. One may have ended when all of it is read again, and has when
    /// it shows less than it did: then sequences are given out a second time.
    history: u64,
    records: HashMap<SessionId, Box<[u8]>>,
    index: Index,
    /// Sessions whose removal is acknowledged and was not seen by the watch yet: older messages may
    /// still come.
    removed: HashMap<SessionId, Revision>,
    /// How far the watch has come.
    followed: Revision,
    /// The writes that are under way or in doubt.
    writes: HashMap<WriteId, Pending>,
    last_write: u64,
    /// Which of them may give a connection to their session.
    reserved: HashMap<ConnectionId, Vec<WriteId>>,
    /// Sessions of which only the leader can say what they are.
    in_doubt: HashSet<SessionId>,
    pub(super) is_closed: bool,
    /// What is called with each change.
    pub(super) listener: Option<ChangeListener>,
}

/// Names a write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WriteId(u64);

#[derive(Debug)]
struct Pending {
    sid: SessionId,
    connections: Vec<ConnectionId>,
    is_in_doubt: bool,
}

/// The answer to a question, taken up only if nothing went back between the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    history: u64,
    known: Option<Revision>,
}

/// How many bits of a revision that callers get say of which history it is; the others are its
/// sequence. So revisions stay in the order in which they were written; sequences have 48 bits left
/// (at 20,000 writes per second, 446 years of them); and a revision would be taken for that of a
/// later history only after 65,536 others within one request.
pub(super) const HISTORY_BITS: u32 = 16;

impl Replica {
    pub(super) fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        let (Some(bytes), Some(revision)) = (self.records.get(&sid), self.handed_out(sid)) else { return Ok(None) };
        let record = Record::decode(bytes).map_err(|error| StoreError::Record(sid, error))?;
        Ok(Some(Arc::new(Stored { record, revision })))
    }

    /// Which history of the bucket this is.
    pub(super) fn history(&self) -> u64 {
        self.history
    }

    /// The revision of a session that callers get and name. One of an earlier history names a
    /// sequence that may have been given out again, so it is not the session's any more.
    pub(super) fn handed_out(&self, sid: SessionId) -> Option<Revision> {
        self.revision(sid).map(|sequence| self.of_now(sequence))
    }

    /// The same of a sequence.
    pub(super) fn of_now(&self, sequence: Revision) -> Revision {
        Revision(sequence.0 << HISTORY_BITS | self.history & ((1 << HISTORY_BITS) - 1))
    }

    /// The sequence of a session's last message, if there is one.
    pub(super) fn revision(&self, sid: SessionId) -> Option<Revision> {
        self.index.revision(sid)
    }

    /// The sequence of a removed session's marker, as long as that is known.
    pub(super) fn removed(&self, sid: SessionId) -> Option<Revision> {
        self.removed.get(&sid).copied()
    }

    /// The last that is known of a session, be it there or removed.
    pub(super) fn last(&self, sid: SessionId) -> Option<Revision> {
        self.revision(sid).or(self.removed(sid))
    }

    pub(super) fn session_on(&self, connection: &ConnectionId) -> Option<SessionId> {
        self.index.session_on(connection)
    }

    pub(super) fn sessions_on(&self, connection: &ConnectionId) -> Vec<SessionId> {
        self.index.sessions_on(connection)
    }

    pub(super) fn sessions_of(&self, user: &UserId) -> Vec<SessionId> {
        self.index.sessions_of(user)
    }

    pub(super) fn overdue(&self, until: Timestamp, limit: usize) -> Vec<SessionId> {
        self.index.overdue(until, limit)
    }

    pub(super) fn page(&self, after: Option<(Timestamp, SessionId)>, limit: usize) -> Vec<(Timestamp, SessionId)> {
        self.index.page(after, limit)
    }

    pub(super) fn count(&self) -> usize {
        self.index.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.index.next_deadline()
    }

    /// How many sessions there are, and how many connections are on them.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.index.len(), self.index.connections())
    }

    /// How many writes are under way.
    pub(super) fn pending_writes(&self) -> usize {
        self.writes.values().filter(|write| !write.is_in_doubt).count()
    }

    /// All of the bucket is going to be read again, and what it has then counts. Returns what is
    /// known now.
    pub(super) fn restart(&mut self) -> HashMap<SessionId, Revision> {
        self.history += 1;
        self.followed = Revision::default();
        let removed = self.removed.iter().map(|(sid, marker)| (*sid, *marker));
        let there = self.records.keys().filter_map(|sid| Some((*sid, self.index.revision(*sid)?)));
        there.chain(removed).collect()
    }

    /// Forgets sessions that the bucket has not shown, and returns how many there were. Those that
    /// are not as they were `known` before are added to `unsure`.
    pub(super) fn keep_only(
        &mut self,
        shown: &HashSet<SessionId>,
        known: &HashMap<SessionId, Revision>,
        unsure: &mut Vec<SessionId>,
    ) -> usize {
        self.removed.retain(|sid, marker| shown.contains(sid) || known.get(sid) != Some(marker));
        let missing = self.records.keys().filter(|sid| !shown.contains(sid)).copied().collect::<Vec<_>>();
        let mut dropped = 0;
        for sid in missing {
            if self.revision(sid) == known.get(&sid).copied() {
                self.notify(sid, None);
                self.index.remove(sid);
                self.records.remove(&sid);
                dropped += 1;
            } else {
                unsure.push(sid);
            }
        }
        self.history += u64::from(dropped > 0);
        dropped
    }

    /// Takes up a message of the bucket, unless a newer one is known.
    pub(super) fn apply(&mut self, sid: SessionId, revision: Revision, change: Change) {
        if self.last(sid).is_none_or(|last| last < revision) {
            self.set(sid, revision, change);
        }
    }

    /// The leader is going to be asked for a session.
    pub(super) fn ask(&self, sid: SessionId) -> Asked {
        Asked { history: self.history, known: self.last(sid) }
    }

    /// Takes up what the leader has answered. That counts even if it is older than what was known:
    /// then a server has lost what it had acknowledged. False if that is not certain, because
    /// something went back since it was asked: the answer may be of what is lost.
    pub(super) fn take_up(&mut self, sid: SessionId, asked: Asked, revision: Revision, change: Change) -> bool {
        if self.history != asked.history {
            return false;
        }
        if self.last(sid) == asked.known {
            self.set(sid, revision, change);
        } else {
            self.apply(sid, revision, change);
        }
        self.in_doubt.remove(&sid);
        let answered = self.writes.iter().filter(|(_, write)| write.is_in_doubt && write.sid == sid);
        for id in answered.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(id);
        }
        true
    }

    /// The watch has come to this sequence.
    pub(super) fn followed(&mut self, sequence: Revision) {
        self.followed = self.followed.max(sequence);
        if !self.removed.is_empty() {
            let followed = self.followed;
            self.removed.retain(|_, marker| *marker > followed);
        }
    }

    /// Begins a write that gives `connections` to the session `sid`.
    ///
    /// # Errors
    /// [`StoreError::ConnectionTaken`] if another session has one of them, or may have.
    pub(super) fn begin(&mut self, sid: SessionId, connections: &[ConnectionId]) -> Result<WriteId, StoreError> {
        for connection in connections {
            let holders = self.index.sessions_on(connection);
            // Also if another process has put it on a second one: that is settled by whoever wrote
            // last.
            if holders.contains(&sid) {
                continue;
            }
            let pending = self.reserved.get(connection).into_iter().flatten().map(|id| self.writes[id].sid);
            if let Some(other) = holders.into_iter().chain(pending).find(|other| *other != sid) {
                return Err(StoreError::ConnectionTaken(other));
            }
        }
        self.last_write += 1;
        let id = WriteId(self.last_write);
        for connection in connections {
            self.reserved.entry(connection.clone()).or_default().push(id);
        }
        self.writes.insert(id, Pending { sid, connections: connections.to_vec(), is_in_doubt: false });
        Ok(id)
    }

    /// The write has been done, or has not.
    pub(super) fn end(&mut self, id: WriteId) {
        self.forget(id);
    }

    /// Nobody knows whether the write has been done.
    pub(super) fn doubt(&mut self, id: WriteId) {
        if let Some(write) = self.writes.get_mut(&id) {
            write.is_in_doubt = true;
            self.in_doubt.insert(write.sid);
        }
    }

    pub(super) fn is_in_doubt(&self, sid: SessionId) -> bool {
        self.in_doubt.contains(&sid)
    }

    /// The session that may have got `connection` by a write that was not answered.
    pub(super) fn doubted_holder(&self, connection: &ConnectionId) -> Option<SessionId> {
        let pending = self.reserved.get(connection)?.iter().map(|id| &self.writes[id]);
        pending.filter(|write| write.is_in_doubt).map(|write| write.sid).next()
    }

    /// The session has a message that cannot be read: whoever loads it learns so from the leader.
    pub(super) fn doubt_session(&mut self, sid: SessionId) {
        self.in_doubt.insert(sid);
    }

    /// All sessions in doubt, for the task that asks the leader in the background.
    pub(super) fn doubted(&self) -> Vec<SessionId> {
        self.in_doubt.iter().copied().collect()
    }

    /// Tells the listener what the session is going to be. Whoever reads because of that sees it:
    /// nobody can while this is changed.
    fn notify(&self, sid: SessionId, after: Option<&Record>) {
        let Some(listener) = &self.listener else { return };
        let before = self.index.get(sid);
        let Some(user) = after.map(|record| &record.user_id).or(before.map(|known| &known.user)) else { return };
        let had: Vec<_> = before.into_iter().flat_map(Known::connections).collect();
        let has = after.map_or(&[][..], |record| &record.connections);
        // One that is marked as ended is over, though it is still there.
        let is_first_or_last = before.is_none() || after.is_none_or(Record::is_ending);
        listener(SessionChange { sid, user, connections: [&had, has], is_first_or_last });
    }

    fn forget(&mut self, id: WriteId) {
        let Some(write) = self.writes.remove(&id) else { return };
        for connection in &write.connections {
            if let Some(ids) = self.reserved.get_mut(connection) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.reserved.remove(connection);
                }
            }
        }
    }

    /// Whether this is less than what is known of a session, or something else under its sequence.
    fn goes_back(&self, sid: SessionId, revision: Revision, change: &Change) -> bool {
        let is_same = || match change {
            Change::Put(encoded) => self.records.get(&sid) == Some(&encoded.bytes),
            Change::Remove => !self.records.contains_key(&sid),
        };
        self.last(sid).is_some_and(|last| revision < last || revision == last && !is_same())
    }

    /// Makes this what is known of a session.
    pub(super) fn set(&mut self, sid: SessionId, revision: Revision, change: Change) {
        self.history += u64::from(self.goes_back(sid, revision, &change));
        match change {
            Change::Put(Encoded { record, bytes }) => {
                self.notify(sid, Some(&record));
                self.removed.remove(&sid);
                self.index.put(&record, revision);
                self.records.insert(sid, bytes);
            }
            Change::Remove => {
                self.notify(sid, None);
                self.index.remove(sid);
                self.records.remove(&sid);
                if revision > self.followed {
                    self.removed.insert(sid, revision);
                }
            }
        }
    }
}
