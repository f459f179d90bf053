//! Numbers of the bucket for metrics. Must not change anything.

use std::time::Duration;

use async_nats::connection::State;
use tokio::time::timeout;

use super::Shared;
use crate::StoreStats;

/// How long the bucket has to say how large it is: less than whoever asks for metrics waits.
const SIZE_DEADLINE: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) async fn stats(&self) -> StoreStats {
        let bytes = match self.client.connection_state() {
            State::Connected => timeout(SIZE_DEADLINE, self.bucket.bytes()).await.ok().flatten(),
            _ => None,
        };
        let replica = self.replica();
        let (sessions, connections) = replica.len();
        let pending_writes = replica.pending_writes();
        StoreStats { sessions, connections, pending_writes, syncs: self.syncs.counts(), bytes }
    }
}
