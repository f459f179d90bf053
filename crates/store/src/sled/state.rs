//! What is durable, what is being made durable, and what waits for it; and which resource is short,
//! if one is. All of it is behind one lock, which is never held while anything waits for the disk.
//! Must not depend on files.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map},
    sync::Arc,
};

use relogin_session::{ConnectionId, Record, SessionId};
use tokio::sync::SetOnce;

use super::{
    super::index::{Index, SidHasher},
    Revision, StoreError, Stored, database,
    reason::Reason,
    wal::{Entry, Frame},
};

/// How many bytes of writes share a sync at most, except for the last write's.
pub(super) const MAX_GROUP: usize = 1 << 20;

/// One change of one session.
pub(super) struct Write {
    pub(super) sid: SessionId,
    /// The revision on which it was decided; `None`: the session must not exist.
    pub(super) revision: Option<Revision>,
    /// The new session, and its encoding; `None`: it has ended.
    pub(super) next: Option<(Record, Vec<u8>)>,
}

/// Values by session; none: the session has ended.
pub(super) type Values = HashMap<SessionId, Option<Arc<[u8]>>, SidHasher>;

/// See the header of the store.
#[derive(Debug)]
pub(super) struct State {
    /// The durable state of all sessions.
    pub(super) index: Index,
    /// Sessions that are stored and cannot be read.
    pub(super) damaged: HashSet<SessionId>,
    /// What is durable in the write-ahead log and not yet given to sled.
    pub(super) recent: Values,
    /// What is being given to sled.
    pub(super) checkpointing: Option<Arc<Values>>,
    /// What has become of the sessions that changed since an export began.
    pub(super) changed: Option<Values>,
    /// Groups that are not durable yet, oldest first. The writer may already have the frame of the
    /// first.
    groups: VecDeque<Group>,
    /// The state of the sessions that these groups change, after them.
    staged: HashMap<SessionId, Staged, SidHasher>,
    /// The sessions of connections after these groups (none: on no session any more), where the
    /// groups change them.
    moved: HashMap<ConnectionId, (Option<SessionId>, Revision)>,
    decoded: Decoded,
    /// The newest assigned revision.
    last: Revision,
    pub(super) phase: Phase,
    /// What the checkpointer waits for until it retries.
    pub(super) short: Option<Reason>,
    /// Why no write is accepted, until the checkpointer has what it waits for.
    pub(super) refusing: Option<Reason>,
    /// None once the store was closed.
    pub(super) tree: Option<::sled::Tree>,
}

/// The life cycle of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// It accepts no more writes, and completes those in flight.
    Closing,
    Closed,
}

/// Writes that become durable together, or, if it is dropped before, never.
#[derive(Debug)]
pub(super) struct Group {
    /// None while it is being written.
    frame: Option<Frame>,
    changes: Vec<StagedChange>,
    ends: Arc<End>,
}

/// What all of a group's writers wait for. They are woken together, because what they do next is
/// cheaper done together.
type End = SetOnce<Verdict>;

/// The outcome of a group.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Durable,
    /// Nothing of it was written, for lack of this.
    Refused(Reason),
    /// It will never be durable: the store has failed, or was closed.
    GivenUp,
}

#[derive(Debug)]
struct StagedChange {
    sid: SessionId,
    revision: Revision,
    next: Option<(Arc<Stored>, Arc<[u8]>)>,
    /// The connections that it moves.
    moved: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Staged {
    revision: Revision,
    next: Option<Arc<Stored>>,
}

/// When a write is answered.
pub(super) enum Outcome {
    Now(Result<Revision, StoreError>),
    /// With this, once the disk has it, or the conflict that it lost against.
    Later(Arc<End>, Result<Revision, StoreError>),
}

/// Where a session is to be looked up.
pub(super) enum Location {
    /// Nowhere.
    Nothing,
    Session(Arc<Stored>),
    /// In a value.
    Value(Revision, Arc<[u8]>),
    /// In sled, in this revision unless it changes in the meantime; none: it cannot be read.
    Database(Option<Revision>),
}

impl State {
    pub(super) fn new(
        index: Index,
        damaged: HashSet<SessionId>,
        recent: Values,
        last: Revision,
        tree: ::sled::Tree,
    ) -> Self {
        Self {
            index,
            damaged,
            recent,
            checkpointing: None,
            changed: None,
            groups: VecDeque::new(),
            staged: HashMap::default(),
            moved: HashMap::new(),
            decoded: Decoded::default(),
            last,
            phase: Phase::Open,
            short: None,
            refusing: None,
            tree: Some(tree),
        }
    }

