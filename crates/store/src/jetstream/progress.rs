//! How far the replica has followed the bucket, and whether that can be relied on. Must not depend
//! on what the replica has.
//!
//! Sequences order the messages of one history. If a server loses its last writes, or somebody
//! deletes the bucket, the sequences start over from an earlier one, and a replica that goes on
//! from where it was would keep what no longer exists. Each time that all of the bucket is read is
//! a *round*, and a round is suspected, and followed by the next, when
//! - the connection to NATS was lost: the server may have been restarted;
//! - a write was acknowledged with a sequence that the replica has passed already;
//! - a write was acknowledged that the watch does not show, or there was no bucket to take it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, client::Statistics};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{Revision, StoreError};

/// The replica has everything up to a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    /// How often all of the bucket was read.
    pub(super) round: u64,
    pub(super) sequence: Revision,
}

#[derive(Debug)]
pub(super) struct Progress {
    position: watch::Sender<Position>,
    /// The last round that is not to be relied on.
    suspected: AtomicU64,
    suspicion: Notify,
    statistics: Arc<Statistics>,
    /// The connection to NATS that the bucket is followed on, counted.
    connection: AtomicU64,
    is_following: AtomicBool,
}

impl Progress {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            position: watch::Sender::default(),
            suspected: AtomicU64::new(0),
            suspicion: Notify::new(),
            statistics: client.statistics(),
            connection: AtomicU64::new(0),
            is_following: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> Position {
        *self.position.borrow()
    }

    /// The number of the connection to NATS.
    pub(super) fn connection(&self) -> u64 {
        self.statistics.connects.load(Ordering::SeqCst)
    }

    /// The watch has come to this sequence.
    pub(super) fn advance(&self, sequence: Revision) {
        self.position.send_if_modified(|position| {
            let is_news = sequence > position.sequence;
            position.sequence = position.sequence.max(sequence);
            is_news
        });
    }

    /// All of the bucket was read, on this connection to NATS and up to this sequence.
    pub(super) fn begin_round(&self, connection: u64, sequence: Revision) {
        self.connection.store(connection, Ordering::SeqCst);
        self.is_following.store(true, Ordering::SeqCst);
        self.position.send_modify(|position| *position = Position { round: position.round + 1, sequence });
    }

    pub(super) fn stop_following(&self) {
        self.is_following.store(false, Ordering::SeqCst);
    }

    /// False while all of the bucket has to be read again.
    pub(super) fn is_following(&self) -> bool {
        self.is_following.load(Ordering::SeqCst) && self.is_reliable(self.now())
    }

    /// What the replica has in this round is not to be relied on.
    pub(super) fn suspect(&self, round: u64) {
        self.suspected.fetch_max(round, Ordering::SeqCst);
        self.suspicion.notify_one();
    }

    /// Looks whether the connection to NATS is still the same.
    pub(super) fn look(&self) {
        if !self.is_reliable(self.now()) {
            self.suspicion.notify_one();
        }
    }

    /// Resolves once the round is suspected. For one task. Cancel safe.
    pub(super) async fn is_suspected(&self) {
        while self.is_reliable(self.now()) {
            self.suspicion.notified().await;
        }
    }

    /// Whether the round of this position is not suspected, and its connection to NATS the present
    /// one.
    pub(super) fn is_reliable(&self, Position { round, .. }: Position) -> bool {
        round > self.suspected.load(Ordering::SeqCst) && self.connection.load(Ordering::SeqCst) == self.connection()
    }

    /// Returns once the round can be relied on, as far as anybody knows.
    ///
    /// # Errors
    /// [`StoreError::Shortage`] if that takes longer than `limit`.
    pub(super) async fn reliable(&self, limit: Duration) -> Result<(), StoreError> {
        if self.is_reliable(self.now()) {
            return Ok(());
        }
        self.look();
        self.wait_for(limit, |position| self.is_reliable(position)).await
    }

    /// Returns once the replica has come to a position that will do.
    ///
    /// # Errors
    /// [`StoreError::Shortage`] if that takes longer than `limit`.
    pub(super) async fn wait_for(&self, limit: Duration, will_do: impl Fn(Position) -> bool) -> Result<(), StoreError> {
        let mut position = self.position.subscribe();
        let waited = timeout(limit, position.wait_for(|position| will_do(*position))).await;
        waited.map(drop).map_err(|_| StoreError::Shortage("the bucket does not answer".into()))
    }
}
