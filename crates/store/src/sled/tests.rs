//! Tests of the store on disk beyond the suite of all stores.

mod exports;
mod faults;
mod formats;
mod power;
mod repairs;

use std::{
    collections::HashSet,
    fs::File,
    io,
    pin::pin,
    sync::{Mutex, mpsc as channel},
};

use futures_util::{future::join_all, poll};
use proptest::prelude::*;
use relogin_host::durations::DurationCounts;
use relogin_session::Device;
use tempfile::TempDir;

use super::{database::Database, vfs::Kind, *};
use crate::{
    contract::{self, cid, record, sid},
    memory::MemoryStore,
};

fn opened() -> (SledStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SledStore::open(folder.path()).unwrap(), folder)
}

contract::suite!(async || opened());

/// Stands in for the disk: says when a group is to be synced, and ends that when the test says so.
/// To wait for it blocks: beside the test there must be a thread that runs tasks, for one of them
/// wakes the writer.
struct Gate {
    began: channel::Receiver<()>,
    end: channel::Sender<io::Result<()>>,
}

/// The store's side of a [`Gate`].
#[derive(Debug)]
struct Gated(Mutex<(channel::Sender<()>, channel::Receiver<io::Result<()>>)>);

impl Vfs for Gated {
    fn sync(&self, kind: Kind, file: &File, path: &Path) -> io::Result<()> {
        if kind == Kind::Frame {
            let gate = self.0.lock().unwrap();
            let _ = gate.0.send(());
            // A test that failed lets the writer go.
            gate.1.recv().unwrap_or(Ok(()))?;
        }
        Disk.sync(kind, file, path)
    }
}

impl Gate {
    fn store() -> (SledStore, Self, TempDir) {
        let (begin, began) = channel::channel();
        let (end, ended) = channel::channel();
        let folder = tempfile::tempdir().unwrap();
        let gated = Gated(Mutex::new((begin, ended)));
        let store = SledStore::open_with(folder.path(), Arc::new(gated), Sizes::USUAL).unwrap();
        (store, Self { began, end }, folder)
    }

    fn wait(&self) {
        self.began.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    }

