//! `relogin store check` and `relogin store repair`: finds what can be read of a damaged store and
//! what is lost, and builds a store from the former. Reads what sled cannot open with code of its
//! own, and never writes into the damaged folder.
//!
//! **What counts.** The index says which sessions live and in which revision, and the write-ahead
//! log what has changed since. Only a value in exactly that revision is the session; an older one
//! would revive used keys, and a session that neither names has ended. If the index cannot be read,
//! sled says which sessions exist; if neither can, nobody knows which have ended, and they are kept
//! only if the operator asks for it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use relogin_session::{SessionId, UserId};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    super::index::Known,
    Damage, Revision, StoreError,
    contents::{KnownContents, read_snapshot},
    database::{self, Database, failed},
    format::{self, Marker},
    salvage,
    snapshot::SnapshotWriter,
    vfs::{Disk, FileError, Fs},
    wal::{Entry, Sizes, Wal, survey},
};

/// The contents of a store.
#[derive(Debug, Default)]
pub struct Report {
    /// How many sessions are intact.
    pub whole: usize,
    /// What is wrong, each with its file.
    pub damage: Vec<StoreError>,
    /// Live sessions that can no longer be read.
    pub lost: Vec<Lost>,
    /// How many readable sessions may have ended.
    pub unverified: usize,
}

/// A session that can no longer be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its id.
    pub sid: SessionId,
    /// Its user; none if that is lost, too.
    pub user: Option<UserId>,
}

/// The result of a repair.
#[derive(Debug)]
pub struct Repaired {
    /// What was found.
    pub report: Report,
    /// Where the damaged folder is now; none if nothing had to be repaired.
    pub aside: Option<PathBuf>,
}

impl Report {
    /// True if the store can be opened and nothing is lost.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lost.is_empty()
    }
}

/// What was read of a store.
struct Examined {
    report: Report,
    found: KnownContents,
    /// What sled has of the sessions that count, or, if it is unknown which do, of all.
    in_sled: HashMap<SessionId, Revision>,
    /// Whether it is unknown which sessions count.
    is_unverified: bool,
}

/// Reads the store in `folder` and reports what is wrong with it. Needs space for a copy of the
/// database beside it, for a while.
///
/// # Errors
/// [`StoreError::InUse`] while a service runs, [`StoreError::Newer`] if a later version has written
/// it, others if it cannot be read at all.
pub fn check(folder: &Path) -> Result<Report, StoreError> {
    let fs = Fs::new(Arc::new(Disk));
    let _lock = lock(folder, &fs)?;
    Ok(examine(folder, &fs)?.report)
}

/// Replaces the store in `folder` by one with everything that can be read, and keeps the old one.
/// Does nothing if that is sound. `keep_unverified`: also keeps sessions that may have ended.
///
/// # Errors
/// As [`check`], or if there is no space for the new one; the old one is then unchanged.
pub fn repair(folder: &Path, keep_unverified: bool) -> Result<Repaired, StoreError> {
    let fs = Fs::new(Arc::new(Disk));
    let _lock = lock(folder, &fs)?;
    let Examined { mut report, found, in_sled, is_unverified } = examine(folder, &fs)?;
    if report.is_sound() {
        return Ok(Repaired { report, aside: None });
    }
    let new = tempfile::Builder::new().prefix(&beside(folder, "repair")).tempdir_in(parent(folder)).map_err(failed)?;
    let takes = |sid: SessionId, revision| (keep_unverified || !is_unverified) && in_sled.get(&sid) == Some(&revision);
    report.whole = rebuild(new.path(), folder, &fs, &found, takes)?;
    if keep_unverified {
        report.unverified = 0;
    }
    let aside = aside(folder);
    // Atomically, so that a service that is started in the meantime does not find nothing there and
    // create a new store.
    match renameat_with(CWD, new.path(), CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => fs.rename(new.path(), &aside)?,
        Err(_) => {
            fs.rename(folder, &aside)?;
            fs.rename(new.path(), folder)?;
        }
    }
    drop(new.keep());
    fs.sync_folder(parent(folder))?;
    Ok(Repaired { report, aside: Some(aside) })
}

/// What is wrong with the store in `folder`, which is locked.
///
/// # Errors
/// As [`check`].
pub(super) fn damage(folder: &Path, fs: &Fs) -> Result<Option<StoreError>, StoreError> {
    Ok(examine(folder, fs)?.report.damage.into_iter().next())
}

