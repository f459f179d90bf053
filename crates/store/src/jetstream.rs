//! Sessions in a key-value bucket of NATS JetStream: the service keeps nothing on its own machine.
//! Must not depend on rules, a clock, or the message bus.
//!
//! **Shape.** Each session is one key, `s.<sid>`, whose value is the encoded record. A session's
//! revision is the sequence of its last message in the bucket's stream, and which history of the
//! bucket that is of. A replica of the bucket in memory (`jetstream/replica.rs`) answers reads; a
//! watch (`jetstream/follower.rs`) fills it when the store opens and keeps it current.
//!
//! **A write** is a publish that names the last sequence of its subject, so the server compares and
//! swaps. It returns once the server has acknowledged it, that is, once a quorum of the bucket's
//! replicas has it. Whether that survives a power loss depends on the server's `sync_interval`.
//!
//! **A write without an answer** (a lost connection, a server that changes its leader) may have
//! been done or not. Until the leader has said which, the session is *in doubt*: a read of it asks
//! the leader first, and so does a read that looks for one of its connections. Only
//! `STREAM.MSG.GET` goes to the leader; a direct get may be answered by a replica that is behind.
//!
//! **Several processes** may have the bucket open. A replica may be behind, so a read that
//! something depends on is preceded by a barrier (`jetstream/barrier.rs`): a write to a key of its
//! own, which the watch then shows. That a connection is on one session is not for the server to
//! check, as each session is a key of its own; the replica does it, and where two processes have
//! put a connection on two sessions at once, both find both.
//!
//! **A bucket that has lost writes** (its server lost power before they were on disk, it was
//! deleted or restored) is noticed by `jetstream/progress.rs`, read again, and what it has counts.
//! It gives out sequences a second time, so what was decided before that is not written, but
//! decided again.
//!
//! **Other keys** are passed over: `barrier`, and `users`, which is the service's.
//!
//! **Time to live.** Overdue sessions, and markers of removed ones, are gone after another hour.

mod barrier;
mod bucket;
mod follower;
mod open_error;
mod progress;
mod replica;
mod stats;
mod watch;
mod write;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::{Client, connection::State};
use async_trait::async_trait;
use relogin_host::durations::Durations;
use relogin_session::{ConnectionId, Record, SessionId, Timestamp, UserId};
use tokio::{sync::Notify, task::JoinHandle};

use self::{
    barrier::Barriers,
    bucket::{ANSWER_DEADLINE, Bucket},
    progress::{Position, Progress},
    replica::{Change, Replica},
};
pub use self::{
    bucket::{BucketConfig, Replicas, context, replicas},
    open_error::{OpenError, may_pass},
};
use crate::{ChangeListener, Revision, SessionStore, StoreError, StoreStats, Stored, index::is_earlier};

/// Keeps sessions in a bucket.
pub struct JetStreamStore {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

/// What the store and its follower share.
struct Shared {
    bucket: Bucket,
    client: Client,
    replica: Mutex<Replica>,
    deadline_moved: Notify,
    barriers: Barriers,
    progress: Progress,
    /// How long writes took to be acknowledged.
    syncs: Durations,
}

impl JetStreamStore {
    /// Opens the bucket, which is made if it is not there, and reads all of it.
    ///
    /// # Errors
    /// [`OpenError`] if the bucket cannot be used, or not be read. It may be tried again if that
    /// [may pass](OpenError::may_pass): a bucket that was just made has no leader for a moment.
    pub async fn open(client: Client, config: &BucketConfig) -> Result<Self, OpenError> {
        let bucket = Bucket::open(&client, config).await?;
        Self::follow(client, bucket).await
    }

    /// The same, of a bucket that must be there, however many servers keep it.
    ///
    /// # Errors
    /// [`OpenError`] if the bucket is not there, cannot be used, or not be read.
    pub async fn open_existing(client: Client, name: &str) -> Result<Self, OpenError> {
        let bucket = Bucket::open_existing(&client, name).await?;
        Self::follow(client, bucket).await
    }

    async fn follow(client: Client, bucket: Bucket) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            bucket,
            replica: Mutex::default(),
            deadline_moved: Notify::new(),
            barriers: Barriers::default(),
            progress: Progress::new(&client),
            syncs: Durations::default(),
            client,
        });
        let watch = follower::catch_up(&shared).await?;
        let follower = tokio::spawn(follower::follow(Arc::clone(&shared), watch));
        Ok(Self { shared, follower })
    }
}

impl Shared {
    /// Nothing under the lock panics halfway through a change.
    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Replica>, StoreError> {
        let replica = self.replica();
        if replica.is_closed { Err(StoreError::Closed) } else { Ok(replica) }
    }

    /// Changes the replica, and notifies the task that waits for the next deadline if that is
    /// earlier.
    fn change<T>(&self, change: impl FnOnce(&mut Replica) -> T) -> T {
        let mut replica = self.replica();
        let earliest = replica.next_deadline();
        let result = change(&mut replica);
        if is_earlier(replica.next_deadline(), earliest) {
            self.deadline_moved.notify_one();
        }
        result
    }

    /// The replica has everything up to this sequence.
    fn reached(&self, sequence: Revision) {
        self.replica().followed(sequence);
        self.progress.advance(sequence);
    }

