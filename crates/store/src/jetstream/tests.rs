//! The JetStream store, each test with its own nats-server; and the replica by itself.

use std::{sync::atomic::Ordering, time::Duration};

use async_nats::jetstream::stream::Stream;
use futures_util::TryStreamExt;
use relogin_test_support::{
    nats_cluster::Cluster,
    nats_server::{NatsServer, copy_folder},
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    time::timeout,
};

use super::{
    bucket::Published,
    replica::{Encoded, HISTORY_BITS},
    *,
};
use crate::contract::{self, cid, record, sid};

/// A server with JetStream and the folder that it keeps it in.
struct Bed {
    server: NatsServer,
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: NatsServer::with_jetstream(folder.path(), "-1"), folder }
    }

    async fn client(&self) -> Client {
        async_nats::connect(self.server.url()).await.unwrap()
    }

    async fn stream(&self) -> Stream {
        async_nats::jetstream::new(self.client().await).get_stream("KV_sessions").await.unwrap()
    }

    async fn store(&self) -> JetStreamStore {
        JetStreamStore::open(self.client().await, &config(Replicas::One)).await.unwrap()
    }

    /// Ends the server without a warning. Returns its folder, and its port.
    fn stop(self) -> (TempDir, String) {
        (self.folder, self.server.kill())
    }

    /// Ends the server without a warning, and starts it again at the same address.
    fn crash(self) -> Self {
        let (folder, port) = self.stop();
        Self { server: NatsServer::with_jetstream(folder.path(), &port), folder }
    }

    /// The same after its only store is closed. Returns also a copy of the folder as it was
    /// between, to be put back, and the port.
    async fn restarted(self, only: JetStreamStore) -> (Self, TempDir, String) {
        only.close().await.unwrap();
        drop(only);
        let (folder, port) = self.stop();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        (Self { server: NatsServer::with_jetstream(folder.path(), &port), folder }, copy, port)
    }
}

fn config(replicas: Replicas) -> BucketConfig {
    BucketConfig { name: "sessions".to_owned(), replicas }
}

contract::suite!(async || {
    let bed = Bed::new();
    (bed.store().await, bed)
});

/// The sequence of a revision.
fn sequence(revision: Revision) -> u64 {
    revision.0 >> HISTORY_BITS
}

/// Waits until a condition holds, checking it whenever other tasks have run.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), looking).await.expect("the condition did not come to hold")
}

/// Until the followers have the first one, the leader does not compare the second one's revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writes_at_once_to_three_servers_one_is_a_conflict() {
    let cluster = Cluster::start().await;
    let open = async || {
        let client = async_nats::connect(cluster.addresses()).await.unwrap();
        until(async || match JetStreamStore::open(client.clone(), &config(Replicas::Three)).await {
            Err(error) if error.may_pass() => None, // Its leader is not elected yet.
            opened => Some(opened.unwrap()),
        })
        .await
    };
    let (one, other) = (open().await, open().await);
    let mut revision = one.create(record(1, &["a"])).await.unwrap();
    for _ in 0..50 {
        other.read_barrier().await.unwrap();
        let next = record(1, &["a"]);
        let both = tokio::join!(one.replace(next.clone(), revision), other.replace(next, revision));
        revision = match both {
            (Ok(revision), Err(StoreError::Conflict)) | (Err(StoreError::Conflict), Ok(revision)) => revision,
            both => panic!("{both:?}"),
        };
        for store in [&one, &other] {
            assert_eq!(store.load(sid(1)).await.unwrap().unwrap().revision, revision);
        }
    }
    // Who only reads it need not know how many servers keep it. A copy away from it once did.
    let client = async_nats::connect(cluster.addresses()).await.unwrap();
    let read = JetStreamStore::open_existing(client, "sessions").await.unwrap();
    assert_eq!(read.load(sid(1)).await.unwrap().unwrap().revision, revision);
}

