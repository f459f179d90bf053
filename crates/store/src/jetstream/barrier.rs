//! Read barriers: after one, the replica has every write that was acknowledged before it began.
//! Must not depend on what the replica has.
//!
//! A barrier is a write to a key of its own and costs what a write costs. Whoever comes while one
//! is under way shares the next, so there is at most one at a time, however many wait.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Mutex;

use super::{Shared, bucket::ANSWER_DEADLINE, progress::Position};
use crate::StoreError;

/// The barriers of one replica.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// How many have begun.
    begun: AtomicU64,
    last: Mutex<Last>,
}

/// The last barrier that has ended.
#[derive(Debug, Default)]
struct Last {
    number: u64,
    is_passed: bool,
}

/// How long the watch may take to show a barrier that was acknowledged, before all of the bucket is
/// read again: the server that the watch is at may be gone, which the watch itself notices after
/// some ten seconds.
const LAG: Duration = Duration::from_secs(1);

impl Barriers {
    /// Returns once a barrier that began after this call is passed.
    ///
    /// # Errors
    /// [`StoreError::Shortage`] if it is not passed in time.
    pub(super) async fn pass(&self, shared: &Shared) -> Result<(), StoreError> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number <= begun {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let is_passed = is_passed(shared).await;
            *last = Last { number, is_passed };
        }
        if last.is_passed { Ok(()) } else { Err(StoreError::Shortage("the bucket does not answer".into())) }
    }
}

async fn is_passed(shared: &Shared) -> bool {
    let progress = &shared.progress;
    let before = progress.now();
    let Ok(barrier) = shared.publish_barrier(before).await else { return false };
    if barrier > before.sequence
        && progress
            // Of a history that has ended, what was shown then may still be coming in.
            .wait_for(LAG, |position| position.sequence >= barrier && progress.is_reliable(position))
            .await
            .is_ok()
    {
        return true;
    }
    progress.suspect(before.round);
    let is_passed = |position: Position| position.round > before.round && position.sequence >= barrier;
    progress.wait_for(ANSWER_DEADLINE, is_passed).await.is_ok()
}