fn lock(folder: &Path, fs: &Fs) -> Result<fs::File, StoreError> {
    if !folder.is_dir() {
        return Err(StoreError::Damaged(folder.to_owned(), Damage::Missing));
    }
    database::lock(folder, fs)
}

fn examine(folder: &Path, fs: &Fs) -> Result<Examined, StoreError> {
    remove_leftovers(folder, fs)?;
    let (index, wal) = (folder.join("index"), folder.join("journal"));
    let mut damage = Vec::new();
    match format::read(folder, fs) {
        // What counts there is not known here.
        Err(error @ StoreError::Newer { .. }) => return Err(error),
        read => damage.extend(read.err()),
    }
    let snapshot = read_snapshot(fs, &index, &wal)?;
    if snapshot.is_none() && index.exists() {
        damage.push(StoreError::Damaged(index, Damage::Unreadable));
    }
    let is_listed = snapshot.as_ref().is_some_and(|snapshot| snapshot.is_listed);
    let has_index = snapshot.is_some();
    // sled's own view is checked in any case: it is what a service would see.
    let tried = try_sled(folder, fs)?;
    let in_sled = tried.as_ref().map_or_else(|_| HashMap::new(), |sessions| revisions(sessions));
    let is_unverified = !has_index && tried.is_err();
    let mut found = match (snapshot, tried) {
        (Some(snapshot), tried) => {
            damage.extend(tried.err());
            KnownContents::of(snapshot)
        }
        (None, Ok(sessions)) => KnownContents::of_sessions(sessions),
        (None, Err(error)) => {
            damage.push(error);
            KnownContents::of_sessions(Vec::new())
        }
    };
    if wal.is_dir() {
        let frame = found.frame;
        let survey = survey(&wal, fs, frame, is_listed, |frame, entry: Entry<'_>| found.apply(frame, &entry))?;
        damage.extend(survey.damage.into_iter().map(|(file, damage)| StoreError::Damaged(file, damage)));
    } else if has_index {
        damage.push(StoreError::Damaged(wal, Damage::Missing));
    }

    let wanted = |sid: SessionId| found.index.revision(sid).filter(|_| !found.recent.contains_key(&sid));
    let mut read = HashMap::new();
    salvage::values(fs, folder, |value| {
        let Ok(stored) = database::decode(value) else { return };
        let (sid, revision) = (stored.record.sid, stored.revision);
        let newest = read.entry(sid).or_insert(revision);
        if wanted(sid) == Some(revision) || (wanted(sid).is_none() && *newest < revision) {
            *newest = revision;
        }
    })?;
    if is_unverified {
        read.retain(|sid, _| !found.recent.contains_key(sid));
    } else {
        read.retain(|sid, revision| wanted(*sid) == Some(*revision));
    }
    let mut lost: Vec<_> = known(&found).filter(|known| !found.recent.contains_key(&known.sid)).collect();
    if let Some(known) = lost.iter().find(|known| in_sled.get(&known.sid) != Some(&known.revision))
        && damage.is_empty()
    {
        damage.push(StoreError::Damaged(database::log_path(folder), Damage::Lacks(known.sid)));
    }
    lost.retain(|known| !read.contains_key(&known.sid));
    let mut lost: Vec<_> = lost.iter().map(|known| Lost { sid: known.sid, user: Some(known.user.clone()) }).collect();
    lost.extend(found.damaged.iter().map(|sid| Lost { sid: *sid, user: None }));
    lost.sort_by_key(|lost| lost.sid);
    let unverified = if is_unverified { read.len() } else { 0 };
    let whole = found.index.len() + found.damaged.len() - lost.len();
    let report = Report { whole, damage, lost, unverified };
    Ok(Examined { report, found, in_sled: read, is_unverified })
}

/// All sessions that sled has, if it opens a copy of its files and can read all of them.
///
/// # Errors
/// No copy can be made. `Ok(Err(_))`: what sled cannot do.
fn try_sled(folder: &Path, fs: &Fs) -> Result<Result<Vec<Known>, StoreError>, StoreError> {
    let log = database::log_path(folder);
    if !log.exists() {
        return Ok(Err(StoreError::Damaged(log, Damage::Missing)));
    }
    let path = folder.join("sessions");
    let copy = tempfile::Builder::new().prefix(&beside(folder, "check")).tempdir_in(parent(folder)).map_err(failed)?;
    copy_files(fs, &path, &copy.path().join("sessions"))?;
    let lock = database::lock(copy.path(), fs)?;
    let scan = || {
        let database = Database::open(copy.path(), fs, lock)?;
        let mut sessions = Vec::new();
        for stored in database.scan() {
            match stored {
                Ok(stored) => sessions.push(Known::of(&stored.record, stored.revision)),
                // One record that cannot be read does not damage the others.
                Err(StoreError::Record(..)) => {}
                Err(error) => return Err(error),
            }
        }
        database.close()?;
        Ok(sessions)
    };
    let scanned = catch_unwind(AssertUnwindSafe(scan)).unwrap_or_else(|_| Err(database::panicked(&path)));
    Ok(scanned.map_err(|error| match error {
        // The store's name, not the copy's.
        StoreError::Damaged(_, damage) => StoreError::Damaged(path, damage),
        error => error,
    }))
}

/// The prefix of the names of what a check or repair creates beside the store in `folder`, and
/// removes.
fn beside(folder: &Path, purpose: &str) -> String {
    format!("{}.{purpose}-", folder.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes what a killed check or repair has left.
fn remove_leftovers(folder: &Path, fs: &Fs) -> Result<(), FileError> {
    let [copies, rebuilt] = [beside(folder, "check"), beside(folder, "repair")];
    for path in fs.list(parent(folder))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&copies) || name.starts_with(&rebuilt) {
            fs::remove_dir_all(&path).map_err(|error| FileError::new("remove", &path, error))?;
        }
    }
    Ok(())
}

fn copy_files(fs: &Fs, from: &Path, to: &Path) -> Result<(), StoreError> {
    fs.create_folder(to)?;
    for path in fs.list(from)? {
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_files(fs, &path, &copy)?;
        } else {
            std::fs::copy(&path, &copy).map_err(|error| FileError::new("copy", &path, error))?;
        }
    }
    Ok(())
}

