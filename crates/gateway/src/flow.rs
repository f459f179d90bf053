//! Accounts for what is held for one client: its unanswered frames, its unfinished message, and
//! what waits to be sent to it. Counts for the client and in [`Memory`]. Must not depend on sockets
//! or the driver.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{backpressure::Backpressure, limits::Limits, memory::Memory};

/// The account of one connection. What it holds is returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) backpressure: Backpressure,
    memory: Arc<Memory>,
    inbox: Mutex<Inbox>,
    /// Bytes waiting to be sent, and how many of them are in buffers that are counted elsewhere.
    backlog: AtomicUsize,
    shared: AtomicUsize,
    max_backlog: usize,
    /// Bytes of unfinished messages, and of the buffer for them.
    incoming: AtomicUsize,
    /// Bytes of a compressed message that is being read, and of what it says.
    inflated: AtomicUsize,
    /// Bytes in the WebSocket library's write buffer.
    unsent: AtomicUsize,
    /// Whether reading has paused since the transport last looked.
    has_resumed: AtomicBool,
}

/// Frames that the driver has not taken yet.
#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<Utf8Bytes>,
    /// Whether the driver knows that there are some.
    is_known: bool,
}

/// How much is held for a client, now and later.
#[derive(Debug)]
pub(crate) struct Debt(Weak<Flow>);

/// What a waiting frame costs beside its bytes: its place in the queue, the count of its buffer,
/// and the buffer's spare capacity, which for an answer of a hundred bytes is as much again.
const FRAME_COST: usize = 192;

impl Debt {
    pub(crate) fn of(flow: &Arc<Flow>) -> Self {
        Self(Arc::downgrade(flow))
    }

    /// In bytes; none once the connection has ended.
    pub(crate) fn bytes(&self) -> usize {
        self.0.upgrade().map_or(0, |flow| flow.debt())
    }
}

impl Flow {
    pub(crate) fn new(limits: &Limits, memory: Arc<Memory>) -> Self {
        Self {
            backpressure: Backpressure::new(limits.frames, limits.frame_bytes, Arc::clone(&memory)),
            memory,
            inbox: Mutex::default(),
            backlog: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
            max_backlog: limits.backlog,
            incoming: AtomicUsize::new(0),
            inflated: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            has_resumed: AtomicBool::new(false),
        }
    }

    /// Adds a frame of the client, for which credit was taken. True if the driver must be notified.
    #[must_use]
    pub(crate) fn put(&self, frame: Utf8Bytes) -> bool {
        let mut inbox = self.inbox();
        inbox.frames.push_back(frame);
        !mem::replace(&mut inbox.is_known, true)
    }

    /// The next frame of the client. If there is none, the driver will be notified of the next one.
    pub(crate) fn take(&self) -> Option<Utf8Bytes> {
        let mut inbox = self.inbox();
        let frame = inbox.frames.pop_front();
        if inbox.frames.is_empty() && inbox.frames.capacity() > 16 {
            inbox.frames = VecDeque::new();
        }
        inbox.is_known = frame.is_some();
        frame
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a frame that has to wait. False if that is more than allowed.
    pub(crate) fn queue(&self, size: usize, is_shared: bool) -> bool {
        if is_shared {
            self.shared.fetch_add(size, Ordering::AcqRel);
            self.memory.add(FRAME_COST);
        } else {
            self.memory.add(size + FRAME_COST);
        }
        let cost = size + FRAME_COST;
        self.backlog.fetch_add(cost, Ordering::AcqRel) + cost <= self.max_backlog
    }

    /// A part of a frame, or all of it, no longer waits; and if it is the last part, neither does
    /// the frame.
    pub(crate) fn unqueue(&self, size: usize, is_shared: bool, is_last: bool) {
        let cost = if is_last { FRAME_COST } else { 0 };
        self.backlog.fetch_sub(size + cost, Ordering::AcqRel);
        if is_shared {
            self.shared.fetch_sub(size, Ordering::AcqRel);
            self.memory.remove(cost);
        } else {
            self.memory.remove(size + cost);
        }
    }

    /// The unfinished message holds `new` bytes instead of `old` ones.
    pub(crate) fn recharge(&self, old: usize, new: usize) {
        self.incoming.store(new, Ordering::Release);
        if new > old {
            self.memory.add(new - old);
        } else {
            self.memory.remove(old - new);
        }
    }

    /// The compressed message that is being read, and what it says so far, hold so many bytes.
    pub(crate) fn hold_inflated(&self, size: usize) {
        let old = self.inflated.swap(size, Ordering::AcqRel);
        self.memory.add(size.saturating_sub(old));
        self.memory.remove(old.saturating_sub(size));
    }

    pub(crate) fn note_unsent(&self, size: usize) {
        self.unsent.store(size, Ordering::Release);
    }

    /// Bytes that the WebSocket library could not send so far, including answers to pings.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    /// Reading resumes after a pause that was not the client's fault.
    pub(crate) fn resume(&self) {
        self.has_resumed.store(true, Ordering::Release);
    }

    pub(crate) fn take_resumed(&self) -> bool {
        self.has_resumed.load(Ordering::Acquire) && self.has_resumed.swap(false, Ordering::AcqRel)
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// True while too much is held for all clients.
    pub(crate) fn is_short(&self) -> bool {
        self.memory.is_short()
    }

    fn debt(&self) -> usize {
        [&self.backlog, &self.incoming, &self.inflated].map(|bytes| bytes.load(Ordering::Acquire)).iter().sum::<usize>()
            + self.backpressure.owed_bytes()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // Backpressure returns what the frames owe.
        let waits = *self.backlog.get_mut() - *self.shared.get_mut();
        let own = waits + *self.incoming.get_mut() + *self.inflated.get_mut();
        self.memory.remove(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of small answers take more memory than their texts.
    #[test]
    fn frames_that_wait_cost_more_than_their_bytes() {
        let memory = Arc::new(Memory::new(usize::MAX));
        let limits = Limits { backlog: 10 * (100 + FRAME_COST), ..Limits::default() };
        let flow = Flow::new(&limits, Arc::clone(&memory));
        assert!((0..10).all(|n| flow.queue(100, n % 2 == 0)));
        assert!(!flow.queue(1, true));
        assert_eq!((memory.held(), flow.debt()), (500 + 11 * FRAME_COST, 1001 + 11 * FRAME_COST));
        for is_last in [false, true] {
            flow.unqueue(50, false, is_last);
            flow.unqueue(50, true, is_last);
        }
        assert_eq!((memory.held(), flow.debt()), (400 + 9 * FRAME_COST, 801 + 9 * FRAME_COST));
        drop(flow);
        assert_eq!(memory.held(), 0);
    }
}
