//! A branch of a task that is polled only for what woke itself: one of `select!` is polled for all
//! that wakes the task. Must not know what it does.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// A future that is polled only after something has woken it.
pub(crate) struct Apart<F> {
    branch: F,
    alarm: Arc<Alarm>,
}

/// What wakes the branch, and with it the task.
struct Alarm {
    rings: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future + Unpin> Apart<F> {
    pub(crate) fn new(branch: F) -> Self {
        // It has not been polled at all.
        let alarm = Arc::new(Alarm { rings: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { branch, alarm }
    }
}

impl<F: Future + Unpin> Future for Apart<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Before it looks: what rings afterwards wakes this task.
        self.alarm.task.register(cx.waker());
        if !self.alarm.rings.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.alarm));
        Pin::new(&mut self.branch).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rings.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, time::Duration};

    use futures_util::{FutureExt, future::join};
    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn it_is_polled_at_first_and_when_it_is_woken_and_not_for_others() {
        let polls = Cell::new(0);
        let (wake, mut woken) = oneshot::channel();
        let mut branch = Apart::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            woken.poll_unpin(cx)
        }));
        for _ in 0..3 {
            assert!((&mut branch).now_or_never().is_none());
        }
        assert_eq!(polls.get(), 1);
        // Wakes this task, which waits for nothing else.
        let waking = async { wake.send(7).unwrap() };
        assert_eq!(timeout(DEADLINE, join(&mut branch, waking)).await.unwrap().0, Ok(7));
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn it_wakes_whichever_task_has_polled_it_last() {
        let (wake, woken) = oneshot::channel();
        let mut branch = Apart::new(woken);
        assert!((&mut branch).now_or_never().is_none());
        let waiting = tokio::spawn(branch);
        tokio::task::yield_now().await;
        wake.send(7).unwrap();
        assert_eq!(timeout(DEADLINE, waiting).await.unwrap().unwrap(), Ok(7));
    }
}
