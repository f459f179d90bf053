//! The contract suite, run as a store in another crate runs it: on one of its own, which here keeps
//! its sessions in memory and counts its writes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use relogin_store::{Revision, SessionStore, StoreError, Stored, contract, memory::MemoryStore};

/// A store of another crate.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    writes: AtomicUsize,
}

#[async_trait]
impl SessionStore for Counting {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.store.create(record).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.store.load(sid).await
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.store.replace(record, revision).await
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.store.remove(sid, revision).await
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.store.find_by_connection(connection).await
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        self.store.find_by_user(user).await
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.store.overdue(until, limit).await
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_deadline().await
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        self.store.page(after, limit).await
    }

    async fn count(&self) -> Result<usize, StoreError> {
        self.store.count().await
    }

    async fn deadline_moved(&self) {
        self.store.deadline_moved().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

contract::suite!(async || (Counting::default(), ()));

#[tokio::test]
async fn the_suite_gets_the_store_that_it_is_given() {
    let store = Counting::default();
    let revision = store.create(contract::record(1, &["a"])).await.unwrap();
    store.remove(contract::sid(1), revision).await.unwrap();
    assert_eq!(store.writes.load(SeqCst), 2);
}
