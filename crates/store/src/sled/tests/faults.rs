//! Faults: each system call that the store makes itself fails once, at each of its positions, with
//! each kind of error, in a life of the store that begins after a crash, fills the write-ahead log
//! several times and ends. What was answered holds, what was refused has not happened, and the
//! store either goes on or says that it has failed.
//!
//! sled's own calls are not met by this: full disks (`tests/tests/abuse/store.rs`) are.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use relogin_session::Record;
use rustix::io::Errno;
use tempfile::TempDir;

use super::{
    super::{
        shared::SledShared,
        vfs::{Disk, Kind, Vfs},
    },
    SessionStore, SledStore, StoreError,
    contract::{record, sid},
    wal::Sizes,
};
use relogin_host::errors::Chain;

/// So small that a few dozen writes fill the write-ahead log several times.
const TINY: Sizes = Sizes {
    segment: 16 << 10,
    for_each_session: 0,
    shortest: 32 << 10,
    longest: 32 << 10,
    slack: 32 << 10,
    ..Sizes::USUAL
};

const SESSIONS: u8 = 5;
const STEPS: u64 = 32;
/// How long anything is waited for, in real time: far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many positions of each call are tried: the first ones, and others among the rest.
const POSITIONS: usize = 5;

/// A call, by its name and what the file is for.
type Call = (&'static str, Option<Kind>);

/// Stands in for the disk.
#[derive(Debug, Default)]
struct Faulty(Mutex<Plan>, AtomicBool);

#[derive(Debug, Default)]
struct Plan {
    /// How often each call was made.
    made: BTreeMap<Call, usize>,
    /// Which is to fail, and how.
    fault: Option<(Call, usize, Errno)>,
    /// Whether it has.
    has_failed: bool,
}

impl Faulty {
    fn failing(call: Call, position: usize, errno: Errno) -> Arc<Self> {
        let plan = Plan { fault: Some((call, position, errno)), ..Plan::default() };
        Arc::new(Self(Mutex::new(plan), AtomicBool::new(false)))
    }

    /// Counts a call. An error if it is to fail.
    fn count(&self, name: &'static str, kind: Option<Kind>) -> io::Result<()> {
        // When space or descriptors run out, every call fails that needs some.
        if self.1.load(SeqCst) && ["create", "allocate", "sync_folder"].contains(&name) {
            return Err(Errno::NOSPC.into());
        }
        let mut plan = self.0.lock().unwrap();
        let made = plan.made.entry((name, kind)).or_default();
        *made += 1;
        let position = *made;
        match plan.fault {
            Some((call, at, errno)) if (call, at) == ((name, kind), position) => {
                plan.has_failed = true;
                Err(errno.into())
            }
            _ => Ok(()),
        }
    }
}

impl Vfs for Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.count("create_folder", None)?;
        Disk.create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.count("list", None)?;
        Disk.list(folder)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.count("open", None)?;
        Disk.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.count("create", None)?;
        Disk.create(path)
    }

    fn allocate(&self, file: &File, from: u64, length: u64) -> io::Result<()> {
        self.count("allocate", None)?;
        Disk.allocate(file, from, length)
    }

    fn write(&self, kind: Kind, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(error) = self.count("write", Some(kind)) {
            // As disks do: a part of it is written.
            Disk.write(kind, file, &bytes[..bytes.len() / 2], at)?;
            return Err(error);
        }
        Disk.write(kind, file, bytes, at)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.count("read", None)?;
        Disk.read(path)
    }

    fn sync(&self, kind: Kind, file: &File, path: &Path) -> io::Result<()> {
        self.count("sync", Some(kind))?;
        Disk.sync(kind, file, path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.count("sync_folder", None)?;
        Disk.sync_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count("rename", None)?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count("remove", None)?;
        Disk.remove(path)
    }
}

/// The states that each session may be in: the last one that was answered or, after a failure, that
/// was asked for.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<u8, Vec<Option<u64>>>);

impl Model {
    fn put(&mut self, n: u8, state: Option<u64>) {
        self.0.insert(n, vec![state]);
    }

    fn may_be(&mut self, n: u8, state: Option<u64>) {
        self.0.entry(n).or_insert_with(|| vec![None]).push(state);
    }

    async fn check(&self, store: &SledStore, context: &str) {
        for (&n, states) in &self.0 {
            let found = store.load(sid(n)).await.unwrap_or_else(|error| panic!("{context}: {n}: {}", Chain(&error)));
            let found = found.map(|stored| stored.record.generation);
            assert!(states.contains(&found), "{context}: session {n} is {found:?} and may be {states:?}");
        }
    }
}

/// The session `n` at a step.
fn at_step(n: u8, step: u64) -> Record {
    Record { generation: step, ..record(n, &[&format!("c{n}-{}", step / 3)]) }
}

