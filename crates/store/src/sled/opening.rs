//! Opens the store and starts its threads, if nothing that it has found is damaged.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, Builder, JoinHandle},
};

use super::{
    Damage, StoreError,
    checkpointer::Checkpointer,
    contents::{KnownContents, read_snapshot},
    database::{self, Database, failed},
    format, repair, salvage,
    shared::SledShared,
    state::State,
    vfs::Fs,
    wal::{Entry, Sizes, Wal},
    writer::Writer,
};

/// Opens the store and starts its threads.
pub(super) fn open(folder: &Path, fs: Fs, sizes: Sizes) -> Result<(Arc<SledShared>, Vec<JoinHandle<()>>), StoreError> {
    let lock = database::lock(folder, &fs)?;
    let marker = format::read(folder, &fs)?;
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
        let found = snapshot.map(KnownContents::of);
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
    format::mark(folder, &fs, &marker)?;
    let database = Database::open(folder, &fs, lock)?;
    let mut found = found.map_or_else(|| KnownContents::scan(&database), Ok)?;
    let frame = found.frame;
    let each = |frame, entry: Entry<'_>| found.apply(frame, &entry);
    let wal = Wal::open(&wal_folder, &fs, sizes, frame, is_listed, each)?;
    fs.sync_folder(folder)?;
    tracing::info!(
        sessions = found.index.len(), replayed = found.recent.len(), folder = %folder.display(),
        "session store opened"
    );
    let KnownContents { index, damaged, recent, last, .. } = found;
    let shared =
        Arc::new(SledShared::new(State::new(index, damaged, recent, last, database.tree().clone()), sizes.stall_limit));
    let (jobs, jobs_come) = mpsc::channel();
    let files = Arc::clone(wal.files());
    let checkpointer = Checkpointer { database, files, snapshot: path, fs, shared: Arc::clone(&shared) };
    let writer = Writer::new(wal, Arc::clone(&shared), jobs);
    let spawn =
        |name: &str, run: Box<dyn FnOnce() + Send>| Builder::new().name(name.to_owned()).spawn(run).map_err(failed);
    let checkpointer = spawn("relogin-checkpt", Box::new(move || checkpointer.run(&jobs_come)))?;
    let writer = spawn("relogin-store", Box::new(move || writer.run()))?;
    Ok((shared, vec![writer, checkpointer]))
}
