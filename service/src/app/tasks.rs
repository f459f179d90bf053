//! The service's background tasks, in groups that are stopped one after the other. Must not know
//! what the tasks do.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

/// What happens when a task ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Cancelled once the service stops. From then on tasks may end at any time, because what feeds
    /// them ends as well.
    pub(super) stopping: CancellationToken,
    /// Cancelled when a task ended before that, or panicked.
    pub(super) failed: CancellationToken,
}

/// Tasks that are stopped together.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) stop: CancellationToken,
    tasks: TaskTracker,
    watch: Watch,
}

impl Tasks {
    pub(super) fn new(watch: &Watch) -> Self {
        Self { stop: CancellationToken::new(), tasks: TaskTracker::new(), watch: watch.clone() }
    }

    /// Starts a task that ends when its token is cancelled, or when the service stops and what
    /// feeds it has ended. If it ends before that, the service has failed.
    pub(super) fn open<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        task: impl FnOnce(CancellationToken) -> F,
    ) {
        // What a panic left half done is not used again, because the service stops.
        let task = AssertUnwindSafe(task(self.stop.clone())).catch_unwind();
        let Watch { stopping, failed } = self.watch.clone();
        self.tasks.spawn(async move {
            let ended = task.await;
            if ended.is_err() || !stopping.is_cancelled() {
                error!("a background task has ended unexpectedly: {what}");
                failed.cancel();
            }
        });
    }

    /// Stops the tasks and waits for their ends.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_by_itself_is_a_failure() {
        let tasks = || Tasks::new(&Watch::default());
        let (ended, panicked) = (tasks(), tasks());
        ended.open("ended", |_| async {});
        ended.watch.failed.cancelled().await;
        panicked.watch.stopping.cancel();
        panicked.open("panicked", |_| async { panic!("as it should") });
        panicked.watch.failed.cancelled().await;
        panicked.close().await;
    }

    /// The audit trail ends with the last of those who write to it, before anybody has told it to.
    #[tokio::test]
    async fn a_part_that_ends_with_what_feeds_it_while_the_service_stops_has_not_failed() {
        let watch = Watch::default();
        let (feeding, fed) = (Tasks::new(&watch), Tasks::new(&watch));
        let (feed, ended) = tokio::sync::oneshot::channel::<()>();
        feeding.open("feeding", |stop| async move {
            stop.cancelled().await;
            drop(feed);
        });
        fed.open("fed", |_| async { drop(ended.await) });
        watch.stopping.cancel();
        feeding.close().await;
        fed.tasks.close();
        fed.tasks.wait().await;
        assert!(!watch.failed.is_cancelled());
    }
}
