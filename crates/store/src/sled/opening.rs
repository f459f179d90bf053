//! Opens the store: the index from its snapshot or from sled, and what the write-ahead log has
//! beyond that.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, Builder, JoinHandle},
};

use relogin_session::{Record, SessionId};

use super::{
    super::index::{Index, Known},
    Damage, Revision, StoreError,
    checkpointer::Checkpointer,
    database::{self, Database, failed},
    repair, salvage,
    shared::Shared,
    snapshot,
    state::{State, Values},
    vfs::Fs,
    wal::{Entry, Sizes, Wal, manifest},
    writer::Writer,
};

/// Opens the store and starts its threads.
pub(super) fn open(folder: &Path, fs: Fs, sizes: Sizes) -> Result<(Arc<Shared>, Vec<JoinHandle<()>>), StoreError> {
    let lock = database::lock(folder, &fs)?;
    let (path, wal_folder) = (folder.join("index"), folder.join("journal"));
    let snapshot = read_snapshot(&fs, &path, &wal_folder)?;
    let log = database::log_path(folder);
    if snapshot.is_some() && !log.exists() {
        return Err(StoreError::Damaged(log, Damage::Missing));
    }
    let is_listed = snapshot.as_ref().is_some_and(|snapshot| snapshot.is_listed);
    // Both are a large part of a start with many sessions.
    let (is_suspect, found) = thread::scope(|scope| {
        let look = || salvage::is_suspect(&fs, folder);
        let looking = Builder::new().spawn_scoped(scope, look);
        let found = snapshot.map(Found::of);
        let is_suspect = match looking {
            Ok(looking) => looking.join().unwrap_or(Ok(true)),
            Err(_) => look(),
        };
        (is_suspect, found)
    });
    // If sled is to take damage for the end of its log, it must really be the end: then the
    // write-ahead log has what followed.
    if is_suspect? && let Some(damage) = repair::damage(folder, &fs)? {
        return Err(damage);
    }
    let database = Database::open(folder, &fs, lock)?;
    let mut found = found.map_or_else(|| Found::scan(&database), Ok)?;
    let frame = found.frame;
    let each = |frame, entry: Entry<'_>| found.apply(frame, &entry);
    let wal = Wal::open(&wal_folder, &fs, sizes, frame, is_listed, each)?;
    fs.sync_folder(folder)?;
    tracing::info!(
        sessions = found.index.len(), replayed = found.recent.len(), folder = %folder.display(),
        "session store opened"
    );
    let Found { index, damaged, recent, last, .. } = found;
    let shared =
        Arc::new(Shared::new(State::new(index, damaged, recent, last, database.tree().clone()), sizes.patience));
    let (errands, errands_come) = mpsc::channel();
    let files = Arc::clone(wal.files());
    let checkpointer = Checkpointer { database, files, snapshot: path, fs, shared: Arc::clone(&shared) };
    let writer = Writer::new(wal, Arc::clone(&shared), errands);
    let spawn =
        |name: &str, run: Box<dyn FnOnce() + Send>| Builder::new().name(name.to_owned()).spawn(run).map_err(failed);
    let checkpointer = spawn("relogin-settler", Box::new(move || checkpointer.run(&errands_come)))?;
    let writer = spawn("relogin-store", Box::new(move || writer.run()))?;
    Ok((shared, vec![writer, checkpointer]))
}

/// The snapshot at `path`, if it is intact and no older than the write-ahead log in `write-ahead log`.
pub(super) fn read_snapshot(fs: &Fs, path: &Path, wal: &Path) -> Result<Option<snapshot::Snapshot>, StoreError> {
    let why = match snapshot::read(fs, path)? {
        snapshot::Found::Nothing => return Ok(None),
        snapshot::Found::Damaged => "damaged",
        snapshot::Found::Whole(snapshot) => {
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
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) damaged: HashSet<SessionId>,
    /// What the write-ahead log has.
    pub(super) recent: Values,
    last: Revision,
    /// The frame of the write-ahead log up to which the index is complete.
    pub(super) frame: u64,
}

impl Found {
    pub(super) fn of(snapshot: snapshot::Snapshot) -> Self {
        let last = snapshot.sessions.iter().map(|known| known.revision).max().unwrap_or_default();
        Self {
            index: Index::with(snapshot.sessions),
            damaged: snapshot.damaged.into_iter().collect(),
            recent: Values::new(),
            last,
            frame: snapshot.frame,
        }
    }

    /// Without a snapshot.
    pub(super) fn of_sessions(sessions: Vec<Known>) -> Self {
        Self::of(snapshot::Snapshot { frame: 0, sessions, damaged: Vec::new(), is_listed: false })
    }

    /// From everything that sled has.
    fn scan(database: &Database) -> Result<Self, StoreError> {
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
