//! Power loss: what the disk would have kept, at random moments of a store at work, is opened as a
//! store, and must hold all that was answered by then.
//!
//! [`Disk`](super::Disk) is replaced by one that notes what each sync makes durable: a file's
//! content, or a folder's names. All else that was done since may have got to the disk or not: each
//! block of a file by itself, or a part of it, a file's length, each name. So this does not depend
//! on who writes a file: sled's are held to it as the write-ahead log's are. (Only sled's `snap.*`
//! count as durable when they are there: sled makes and syncs them by itself, as
//! `snap.*.generating`, before it gives them that name.)

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use relogin_session::{Record, SessionId, Timestamp, UserId};
use tempfile::TempDir;

use super::{
    Disk, SessionStore, SledStore, Vfs,
    contract::{cid, record},
    vfs::Kind,
    wal::Sizes,
};

/// So small that a few hundred writes fill the write-ahead log several times.
const SMALL: Sizes = Sizes {
    segment: 64 << 10,
    for_each_session: 0,
    shortest: 128 << 10,
    longest: 128 << 10,
    slack: 128 << 10,
    ..Sizes::USUAL
};

const WORKERS: u8 = 8;
const SESSIONS_EACH: u8 = 4;
const SESSIONS: usize = (WORKERS * SESSIONS_EACH) as usize;

/// A power loss while it writes becomes the next one's start.
const LIVES: usize = 6;
const STEPS: usize = 120;

/// What is left after a power loss, and how far each session was.
struct Cut {
    folder: TempDir,
    answered: Vec<usize>,
    asked: Vec<usize>,
    during: Kind,
}

/// How far each session is: the number of its last step that was answered, and of the last that was
/// asked for.
#[derive(Debug)]
struct Progress {
    answered: Vec<AtomicUsize>,
    asked: Vec<AtomicUsize>,
}

/// Stands in for the disk.
#[derive(Debug)]
struct Recorder {
    root: PathBuf,
    progress: Arc<Progress>,
    durable: Mutex<Durable>,
}

#[derive(Debug)]
struct Durable {
    random: Random,
    /// Contents by inode.
    contents: HashMap<u64, Vec<u8>>,
    /// Inodes by path from the root.
    names: BTreeMap<PathBuf, u64>,
    cuts: Vec<Cut>,
}

#[derive(Debug)]
struct Random(u64);

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").field("folder", &self.folder).field("during", &self.during).finish_non_exhaustive()
    }
}