#[tokio::test]
async fn its_numbers_are_those_of_the_whole_bucket_and_of_its_own_writes() {
    let bed = Bed::new();
    let (store, other) = (bed.store().await, bed.store().await);
    let revision = store.create(record(1, &["a", "b"])).await.unwrap();
    store.create(record(2, &[])).await.unwrap();
    store.replace(record(1, &["a"]), revision).await.unwrap();
    other.read_barrier().await.unwrap();
    let (stats, of_other) = (store.stats().await, other.stats().await);
    for stats in [stats, of_other] {
        assert_eq!((stats.sessions, stats.connections, stats.pending_writes), (2, 1, 0));
        assert!(stats.bytes.is_some_and(|bytes| bytes > 100), "{:?}", stats.bytes);
    }
    assert_eq!(stats.syncs.buckets.iter().sum::<u64>(), 3);
    assert_eq!(of_other.syncs.buckets.iter().sum::<u64>(), 0);
    let _folder = bed.stop();
    until(async || store.stats().await.bytes.is_none().then_some(())).await;
    assert_eq!(store.stats().await.sessions, 2);
}

#[tokio::test]
async fn a_session_is_there_for_the_next_process_and_a_removed_one_is_not() {
    let bed = Bed::new();
    let store = bed.store().await;
    for n in 1..=3 {
        store.create(record(n, &[&format!("c{n}")])).await.unwrap();
    }
    let old = store.load(sid(2)).await.unwrap().unwrap();
    let newest = store.replace(record(2, &["d"]), old.revision).await.unwrap();
    let first = store.load(sid(1)).await.unwrap().unwrap();
    store.remove(sid(1), first.revision).await.unwrap();
    store.close().await.unwrap();

    let bed = bed.crash();
    let store = bed.store().await;
    assert!(store.load(sid(1)).await.unwrap().is_none());
    let stored = store.load(sid(2)).await.unwrap().unwrap();
    assert_eq!((&stored.record, stored.revision), (&record(2, &["d"]), newest));
    assert_eq!(store.find_by_connection(&cid("d")).await.unwrap(), Some(stored));
    assert_eq!(store.find_by_connection(&cid("c2")).await.unwrap(), None);
    assert_eq!(store.find_by_user(&UserId::Number(1)).await.unwrap().len(), 2);
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(100)));
    // A session of the same id can be created after its marker.
    store.create(record(1, &["c1"])).await.unwrap();
}