/// One write of session `n`. `Ok` once it was answered, after refusals that say that something is
/// short.
async fn write(store: &SledStore, n: u8, step: u64, context: &str) -> Result<Option<u64>, StoreError> {
    let since = tokio::time::Instant::now();
    loop {
        let stored = store.load(sid(n)).await?;
        let done = match stored {
            None => store.create(at_step(n, step)).await.map(|_| Some(step)),
            Some(stored) if step.is_multiple_of(7) => store.remove(sid(n), stored.revision).await.map(|()| None),
            Some(stored) => store.replace(at_step(n, step), stored.revision).await.map(|_| Some(step)),
        };
        match done {
            Err(StoreError::Shortage(_)) => {
                assert!(since.elapsed() < DEADLINE, "{context}: it does not recover");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            done => return done,
        }
    }
}

/// What a process that was killed has left: sessions in sled, others in the write-ahead log.
async fn killed() -> (TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let store = SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap();
    for step in 1..=11 {
        let n = (step % u64::from(SESSIONS)) as u8;
        model.put(n, write(&store, n, step, "template").await.unwrap());
    }
    let copy = super::power::copy_at_rest(folder.path());
    store.close().await.unwrap();
    (copy, model)
}

/// A life of the store. Returns what must be there afterwards, and whether the store has failed.
async fn live(folder: &Path, faulty: &Arc<Faulty>, mut model: Model, context: &str) -> (Model, bool) {
    let store = match SledStore::open_with(folder, Arc::clone(faulty) as Arc<dyn Vfs>, TINY) {
        Ok(store) => store,
        Err(error) => {
            let text = Chain(&error).to_string();
            assert!(
                text.contains(folder.parent().unwrap().to_str().unwrap()),
                "{context}: it does not say which file: {text}"
            );
            return (model, true);
        }
    };
    for step in 100..100 + STEPS {
        let n = (step % u64::from(SESSIONS)) as u8;
        match write(&store, n, step, context).await {
            Ok(state) => model.put(n, state),
            Err(StoreError::Backend(_)) => {
                model.may_be(n, Some(step));
                model.may_be(n, None);
                // It says so, and still shows what is durable, but nothing whose state is unknown.
                tokio::time::timeout(DEADLINE, store.failed()).await.expect("it has failed");
                assert!(matches!(store.check().await, Err(StoreError::Backend(_))), "{context}");
                model.check(&store, context).await;
                return (model, true);
            }
            Err(error) => panic!("{context}: {}", Chain(&error)),
        }
    }
    model.check(&store, context).await;
    let closed = tokio::time::timeout(DEADLINE, store.close()).await.expect("it closes");
    (model, closed.is_err())
}

/// Opens what a store has left that has ended. In one process, its threads and sled's may hold the
/// files for a moment.
async fn open_again(folder: &Path, context: &str) -> SledStore {
    let since = tokio::time::Instant::now();
    loop {
        match SledStore::open_with(folder, Arc::new(Disk), TINY) {
            Ok(store) => return store,
            Err(StoreError::InUse(_) | StoreError::Backend(_)) if since.elapsed() < DEADLINE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{context}: not opened again: {}", Chain(&error)),
        }
    }
}

/// Errors after which what is on disk is not known, whatever their number: no shortage, then.
fn leaves_it_unknown(call: Call) -> bool {
    [("write", Some(Kind::Frame)), ("sync", Some(Kind::Frame)), ("sync", Some(Kind::Database))].contains(&call)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_call_fails_acknowledged_writes_hold_and_the_store_goes_on_or_ends() {
    let (template, model) = killed().await;
    let fresh = || {
        let folder = tempfile::tempdir().unwrap();
        super::power::copy_all(template.path(), folder.path());
        folder
    };
    // Which calls there are, and how often each is made.
    let counting = Arc::new(Faulty::default());
    let folder = fresh();
    assert!(!live(folder.path(), &counting, model.clone(), "no fault").await.1);
    let made = std::mem::take(&mut counting.0.lock().unwrap().made);
    for name in ["create_folder", "list", "open", "create", "allocate", "read", "sync_folder", "rename", "remove"] {
        assert!(made.contains_key(&(name, None)), "{name} is never called: {made:?}");
    }
    for kind in [Kind::Frame, Kind::Wal, Kind::Manifest, Kind::Database, Kind::Snapshot] {
        assert!(made.contains_key(&("sync", Some(kind))), "{kind:?}: {made:?}");
        assert!(kind == Kind::Database || made.contains_key(&("write", Some(kind))), "{kind:?}: {made:?}");
    }

    let positions = made.iter().flat_map(|(&call, &count)| {
        let stride = (count / POSITIONS).max(1);
        let tried = (1..=count).filter(move |position| *position <= POSITIONS / 2 || position % stride == 0);
        tried.map(move |position| (call, position))
    });
    let faults =
        positions.flat_map(|(call, at)| [Errno::NOSPC, Errno::MFILE, Errno::IO].map(|errno| (call, at, errno)));
    let lives = faults.map(|fault| {
        let (folder, model) = (fresh(), model.clone());
        tokio::spawn(async move { fail_once(folder.path(), model, fault).await })
    });
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut lives = futures_util::stream::iter(lives).buffer_unordered(6);
    while let Some(life) = lives.next().await {
        *seen.entry(life.unwrap()).or_default() += 1;
    }
    println!("{seen:?}");
    assert!(seen["ended"] > 20 && seen["went on"] > 60, "{seen:?}");
}

/// One call fails in a life of the store, and the next life finds what must be there. Returns what
/// has become of the first.
async fn fail_once(folder: &Path, model: Model, (call, position, errno): (Call, usize, Errno)) -> &'static str {
    let context = format!("{call:?} for the {position}th time: {errno:?}");
    let faulty = Faulty::failing(call, position, errno);
    let (model, has_ended) = live(folder, &faulty, model, &context).await;
    let (has_failed, made) = {
        let plan = faulty.0.lock().unwrap();
        (plan.has_failed, plan.made.values().sum::<usize>())
    };
    if made > OPENING && has_ended && errno != Errno::IO {
        assert!(leaves_it_unknown(call), "{context}: a shortage ended it");
    }
    // Whatever it was, the next start finds all of it.
    let store = open_again(folder, &context).await;
    model.check(&store, &context).await;
    store.close().await.unwrap();
    // Threads take turns as they like: the last calls of a life may not be made in another.
    match (has_failed, has_ended) {
        (false, _) => "not met",
        (true, true) => "ended",
        (true, false) => "went on",
    }
}

/// More calls than opening takes: a store that ends after this many has been open.
const OPENING: usize = 45;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_writes_are_refused_and_afterwards_they_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty::default());
    let store = SledStore::open_with(folder.path(), Arc::clone(&faulty) as Arc<dyn Vfs>, TINY).unwrap();
    let mut model = Model::default();
    for life in 0..3_u64 {
        faulty.1.store(true, SeqCst);
        let mut refused = 0;
        for step in 1..=60 {
            let (n, step) = ((step % u64::from(SESSIONS)) as u8, life * 1_000 + step);
            let stored = store.load(sid(n)).await.unwrap();
            let done = match &stored {
                None => store.create(at_step(n, step)).await,
                Some(stored) => store.replace(at_step(n, step), stored.revision).await,
            };
            match done {
                Ok(_) => model.put(n, Some(step)),
                Err(StoreError::Shortage(_)) => refused += 1,
                Err(error) => panic!("{}", Chain(&error)),
            }
            model.check(&store, "full").await;
        }
        assert!(refused > 0, "the write-ahead log does not grow without space");
        assert!(matches!(store.check().await, Err(StoreError::Shortage(_))));
        faulty.1.store(false, SeqCst);
        let since = tokio::time::Instant::now();
        while let Err(error) = store.check().await {
            assert!(since.elapsed() < DEADLINE, "{}", Chain(&error));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for step in 61..=100 {
            let (n, step) = ((step % u64::from(SESSIONS)) as u8, life * 1_000 + step);
            model.put(n, write(&store, n, step, "afterwards").await.unwrap());
        }
    }
    // Also if it is closed while the disk is full.
    faulty.1.store(true, SeqCst);
    tokio::time::timeout(DEADLINE, store.close()).await.expect("it closes").unwrap();
    let store = SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap();
    model.check(&store, "in the end").await;
    store.close().await.unwrap();
}

