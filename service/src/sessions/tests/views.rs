//! A store that several processes share and that reads stale as long as it may: a view shows what
//! others have written only after a read barrier, or once it has lost to one of them.

use std::collections::BTreeMap;

use tokio::sync::Notify;

use super::*;

type Records = BTreeMap<SessionId, Arc<Stored>>;

/// What is stored.
#[derive(Default)]
pub(super) struct Truth {
    records: Records,
    last: u64,
}

impl Truth {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// How one process sees it.
#[derive(Default)]
pub(super) struct View {
    truth: Arc<Mutex<Truth>>,
    seen: Mutex<Records>,
    moved: Notify,
    /// At this many read barriers, others have changed everything since the last one: what was
    /// stored is gone, and what was gone is stored.
    pub(super) flips: AtomicUsize,
    gone: Mutex<Records>,
    /// How many read barriers fail.
    pub(super) failures: AtomicUsize,
    /// While true, new sessions are on their way to the store.
    pub(super) holds_new: watch::Sender<bool>,
    /// How many of them are stored, without an answer.
    pub(super) unanswered_new: AtomicUsize,
}

impl View {
    pub(super) fn of(truth: &Arc<Mutex<Truth>>) -> Self {
        Self { truth: Arc::clone(truth), ..Self::default() }
    }

    /// Shows everything that is stored.
    pub(super) fn catch_up(&self) {
        let truth = self.truth.lock().unwrap().records.clone();
        *self.seen.lock().unwrap() = truth;
        self.moved.notify_one();
    }

    /// Writes under the revision (0: there must be none), and sees that, or what has won.
    fn write(&self, sid: SessionId, expected: Revision, next: Option<Record>) -> Result<Revision, StoreError> {
        let (mut truth, mut seen) = (self.truth.lock().unwrap(), self.seen.lock().unwrap());
        for connection in next.iter().flat_map(|next| &next.connections) {
            let is_on = |(_, stored): &(_, &Arc<Stored>)| stored.record.is_on(connection);
            let holders: Vec<_> = seen.iter().filter(is_on).map(|(holder, _)| *holder).collect();
            if let Some(&other) = holders.first()
                && !holders.contains(&sid)
            {
                return Err(StoreError::ConnectionTaken(other));
            }
        }
        let newest = truth.records.get(&sid).map(|stored| stored.revision).unwrap_or_default();
        if newest != expected {
            match truth.records.get(&sid) {
                Some(stored) => seen.insert(sid, Arc::clone(stored)),
                None => seen.remove(&sid),
            };
            return Err(StoreError::Conflict);
        }
        truth.last += 1;
        let revision = Revision(truth.last);
        match next {
            Some(record) => {
                let stored = Arc::new(Stored { record, revision });
                truth.records.insert(sid, Arc::clone(&stored));
                seen.insert(sid, stored);
            }
            None => {
                truth.records.remove(&sid);
                seen.remove(&sid);
            }
        }
        self.moved.notify_one();
        Ok(revision)
    }

    fn sorted(&self, is_it: impl Fn(&Record) -> bool) -> Vec<Arc<Stored>> {
        let seen = self.seen.lock().unwrap();
        let mut found: Vec<_> = seen.values().filter(|stored| is_it(&stored.record)).cloned().collect();
        found.sort_by_key(|stored| std::cmp::Reverse(stored.revision));
        found
    }
}

#[async_trait]
impl SessionStore for View {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        tokio::task::yield_now().await;
        self.holds_new.subscribe().wait_for(|holds| !holds).await.unwrap();
        let created = self.write(record.sid, Revision(0), Some(record));
        match self.unanswered_new.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Shortage("the bucket does not answer".into())),
            Err(_) => created,
        }
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        Ok(self.seen.lock().unwrap().get(&sid).cloned())
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        tokio::task::yield_now().await;
        self.write(record.sid, revision, Some(record))
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.write(sid, revision, None).map(drop)
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        Ok(self.sorted(|record| record.is_on(connection)).into_iter().next())
    }

    async fn find_all_by_connection(&self, connection: &ConnectionId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.sorted(|record| record.is_on(connection)).iter().map(|stored| stored.record.sid).collect())
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.sorted(|record| record.user_id == *user).iter().map(|stored| stored.record.sid).collect())
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let mut overdue = self.sorted(|record| record.deadline() <= until);
        overdue.sort_by_key(|stored| stored.record.deadline());
        Ok(overdue.iter().take(limit).map(|stored| stored.record.sid).collect())
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.sorted(|_| true).iter().map(|stored| stored.record.deadline()).min())
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        let mut places: Vec<_> =
            self.sorted(|_| true).iter().map(|stored| (stored.record.deadline(), stored.record.sid)).collect();
        places.sort_unstable();
        places.retain(|place| after.is_none_or(|after| *place > after));
        places.truncate(limit);
        Ok(places)
    }

    async fn count(&self) -> Result<usize, StoreError> {
        Ok(self.sorted(|_| true).len())
    }

    async fn deadline_moved(&self) {
        self.moved.notified().await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn read_barrier(&self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        if self.failures.fetch_update(SeqCst, SeqCst, |failures| failures.checked_sub(1)).is_ok() {
            return Err(StoreError::Shortage("the bucket does not answer".into()));
        }
        if self.flips.fetch_update(SeqCst, SeqCst, |flips| flips.checked_sub(1)).is_ok() {
            std::mem::swap(&mut self.truth.lock().unwrap().records, &mut self.gone.lock().unwrap());
        }
        self.catch_up();
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