#[tokio::test]
async fn what_another_process_writes_is_followed() {
    let bed = Bed::new();
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let revision = theirs.create(record(1, &["a"])).await.unwrap();
    ours.deadline_moved().await;
    let seen = until(async || ours.load(sid(1)).await.unwrap()).await;
    assert_eq!(seen.revision, revision);
    theirs.remove(sid(1), revision).await.unwrap();
    until(async || ours.load(sid(1)).await.unwrap().is_none().then_some(())).await;
    assert_eq!(ours.find_by_connection(&cid("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_loser_reads_what_has_won_without_waiting_for_the_watch() {
    let bed = Bed::new();
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let first = ours.create(record(1, &["a"])).await.unwrap();
    until(async || theirs.load(sid(1)).await.unwrap()).await;
    // Nothing is followed any more.
    ours.follower.abort();
    let won = theirs.replace(record(1, &["b"]), first).await.unwrap();
    assert!(matches!(ours.replace(record(1, &["c"]), first).await, Err(StoreError::Conflict)));
    let read = ours.load(sid(1)).await.unwrap().unwrap();
    assert_eq!((read.revision, &read.record), (won, &record(1, &["b"])));
}

#[tokio::test]
async fn after_a_barrier_a_read_shows_what_was_acknowledged_to_another_process() {
    let bed = Bed::new();
    let (ours, theirs) = (bed.store().await, bed.store().await);
    for n in 1..=200 {
        let revision = theirs.create(record(n, &[&format!("c{n}")])).await.unwrap();
        ours.read_barrier().await.unwrap();
        assert_eq!(ours.load(sid(n)).await.unwrap().map(|stored| stored.revision), Some(revision));
        theirs.remove(sid(n), revision).await.unwrap();
        ours.read_barrier().await.unwrap();
        assert_eq!(ours.find_by_connection(&cid(&format!("c{n}"))).await.unwrap(), None);
    }
}

#[tokio::test]
async fn callers_that_come_during_a_barrier_share_the_next() {
    let bed = Bed::new();
    let store = bed.store().await;
    let before = store.shared.bucket.publish_barrier().await.unwrap();
    let passed = futures_util::future::join_all((0..500).map(|_| store.read_barrier())).await;
    assert!(passed.iter().all(Result::is_ok));
    let after = store.shared.bucket.publish_barrier().await.unwrap();
    assert_eq!(after.0 - before.0 - 1, 2, "the first's, and the one of all others");
}

#[tokio::test]
async fn a_barrier_fails_while_acknowledged_writes_are_not_visible() {
    let bed = Bed::new();
    let store = bed.store().await;
    store.follower.abort();
    let passed = store.read_barrier().await;
    assert!(matches!(passed, Err(StoreError::Shortage(_))), "{passed:?}");
}

#[tokio::test]
async fn a_watch_that_shows_too_little_is_replaced() {
    let bed = Bed::new();
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let mut stream = bed.stream().await;
    // As if the server of the watch were gone.
    let info = stream.info().await.unwrap().state.consumer_count;
    assert_eq!(info, 2);
    for consumer in stream.consumer_names().try_collect::<Vec<_>>().await.unwrap() {
        stream.delete_consumer(&consumer).await.unwrap();
    }
    theirs.create(record(1, &["a"])).await.unwrap();
    ours.read_barrier().await.unwrap();
    assert!(ours.load(sid(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_that_two_processes_put_on_two_sessions_is_found_on_both() {
    let bed = Bed::new();
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let (first, second) = tokio::join!(ours.create(record(1, &["a"])), theirs.create(record(2, &["a", "b"])));
    let (first, second) = (first.unwrap(), second.unwrap());
    let newest_first = if first > second { [sid(1), sid(2)] } else { [sid(2), sid(1)] };
    for store in [&ours, &theirs] {
        store.read_barrier().await.unwrap();
        assert_eq!(store.find_all_by_connection(&cid("a")).await.unwrap(), newest_first);
        let held = store.find_by_connection(&cid("a")).await.unwrap().unwrap();
        assert_eq!(held.record.sid, newest_first[0]);
    }
    // Neither is kept from going on.
    let second = theirs.replace(Record { generation: 2, ..record(2, &["a", "b"]) }, second).await.unwrap();
    theirs.replace(record(2, &["b"]), second).await.unwrap();
    ours.read_barrier().await.unwrap();
    assert_eq!(ours.find_all_by_connection(&cid("a")).await.unwrap(), [sid(1)]);
}

#[tokio::test]
async fn a_write_without_an_answer_is_in_doubt_until_the_leader_says() {
    let bed = Bed::new();
    let store = bed.store().await;
    let first = store.create(record(1, &["a"])).await.unwrap();
    bed.server.signal(Signal::STOP);
    let write = timeout(Duration::from_millis(50), store.replace(record(1, &["b"]), first)).await;
    assert!(write.is_err(), "nobody answers");
    assert!(store.shared.replica().is_in_doubt(sid(1)));
    assert_eq!(store.shared.replica().doubted_holder(&cid("b")), Some(sid(1)));
    bed.server.signal(Signal::CONT);
    // It was sent, so it was carried out, and every reader sees it, by its id and by the connection
    // that it may have got.
    let read = store.find_by_connection(&cid("b")).await.unwrap().unwrap();
    assert!(read.revision > first);
    assert_eq!(store.load(sid(1)).await.unwrap(), Some(read));
    assert!(!store.shared.replica().is_in_doubt(sid(1)));
}

#[tokio::test]
async fn no_other_session_gets_a_connection_that_is_in_doubt() {
    let bed = Bed::new();
    let store = bed.store().await;
    let other = store.create(record(2, &[])).await.unwrap();
    bed.server.signal(Signal::STOP);
    assert!(timeout(Duration::from_millis(50), store.create(record(1, &["a"]))).await.is_err());
    bed.server.signal(Signal::CONT);
    let taken = store.replace(record(2, &["a"]), other).await;
    assert!(matches!(taken, Err(StoreError::ConnectionTaken(holder)) if holder == sid(1)), "{taken:?}");
}

#[tokio::test]
async fn without_a_server_writes_fail_and_succeed_when_it_is_back() {
    let bed = Bed::new();
    let store = bed.store().await;
    let first = store.create(record(1, &["a"])).await.unwrap();
    store.check().await.unwrap();
    let (folder, port) = bed.stop();
    until(async || store.check().await.err()).await;
    let refused = store.replace(record(1, &["b"]), first).await;
    assert!(matches!(refused, Err(StoreError::Shortage(_))), "{refused:?}");
    assert!(store.load(sid(1)).await.unwrap().is_some(), "what was written is still read");

    let _bed = Bed { server: NatsServer::with_jetstream(folder.path(), &port), folder };
    let written = until(async || {
        let read = store.load(sid(1)).await.ok()??;
        store.replace(record(1, &["b"]), read.revision).await.ok()
    })
    .await;
    assert!(written > first);
    until(async || store.check().await.ok()).await;
}

/// A record of another version, or a damaged one.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_for_its_session_alone() {
    let bed = Bed::new();
    let store = bed.store().await;
    let (first, other) =
        (store.create(record(1, &["a"])).await.unwrap(), store.create(record(2, &["b"])).await.unwrap());
    let bucket = &store.shared.bucket.store;
    let written = bucket.update(bucket::key(sid(1)), vec![255].into(), sequence(first)).await.unwrap();
    until(async || matches!(store.load(sid(1)).await, Err(StoreError::Record(..))).then_some(())).await;
    assert_eq!(store.load(sid(2)).await.unwrap().unwrap().revision, other);
    // Neither does it keep the store from opening.
    let again = bed.store().await;
    assert!(matches!(again.load(sid(1)).await, Err(StoreError::Record(..))));
    again.replace(record(2, &["c"]), other).await.unwrap();
    let good = record(1, &["a"]).encode().unwrap();
    bucket.update(bucket::key(sid(1)), good.into(), written).await.unwrap();
    until(async || again.load(sid(1)).await.ok().flatten()).await;
}

#[tokio::test]
async fn a_bucket_with_other_settings_is_not_used() {
    let bed = Bed::new();
    let client = bed.client().await;
    let other = async_nats::jetstream::kv::Config { bucket: "sessions".to_owned(), history: 5, ..Default::default() };
    async_nats::jetstream::new(client.clone()).create_key_value(other).await.unwrap();
    let error = JetStreamStore::open(client, &config(Replicas::One)).await.unwrap_err();
    assert!(matches!(error, OpenError::Different { .. }), "{error:?}");
}

#[tokio::test]
async fn without_jetstream_it_does_not_open() {
    let server = NatsServer::start(&[]);
    let client = async_nats::connect(server.url()).await.unwrap();
    let error = JetStreamStore::open(client, &config(Replicas::One)).await.unwrap_err();
    assert!(matches!(error, OpenError::NoJetStream(_)) && !error.may_pass(), "{error:?}");
}

#[tokio::test]
async fn more_servers_than_there_are_do_not_come_by_waiting() {
    let bed = Bed::new();
    let error = JetStreamStore::open(bed.client().await, &config(Replicas::Three)).await.unwrap_err();
    assert!(matches!(error, OpenError::Bucket { .. }) && !error.may_pass(), "{error:?}");
}

/// A server that says that it is of an older version.
#[tokio::test]
async fn an_older_server_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let info = r#"INFO {"server_id":"a","server_name":"a","version":"2.11.9","proto":1,"go":"go","host":"127.0.0.1","port":1,"headers":true,"max_payload":1048576,"jetstream":true,"client_id":1}"#;
        write.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("PING") {
                write.write_all(b"PONG\r\n").await.unwrap();
            }
        }
    });
    let client = async_nats::connect(format!("nats://{address}")).await.unwrap();
    let error = JetStreamStore::open(client, &config(Replicas::One)).await.unwrap_err();
    assert!(matches!(&error, OpenError::ServerTooOld(version) if version == "2.11.9"), "{error:?}");
    server.abort();
}

/// Two processes whose server comes back with what it had a while ago: a power loss took what it
/// had acknowledged since.
#[tokio::test]
async fn after_a_server_lost_writes_both_processes_read_what_it_has() {
    let bed = Bed::new();
    let first = bed.store().await;
    let old = first.create(record(1, &["a"])).await.unwrap();
    let removed = first.create(record(3, &["c"])).await.unwrap();
    let (bed, copy, port) = bed.restarted(first).await;
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let mut newest = old;
    for n in 0..100 {
        newest = ours.replace(record(1, &[&format!("b{n}")]), newest).await.unwrap();
    }
    ours.create(record(2, &["lost"])).await.unwrap();
    ours.remove(sid(3), removed).await.unwrap();
    theirs.read_barrier().await.unwrap();
    assert_eq!(theirs.load(sid(1)).await.unwrap().unwrap().revision, newest);
    bed.stop();

    let bed = Bed { server: NatsServer::with_jetstream(copy.path(), &port), folder: copy };
    for store in [&ours, &theirs] {
        // The very first read after the connection is back.
        let read = until(async || store.read_barrier().await.ok().and(store.load(sid(1)).await.ok())).await;
        let read = read.map(|stored| (sequence(stored.revision), stored.record.clone()));
        assert_eq!(read, Some((sequence(old), record(1, &["a"]))));
        assert_eq!(store.load(sid(2)).await.unwrap(), None);
        assert_eq!(store.find_by_connection(&cid("lost")).await.unwrap(), None);
        let there_again = store.load(sid(3)).await.unwrap().map(|stored| sequence(stored.revision));
        assert_eq!(there_again, Some(sequence(removed)));
        store.check().await.unwrap();
    }
    // The sequences of what was lost are given out once more.
    let mut again = theirs.load(sid(1)).await.unwrap().unwrap().revision;
    for n in 0..10 {
        again = theirs.replace(record(1, &[&format!("d{n}")]), again).await.unwrap();
        ours.read_barrier().await.unwrap();
        let read = ours.load(sid(1)).await.unwrap().map(|stored| sequence(stored.revision));
        assert_eq!(read, Some(sequence(again)));
    }
    assert!(sequence(again) <= sequence(newest), "otherwise this test shows nothing");
    let fresh = bed.store().await.load(sid(1)).await.unwrap().unwrap();
    assert_eq!(fresh.record, ours.load(sid(1)).await.unwrap().unwrap().record);
}

/// While it waited, another process has written both sessions, under the sequences that they had
/// when it was decided.
#[tokio::test]
async fn what_was_decided_before_the_bucket_went_back_is_not_written_after_it() {
    let bed = Bed::new();
    let first = bed.store().await;
    let old = [1, 2].map(|n| record(n, &[]));
    for record in &old {
        first.create(record.clone()).await.unwrap();
    }
    let (bed, copy, port) = bed.restarted(first).await;
    let (ours, theirs) = (bed.store().await, bed.store().await);
    let write = async |store: &JetStreamStore, n: u8, connection: &str| {
        let read = store.load(sid(n)).await.unwrap().unwrap();
        store.replace(record(n, &[connection]), read.revision).await.unwrap()
    };
    // So many that the barriers below do not come so far.
    for _ in 0..50 {
        write(&ours, 1, "lost").await;
    }
    let decided_on = [write(&ours, 1, "lost").await, write(&ours, 2, "lost2").await];
    bed.stop();

    let _bed = Bed { server: NatsServer::with_jetstream(copy.path(), &port), folder: copy };
    for store in [&ours, &theirs] {
        until(async || store.read_barrier().await.ok()).await;
    }
    while sequence(write(&theirs, 1, "moved").await) < sequence(decided_on[0]) {}
    let moved = [theirs.load(sid(1)).await.unwrap().unwrap().revision, write(&theirs, 2, "moved2").await];
    assert_eq!(moved.map(sequence), decided_on.map(sequence), "otherwise this test shows nothing");

    ours.read_barrier().await.unwrap();
    let replaced = ours.replace(record(1, &["decided"]), decided_on[0]).await;
    assert!(matches!(replaced, Err(StoreError::Conflict)), "{replaced:?}");
    let removed = ours.remove(sid(2), decided_on[1]).await;
    assert!(matches!(removed, Err(StoreError::Conflict)), "{removed:?}");
    // The next decision is made on what is there.
    for (n, connection) in [(1, "moved"), (2, "moved2")] {
        assert_eq!(ours.load(sid(n)).await.unwrap().unwrap().record, record(n, &[connection]));
        write(&ours, n, &format!("again{n}")).await;
    }
}

#[tokio::test]
async fn what_is_not_of_the_present_history_is_not_sent() {
    let bed = Bed::new();
    let store = bed.store().await;
    let first = store.create(record(1, &["a"])).await.unwrap();
    let expected = Revision(sequence(first));
    let change = Change::Put(Encoded::new(record(1, &["b"])).unwrap());
    let unsent = store.shared.bucket.publish(sid(1), expected, &change, || false).await;
    assert!(matches!(unsent, Published::Unsent));
    assert_eq!(store.shared.bucket.ask_leader(sid(1)).await.unwrap().0, expected);
    // A connection that was lost and is there again, and a bucket that is being read again.
    let history = store.shared.replica().history();
    let is_still = |history: u64| store.shared.is_still(&store.shared.replica(), history);
    assert!(is_still(history));
    store.shared.client.statistics().connects.fetch_add(1, Ordering::SeqCst);
    assert!(!is_still(history));
    until(async || is_still(history + 1).then_some(())).await;
    store.shared.replica().restart();
    assert!(!is_still(history + 1));
}

#[tokio::test]
async fn a_write_that_is_acknowledged_when_the_bucket_may_have_gone_back_is_in_doubt() {
    let bed = Bed::new();
    let store = bed.store().await;
    store.create(record(1, &["a"])).await.unwrap();
    let another_connection = |shared: &Shared| {
        shared.client.statistics().connects.fetch_add(1, Ordering::SeqCst);
    };
    let read_again = |shared: &Shared| drop(shared.replica().restart());
    for (happens, connection) in [(&read_again as &dyn Fn(&Shared), "b"), (&another_connection, "c")] {
        let read = store.load(sid(1)).await.unwrap().unwrap();
        bed.server.signal(Signal::STOP);
        let write = store.replace(record(1, &[connection]), read.revision);
        tokio::pin!(write);
        assert!(timeout(Duration::from_millis(50), &mut write).await.is_err(), "nobody answers");
        happens(&store.shared);
        bed.server.signal(Signal::CONT);
        let written = write.await;
        assert!(matches!(written, Err(StoreError::Backend(_))), "{written:?}");
        assert!(store.shared.replica().is_in_doubt(sid(1)));
        assert_eq!(store.load(sid(1)).await.unwrap().unwrap().record, record(1, &[connection]));
    }
}

/// What the watch has shown of the former history may still be coming in when the barrier is
/// written in the next one.
#[tokio::test]
async fn a_barrier_of_another_history_is_not_passed_by_what_was_shown_of_the_former() {
    let bed = Bed::new();
    let store = bed.store().await;
    store.follower.abort();
    let (passed, ()) = tokio::join!(store.read_barrier(), async {
        store.shared.client.statistics().connects.fetch_add(1, Ordering::SeqCst);
        store.shared.reached(Revision(1_000));
    });
    assert!(matches!(passed, Err(StoreError::Shortage(_))), "{passed:?}");
}

/// On the same connection, and the new bucket is ahead of the old one before anybody looks.
#[tokio::test]
async fn a_recreated_bucket_is_read_again() {
    let bed = Bed::new();
    let ours = bed.store().await;
    let before = ours.create(record(1, &["a"])).await.unwrap();
    let context = async_nats::jetstream::new(bed.client().await);
    context.delete_key_value("sessions").await.unwrap();
    let theirs = bed.store().await;
    let mut newest = theirs.create(record(2, &["b"])).await.unwrap();
    while sequence(newest) < sequence(before) + 10 {
        newest = theirs.replace(record(2, &["b"]), newest).await.unwrap();
    }
    ours.read_barrier().await.unwrap();
    assert_eq!(ours.load(sid(1)).await.unwrap(), None);
    assert_eq!(ours.find_by_connection(&cid("a")).await.unwrap(), None);
    let read = ours.load(sid(2)).await.unwrap().map(|stored| sequence(stored.revision));
    assert_eq!(read, Some(sequence(newest)));
}

#[tokio::test]
async fn without_its_bucket_nothing_is_written_or_read_until_it_is_there() {
    let bed = Bed::new();
    let store = bed.store().await;
    let first = store.create(record(1, &["a"])).await.unwrap();
    let context = async_nats::jetstream::new(bed.client().await);
    context.delete_key_value("sessions").await.unwrap();
    let refused = store.replace(record(1, &["b"]), first).await;
    assert!(matches!(refused, Err(StoreError::Shortage(_))), "{refused:?}");
    assert!(matches!(store.check().await, Err(StoreError::Shortage(_))));
    let stale = store.load(sid(1)).await;
    assert!(matches!(stale, Err(StoreError::Shortage(_))), "{stale:?}");
    assert!(store.read_barrier().await.is_err());
    bed.store().await;
    until(async || store.check().await.ok()).await;
    store.create(record(1, &["a"])).await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_must_be_there_is_not_made() {
    let bed = Bed::new();
    for _ in 0..2 {
        let error = JetStreamStore::open_existing(bed.client().await, "sessions").await.unwrap_err();
        assert!(matches!(&error, OpenError::Missing(bucket) if bucket == "sessions"), "{error:?}");
    }
    bed.store().await;
    JetStreamStore::open_existing(bed.client().await, "sessions").await.unwrap();
}

#[tokio::test]
async fn a_session_that_nobody_disposes_of_has_a_time_to_live() {
    let bed = Bed::new();
    let store = bed.store().await;
    let session = Record { last_seen: Timestamp(40_000), key_deadline: Timestamp(100_000), ..record(1, &[]) };
    let session = Record { session_deadline: Timestamp(200_000), ..session };
    let written = store.create(session).await.unwrap();
    let bucket = &store.shared.bucket.store;
    let message = bucket.stream.get_raw_message(sequence(written)).await.unwrap();
    // A minute is left, and an hour to dispose of it.
    assert_eq!(message.headers.get("Nats-TTL").unwrap().as_str(), "3660");
}

mod replica {
    use super::*;
    use crate::jetstream::replica::{Change, Encoded, Replica};

    fn put(n: u8, connections: &[&str]) -> Change {
        Change::Put(Encoded::new(record(n, connections)).unwrap())
    }

    fn revision(replica: &Replica) -> Option<u64> {
        replica.revision(sid(1)).map(|revision| revision.0)
    }

    #[test]
    fn older_messages_change_nothing() {
        let mut replica = Replica::default();
        replica.apply(sid(1), Revision(5), put(1, &["a"]));
        replica.apply(sid(1), Revision(4), put(1, &["b"]));
        assert_eq!(revision(&replica), Some(5));
        replica.apply(sid(1), Revision(4), Change::Remove);
        assert_eq!(replica.session_on(&cid("a")), Some(sid(1)));
        // Removed by us, while the watch is still behind.
        replica.apply(sid(1), Revision(6), Change::Remove);
        replica.apply(sid(1), Revision(5), put(1, &["a"]));
        assert_eq!(revision(&replica), None);
        replica.followed(Revision(6));
        assert_eq!(replica.removed(sid(1)), None, "nothing older can come");
    }

    #[test]
    fn what_the_bucket_does_not_show_is_dropped_unless_it_was_written_meanwhile() {
        let mut replica = Replica::default();
        replica.apply(sid(1), Revision(5), put(1, &["a"]));
        replica.apply(sid(2), Revision(6), put(2, &["b"]));
        replica.apply(sid(3), Revision(7), put(3, &["c"]));
        replica.apply(sid(4), Revision(9), Change::Remove);
        let known = replica.restart();
        replica.apply(sid(2), Revision(8), put(2, &["b"]));
        let mut unsure = Vec::new();
        assert_eq!(replica.keep_only(&[sid(3)].into(), &known, &mut unsure), 1);
        assert_eq!(unsure, [sid(2)]);
        assert_eq!((replica.last(sid(1)), replica.last(sid(3))), (None, Some(Revision(7))));
        assert_eq!((replica.last(sid(4)), replica.session_on(&cid("a"))), (None, None));
    }

    #[test]
    fn the_replica_drops_what_a_server_has_lost() {
        let mut replica = Replica::default();
        replica.apply(sid(1), Revision(5), put(1, &["a"]));
        let asked = replica.ask(sid(1));
        assert!(replica.take_up(sid(1), asked, Revision(4), put(1, &["b"])));
        assert_eq!(revision(&replica), Some(4));
        // An answer that was under way while something newer came is not the newest.
        let asked = replica.ask(sid(1));
        replica.apply(sid(1), Revision(6), put(1, &["c"]));
        assert!(replica.take_up(sid(1), asked, Revision(4), put(1, &["b"])));
        assert_eq!(revision(&replica), Some(6));
        // One that was under way while all was read again may be of what is lost.
        let asked = replica.ask(sid(1));
        replica.restart();
        replica.set(sid(1), Revision(6), put(1, &["d"]));
        assert!(!replica.take_up(sid(1), asked, Revision(6), put(1, &["c"])));
        assert_eq!(replica.session_on(&cid("d")), Some(sid(1)));
    }

    #[test]
    fn a_revision_is_that_of_one_history() {
        let mut replica = Replica::default();
        replica.apply(sid(1), Revision(5), put(1, &["a"]));
        replica.apply(sid(2), Revision(6), put(2, &["b"]));
        let mut last = replica.handed_out(sid(1));
        let mut is_new = |replica: &Replica| std::mem::replace(&mut last, replica.handed_out(sid(1))) != last;
        let shows = |replica: &mut Replica, revision: u64, change: Change| {
            let asked = replica.ask(sid(2));
            replica.take_up(sid(2), asked, Revision(revision), change);
        };
        shows(&mut replica, 6, put(2, &["b"]));
        shows(&mut replica, 7, put(2, &["b"]));
        shows(&mut replica, 8, Change::Remove);
        shows(&mut replica, 8, Change::Remove);
        shows(&mut replica, 9, put(2, &["b"]));
        assert!(!is_new(&replica), "nothing has gone back");
        shows(&mut replica, 8, put(2, &["b"]));
        assert!(is_new(&replica), "it is older");
        shows(&mut replica, 8, put(2, &["c"]));
        assert!(is_new(&replica), "it is something else under its sequence");
        shows(&mut replica, 0, Change::Remove);
        assert!(is_new(&replica), "it is gone, without a marker");
        let known = replica.restart();
        assert!(is_new(&replica), "it may have gone back");
        assert_eq!(replica.keep_only(&[sid(1)].into(), &known, &mut Vec::new()), 0);
        assert!(!is_new(&replica));
        replica.apply(sid(3), Revision(10), put(3, &[]));
        let known = replica.restart();
        assert!(is_new(&replica));
        assert_eq!(replica.keep_only(&[sid(1)].into(), &known, &mut Vec::new()), 1);
        assert!(is_new(&replica), "a session is gone");
    }

    #[test]
    fn a_write_keeps_its_connections_until_it_has_ended() {
        let mut replica = Replica::default();
        let (first, second) =
            (replica.begin(sid(1), &[cid("a")]).unwrap(), replica.begin(sid(1), &[cid("b")]).unwrap());
        let is_taken = |replica: &mut Replica, connection: &str| {
            replica.begin(sid(2), &[cid(connection)]).map(|id| replica.end(id)).is_err()
        };
        replica.end(first);
        assert!(!is_taken(&mut replica, "a") && is_taken(&mut replica, "b"));
        replica.doubt(second);
        assert!(is_taken(&mut replica, "b"));
        let third = replica.begin(sid(1), &[cid("c")]).unwrap();
        let asked = replica.ask(sid(1));
        assert!(replica.take_up(sid(1), asked, Revision(0), Change::Remove));
        assert!(!is_taken(&mut replica, "b") && is_taken(&mut replica, "c"), "the third is still under way");
        replica.end(third);
        assert!(!is_taken(&mut replica, "c"));
    }
}