/// Stands in for a disk on which two threads take space for the write-ahead log at the same time,
/// so that neither gets it: each finds no space once, and the checkpointer reports that only when
/// the writer has asked it for a checkpoint.
#[derive(Debug, Default)]
struct Rivals {
    shared: OnceLock<Arc<SledShared>>,
    has_writer_met: AtomicBool,
    has_checkpointer_met: AtomicBool,
}

impl Vfs for Rivals {
    fn allocate(&self, file: &File, from: u64, length: u64) -> io::Result<()> {
        let thread = thread::current();
        match thread.name() {
            Some("relogin-store") if !self.has_writer_met.swap(true, SeqCst) => Err(Errno::NOSPC.into()),
            Some("relogin-checkpt") if !self.has_checkpointer_met.swap(true, SeqCst) => {
                let since = Instant::now();
                while self.shared.get().is_none_or(|shared| shared.lock().checkpointing.is_none()) {
                    assert!(since.elapsed() < DEADLINE, "nobody asks for a checkpoint");
                    thread::yield_now();
                }
                Err(Errno::NOSPC.into())
            }
            _ => Disk.allocate(file, from, length),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_waiting_for_a_checkpoint_does_not_fail_by_an_earlier_shortage() {
    let (template, mut model) = killed().await;
    let rivals = Arc::new(Rivals::default());
    let store = SledStore::open_with(template.path(), Arc::clone(&rivals) as Arc<dyn Vfs>, TINY).unwrap();
    rivals.shared.set(Arc::clone(&store.shared)).unwrap();
    // The first write after a start needs a file.
    store.create(at_step(SESSIONS, STEPS)).await.unwrap_or_else(|error| panic!("refused: {}", Chain(&error)));
    model.put(SESSIONS, Some(STEPS));
    assert!(rivals.has_writer_met.load(SeqCst) && rivals.has_checkpointer_met.load(SeqCst), "both have met it");
    model.check(&store, "afterwards").await;
    store.close().await.unwrap();
}

/// Stands in for a disk that gives no answer to sled, from some time on.
#[derive(Debug, Default)]
struct Silent(AtomicBool);

impl Vfs for Silent {
    fn sync(&self, kind: Kind, file: &File, path: &Path) -> io::Result<()> {
        while kind == Kind::Database && self.0.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Disk.sync(kind, file, path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_database_ends_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let silent = Arc::new(Silent::default());
    let sizes = Sizes { stall_limit: Duration::from_millis(100), ..TINY };
    let store = SledStore::open_with(folder.path(), Arc::clone(&silent) as Arc<dyn Vfs>, sizes).unwrap();
    silent.0.store(true, SeqCst);
    let mut model = Model::default();
    let mut step = 1_000;
    let error = loop {
        step += 1;
        let n = (step % u64::from(SESSIONS)) as u8;
        match write(&store, n, step, "silent").await {
            Ok(state) => model.put(n, state),
            Err(error) => {
                model.may_be(n, Some(step));
                break error;
            }
        }
    };
    assert!(matches!(error, StoreError::Backend(_)) && step > 1_010, "{error:?}");
    tokio::time::timeout(DEADLINE, store.failed()).await.expect("it has failed");
    assert!(tokio::time::timeout(DEADLINE, store.close()).await.expect("nobody waits for it").is_err());
    // As the next process finds it.
    let copy = tempfile::tempdir().unwrap();
    super::power::copy_all(folder.path(), copy.path());
    let store = SledStore::open_with(copy.path(), Arc::new(Disk), TINY).unwrap();
    model.check(&store, "afterwards").await;
    store.close().await.unwrap();
    // The runtime waits for the thread that waits.
    silent.0.store(false, SeqCst);
}

#[tokio::test]
async fn a_store_from_before_manifests_opens() {
    let (old, mut model) = killed().await;
    SledStore::open_with(old.path(), Arc::new(Disk), TINY).unwrap().close().await.unwrap();
    let store = SledStore::open_with(old.path(), Arc::new(Disk), TINY).unwrap();
    model.put(1, write(&store, 1, 50, "old").await.unwrap());
    let folder = super::power::copy_at_rest(old.path());
    store.close().await.unwrap();
    // An index that demands none, as it was written then.
    let index = folder.path().join("index");
    let mut bytes = fs::read(&index).unwrap();
    let end = bytes.len() - 4;
    bytes[..8].copy_from_slice(b"relogin1");
    let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    fs::write(&index, bytes).unwrap();
    fs::remove_file(folder.path().join("journal/manifest")).unwrap();
    for _ in 0..2 {
        let store = SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap();
        model.check(&store, "an old store").await;
        store.close().await.unwrap();
        assert!(folder.path().join("journal/manifest").exists());
    }
}

#[tokio::test]
async fn a_snapshot_that_sled_has_not_finished_is_not_used() {
    let (folder, model) = killed().await;
    let unfinished = folder.path().join("sessions/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&unfinished, "").unwrap();
    let store = SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap();
    assert!(!unfinished.exists());
    model.check(&store, "opened").await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for gone in ["sessions/db", "journal/manifest"] {
        let (folder, _) = killed().await;
        SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap().close().await.unwrap();
        let path = folder.path().join(gone);
        fs::remove_file(&path).unwrap();
        match SledStore::open_with(folder.path(), Arc::new(Disk), TINY) {
            Err(StoreError::Damaged(file, super::super::Damage::Missing)) => assert_eq!(file, path),
            other => panic!("{gone}: {:?}", other.map(drop)),
        }
        assert!(!path.exists(), "nothing is made in its place");
    }
}
