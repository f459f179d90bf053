//! Handles requests that arrive together in one task: their writes share a sync, and their answers
//! are sent together, because nothing else runs in between. A request that waits longer does not
//! delay the others, and a panic ends only its own request. Must not know what requests are.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use tokio::task::unconstrained;
use tokio_util::task::TaskTracker;

/// The requests of one task.
#[derive(Default)]
pub(super) struct Batch(Vec<Serving>);

// Boxed, because they take some kilobytes each.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Enough to share what can be shared, and few enough to leave work for the other cores.
const FULL: usize = 32;

impl Batch {
    pub(super) fn push(&mut self, serving: impl Future<Output = ()> + Send + 'static) {
        self.0.push(Box::pin(AssertUnwindSafe(serving).catch_unwind().map(drop)));
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= FULL
    }

    /// Starts the task, and is empty afterwards.
    pub(super) fn start(&mut self, tasks: &TaskTracker) {
        let batch = std::mem::take(self);
        if !batch.0.is_empty() {
            // The runtime would interrupt it halfway, because it does as much as many tasks.
            tasks.spawn(unconstrained(batch));
        }
    }
}

impl Future for Batch {
    type Output = ();

    /// Polls all of them, because what wakes one usually wakes all.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.retain_mut(|serving| serving.as_mut().poll(context).is_pending());
        if self.0.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_ends_for_itself() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        let (go, gone) = oneshot::channel::<()>();
        let mut ends = Vec::new();
        batch.push(async { panic!("as it should") });
        for waits_for in [None, Some(gone), None] {
            let (end, ended) = oneshot::channel();
            ends.push(ended);
            batch.push(async move {
                if let Some(gone) = waits_for {
                    gone.await.unwrap();
                }
                end.send(()).unwrap();
            });
        }
        batch.start(&tasks);
        let [first, second, third] = ends.try_into().unwrap();
        first.await.unwrap();
        third.await.unwrap();
        go.send(()).unwrap();
        second.await.unwrap();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn it_is_full_at_some_time_and_empty_once_started() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        while !batch.is_full() {
            batch.push(async {});
        }
        batch.start(&tasks);
        assert!(!batch.is_full());
        batch.start(&tasks);
        assert_eq!(tasks.len(), 1, "nothing is no task");
    }
}
