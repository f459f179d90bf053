//! The queue of a machine's inputs: events of the browser that the driver has not taken yet. Must
//! not depend on what they mean.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use relogin_client_proto::Input;

/// The event queue of one driver. The browser's callbacks fill it, in the order in which they are
/// called.
#[derive(Clone, Debug, Default)]
pub(super) struct EventQueue(Rc<RefCell<QueueState>>);

#[derive(Debug, Default)]
struct QueueState {
    events: VecDeque<Input>,
    waker: Option<Waker>,
}

impl EventQueue {
    /// Adds an event, and wakes the driver.
    pub(super) fn push(&self, event: impl Into<Input>) {
        self.add(event.into());
        self.wake();
    }

    /// Adds an event without waking the driver.
    pub(super) fn add(&self, event: Input) {
        self.0.borrow_mut().events.push_back(event);
    }

    /// Wakes the driver.
    pub(super) fn wake(&self) {
        let waker = self.0.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the next event, if there is one.
    pub(super) fn pop(&self) -> Option<Input> {
        self.0.borrow_mut().events.pop_front()
    }

    /// Takes the next event, once there is one.
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Input> {
        let next = self.pop();
        if next.is_none() {
            self.0.borrow_mut().waker = Some(context.waker().clone());
        }
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// The next event that is not the socket's; for tests.
    #[cfg(all(test, target_arch = "wasm32"))]
    pub(super) async fn next(&self) -> relogin_client_proto::PlatformEvent {
        loop {
            if let Input::Platform(event) = std::future::poll_fn(|context| self.poll_next(context)).await {
                return event;
            }
        }
    }

    /// Whether there is an event; for tests.
    #[cfg(all(test, target_arch = "wasm32"))]
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().events.is_empty()
    }
}
