//! The contract of stores, as one test suite that every store runs. [`suite!`] generates its tests
//! from a way to open an empty store.
//!
//! A store in another crate depends on this one with the feature `testing`, and on tokio with
//! `macros` and `rt-multi-thread` for its tests; `crates/store/tests/outside.rs` shows how.
#![expect(clippy::unwrap_used, reason = "the tests of a suite fail by panicking")]

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures_util::{future::join_all, poll};
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use tokio::sync::mpsc;

use super::{Export, Exported, Revision, SessionStore, StoreError};

/// The suite's tests for the store that `$open` creates: an async closure that returns it and a
/// guard for what it needs (`()` if nothing).
#[macro_export]
#[doc(hidden)]
macro_rules! __store_contract_suite {
    ($open:expr) => {
        $crate::contract::suite! { $open;
            a_new_session_is_found_every_way,
            a_session_is_made_once,
            a_write_names_the_newest_revision,
            a_removed_session_is_found_no_way,
            an_old_revision_does_not_fit_a_session_made_again,
            a_connection_is_on_one_session,
            a_connection_moves_once_it_was_let_go,
            a_user_is_not_another_of_the_same_digits,
            overdue_sessions_come_earliest_first,
            all_sessions_are_read_in_pages_while_some_are_used,
            the_next_deadline_is_the_earliest,
            an_earlier_deadline_wakes,
            of_many_writers_one_wins,
            of_many_sessions_one_gets_the_connection,
            an_export_has_what_was_answered,
            a_closed_store_says_so,
        }
    };
    ($open:expr; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _guard) = ($open)().await;
                $crate::contract::$name(store).await;
            }
        )*
    };
}

pub use __store_contract_suite as suite;

/// A session id.
pub fn sid(n: u8) -> SessionId {
    SessionId([n; 16])
}

/// A connection id.
pub fn cid(name: &str) -> ConnectionId {
    ConnectionId::parse(name).unwrap()
}

/// A session on `connections`, with a key deadline of 100 and a session deadline of 1,000.
pub fn record(n: u8, connections: &[&str]) -> Record {
    Record {
        key_deadline: Timestamp(100),
        session_deadline: Timestamp(1_000),
        connections: connections.iter().map(|name| cid(name)).collect(),
        ..Record::new(sid(n), [n; 16], UserId::Number(1), cid("maker"), Timestamp(0))
    }
}

fn until(n: u8, deadline: u64) -> Record {
    Record { key_deadline: Timestamp(deadline), ..record(n, &[]) }
}

fn taken_by(result: &Result<Revision, StoreError>) -> Option<SessionId> {
    match result {
        Err(StoreError::ConnectionTaken(sid)) => Some(*sid),
        _ => None,
    }
}

fn is_conflict<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

/// What is stored is found by id, connection and user, and has a deadline.
pub async fn a_new_session_is_found_every_way(store: impl SessionStore) {
    assert!(store.load(sid(1)).await.unwrap().is_none());
    let revision = store.create(record(1, &["a", "b"])).await.unwrap();
    let stored = store.load(sid(1)).await.unwrap().unwrap();
    assert_eq!((&stored.record, stored.revision), (&record(1, &["a", "b"]), revision));
    for connection in ["a", "b"] {
        assert_eq!(store.find_by_connection(&cid(connection)).await.unwrap().as_ref(), Some(&stored));
    }
    assert_eq!(store.find_by_connection(&cid("maker")).await.unwrap(), None, "it made the session and left");
    assert_eq!(store.find_by_user(&UserId::Number(1)).await.unwrap(), [sid(1)]);
    assert_eq!(store.overdue(Timestamp(100), 9).await.unwrap(), [sid(1)]);
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(100)));
    store.check().await.unwrap();
}

/// [`SessionStore::create`] of an id that exists is a conflict.
pub async fn a_session_is_made_once(store: impl SessionStore) {
    store.create(record(1, &["a"])).await.unwrap();
    assert!(is_conflict(&store.create(record(1, &["b"])).await));
    assert_eq!(store.load(sid(1)).await.unwrap().unwrap().record, record(1, &["a"]));
    assert_eq!(store.find_by_connection(&cid("b")).await.unwrap(), None);
}

