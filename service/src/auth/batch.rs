//! Handles requests that arrive together in one task: their writes share a sync, and their answers
//! are sent together, because nothing else runs in between. Those that arrive while a task waits
//! join it, so that all of what one sync has released is answered at once. A request that waits
//! longer does not delay the others, and a panic ends only its own request. Must not know what
//! requests are.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::task::unconstrained;
use tokio_util::task::TaskTracker;

/// Requests that are about to start, and the task that was started last.
#[derive(Default)]
pub(super) struct Batch {
    requests: Vec<Serving>,
    last: Arc<Running>,
}

/// A task.
#[derive(Default)]
struct Running {
    requests: Mutex<Requests>,
    waker: AtomicWaker,
}

/// The requests of a task; none if it has ended.
#[derive(Default)]
struct Requests {
    all: Vec<Serving>,
    /// How many of them have not begun.
    new: usize,
}

// Boxed, because they take some kilobytes each.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many requests begin together: enough to share what can be shared, and few enough to leave
/// work for the other cores.
const FULL: usize = 32;

/// How many requests one task has, most of which wait.
const JOINED: usize = 2 * FULL;

impl Batch {
    pub(super) fn push(&mut self, serving: impl Future<Output = ()> + Send + 'static) {
        self.requests.push(Box::pin(serving));
    }

    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= FULL
    }

    /// Starts them: in the last task if it waits, else in a new one. Is empty afterwards.
    pub(super) fn start(&mut self, tasks: &TaskTracker) {
        if self.requests.is_empty() || self.last.is_joined_by(&mut self.requests) {
            return;
        }
        let all = std::mem::take(&mut self.requests);
        let requests = Mutex::new(Requests { new: all.len(), all });
        self.last = Arc::new(Running { requests, waker: AtomicWaker::new() });
        let running = Arc::clone(&self.last);
        // The runtime would interrupt it halfway, because it does as much as many tasks.
        tasks.spawn(unconstrained(std::future::poll_fn(move |context| running.poll(context))));
    }
}

impl Running {
    /// Takes in more requests, unless it has ended or would have too many, or is at work: then
    /// another core can begin with them.
    fn is_joined_by(&self, more: &mut Vec<Serving>) -> bool {
        let mut requests = match self.requests.try_lock() {
            Ok(requests) => requests,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let (new, all) = (requests.new + more.len(), requests.all.len() + more.len());
        if requests.all.is_empty() || new > FULL || all > JOINED {
            return false;
        }
        requests.new = new;
        requests.all.append(more);
        drop(requests);
        self.waker.wake();
        true
    }

    /// Polls all of them, because what wakes one usually wakes all.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        // A panic in a request is caught below.
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        self.waker.register(context.waker());
        requests.new = 0;
        requests.all.retain_mut(|serving| {
            let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
            // One that has panicked has ended.
            polled.is_ok_and(|polled| polled.is_pending())
        });
        if requests.all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    /// A request that says that it has begun, waits, and says that it has ended.
    struct Waiting {
        begun: oneshot::Receiver<()>,
        go: oneshot::Sender<()>,
        ended: oneshot::Receiver<()>,
    }

    fn waiting(batch: &mut Batch) -> Waiting {
        let ((begin, begun), (go, gone), (end, ended)) = (oneshot::channel(), oneshot::channel(), oneshot::channel());
        batch.push(async move {
            begin.send(()).ok();
            gone.await.unwrap();
            end.send(()).unwrap();
        });
        Waiting { begun, go, ended }
    }

    #[tokio::test]
    async fn each_ends_for_itself() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        batch.push(async { panic!("as it should") });
        let [first, second] = [waiting(&mut batch), waiting(&mut batch)];
        batch.start(&tasks);
        first.go.send(()).unwrap();
        first.ended.await.unwrap();
        second.go.send(()).unwrap();
        second.ended.await.unwrap();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn requests_join_a_task_that_waits_and_none_that_has_ended() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        let first = waiting(&mut batch);
        batch.start(&tasks);
        first.begun.await.unwrap();
        let second = waiting(&mut batch);
        batch.start(&tasks);
        assert_eq!(tasks.len(), 1);
        second.begun.await.unwrap();
        for request in [(first.go, first.ended), (second.go, second.ended)] {
            request.0.send(()).unwrap();
            request.1.await.unwrap();
        }
        assert_eq!(tasks.len(), 0);
        let third = waiting(&mut batch);
        batch.start(&tasks);
        assert_eq!(tasks.len(), 1);
        third.begun.await.unwrap();
        third.go.send(()).unwrap();
        third.ended.await.unwrap();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn requests_join_no_task_that_is_at_work() {
        let tasks = TaskTracker::new();
        let batch = Arc::new(Mutex::new(Batch::default()));
        let (tell, told) = oneshot::channel();
        let (inner, tasks_of_inner) = (Arc::clone(&batch), tasks.clone());
        batch.lock().unwrap().push(async move {
            let mut batch = inner.lock().unwrap();
            let _ended = waiting(&mut batch);
            batch.start(&tasks_of_inner);
            tell.send(tasks_of_inner.len()).unwrap();
        });
        batch.lock().unwrap().start(&tasks);
        assert_eq!(told.await.unwrap(), 2, "another core could do it meanwhile");
    }

    #[tokio::test]
    async fn a_task_has_a_limited_number_of_requests() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        let mut all = Vec::new();
        // The last ones find no room beside those that wait.
        for started in [1, 1, 2] {
            let mut begun = Vec::new();
            while !batch.is_full() {
                let request = waiting(&mut batch);
                begun.push(request.begun);
                all.push((request.go, request.ended));
            }
            batch.start(&tasks);
            assert_eq!(tasks.len(), started);
            join_all(begun).await;
        }
        for (go, ended) in all {
            go.send(()).unwrap();
            ended.await.unwrap();
        }
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_limited_number_of_requests_begins_together() {
        let tasks = TaskTracker::new();
        let mut batch = Batch::default();
        // On the test's thread nothing begins until it waits.
        for (count, started) in [(FULL - 2, 1), (2, 1), (1, 2)] {
            (0..count).for_each(|_| batch.push(async {}));
            batch.start(&tasks);
            assert_eq!(tasks.len(), started);
        }
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
