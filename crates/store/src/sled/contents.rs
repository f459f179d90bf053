//! Reads the files of a store: the index from its snapshot or from sled, and what the write-ahead
//! log has beyond that. Must not start anything or write.

use std::{collections::HashSet, path::Path};

use relogin_session::{Record, SessionId};

use super::{
    super::index::{Index, Known},
    Revision, StoreError,
    database::{self, Database},
    snapshot,
    state::Values,
    vfs::Fs,
    wal::{Entry, manifest},
};

/// The snapshot at `path`, if it is intact and no older than the write-ahead log in `wal`.
pub(super) fn read_snapshot(fs: &Fs, path: &Path, wal: &Path) -> Result<Option<snapshot::Snapshot>, StoreError> {
    let why = match snapshot::read(fs, path)? {
        snapshot::SnapshotFile::Nothing => return Ok(None),
        snapshot::SnapshotFile::Damaged => "damaged",
        snapshot::SnapshotFile::Whole(snapshot) => {
            let list = fs.read_if_there(&manifest::path(wal))?.and_then(|bytes| manifest::parse(&bytes));
            if list.is_none_or(|(_, list)| list.checkpointed <= snapshot.frame) {
                return Ok(Some(snapshot));
            }
            "older than the write-ahead log"
        }
    };
    tracing::warn!(file = %path.display(), "the snapshot of the index is {why}: all sessions are read instead");
    Ok(None)
}

/// What is known so far.
pub(super) struct KnownContents {
    pub(super) index: Index,
    pub(super) damaged: HashSet<SessionId>,
    /// What the write-ahead log has.
    pub(super) recent: Values,
    pub(super) last: Revision,
    /// The frame of the write-ahead log up to which the index is complete.
    pub(super) frame: u64,
}

impl KnownContents {
    pub(super) fn of(snapshot: snapshot::Snapshot) -> Self {
        let last = snapshot.sessions.iter().map(|known| known.revision).max().unwrap_or_default();
        Self {
            index: Index::with(snapshot.sessions),
            damaged: snapshot.damaged.into_iter().collect(),
            recent: Values::default(),
            last,
            frame: snapshot.frame,
        }
    }

    /// Without a snapshot.
    pub(super) fn of_sessions(sessions: Vec<Known>) -> Self {
        Self::of(snapshot::Snapshot { frame: 0, sessions, damaged: Vec::new(), is_listed: false })
    }

    /// From everything that sled has.
    pub(super) fn scan(database: &Database) -> Result<Self, StoreError> {
        let mut sessions = Vec::new();
        let mut damaged = HashSet::new();
        for read in database.scan() {
            match read {
                Ok(stored) => sessions.push(Known::of(&stored.record, stored.revision)),
                // One damaged record must not lock everybody else out. It stays on disk, for
                // whoever can read it.
                Err(StoreError::Record(sid, error)) => {
                    say_damaged(sid, error);
                    damaged.insert(sid);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { damaged, ..Self::of_sessions(sessions) })
    }

    /// Applies an entry of the write-ahead log's frame with this number.
    pub(super) fn apply(&mut self, frame: u64, entry: &Entry<'_>) {
        let &Entry { sid, revision, value } = entry;
        self.last = self.last.max(revision);
        self.recent.insert(sid, value.map(|record| database::value(revision, record)));
        if frame <= self.frame {
            return;
        }
        self.damaged.remove(&sid);
        match value.map(Record::decode) {
            Some(Ok(record)) => self.index.put(&record, revision),
            Some(Err(error)) => {
                say_damaged(sid, error);
                self.index.remove(sid);
                self.damaged.insert(sid);
            }
            None => self.index.remove(sid),
        }
    }
}

fn say_damaged(sid: SessionId, error: relogin_session::record::RecordError) {
    tracing::error!(error = %relogin_host::errors::Chain(&StoreError::Record(sid, error)));
}