/// [`SessionStore::replace`] and [`SessionStore::remove`] under an old revision are conflicts.
pub async fn a_write_names_the_newest_revision(store: impl SessionStore) {
    let first = store.create(record(1, &["a"])).await.unwrap();
    let next = Record { generation: 2, ..record(1, &["b"]) };
    let second = store.replace(next.clone(), first).await.unwrap();
    assert!(second > first);
    assert!(is_conflict(&store.replace(record(1, &["c"]), first).await));
    assert!(is_conflict(&store.replace(record(1, &["c"]), Revision(second.0 + 1)).await));
    assert!(is_conflict(&store.remove(sid(1), first).await));
    assert!(is_conflict(&store.replace(record(2, &[]), second).await), "there is no such session");
    let stored = store.load(sid(1)).await.unwrap().unwrap();
    assert_eq!((&stored.record, stored.revision), (&next, second));
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap(), None, "it is on the session no more");
    assert!(store.find_by_connection(&cid("b")).await.unwrap().is_some());
    assert_eq!(store.find_by_connection(&cid("c")).await.unwrap(), None);
}

/// Nothing is left of a removed session.
pub async fn a_removed_session_is_found_no_way(store: impl SessionStore) {
    let revision = store.create(record(1, &["a"])).await.unwrap();
    store.remove(sid(1), revision).await.unwrap();
    assert!(store.load(sid(1)).await.unwrap().is_none());
    assert!(store.find_by_connection(&cid("a")).await.unwrap().is_none());
    assert!(store.find_by_user(&UserId::Number(1)).await.unwrap().is_empty());
    assert!(store.overdue(Timestamp(u64::MAX), 9).await.unwrap().is_empty());
    assert_eq!(store.next_deadline().await.unwrap(), None);
    assert!(is_conflict(&store.remove(sid(1), revision).await));
    assert!(is_conflict(&store.replace(record(1, &["a"]), revision).await));
}

/// Revisions are not used twice, not even after a removal.
pub async fn an_old_revision_does_not_fit_a_session_made_again(store: impl SessionStore) {
    let old = store.create(record(1, &[])).await.unwrap();
    store.remove(sid(1), old).await.unwrap();
    let new = store.create(record(1, &[])).await.unwrap();
    assert_ne!(old, new);
    assert!(is_conflict(&store.remove(sid(1), old).await));
}

/// A write that would put a connection on a second session is refused, and names the first.
pub async fn a_connection_is_on_one_session(store: impl SessionStore) {
    store.create(record(1, &["a", "b"])).await.unwrap();
    assert_eq!(taken_by(&store.create(record(2, &["c", "b"])).await), Some(sid(1)));
    assert!(store.load(sid(2)).await.unwrap().is_none());
    let revision = store.create(record(2, &["c"])).await.unwrap();
    assert_eq!(taken_by(&store.replace(record(2, &["c", "a"]), revision).await), Some(sid(1)));
    assert_eq!(store.load(sid(2)).await.unwrap().unwrap().revision, revision);
    let held = store.find_by_connection(&cid("a")).await.unwrap().unwrap();
    assert_eq!(held.record.sid, sid(1));
    // Its own connections are not in a session's way.
    store.replace(record(1, &["b", "a"]), held.revision).await.unwrap();
}

/// Once the first session is without it, a connection can go to a second.
pub async fn a_connection_moves_once_it_was_let_go(store: impl SessionStore) {
    let first = store.create(record(1, &["a", "b"])).await.unwrap();
    store.replace(record(1, &["b"]), first).await.unwrap();
    let second = store.create(record(2, &["a"])).await.unwrap();
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap().unwrap().record.sid, sid(2));
    store.remove(sid(2), second).await.unwrap();
    store.create(record(3, &["a"])).await.unwrap();
    assert_eq!(store.find_by_connection(&cid("a")).await.unwrap().unwrap().record.sid, sid(3));
}