#[test]
fn acknowledged_writes_survive_a_power_loss_at_any_moment() {
    let seed = match std::env::var("RELOGIN_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    };
    println!("RELOGIN_SEED={seed} (threads take turns as they like: the same seed does not cut at the same moment)");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut random = Random(seed);
    let mut folder = tempfile::tempdir().unwrap();
    let mut steps = vec![0; SESSIONS];
    let mut seen = HashMap::<&str, usize>::new();
    for life in 0..LIVES {
        let cuts = runtime.block_on(live(folder.path(), &mut steps, &mut random));
        assert!(!cuts.is_empty(), "life {life}");
        let next = random.below(cuts.len());
        for (n, cut) in cuts.into_iter().enumerate() {
            let kind = match cut.during {
                Kind::Frame => "a group's sync",
                Kind::Wal => "a file of the write-ahead log",
                Kind::Manifest => "the journal's list's",
                Kind::Database => "sled's",
                Kind::Snapshot => "the snapshot's",
            };
            *seen.entry(kind).or_default() += 1;
            let found = runtime.block_on(check(&cut, &format!("life {life}, cut {n}, during {kind}")));
            if n == next {
                (folder, steps) = (cut.folder, found);
            }
        }
    }
    println!("power losses by what was under way: {seen:?}");
    assert_eq!(seen.len(), 5, "{seen:?}");
}

/// Opens the store, lets all workers continue from where their sessions are, and returns what power
/// losses would have left.
async fn live(folder: &Path, steps: &mut [usize], random: &mut Random) -> Vec<Cut> {
    let all = |steps: &[usize]| steps.iter().map(|&step| AtomicUsize::new(step)).collect::<Vec<_>>();
    let progress = Arc::new(Progress { answered: all(steps), asked: all(steps) });
    let recorder = Arc::new(Recorder::new(folder, Arc::clone(&progress), Random(random.next())));
    let store = Arc::new(SledStore::open_with(folder, Arc::clone(&recorder) as Arc<dyn Vfs>, SMALL).unwrap());
    let workers = (0..WORKERS).map(|worker| {
        let (store, progress) = (Arc::clone(&store), Arc::clone(&progress));
        let mut random = Random(random.next());
        tokio::spawn(async move {
            for _ in 0..STEPS {
                let n = worker * SESSIONS_EACH + u8::try_from(random.below(SESSIONS_EACH.into())).unwrap();
                step(&store, n, &progress).await;
            }
        })
    });
    join_all(workers).await.into_iter().for_each(|worker| worker.unwrap());
    // With cuts in the last checkpoint too.
    store.close().await.unwrap();
    for (step, answered) in steps.iter_mut().zip(&progress.answered) {
        *step = answered.load(SeqCst);
    }
    std::mem::take(&mut recorder.durable().cuts)
}

/// The session's next step.
async fn step(store: &SledStore, n: u8, progress: &Progress) {
    let at = usize::from(n);
    let next = progress.answered[at].load(SeqCst) + 1;
    let stored = store.load(sid(n)).await.unwrap();
    progress.asked[at].store(next, SeqCst);
    match (stored, state(n, next)) {
        (None, Some(record)) => drop(store.create(record).await.unwrap()),
        (Some(stored), Some(record)) => drop(store.replace(record, stored.revision).await.unwrap()),
        (Some(stored), None) => store.remove(sid(n), stored.revision).await.unwrap(),
        (None, None) => unreachable!("no two removals follow each other"),
    }
    progress.answered[at].store(next, SeqCst);
}

/// The session `n` after this many steps.
fn state(n: u8, step: usize) -> Option<Record> {
    if step.is_multiple_of(9) {
        return None;
    }
    let step = step as u64;
    let connections = [format!("c{n}-{}", step / 3), format!("d{n}")];
    let connections: Vec<_> =
        connections.iter().take(1 + usize::from(step.is_multiple_of(5))).map(String::as_str).collect();
    Some(Record {
        sid: sid(n),
        generation: step,
        user_id: UserId::Number(i64::from(n % 3)),
        key_deadline: Timestamp(100 + step),
        session_deadline: Timestamp(u64::MAX),
        ..record(n, &connections)
    })
}

fn sid(n: u8) -> SessionId {
    let mut sid = [n; 16];
    // Neighbours by number are not neighbours in sled.
    sid[0] = n.wrapping_mul(101);
    SessionId(sid)
}

/// Opens what a power loss has left. Returns how far each session is in it.
async fn check(cut: &Cut, context: &str) -> Vec<usize> {
    // A copy, for the cut itself may be the next life's start.
    let copy = tempfile::tempdir().unwrap();
    copy_all(cut.folder.path(), copy.path());
    let mut found = Vec::new();
    let mut on_users = BTreeMap::<i64, BTreeSet<SessionId>>::new();
    let other = record(255, &["other"]);
    for is_second in [false, true] {
        let store = SledStore::open_with(copy.path(), Arc::new(Disk), SMALL).unwrap();
        // It can be written, too.
        if is_second {
            let stored = store.find_by_connection(&cid("other")).await.unwrap().unwrap();
            assert_eq!(stored.record, other);
            store.remove(other.sid, stored.revision).await.unwrap();
        }
        for n in 0..WORKERS * SESSIONS_EACH {
            let at = usize::from(n);
            let loaded = store.load(sid(n)).await;
            let loaded = loaded.unwrap_or_else(|error| panic!("{context}: session {n}: {error:?}"));
            let stored = loaded.map(|stored| stored.record.clone());
            let (from, to) = if is_second { (found[at], found[at]) } else { (cut.answered[at], cut.asked[at]) };
            let step = (from..=to).rev().find(|&step| state(n, step) == stored);
            let step = step
                .unwrap_or_else(|| panic!("{context}: session {n} was answered {from}, asked {to}, and is {stored:?}"));
            if !is_second {
                found.push(step);
            }
            for connection in stored.iter().flat_map(|record| &record.connections) {
                let holder = store.find_by_connection(connection).await.unwrap().map(|holder| holder.record.clone());
                assert_eq!(holder, stored, "{context}");
            }
            if let (Some(_), false) = (&stored, is_second) {
                on_users.entry(i64::from(n % 3)).or_default().insert(sid(n));
            }
            let gone = state(n, step.saturating_sub(3)).filter(|gone| Some(gone) != stored.as_ref());
            for connection in gone.iter().flat_map(|gone| &gone.connections) {
                let is_on = stored.as_ref().is_some_and(|record| record.is_on(connection));
                assert_eq!(store.find_by_connection(connection).await.unwrap().is_some(), is_on, "{context}");
            }
        }
        for user in 0..3 {
            let of_user: BTreeSet<_> = store.find_by_user(&UserId::Number(user)).await.unwrap().into_iter().collect();
            assert_eq!(of_user, on_users.get(&user).cloned().unwrap_or_default(), "{context}");
        }
        let earliest = (0..).zip(&found).filter_map(|(n, &step)| Some(state(n, step)?.deadline())).min();
        assert_eq!(store.next_deadline().await.unwrap(), earliest, "{context}");
        if !is_second {
            store.create(other.clone()).await.unwrap();
        }
        store.close().await.unwrap();
    }
    found
}

impl Recorder {
    /// All that is in `root` is durable.
    fn new(root: &Path, progress: Arc<Progress>, random: Random) -> Self {
        let names = listed(root, root);
        let contents = names.iter().map(|(path, &inode)| (inode, fs::read(root.join(path)).unwrap())).collect();
        let durable = Durable { random, contents, names, cuts: Vec::new() };
        Self { root: root.to_owned(), progress, durable: Mutex::new(durable) }
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left if the power goes now.
    fn cut(&self, durable: &mut Durable, during: Kind) {
        let steps = |steps: &[AtomicUsize]| steps.iter().map(|step| step.load(SeqCst)).collect::<Vec<_>>();
        // Whatever was answered by now; and later on, whatever was asked for by then.
        let answered = steps(&self.progress.answered);
        let folder = tempfile::tempdir().unwrap();
        let names = listed(&self.root, &self.root);
        let current: HashMap<u64, &PathBuf> = names.iter().map(|(path, &inode)| (inode, path)).collect();
        let likely_new = [0, 20, 50, 100][durable.random.below(4)];
        let paths: BTreeSet<_> = names.keys().chain(durable.names.keys()).cloned().collect();
        for path in paths {
            let (new, old) = (names.get(&path).copied(), durable.names.get(&path).copied());
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_snap = name.starts_with("snap.") && !name.ends_with(".generating");
            let inode = if is_snap || durable.random.below(100) < likely_new { new } else { old };
            let Some(inode) = inode else { continue };
            let current = current.get(&inode).and_then(|path| fs::read(self.root.join(path)).ok());
            let content = match (durable.contents.get(&inode), current) {
                (_, Some(new)) if is_snap => new,
                (old, Some(new)) => torn(old.map_or(&[], Vec::as_slice), &new, likely_new, &mut durable.random),
                (Some(old), None) => old.clone(),
                (None, None) => continue,
            };
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        durable.cuts.push(Cut { folder, answered, asked: steps(&self.progress.asked), during });
    }
}

impl Durable {
    /// Rare calls are cut more often.
    fn is_cut(&mut self, during: Kind) -> bool {
        self.random.below(if during == Kind::Frame { 20 } else { 4 }) == 0
    }
}

impl Vfs for Recorder {
    fn sync(&self, kind: Kind, file: &File, path: &Path) -> io::Result<()> {
        let mut durable = self.durable();
        let is_cut = durable.is_cut(kind);
        if is_cut {
            self.cut(&mut durable, kind);
        }
        // What was written by now is durable when this returns.
        durable.contents.insert(file.metadata()?.ino(), fs::read(path)?);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut durable = self.durable();
        if let Ok(folder) = folder.strip_prefix(&self.root) {
            let now = listed(&self.root, &self.root.join(folder));
            durable.names.retain(|path, _| path.parent() != Some(folder));
            durable.names.extend(now.into_iter().filter(|(path, _)| path.parent() == Some(folder)));
            // An inode's number is used again.
            let there: BTreeSet<_> = listed(&self.root, &self.root).values().copied().collect();
            let Durable { contents, names, .. } = &mut *durable;
            contents.retain(|inode, _| there.contains(inode) || names.values().any(|named| named == inode));
        }
        Ok(())
    }
}

/// A file that was `old` when it was synced, and `new` when the power went.
fn torn(old: &[u8], new: &[u8], likely_new: usize, random: &mut Random) -> Vec<u8> {
    const BLOCK: usize = 4096;
    const SECTOR: usize = 512;
    let length = if random.below(100) < likely_new { new.len() } else { old.len() };
    let at = |bytes: &[u8], from: usize, to: usize| {
        let mut block = bytes.get(from.min(bytes.len())..to.min(bytes.len())).unwrap_or_default().to_vec();
        block.resize(to - from, 0);
        block
    };
    let mut content = Vec::with_capacity(length);
    for from in (0..length).step_by(BLOCK) {
        let to = length.min(from + BLOCK);
        let (mut kept, written) = (at(old, from, to), at(new, from, to));
        if kept != written && random.below(100) < likely_new {
            let sectors = if random.below(8) == 0 { random.below(BLOCK / SECTOR) } else { BLOCK / SECTOR };
            let part = kept.len().min(sectors * SECTOR);
            kept[..part].copy_from_slice(&written[..part]);
        }
        content.extend(kept);
    }
    content
}

/// The files in a folder and below, by their paths from `root`.
fn listed(root: &Path, folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // What is gone by now is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            names.extend(listed(root, &entry.path()));
        } else {
            names.insert(entry.path().strip_prefix(root).unwrap().to_owned(), metadata.ino());
        }
    }
    names
}

/// Copies the folder of an open store, as it was at one moment: waits until nothing writes to it in
/// the background.
pub(super) fn copy_at_rest(from: &Path) -> TempDir {
    let since = Instant::now();
    loop {
        let copy = tempfile::tempdir().unwrap();
        copy_all(from, copy.path());
        // All was read twice: what changed in between would differ in one of the two.
        if contents(from) == contents(copy.path()) {
            return copy;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "it does not come to rest");
    }
}

/// All files below a folder and what is in them.
pub(super) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: &PathBuf| fs::read(folder.join(path)).unwrap_or_default();
    listed(folder, folder).into_keys().map(|path| (path.clone(), read(&path))).collect()
}

/// Copies a folder. That of an open store may change meanwhile: see [`copy_at_rest`].
pub(super) fn copy_all(from: &Path, to: &Path) {
    for path in listed(from, from).keys() {
        fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
        match fs::copy(from.join(path), to.join(path)) {
            // sled has removed it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % bound
    }
}