/// Writes a store into `new`. Returns how many sessions it has.
fn rebuild(
    new: &Path,
    old: &Path,
    fs: &Fs,
    found: &KnownContents,
    takes: impl Fn(SessionId, Revision) -> bool,
) -> Result<usize, StoreError> {
    let mut database = Database::open(new, fs, database::lock(new, fs)?)?;
    let mut kept = HashSet::new();
    let mut sessions = Vec::new();
    let mut unsynced = 0;
    let mut error = None;
    let mut keep = |value: &[u8]| {
        let Ok(stored) = database::decode(value) else { return Ok(()) };
        let sid = stored.record.sid;
        if kept.insert(sid) {
            if unsynced % 64 == 0 {
                database.sync()?;
                database.reserve()?;
            }
            unsynced += 1;
            database.apply(sid, Some(value))?;
            sessions.push(Known::of(&stored.record, stored.revision));
        }
        Ok::<_, StoreError>(())
    };
    for (sid, value) in &found.recent {
        if let (Some(value), true) = (value, found.index.revision(*sid).is_some()) {
            keep(value)?;
        }
    }
    salvage::values(fs, old, |value| {
        let is_taken = database::decode(value).is_ok_and(|stored| takes(stored.record.sid, stored.revision));
        if is_taken && error.is_none() {
            error = keep(value).err();
        }
    })?;
    if let Some(error) = error {
        return Err(error);
    }
    database.sync()?;
    // First the write-ahead log, because an index implies that there is one.
    Wal::open(&new.join("journal"), fs, Sizes::USUAL, 0, false, |_, _| {})?;
    let mut snapshot = SnapshotWriter::begin(fs, &new.join("index"), 0, &[])?;
    snapshot.gather(sessions.iter());
    snapshot.finish()?;
    format::mark(new, fs, &Marker::None)?;
    database.close()?;
    Ok(sessions.len())
}

fn known(found: &KnownContents) -> impl Iterator<Item = &Known> {
    found.index.in_slots(0..found.index.slots())
}

fn revisions(sessions: &[Known]) -> HashMap<SessionId, Revision> {
    sessions.iter().map(|known| (known.sid, known.revision)).collect()
}

/// Where the damaged folder goes.
fn aside(folder: &Path) -> PathBuf {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let free = |n: &u64| !folder.with_file_name(format!("{name}.damaged-{}", now + n)).exists();
    let n = (0..u64::MAX).find(free).unwrap_or_default();
    folder.with_file_name(format!("{name}.damaged-{}", now + n))
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
