//! The one thread that writes: group commit. See the header of [`super`].

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use relogin_session::{ConnectionId, Record, SessionId};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::index::{Index, is_earlier},
    Revision, Shared, StoreError, Stored,
    disk::{self, Disk},
};

/// How many writes share a sync at most.
pub(super) const MAX_GROUP: usize = 256;

/// How many bytes of records share a sync at most, but for the last record's. sled writes up to ten times that: every tenth
/// write of a page writes the whole page anew and cleans up another, and new sessions split pages.
pub(super) const MAX_GROUP_BYTES: usize = 64 * 1024;

/// One change of one session.
pub(super) struct Write {
    pub(super) sid: SessionId,
    /// The revision it was decided on; `None`: there must be no such session.
    pub(super) revision: Option<Revision>,
    /// The session from now on; `None`: it is over.
    pub(super) next: Option<Record>,
}

/// A change that somebody waits for.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Revision, StoreError>>,
}

/// Owns the database's writing side.
pub(super) struct Writer {
    disk: Disk,
    shared: Arc<Shared>,
    waiting: mpsc::Receiver<Job>,
    last: Revision,
}

impl Writer {
    pub(super) fn new(disk: Disk, shared: Arc<Shared>, waiting: mpsc::Receiver<Job>, last: Revision) -> Self {
        Self { disk, shared, waiting, last }
    }

    /// Runs until nobody can bring more writes, and closes the database.
    pub(super) fn run(mut self) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        while self.waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
            let mut jobs = group.drain(..).peekable();
            while jobs.peek().is_some() {
                self.commit(&mut jobs);
            }
        }
        self.shared.update().tree = None;
    }

    /// Makes as many of the writes durable as may share a sync, and answers them.
    fn commit(&mut self, jobs: &mut impl Iterator<Item = Job>) {
        let mut staged = Staged::default();
        let mut answers = Vec::new();
        while staged.bytes < MAX_GROUP_BYTES
            && let Some(job) = jobs.next()
        {
            answers.push((job.answer, self.stage(&mut staged, job.write)));
        }
        if !staged.values.is_empty() {
            match self.make_durable(&staged) {
                Ok(()) => self.show(&staged.changes),
                Err(error) => {
                    tracing::error!(%error, "sessions cannot be written any more: start again when the disk is well");
                    let _ = self.shared.failed.set(error);
                }
            }
        }
        for (answer, staged) in answers {
            // Whoever waited may have gone.
            let _ = answer.send(self.shared.check().and(staged));
        }
    }

    /// Checks a write against what is stored and what came before it in the group. Ok: it goes with the group.
    fn stage(&mut self, staged: &mut Staged, write: Write) -> Result<Revision, StoreError> {
        self.shared.check()?;
        let Write { sid, revision, next } = write;
        let before = match staged.changes.get(&sid) {
            Some(change) => change.after.clone(),
            None => disk::read(self.disk.tree(), sid)?,
        };
        if before.as_ref().map(|before| before.revision) != revision {
            return Err(StoreError::Conflict);
        }
        if let Some(other) = next.as_ref().and_then(|next| staged.taken(next, &self.shared.read().index)) {
            return Err(StoreError::ConnectionTaken(other));
        }
        let revision = self.last.next();
        let after = next.map(|record| Stored { record, revision });
        let value = after.as_ref().map(disk::encode).transpose()?;
        self.last = revision;
        staged.push(sid, before, after, value);
        Ok(revision)
    }

    /// Hides what the group changes, then applies it and has it synced.
    fn make_durable(&self, staged: &Staged) -> Result<(), ::sled::Error> {
        let before = staged.changes.iter().map(|(&sid, change)| (sid, change.before.clone()));
        self.shared.update().hidden.extend(before);
        for (sid, value) in &staged.values {
            self.disk.apply(*sid, value.as_deref())?;
        }
        self.disk.sync()
    }

    /// What was hidden is durable now.
    fn show(&self, changes: &HashMap<SessionId, Change>) {
        let mut view = self.shared.update();
        let earliest = view.index.next_deadline();
        // A connection may have moved within the group: all let go before any takes up.
        for before in changes.values().filter_map(|change| change.before.as_ref()) {
            view.index.remove(&before.record);
        }
        for after in changes.values().filter_map(|change| change.after.as_ref()) {
            view.index.insert(&after.record);
        }
        view.hidden.clear();
        if is_earlier(view.index.next_deadline(), earliest) {
            self.shared.deadline_moved.notify_one();
        }
    }
}

/// The writes of a group that stand.
#[derive(Default)]
struct Staged {
    changes: HashMap<SessionId, Change>,
    /// Which session connections are on (none: on no one's any more), where the group changes it.
    connections: HashMap<ConnectionId, Option<SessionId>>,
    /// What to write, in order.
    values: Vec<(SessionId, Option<Vec<u8>>)>,
    /// How much that is.
    bytes: usize,
}

/// What a group does to a session.
struct Change {
    before: Option<Stored>,
    after: Option<Stored>,
}

impl Staged {
    /// The other session that one of the connections of `next` is on.
    fn taken(&self, next: &Record, index: &Index) -> Option<SessionId> {
        let holder = |connection| match self.connections.get(connection) {
            Some(&moved) => moved,
            None => index.session_on(connection),
        };
        next.connections.iter().filter_map(holder).find(|&holder| holder != next.sid)
    }

    fn push(&mut self, sid: SessionId, before: Option<Stored>, after: Option<Stored>, value: Option<Vec<u8>>) {
        let connections =
            |stored: &Option<Stored>| stored.iter().flat_map(|s| s.record.connections.clone()).collect::<Vec<_>>();
        self.connections.extend(connections(&before).into_iter().map(|left| (left, None)));
        self.connections.extend(connections(&after).into_iter().map(|held| (held, Some(sid))));
        self.bytes += value.as_ref().map_or(0, Vec::len);
        self.values.push((sid, value));
        // A session that the group changes twice was, before it, what it was before the first change.
        match self.changes.entry(sid) {
            Entry::Occupied(mut changed) => changed.get_mut().after = after,
            Entry::Vacant(new) => {
                new.insert(Change { before, after });
            }
        }
    }
}
