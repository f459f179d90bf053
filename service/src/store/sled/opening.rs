//! Opening the store: the index from its snapshot or from sled, and what the journal has beyond that.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
};

use relogin_session::{Record, SessionId};

use super::{
    super::index::{Index, Known},
    Revision, StoreError,
    barrier::Barrier,
    database::{self, Database, failed},
    journal::{Entry, Journal, Sizes},
    settler::Settler,
    shared::Shared,
    snapshot,
    state::{State, Values},
    writer::Writer,
};

/// Opens the store and starts its threads.
pub(super) fn open(
    folder: &Path,
    barrier: Arc<dyn Barrier>,
    sizes: Sizes,
) -> Result<(Arc<Shared>, Vec<JoinHandle<()>>), StoreError> {
    let database = Database::open(folder, Arc::clone(&barrier))?;
    let path = folder.join("index");
    let mut found = match snapshot::read(&path).map_err(failed)? {
        Some(snapshot) => Found::of(snapshot),
        None => Found::scan(&database)?,
    };
    let (frame, journal_folder) = (found.frame, folder.join("journal"));
    let each = |frame, entry: Entry<'_>| found.apply(frame, &entry);
    let journal = Journal::open(&journal_folder, Arc::clone(&barrier), sizes, frame, each).map_err(failed)?;
    barrier.folder(folder).map_err(failed)?;
    tracing::info!(
        sessions = found.index.len(), replayed = found.recent.len(), folder = %folder.display(),
        "session store opened"
    );
    let Found { index, damaged, recent, last, .. } = found;
    let shared = Arc::new(Shared::new(State::new(index, damaged, recent, last, database.tree().clone())));
    let (errands, errands_come) = mpsc::channel();
    let files = Arc::clone(journal.files());
    let settler = Settler { database, files, snapshot: path, barrier, shared: Arc::clone(&shared) };
    let writer = Writer::new(journal, Arc::clone(&shared), errands);
    let spawn =
        |name: &str, run: Box<dyn FnOnce() + Send>| Builder::new().name(name.to_owned()).spawn(run).map_err(failed);
    let settler = spawn("relogin-settler", Box::new(move || settler.run(&errands_come)))?;
    let writer = spawn("relogin-store", Box::new(move || writer.run()))?;
    Ok((shared, vec![writer, settler]))
}

/// What is known so far.
struct Found {
    index: Index,
    damaged: HashSet<SessionId>,
    /// What the journal has.
    recent: Values,
    last: Revision,
    /// The frame of the journal up to which the index knows all.
    frame: u64,
}

impl Found {
    fn of(snapshot: snapshot::Snapshot) -> Self {
        let last = snapshot.sessions.iter().map(|known| known.revision).max().unwrap_or_default();
        Self {
            index: Index::with(snapshot.sessions),
            damaged: snapshot.damaged.into_iter().collect(),
            recent: Values::new(),
            last,
            frame: snapshot.frame,
        }
    }

    /// From all that sled has.
    fn scan(database: &Database) -> Result<Self, StoreError> {
        let mut sessions = Vec::new();
        let mut damaged = HashSet::new();
        for read in database.scan() {
            match read {
                Ok(stored) => sessions.push(Known::of(&stored.record, stored.revision)),
                // One damaged record must not lock everybody else out. It stays on disk, for whoever can read it.
                Err(StoreError::Record(sid, error)) => {
                    say_damaged(sid, error);
                    damaged.insert(sid);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { damaged, ..Self::of(snapshot::Snapshot { frame: 0, sessions, damaged: Vec::new() }) })
    }

    /// Takes up an entry of the journal's frame with this number.
    fn apply(&mut self, frame: u64, entry: &Entry<'_>) {
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
    tracing::error!(error = %crate::errors::Chain(&StoreError::Record(sid, error)));
}
