//! Exports while the store is written.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use relogin_session::{Record, SessionId};
use tokio::sync::mpsc;

use super::{Export, SessionStore, SledStore, contract::record, opened};

fn sid(n: u64) -> SessionId {
    let mut sid = [0; 16];
    sid[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    SessionId(sid)
}

fn session(n: u64, generation: u64) -> Record {
    Record { sid: sid(n), generation, ..record(1, &[]) }
}

/// So many that an export takes several looks at the index.
const SESSIONS: u64 = 2_000;

/// The sessions of an export, by what they are. `after` is called with each portion.
async fn export(store: &SledStore, mut after: impl AsyncFnMut()) -> BTreeMap<SessionId, u64> {
    let (to, mut portions) = mpsc::channel(1);
    let receiving = async {
        let mut found = BTreeMap::new();
        while let Some(portion) = portions.recv().await {
            for part in portion {
                match part {
                    Export::Session(stored) => drop(found.insert(stored.record.sid, stored.record.generation)),
                    Export::Ended(sid) => drop(found.remove(&sid)),
                }
            }
            after().await;
        }
        found
    };
    let (exported, found) = tokio::join!(store.export(to), receiving);
    assert!(exported.unwrap().unreadable.is_empty());
    found
}

async fn full() -> (Arc<SledStore>, tempfile::TempDir) {
    let (store, folder) = opened();
    let store = Arc::new(store);
    futures_util::future::join_all((0..SESSIONS).map(|n| store.create(session(n, 1)))).await;
    (store, folder)
}

/// The session that is changed as the k-th of a round: far from the one before, so that an export
/// that is of several moments sees a later change and misses an earlier one.
fn kth(k: u64) -> u64 {
    k * 1_237 % SESSIONS
}

/// One writer changes one session after the other, round after round, in the same order: at any
/// moment all sessions up to some one are a generation ahead of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_of_one_moment() {
    let (store, _folder) = full().await;
    let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = tokio::spawn({
        let (store, is_over, done) = (Arc::clone(&store), Arc::clone(&is_over), Arc::clone(&done));
        async move {
            for generation in 2.. {
                for n in (0..SESSIONS).map(kth) {
                    let stored = store.load(sid(n)).await.unwrap().unwrap();
                    store.replace(session(n, generation), stored.revision).await.unwrap();
                    done.fetch_add(1, SeqCst);
                    if is_over.load(SeqCst) {
                        return;
                    }
                }
            }
        }
    });
    for _ in 0..5 {
        let before = done.load(SeqCst);
        let mut seen = before;
        let found = export(&store, async || {
            // At least one change between two looks at the index.
            while done.load(SeqCst) == seen {
                tokio::task::yield_now().await;
            }
            seen = done.load(SeqCst);
        })
        .await;
        let after = done.load(SeqCst) + 1;
        assert_eq!(found.len() as u64, SESSIONS);
        let generations: Vec<u64> = (0..SESSIONS).map(|k| found[&sid(kth(k))]).collect();
        let changes: u64 = generations.iter().map(|generation| generation - 1).sum();
        assert!((before..=after).contains(&changes), "{changes} is not in {before}..={after}");
        assert!(generations.is_sorted_by(|a, b| a >= b), "of one moment");
        assert!(generations[0] - generations[generations.len() - 1] <= 1, "of one moment");
    }
    is_over.store(true, SeqCst);
    writing.await.unwrap();
    assert!(store.shared.lock().changed.is_none(), "nothing is noted any more");
    store.close().await.unwrap();
}

/// Sessions that end and come meanwhile, also in the slots of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_or_come_during_an_export_are_as_at_its_end() {
    let (store, _folder) = full().await;
    let mut next = 0;
    let found = export(&store, async || {
        // Of eight portions, at most two are sent that were not received.
        if next == 5 * 40 {
            return;
        }
        for n in next..next + 40 {
            // What was read already, and what was not.
            for n in [n, SESSIONS - 1 - n] {
                let stored = store.load(sid(n)).await.unwrap().unwrap();
                store.remove(sid(n), stored.revision).await.unwrap();
                store.create(session(SESSIONS + n, 7)).await.unwrap();
            }
        }
        next += 40;
    })
    .await;
    let ended = |n: u64| n < next || (SESSIONS - next..SESSIONS).contains(&n);
    for n in (0..SESSIONS).filter(|n| ended(*n)) {
        assert_eq!(found.get(&sid(n)), None, "{n}");
        assert_eq!(found.get(&sid(SESSIONS + n)), Some(&7), "{n}");
    }
    assert_eq!(found.len() as u64, SESSIONS, "as many as have ended have come");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_nobody_receives_ends() {
    let (store, _folder) = full().await;
    let (to, portions) = mpsc::channel(1);
    drop(portions);
    assert!(store.export(to).await.is_err());
    assert!(store.shared.lock().changed.is_none());
    assert_eq!(export(&store, async || {}).await.len() as u64, SESSIONS);
    store.close().await.unwrap();
}
