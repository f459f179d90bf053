//! Sessions in memory, gone when the process ends. For trials and tests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use tokio::sync::{Notify, mpsc};

use super::{
    EXPORTED_AT_ONCE, Export, Exported, Revision, SessionStore, StoreError, StoreStats, Stored,
    index::{Index, SidHasher, is_earlier},
};

/// Keeps sessions in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: Mutex<Sessions>,
    deadline_moved: Notify,
}

#[derive(Debug, Default)]
struct Sessions {
    records: HashMap<SessionId, Arc<Stored>, SidHasher>,
    index: Index,
    last: Revision,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Sessions>, StoreError> {
        // Nothing below panics halfway through a change.
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.closed { Err(StoreError::Closed) } else { Ok(sessions) }
    }

    /// Changes one session under its revision (`None`: it must not exist).
    fn write(&self, sid: SessionId, revision: Option<Revision>, next: Option<Record>) -> Result<Revision, StoreError> {
        let mut sessions = self.open()?;
        let earliest = sessions.index.next_deadline();
        let written = sessions.write(sid, revision, next)?;
        if is_earlier(sessions.index.next_deadline(), earliest) {
            self.deadline_moved.notify_one();
        }
        Ok(written)
    }
}

impl Sessions {
    fn write(
        &mut self,
        sid: SessionId,
        revision: Option<Revision>,
        next: Option<Record>,
    ) -> Result<Revision, StoreError> {
        let before = self.records.get(&sid);
        if before.map(|before| before.revision) != revision {
            return Err(StoreError::Conflict);
        }
        if let Some(other) = next
            .iter()
            .flat_map(|next| &next.connections)
            .find_map(|connection| self.index.session_on(connection).filter(|&other| other != sid))
        {
            return Err(StoreError::ConnectionTaken(other));
        }
        self.last = self.last.next();
        match next {
            Some(record) => {
                self.index.put(&record, self.last);
                self.records.insert(sid, Arc::new(Stored { record, revision: self.last }));
            }
            None => {
                self.index.remove(sid);
                self.records.remove(&sid);
            }
        }
        Ok(self.last)
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.write(record.sid, None, Some(record))
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        Ok(self.open()?.records.get(&sid).cloned())
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        self.write(record.sid, Some(revision), Some(record))
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.write(sid, Some(revision), None).map(|_| ())
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        let sessions = self.open()?;
        Ok(sessions.index.session_on(connection).and_then(|sid| sessions.records.get(&sid).cloned()))
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.open()?.index.sessions_of(user))
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.open()?.index.overdue(until, limit))
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.open()?.index.next_deadline())
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        Ok(self.open()?.index.page(after, limit))
    }

    async fn count(&self) -> Result<usize, StoreError> {
        Ok(self.open()?.index.len())
    }

    async fn deadline_moved(&self) {
        self.deadline_moved.notified().await;
    }

    async fn export(&self, to: mpsc::Sender<Vec<Export>>) -> Result<Exported, StoreError> {
        let all: Vec<_> = self.open()?.records.values().map(|stored| Export::Session(Arc::clone(stored))).collect();
        for portion in all.chunks(EXPORTED_AT_ONCE) {
            to.send(portion.to_vec()).await.map_err(|_| StoreError::Closed)?;
        }
        Ok(Exported::default())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.open().map(|_| ())
    }

    async fn stats(&self) -> StoreStats {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let index = &sessions.index;
        StoreStats { sessions: index.len(), connections: index.connections(), ..StoreStats::default() }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;

    crate::contract::suite!(async || (MemoryStore::new(), ()));
}