/// The user ids 1 and "1" are two.
pub async fn a_user_is_not_another_of_the_same_digits(store: impl SessionStore) {
    let text = UserId::Text("1".to_owned());
    store.create(record(1, &[])).await.unwrap();
    store.create(Record { user_id: text.clone(), ..record(2, &[]) }).await.unwrap();
    store.create(record(3, &[])).await.unwrap();
    let mut sessions = store.find_by_user(&UserId::Number(1)).await.unwrap();
    sessions.sort();
    assert_eq!(sessions, [sid(1), sid(3)]);
    assert_eq!(store.find_by_user(&text).await.unwrap(), [sid(2)]);
    assert!(store.find_by_user(&UserId::Number(0)).await.unwrap().is_empty());
}

/// [`SessionStore::overdue`] keeps to its limit and order.
pub async fn overdue_sessions_come_earliest_first(store: impl SessionStore) {
    for (n, deadline) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
        store.create(until(n, deadline)).await.unwrap();
    }
    assert!(store.overdue(Timestamp(9), 9).await.unwrap().is_empty());
    assert_eq!(store.overdue(Timestamp(10), 9).await.unwrap(), [sid(2)]);
    assert_eq!(store.overdue(Timestamp(30), 1).await.unwrap(), [sid(2)]);
    let mut all = store.overdue(Timestamp(30), 9).await.unwrap();
    assert_eq!((all.remove(0), all.pop()), (sid(2), Some(sid(1))));
    all.sort();
    assert_eq!(all, [sid(3), sid(4)]);
    assert!(store.overdue(Timestamp(30), 0).await.unwrap().is_empty());
}

/// [`SessionStore::page`] leaves out none whose deadline is not earlier than before, and
/// [`SessionStore::count`] counts them.
pub async fn all_sessions_are_read_in_pages_while_some_are_used(store: impl SessionStore) {
    assert_eq!((store.count().await.unwrap(), store.page(None, 9).await.unwrap()), (0, Vec::new()));
    let place = |n, deadline| (Timestamp(deadline), sid(n));
    let mut revisions = Vec::new();
    for (n, deadline) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
        revisions.push(store.create(until(n, deadline)).await.unwrap());
    }
    assert_eq!(store.count().await.unwrap(), 4);
    assert_eq!(store.page(None, 2).await.unwrap(), [place(2, 10), place(3, 20)]);
    store.replace(until(2, 40), revisions[1]).await.unwrap();
    assert_eq!(store.page(Some(place(3, 20)), 2).await.unwrap(), [place(4, 20), place(1, 30)]);
    store.remove(sid(1), revisions[0]).await.unwrap();
    assert_eq!(store.page(Some(place(1, 30)), 2).await.unwrap(), [place(2, 40)]);
    assert!(store.page(Some(place(2, 40)), 2).await.unwrap().is_empty());
    assert_eq!(store.count().await.unwrap(), 3);
}

/// [`SessionStore::next_deadline`] follows writes and removals.
pub async fn the_next_deadline_is_the_earliest(store: impl SessionStore) {
    assert_eq!(store.next_deadline().await.unwrap(), None);
    let first = store.create(until(1, 30)).await.unwrap();
    let second = store.create(until(2, 20)).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(20)));
    store.replace(until(2, 40), second).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(30)));
    assert_eq!(store.overdue(Timestamp(39), 9).await.unwrap(), [sid(1)]);
    store.remove(sid(1), first).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(40)));
    // The session's own deadline counts if it is the earlier one.
    store.create(Record { session_deadline: Timestamp(5), ..until(3, 50) }).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), Some(Timestamp(5)));
}

/// [`SessionStore::deadline_moved`] resolves also if nobody was waiting.
pub async fn an_earlier_deadline_wakes(store: impl SessionStore) {
    store.create(until(1, 30)).await.unwrap();
    // Even if nobody was waiting when it came.
    store.deadline_moved().await;
    let mut moved = pin!(store.deadline_moved());
    assert!(poll!(moved.as_mut()).is_pending());
    let later = store.create(until(2, 40)).await.unwrap();
    assert!(poll!(moved.as_mut()).is_pending());
    store.replace(until(2, 20), later).await.unwrap();
    moved.await;
}

