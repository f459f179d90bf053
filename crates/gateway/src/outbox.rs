//! What waits to be sent to one client, between the driver and the WebSocket's task. Must not know
//! either, nor what it is.
//!
//! A channel of tokio would hold 2 kB for each connection, however idle. This holds no buffer while
//! nothing waits.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The driver's end. Dropping it ends the queue, after what waits.
pub(crate) struct Sender<T>(Arc<Outbox<T>>);

/// The task's end. Dropping it drops what waits, and whatever is sent after that.
pub(crate) struct Receiver<T>(Arc<Outbox<T>>);

struct Outbox<T> {
    state: Mutex<OutboxState<T>>,
    changed: Notify,
}

struct OutboxState<T> {
    waiting: VecDeque<T>,
    has_ended: bool,
    /// The receiver is gone.
    is_abandoned: bool,
}

/// An empty queue.
pub(crate) fn outbox<T>() -> (Sender<T>, Receiver<T>) {
    let state = OutboxState { waiting: VecDeque::new(), has_ended: false, is_abandoned: false };
    let outbox = Arc::new(Outbox { state: Mutex::new(state), changed: Notify::new() });
    (Sender(Arc::clone(&outbox)), Receiver(outbox))
}

impl<T> Sender<T> {
    /// Puts something behind what waits. It is dropped if nobody will take it.
    pub(crate) fn send(&self, outbound: T) {
        let mut state = self.0.state();
        if !state.is_abandoned {
            state.waiting.push_back(outbound);
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits until there is something, and takes up to `most` of it; nothing once the queue has
    /// ended. Cancel safe.
    pub(crate) async fn take(&mut self, most: usize) -> VecDeque<T> {
        loop {
            {
                let mut state = self.0.state();
                if state.waiting.len() > most {
                    return state.waiting.drain(..most).collect();
                }
                if !state.waiting.is_empty() || state.has_ended {
                    return mem::take(&mut state.waiting);
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_abandoned = true;
        let dropped = mem::take(&mut state.waiting);
        drop(state);
        // Without the lock, because they may be many.
        drop(dropped);
    }
}

impl<T> Outbox<T> {
    fn state(&self) -> MutexGuard<'_, OutboxState<T>> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_taken_in_order_and_then_the_end_is_noticed() {
        let (sender, mut receiver) = outbox();
        assert!(receiver.take(2).now_or_never().is_none());
        (1..=3).for_each(|n| sender.send(n));
        drop(sender);
        assert_eq!(receiver.take(2).await, [1, 2]);
        assert_eq!(receiver.take(2).await, [3]);
        assert!(receiver.take(2).await.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_what_is_sent_and_by_the_end() {
        let (sender, mut receiver) = outbox();
        let taking = tokio::spawn(async move { (receiver.take(2).await, receiver.take(2).await) });
        tokio::task::yield_now().await;
        sender.send(1);
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(taking.await.unwrap(), ([1].into(), VecDeque::new()));
    }

    #[test]
    fn nothing_is_held_for_a_receiver_that_is_gone_or_has_taken_all() {
        let (sender, mut receiver) = outbox();
        let sent = Arc::new(());
        (0..100).for_each(|_| sender.send(Arc::clone(&sent)));
        assert_eq!(receiver.take(100).now_or_never().unwrap().len(), 100);
        assert_eq!(receiver.0.state().waiting.capacity(), 0);
        sender.send(Arc::clone(&sent));
        drop(receiver);
        sender.send(Arc::clone(&sent));
        assert_eq!(Arc::strong_count(&sent), 1);
    }
}