    /// The durable session.
    pub(super) fn find(&self, sid: SessionId) -> Location {
        let Some(revision) = self.index.revision(sid) else {
            return if self.damaged.contains(&sid) { Location::Database(None) } else { Location::Nothing };
        };
        if let Some(stored) = self.decoded.get(sid, revision) {
            return Location::Session(Arc::clone(stored));
        }
        let checkpointing = || self.checkpointing.as_ref()?.get(&sid);
        match self.recent.get(&sid).or_else(checkpointing) {
            Some(Some(value)) => Location::Value(revision, Arc::clone(value)),
            // Ended sessions are not in the index.
            Some(None) | None => Location::Database(Some(revision)),
        }
    }

    /// Caches what was read, if it is still the durable state.
    pub(super) fn keep(&mut self, stored: &Arc<Stored>) {
        if self.index.revision(stored.record.sid) == Some(stored.revision) {
            self.decoded.put(stored);
        }
    }

    /// True if no group waits.
    pub(super) fn is_idle(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many writes are not durable yet.
    pub(super) fn pending_writes(&self) -> usize {
        self.groups.iter().map(|group| group.changes.len()).sum()
    }

    /// Checks a write against what is durable and what came before it. If it passes, it goes with
    /// the last group.
    pub(super) fn stage(&mut self, write: Write) -> Outcome {
        let checked = self.check(&write);
        if let Err((error, is_durable)) = checked {
            // What it lost against is true only once it is durable.
            return if is_durable { Outcome::Now(Err(error)) } else { self.wait(Err(error)) };
        }
        let Write { sid, next, .. } = write;
        self.last = self.last.next();
        let revision = self.last;
        let next = next.map(|(record, encoded)| (Arc::new(Stored { record, revision }), encoded));
        let moved = self.move_connections(sid, revision, next.as_ref().map(|(stored, _)| &stored.record));
        let staged = Staged { revision, next: next.as_ref().map(|(stored, _)| Arc::clone(stored)) };
        self.staged.insert(sid, staged);
        let is_full = |group: &Group| group.frame.as_ref().is_none_or(|frame| frame.len() >= MAX_GROUP);
        if self.groups.back().is_none_or(is_full) {
            self.groups.push_back(Group::new());
        }
        if let Some(Group { frame: Some(frame), changes, .. }) = self.groups.back_mut() {
            frame.push(Entry { sid, revision, value: next.as_ref().map(|(_, encoded)| &encoded[..]) });
            let next = next.map(|(stored, encoded)| (stored, database::value(revision, &encoded)));
            changes.push(StagedChange { sid, revision, next, moved });
        }
        self.wait(Ok(revision))
    }

    /// The frame to write next, if any waits.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        self.groups.front_mut()?.frame.take()
    }

    /// The group whose frame was taken is durable. Its writers are yet to be answered.
    pub(super) fn show(&mut self) -> Option<Group> {
        let mut group = self.groups.pop_front()?;
        for StagedChange { sid, revision, next, moved } in group.changes.drain(..) {
            for connection in moved {
                if let hash_map::Entry::Occupied(entry) = self.moved.entry(connection)
                    && entry.get().1 == revision
                {
                    entry.remove();
                }
            }
            if let hash_map::Entry::Occupied(entry) = self.staged.entry(sid)
                && entry.get().revision == revision
            {
                entry.remove();
            }
            if let Some(changed) = &mut self.changed {
                changed.insert(sid, next.as_ref().map(|(_, value)| Arc::clone(value)));
            }
            match next {
                Some((stored, value)) => {
                    self.index.put(&stored.record, revision);
                    self.recent.insert(sid, Some(value));
                    self.decoded.put(&stored);
                }
                None => {
                    self.index.remove(sid);
                    self.recent.insert(sid, None);
                }
            }
        }
        Some(group)
    }

    /// Nothing that waits will become durable. Returns the groups to drop, which tells their
    /// writers.
    pub(super) fn give_up(&mut self) -> VecDeque<Group> {
        self.staged.clear();
        self.moved.clear();
        std::mem::take(&mut self.groups)
    }