/// Of writes at once under one revision, one wins.
pub async fn of_many_writers_one_wins(store: impl SessionStore + 'static) {
    let store = Arc::new(store);
    let mut revision = store.create(record(1, &["a"])).await.unwrap();
    for generation in 2..6 {
        let writers = (0..16).map(|n| {
            let store = store.clone();
            let next = Record { generation, last_seen: Timestamp(n), ..record(1, &["a"]) };
            tokio::spawn(async move { (n, store.replace(next, revision).await) })
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            join_all(writers).await.into_iter().map(Result::unwrap).partition(|(_, written)| written.is_ok());
        assert!(lost.iter().all(|(_, written)| is_conflict(written)));
        let [(n, written)] = won.try_into().unwrap();
        let stored = store.load(sid(1)).await.unwrap().unwrap();
        revision = written.unwrap();
        assert_eq!((stored.revision, stored.record.last_seen), (revision, Timestamp(n)));
    }
}

/// Of sessions made at once on one connection, one is made.
pub async fn of_many_sessions_one_gets_the_connection(store: impl SessionStore + 'static) {
    let store = Arc::new(store);
    let makers = (1..17).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { (n, store.create(record(n, &["a"])).await) })
    });
    let (won, lost): (Vec<_>, Vec<_>) =
        join_all(makers).await.into_iter().map(Result::unwrap).partition(|(_, made)| made.is_ok());
    let [(winner, _)] = won.try_into().unwrap();
    assert!(lost.iter().all(|(_, made)| taken_by(made) == Some(sid(winner))));
    assert_eq!(store.find_by_user(&UserId::Number(1)).await.unwrap(), [sid(winner)]);
}

/// An export has all sessions that were made before, in their newest state, and none that ended.
pub async fn an_export_has_what_was_answered(store: impl SessionStore) {
    let mut expected = BTreeMap::new();
    for n in 0..=255 {
        let made = record(n, &[&format!("c{n}")]);
        let revision = store.create(made.clone()).await.unwrap();
        match n % 3 {
            0 => {
                let next = Record { generation: 2, ..made };
                store.replace(next.clone(), revision).await.unwrap();
                expected.insert(sid(n), next);
            }
            1 => store.remove(sid(n), revision).await.unwrap(),
            _ => drop(expected.insert(sid(n), made)),
        }
    }
    let (to, mut portions) = mpsc::channel(1);
    let receiving = async {
        let mut found = BTreeMap::new();
        while let Some(portion) = portions.recv().await {
            for part in portion {
                match part {
                    Export::Session(stored) => drop(found.insert(stored.record.sid, stored.record.clone())),
                    Export::Ended(sid) => drop(found.remove(&sid)),
                }
            }
        }
        found
    };
    let (exported, found) = tokio::join!(store.export(to), receiving);
    assert_eq!(exported.unwrap(), Exported::default());
    assert_eq!(found, expected);
}

/// After [`SessionStore::close`] every call is [`StoreError::Closed`].
pub async fn a_closed_store_says_so(store: impl SessionStore) {
    let revision = store.create(record(1, &["a"])).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let closed = [
        store.create(record(2, &[])).await.map(drop),
        store.load(sid(1)).await.map(drop),
        store.replace(record(1, &[]), revision).await.map(drop),
        store.remove(sid(1), revision).await,
        store.find_by_connection(&cid("a")).await.map(drop),
        store.find_by_connection(&cid("none")).await.map(drop),
        store.find_by_user(&UserId::Number(1)).await.map(drop),
        store.overdue(Timestamp(0), 1).await.map(drop),
        store.next_deadline().await.map(drop),
        store.check().await,
    ];
    for (n, result) in closed.into_iter().enumerate() {
        assert!(matches!(result, Err(StoreError::Closed)), "{n}: {result:?}");
    }
}