    fn open(&self) {
        self.end.send(Ok(())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_numbers_say_what_is_durable_and_what_waits() {
    let (store, gate, _folder) = Gate::store();
    let mut writing = pin!(store.create(record(1, &["a", "b"])));
    assert!(poll!(&mut writing).is_pending());
    gate.wait();
    let mut next = pin!(store.create(record(2, &[])));
    assert!(poll!(&mut next).is_pending());
    let stats = store.stats().await;
    assert_eq!((stats.sessions, stats.connections, stats.pending_writes), (0, 0, 2));
    assert_eq!(stats.syncs, DurationCounts::default());
    gate.open();
    gate.open();
    let _written = (writing.await.unwrap(), next.await.unwrap());
    let stats = store.stats().await;
    assert_eq!((stats.sessions, stats.connections, stats.pending_writes), (2, 2, 0));
    assert_eq!(stats.syncs.buckets.iter().sum::<u64>(), 2);
    assert!(stats.bytes.is_some_and(|bytes| bytes >= Sizes::USUAL.segment as u64), "{:?}", stats.bytes);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_restart() {
    let (store, folder) = opened();
    let first = store.create(record(1, &["a"])).await.unwrap();
    let second = store.create(record(2, &["b"])).await.unwrap();
    store.remove(sid(2), second).await.unwrap();
    let next = Record { generation: 2, key_deadline: Timestamp(70), ..record(1, &["c"]) };
    let newest = store.replace(next.clone(), first).await.unwrap();
    store.close().await.unwrap();

    let store = SledStore::open(folder.path()).unwrap();
    let stored = store.load(sid(1)).await.unwrap().unwrap();
    assert_eq!((&stored.record, stored.revision), (&next, newest));
    assert_eq!(store.load(sid(2)).await.unwrap(), None);
    assert_eq!(store.find_by_connection(&cid("c")).await.unwrap(), Some(stored));
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap(), None);
    assert_eq!(store.find_by_user(&UserId::Number(1)).await.unwrap(), [sid(1)]);
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(70)));
    assert!(matches!(store.remove(sid(1), first).await, Err(StoreError::Conflict)));
    assert!(store.replace(next, newest).await.unwrap() > newest);
}

#[tokio::test]
async fn a_folder_serves_one_store_at_a_time() {
    let (store, folder) = opened();
    let Err(StoreError::InUse(path)) = SledStore::open(folder.path()) else { panic!("opened twice") };
    assert_eq!(path, folder.path());
    store.close().await.unwrap();
    SledStore::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_closed_store_is_opened_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..8 {
        let store = SledStore::open(folder.path()).unwrap();
        join_all((0..20).map(|m| store.create(record(n * 10 + m % 10 + m / 10 * 50, &[])))).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn without_a_whole_snapshot_all_sessions_are_read() {
    for damage in ["remove", "flip"] {
        let (store, folder) = opened();
        let revision = store.create(record(1, &["a"])).await.unwrap();
        store.close().await.unwrap();
        let index = folder.path().join("index");
        if damage == "remove" {
            std::fs::remove_file(index).unwrap();
        } else {
            let mut bytes = std::fs::read(&index).unwrap();
            bytes[40] ^= 1;
            std::fs::write(index, bytes).unwrap();
        }
        let store = SledStore::open(folder.path()).unwrap();
        assert_eq!(store.find_by_connection(&cid("a")).await.unwrap().unwrap().revision, revision);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(SledStore::open(file.path()), Err(StoreError::Backend(_))));
}

#[tokio::test]
async fn sessions_are_for_the_owner_of_the_process_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data/more");
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_acknowledged_or_shown_before_it_is_on_disk() {
    let (store, gate, _folder) = Gate::store();
    let mut made = pin!(store.create(record(1, &["a"])));
    assert!(poll!(made.as_mut()).is_pending());
    gate.wait();
    // The writer has applied it, and waits for the disk.
    assert_eq!(store.load(sid(1)).await.unwrap(), None);
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap(), None);
    assert_eq!(store.next_deadline().await.unwrap(), None);
    assert!(poll!(made.as_mut()).is_pending());
    gate.open();
    let first = made.await.unwrap();

    let next = Record { generation: 2, key_deadline: Timestamp(7), ..record(1, &["b"]) };
    let mut replaced = pin!(store.replace(next, first));
    assert!(poll!(replaced.as_mut()).is_pending());
    gate.wait();
    let shown = store.load(sid(1)).await.unwrap().unwrap();
    assert_eq!((shown.record.generation, shown.revision), (1, first));
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap(), Some(shown));
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(100)));
    gate.open();
    let second = replaced.await.unwrap();
    assert_eq!(store.find_by_connection(&cid("b")).await.unwrap().unwrap().revision, second);

    let mut removed = pin!(store.remove(sid(1), second));
    assert!(poll!(removed.as_mut()).is_pending());
    gate.wait();
    assert!(store.load(sid(1)).await.unwrap().is_some());
    gate.open();
    removed.await.unwrap();
    assert_eq!(store.load(sid(1)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn writes_that_wait_share_a_sync_and_conflicts_are_reported_after_it() {
    let (store, gate, _folder) = Gate::store();
    let mut first = pin!(store.create(record(0, &[])));
    assert!(poll!(first.as_mut()).is_pending());
    gate.wait();
    // All of these come while the disk is at work. Two at a time want one connection.
    let mut others = pin!(join_all((1..101).map(|n| {
        let on = format!("c{}", n / 2);
        let next = record(n, &[&on]);
        async { store.create(next).await }
    })));
    assert!(poll!(others.as_mut()).is_pending());
    gate.open();
    first.await.unwrap();
    gate.wait();
    assert!(poll!(others.as_mut()).is_pending());
    gate.open();
    let others = others.await;
    assert!(gate.began.try_recv().is_err(), "a hundred writes, one sync");
    let lost = others.iter().filter(|made| matches!(made, Err(StoreError::ConnectionTaken(_)))).count();
    assert_eq!((lost, others.iter().filter(|made| made.is_ok()).count()), (49, 51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_records_share_a_sync_with_fewer() {
    let (store, gate, _folder) = Gate::store();
    let mut first = pin!(store.create(record(0, &[])));
    assert!(poll!(first.as_mut()).is_pending());
    gate.wait();
    let device = Device { user_agent: Some("k".repeat(15_000)), ..Device::default() };
    let mut others = pin!(join_all((1..101).map(|n| {
        let next = Record { device: device.clone(), ..record(n, &[]) };
        async { store.create(next).await }
    })));
    assert!(poll!(others.as_mut()).is_pending());
    // The first, then one and a half megabytes in two.
    for _ in 0..3 {
        gate.open();
    }
    first.await.unwrap();
    assert!(others.await.iter().all(Result::is_ok));
    assert_eq!(gate.began.try_iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_may_move_within_a_group() {
    let (store, gate, folder) = Gate::store();
    gate.open();
    let old = store.create(record(1, &["a"])).await.unwrap();
    gate.wait();
    let mut first = pin!(store.create(record(0, &[])));
    assert!(poll!(first.as_mut()).is_pending());
    gate.wait();
    let mut moved = pin!(join_all([
        store.remove(sid(1), old),
        Box::pin(async { store.create(record(2, &["a"])).await.map(drop) })
    ]));
    assert!(poll!(moved.as_mut()).is_pending());
    gate.open();
    gate.open();
    first.await.unwrap();
    assert!(moved.await.iter().all(Result::is_ok));
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap().unwrap().record.sid, sid(2));
    store.close().await.unwrap();
    let store = SledStore::open(folder.path()).unwrap();
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap().unwrap().record.sid, sid(2));
}

#[tokio::test]
async fn a_sync_that_fails_ends_all_writing_and_shows_nothing() {
    let (store, gate, _folder) = Gate::store();
    gate.open();
    let first = store.create(record(1, &["a"])).await.unwrap();
    gate.end.send(Err(io::Error::other("no such luck"))).unwrap();
    let failed = store.replace(Record { generation: 2, ..record(1, &["b"]) }, first).await;
    assert!(matches!(failed, Err(StoreError::Backend(_))), "{failed:?}");
    assert_eq!(store.load(sid(1)).await.unwrap().unwrap().revision, first);
    assert!(store.find_by_connection(&cid("b")).await.unwrap().is_none());
    for result in [store.create(record(2, &[])).await.map(drop), store.check().await, store.close().await] {
        assert!(matches!(result, Err(StoreError::Backend(_))), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn close_finishes_what_is_under_way() {
    let (store, gate, folder) = Gate::store();
    let mut made = pin!(store.create(record(1, &[])));
    assert!(poll!(made.as_mut()).is_pending());
    gate.wait();
    let mut closed = pin!(store.close());
    assert!(poll!(closed.as_mut()).is_pending());
    assert!(matches!(store.create(record(2, &[])).await, Err(StoreError::Closed)));
    gate.open();
    closed.await.unwrap();
    made.await.unwrap();
    assert!(SledStore::open(folder.path()).unwrap().load(sid(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_record_locks_nobody_else_out() {
    let (store, folder) = opened();
    store.create(record(1, &["a"])).await.unwrap();
    store.close().await.unwrap();
    let fs = Fs::new(Arc::new(Disk));
    let mut database = Database::open(folder.path(), &fs, database::lock(folder.path(), &fs).unwrap()).unwrap();
    database.reserve().unwrap();
    database.apply(sid(2), Some(b"seven")).unwrap();
    database.apply(sid(3), Some(b"12345678\xffunknown format")).unwrap();
    database.sync().unwrap();
    database.close().unwrap();
    std::fs::remove_file(folder.path().join("index")).unwrap();
    // First by reading all, then by the snapshot.
    for _ in 0..2 {
        let store = SledStore::open(folder.path()).unwrap();
        assert!(store.find_by_connection(&cid("a")).await.unwrap().is_some());
        for n in [2, 3] {
            assert!(matches!(store.load(sid(n)).await, Err(StoreError::Record(bad, _)) if bad == sid(n)));
            assert!(matches!(store.create(record(n, &[])).await, Err(StoreError::Record(..))));
        }
        store.close().await.unwrap();
        assert!(folder.path().join("index").exists());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create { n: u8, on: HashSet<u8>, deadline: u64 },
    Replace { n: u8, stale: bool, on: HashSet<u8>, deadline: u64 },
    Remove { n: u8, stale: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..6_u8;
    let stale = prop::bool::weighted(0.2);
    let on = proptest::collection::hash_set(0..8_u8, 0..3);
    let deadline = 0..9_u64;
    prop_oneof![
        3 => (n.clone(), on.clone(), deadline.clone()).prop_map(|(n, on, deadline)| Step::Create { n, on, deadline }),
        4 => (n.clone(), stale, on, deadline)
            .prop_map(|(n, stale, on, deadline)| Step::Replace { n, stale, on, deadline }),
        2 => (n, stale).prop_map(|(n, stale)| Step::Remove { n, stale }),
        1 => Just(Step::Reopen),
    ]
}

/// All that can be asked, but for revisions.
async fn seen(store: &dyn SessionStore) -> String {
    let mut seen = String::new();
    for n in 0..6 {
        seen += &format!("{:?}\n", store.load(sid(n)).await.unwrap().map(|stored| stored.record.clone()));
    }
    for on in 0..8 {
        let found = store.find_by_connection(&cid(&format!("c{on}"))).await.unwrap();
        seen += &format!("{on}: {:?}\n", found.map(|stored| stored.record.sid));
    }
    for user in 0..2 {
        seen += &format!("{:?}\n", store.find_by_user(&UserId::Number(user)).await.unwrap());
    }
    let deadlines = (store.next_deadline().await.unwrap(), store.overdue(Timestamp(5), 3).await.unwrap());
    seen + &format!("{deadlines:?}")
}

async fn take(
    store: &dyn SessionStore,
    step: &Step,
    revision: Option<Revision>,
) -> Result<Option<Revision>, StoreError> {
    let made = |n: u8, on: &HashSet<u8>, deadline| Record {
        user_id: UserId::Number(i64::from(n % 2)),
        key_deadline: Timestamp(deadline),
        connections: on.iter().map(|on| cid(&format!("c{on}"))).collect(),
        ..record(n, &[])
    };
    match step {
        Step::Create { n, on, deadline } => store.create(made(*n, on, *deadline)).await.map(Some),
        Step::Replace { n, stale, on, deadline } => {
            let revision = revision.filter(|_| !stale).unwrap_or(Revision(u64::MAX));
            store.replace(made(*n, on, *deadline), revision).await.map(Some)
        }
        Step::Remove { n, stale } => {
            store.remove(sid(*n), revision.filter(|_| !stale).unwrap_or(Revision(u64::MAX))).await.map(|()| None)
        }
        Step::Reopen => Ok(None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The store on disk and the one in memory answer alike, whatever is asked and whenever the
    /// process ends.
    #[test]
    fn memory_and_disk_agree(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = MemoryStore::new();
            let (mut disk, folder) = opened();
            for step in &steps {
                if let Step::Reopen = step {
                    disk.close().await.unwrap();
                    disk = SledStore::open(folder.path()).unwrap();
                }
                let n = match step {
                    Step::Create { n, .. } | Step::Replace { n, .. } | Step::Remove { n, .. } => *n,
                    Step::Reopen => 0,
                };
                let revision = |stored: Option<Arc<Stored>>| stored.map(|stored| stored.revision);
                let expected = take(&memory, step, revision(memory.load(sid(n)).await.unwrap())).await;
                let got = take(&disk, step, revision(disk.load(sid(n)).await.unwrap())).await;
                let outcome = |result: &Result<_, StoreError>| result.as_ref().map(|_| ()).map_err(ToString::to_string);
                assert_eq!(outcome(&got), outcome(&expected), "{step:?}");
                assert_eq!(seen(&disk).await, seen(&memory).await, "{step:?}");
            }
        });
    }
}