    /// Nothing that waits was written, for lack of a resource, and no write is accepted until the
    /// checkpointer has it. Returns the groups, for [`Group::refuse`].
    pub(super) fn refuse(&mut self, reason: &Reason) -> VecDeque<Group> {
        self.refusing = Some(reason.clone());
        // Each was decided on the ones before it, down to the one that cannot be written.
        self.give_up()
    }

    /// Why a write is refused, and whether what it lost against is durable.
    fn check(&self, write: &Write) -> Result<(), (StoreError, bool)> {
        let staged = self.staged.get(&write.sid);
        let newest = match staged {
            Some(staged) => staged.next.as_ref().map(|_| staged.revision),
            None => self.index.revision(write.sid),
        };
        if newest != write.revision {
            return Err((StoreError::Conflict, staged.is_none()));
        }
        for connection in write.next.iter().flat_map(|(next, _)| &next.connections) {
            let moved = self.moved.get(connection);
            let holder = moved.map_or_else(|| self.index.session_on(connection), |&(holder, _)| holder);
            if let Some(other) = holder.filter(|&holder| holder != write.sid) {
                return Err((StoreError::ConnectionTaken(other), moved.is_none()));
            }
        }
        Ok(())
    }

    /// Records which connections `next` attaches to the session or detaches from it.
    fn move_connections(&mut self, sid: SessionId, revision: Revision, next: Option<&Record>) -> Vec<ConnectionId> {
        let held = next.map_or(&[][..], |next| &next.connections);
        let before: Vec<ConnectionId> = match self.staged.get(&sid) {
            Some(staged) => staged.next.as_ref().map_or(Vec::new(), |before| before.record.connections.clone()),
            // A refresh usually changes none.
            None if self.index.get(sid).map_or(held.is_empty(), |known| known.is_on(held)) => return Vec::new(),
            None => self.index.get(sid).map_or(Vec::new(), |known| known.connections().collect()),
        };
        let left = before.iter().filter(|connection| !held.contains(connection)).map(|left| (left, None));
        let taken = held.iter().filter(|connection| !before.contains(connection)).map(|taken| (taken, Some(sid)));
        let moved: Vec<_> = left.chain(taken).collect();
        self.moved.extend(moved.iter().map(|&(connection, holder)| (connection.clone(), (holder, revision))));
        moved.into_iter().map(|(connection, _)| connection.clone()).collect()
    }

    /// Answers with the last group.
    fn wait(&self, result: Result<Revision, StoreError>) -> Outcome {
        match self.groups.back() {
            Some(group) => Outcome::Later(Arc::clone(&group.ends), result),
            None => Outcome::Now(result),
        }
    }
}

impl Group {
    fn new() -> Self {
        Self { frame: Some(Frame::new()), changes: Vec::new(), ends: Arc::default() }
    }

    /// Answers all writers that it is durable.
    pub(super) fn acknowledge(self) {
        self.end(Verdict::Durable);
    }

    /// Answers all writers that nothing of it was written.
    pub(super) fn refuse(self, reason: &Reason) {
        self.end(Verdict::Refused(reason.clone()));
    }

    fn end(&self, verdict: Verdict) {
        // The first outcome counts.
        let _ = self.ends.set(verdict);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end(Verdict::GivenUp);
    }
}

/// Recently written or read sessions, so that a session used twice within a moment is not read
/// twice. There is a fixed number of places; a session's place follows from its id, and the newest
/// session has it.
#[derive(Debug)]
struct Decoded(Box<[Option<Arc<Stored>>]>);

impl Decoded {
    const PLACES: usize = 4096;

    fn get(&self, sid: SessionId, revision: Revision) -> Option<&Arc<Stored>> {
        let stored = self.0[place(sid)].as_ref()?;
        (stored.record.sid == sid && stored.revision == revision).then_some(stored)
    }

    fn put(&mut self, stored: &Arc<Stored>) {
        self.0[place(stored.record.sid)] = Some(Arc::clone(stored));
    }
}

impl Default for Decoded {
    fn default() -> Self {
        Self(vec![None; Self::PLACES].into())
    }
}

/// Session ids are random bits, so some of them will do.
fn place(sid: SessionId) -> usize {
    usize::from(u16::from_le_bytes([sid.0[0], sid.0[1]])) % Decoded::PLACES
}
