//! Takes messages from async-nats in the order in which they arrived, across subjects.
//!
//! async-nats has a queue for each subject pattern, and so forgets which message of two queues came
//! first: a gateway could apply a token event after the answer that followed it. The order is
//! visible at one moment: the client's single reader puts message after message into the queues,
//! and each time wakes the reader of that queue immediately. A [`OrderedSubscriber`] is that waker.
//! It empties its queue while it is being woken, into wherever the messages belong.
//!
//! Must not depend on mailboxes or RES.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use async_nats::{Message, Subscriber};
use futures_util::{StreamExt, future::poll_fn};
use tokio::task::unconstrained;

/// Passes on the messages of one subscriber, at once and in order.
pub(super) struct OrderedSubscriber {
    /// How often it was woken since it started to look. Only the thread that raises this from 0
    /// looks; every other one makes it look again. So a wake-up never waits, not even for itself.
    wakes: AtomicUsize,
    /// None once ended. Also breaks the cycle: the subscriber's queue holds its waker.
    flow: Mutex<Option<Flow>>,
}

struct Flow {
    subscriber: Subscriber,
    deliver: Box<dyn Fn(Message) + Send + Sync>,
}

impl OrderedSubscriber {
    /// Opens a subscriber: from now on `deliver` is called with each message as it arrives, one at
    /// a time. It must not block.
    pub(super) fn open(subscriber: Subscriber, deliver: impl Fn(Message) + Send + Sync + 'static) -> Arc<Self> {
        let flow = Flow { subscriber, deliver: Box::new(deliver) };
        let subscriber = Arc::new(Self { wakes: AtomicUsize::new(0), flow: Mutex::new(Some(flow)) });
        subscriber.flow();
        subscriber
    }

    /// Ends the subscription.
    pub(super) fn shut(&self) {
        // Dropped after the lock is released: dropping wakes others.
        let flow = self.lock().take();
        drop(flow);
    }

    fn flow(self: &Arc<Self>) {
        if self.wakes.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let waker = Waker::from(Arc::clone(self));
        let mut seen = 1;
        loop {
            self.empty(&mut Context::from_waker(&waker));
            match self.wakes.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(more) => seen = more,
            }
        }
    }

    /// Delivers everything that waits, and leaves the waker behind for what comes next.
    fn empty(&self, context: &mut Context<'_>) {
        let mut slot = self.lock();
        let Some(flow) = slot.as_mut() else { return };
        loop {
            // Without `unconstrained` the queue would appear empty when the reader's task has used
            // up its budget.
            let next = pin!(unconstrained(poll_fn(|context| flow.subscriber.poll_next_unpin(context))));
            match next.poll(context) {
                Poll::Ready(Some(message)) => (flow.deliver)(message),
                Poll::Ready(None) => {
                    *slot = None;
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn lock(&self) -> MutexGuard<'_, Option<Flow>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for OrderedSubscriber {
    fn wake(self: Arc<Self>) {
        self.flow();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flow();
    }
}