    /// Whether the bucket still has this history, as far as anybody knows now.
    fn is_still(&self, replica: &Replica, history: u64) -> bool {
        replica.history() == history && self.progress.is_reliable(self.progress.now())
    }

    /// A write was acknowledged that began when the replica was at `before`: if the replica knows
    /// as much already, of other writes, the bucket has lost them.
    fn compare(&self, before: Position, written: Revision) {
        if written <= before.sequence {
            self.progress.suspect(before.round);
        }
    }

    /// Writes a barrier when the replica is at `before`.
    async fn publish_barrier(&self, before: Position) -> Result<Revision, StoreError> {
        if self.client.connection_state() != State::Connected {
            return Err(StoreError::Shortage("the connection to NATS is lost".into()));
        }
        let published = self.bucket.publish_barrier().await;
        match &published {
            Ok(written) => self.compare(before, *written),
            Err(StoreError::Shortage(_)) => self.progress.suspect(before.round),
            Err(_) => {}
        }
        published
    }

    /// Sees to it that the replica has what the leader has of `sid`, if that is in doubt.
    async fn certain(&self, sid: SessionId) -> Result<(), StoreError> {
        self.progress.reliable(ANSWER_DEADLINE).await?;
        let in_doubt = self.open()?.is_in_doubt(sid);
        if in_doubt { self.refresh(sid).await.map(drop) } else { Ok(()) }
    }

    /// The same for the session that may hold `connection`.
    async fn certain_of(&self, connection: &ConnectionId) -> Result<(), StoreError> {
        self.progress.reliable(ANSWER_DEADLINE).await?;
        let doubted = self.open()?.doubted_holder(connection);
        match doubted {
            Some(sid) => self.refresh(sid).await.map(drop),
            None => Ok(()),
        }
    }

    /// Asks the leader for the session, and takes up what it says.
    async fn refresh(&self, sid: SessionId) -> Result<(), StoreError> {
        loop {
            let asked = self.replica().ask(sid);
            let (revision, change) = self.bucket.ask_leader(sid).await?;
            if self.change(|replica| replica.take_up(sid, asked, revision, change)) {
                return Ok(());
            }
        }
    }

    /// The sequence of the marker that a removed session has left, if there is one and no session.
    async fn marker(&self, sid: SessionId) -> Result<Option<Revision>, StoreError> {
        let (revision, change) = self.bucket.ask_leader(sid).await?;
        Ok(matches!(change, Change::Remove).then_some(revision).filter(|marker| *marker != Revision::default()))
    }
}

#[async_trait]
impl SessionStore for JetStreamStore {
    async fn create(&self, record: Record) -> Result<Revision, StoreError> {
        self.write(record.sid, None, Some(record)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.shared.certain(sid).await?;
        self.shared.open()?.load(sid)
    }

    async fn replace(&self, record: Record, revision: Revision) -> Result<Revision, StoreError> {
        self.write(record.sid, Some(revision), Some(record)).await
    }

    async fn remove(&self, sid: SessionId, revision: Revision) -> Result<(), StoreError> {
        self.write(sid, Some(revision), None).await.map(drop)
    }

    async fn find_by_connection(&self, connection: &ConnectionId) -> Result<Option<Arc<Stored>>, StoreError> {
        self.shared.certain_of(connection).await?;
        let replica = self.shared.open()?;
        replica.session_on(connection).map_or(Ok(None), |sid| replica.load(sid))
    }

    async fn find_all_by_connection(&self, connection: &ConnectionId) -> Result<Vec<SessionId>, StoreError> {
        self.shared.certain_of(connection).await?;
        Ok(self.shared.open()?.sessions_on(connection))
    }

    async fn find_by_user(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.open()?.sessions_of(user))
    }

    async fn overdue(&self, until: Timestamp, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.open()?.overdue(until, limit))
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.shared.open()?.next_deadline())
    }

    async fn page(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        Ok(self.shared.open()?.page(after, limit))
    }

    async fn count(&self) -> Result<usize, StoreError> {
        Ok(self.shared.open()?.count())
    }

    async fn deadline_moved(&self) {
        self.shared.deadline_moved.notified().await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn read_barrier(&self) -> Result<(), StoreError> {
        drop(self.shared.open()?);
        self.shared.barriers.pass(&self.shared).await
    }

    fn on_change(&self, listener: ChangeListener) {
        self.shared.replica().listener.get_or_insert(listener);
    }

    fn barrier_follows_bus(&self) -> bool {
        true // The service opens the store with the client of its bus.
    }

    async fn check(&self) -> Result<(), StoreError> {
        drop(self.shared.open()?);
        if self.shared.client.connection_state() != State::Connected {
            return Err(StoreError::Shortage("the connection to NATS is lost".into()));
        }
        if !self.shared.progress.is_following() {
            return Err(StoreError::Shortage("the bucket does not answer".into()));
        }
        Ok(())
    }

    async fn stats(&self) -> StoreStats {
        self.shared.stats().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.replica().is_closed = true;
        self.follower.abort();
        Ok(())
    }
}

impl Drop for JetStreamStore {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl fmt::Debug for JetStreamStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamStore").field("bucket", &self.shared.bucket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
