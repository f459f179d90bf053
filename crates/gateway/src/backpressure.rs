//! Backpressure for a client: how many frames, and how many bytes of them, may be unanswered. Must
//! not depend on sockets.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use crate::memory::Memory;

/// What one connection has in use, and what is left to it.
#[derive(Debug)]
pub(crate) struct Backpressure {
    frames: Semaphore,
    bytes: Semaphore,
    max_bytes: usize,
    memory: Arc<Memory>,
    /// The cost of the unanswered frames. An answer does not say to which frame it belongs, so each
    /// returns the smallest amount that is owed: never more than its own.
    owed: Mutex<BinaryHeap<Reverse<u32>>>,
}

/// Bytes are counted in these units, because a semaphore counts no further than 32 bits of them at
/// once.
const UNIT: usize = 1024;

impl Backpressure {
    /// Room for `frames` frames of `bytes` bytes together, which are counted in `memory`. A
    /// single frame may use all of them, and a larger one counts as that.
    pub(crate) fn new(frames: usize, bytes: usize, memory: Arc<Memory>) -> Self {
        let max_bytes = bytes.div_ceil(UNIT).min(u32::MAX as usize);
        let (frames, bytes) = (Semaphore::new(frames), Semaphore::new(max_bytes));
        Self { frames, bytes, max_bytes, memory, owed: Mutex::default() }
    }

    /// Waits until one more frame may be read, and counts it. True if it had to wait.
    pub(crate) async fn take_frame(&self) -> bool {
        take(&self.frames, 1).await
    }

    /// Waits until a frame of this size may be passed on, and counts its bytes. True if
    /// it had to wait.
    pub(crate) async fn take_bytes(&self, size: usize) -> bool {
        let cost = size.div_ceil(UNIT).min(self.max_bytes);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let has_waited = take(&self.bytes, cost).await;
        self.memory.add(cost as usize * UNIT);
        self.owed().push(Reverse(cost));
        has_waited
    }

    /// A frame was answered.
    pub(crate) fn give_back(&self) {
        let cost = self.owed().pop();
        if let Some(Reverse(cost)) = cost {
            self.memory.remove(cost as usize * UNIT);
            self.bytes.add_permits(cost as usize);
            self.frames.add_permits(1);
        }
    }

    /// How many bytes have not been returned.
    pub(crate) fn owed_bytes(&self) -> usize {
        (self.max_bytes - self.bytes.available_permits().min(self.max_bytes)) * UNIT
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn owed(&self) -> MutexGuard<'_, BinaryHeap<Reverse<u32>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Backpressure {
    fn drop(&mut self) {
        let owed: usize = self.owed().drain().map(|Reverse(cost)| cost as usize).sum();
        self.memory.remove(owed * UNIT);
    }
}

async fn take(room: &Semaphore, count: u32) -> bool {
    if let Ok(taken) = room.try_acquire_many(count) {
        taken.forget();
        return false;
    }
    room.acquire_many(count).await.expect("nobody closes the semaphore").forget();
    true
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn backpressure(frames: usize, bytes: usize) -> Backpressure {
        Backpressure::new(frames, bytes, Arc::new(Memory::new(usize::MAX)))
    }

    fn frame(backpressure: &Backpressure, size: usize) -> bool {
        backpressure.take_frame().now_or_never().is_some() && backpressure.take_bytes(size).now_or_never().is_some()
    }

    #[test]
    fn a_frame_beyond_the_limit_waits_for_an_answer() {
        let backpressure = backpressure(3, 1 << 20);
        assert!((0..3).all(|_| frame(&backpressure, 10)));
        assert!(!frame(&backpressure, 10));
        backpressure.give_back();
        assert!(frame(&backpressure, 10));
        assert!(!frame(&backpressure, 10));
    }

    #[test]
    fn bytes_are_limited_whichever_frame_is_answered_first() {
        let backpressure = backpressure(100, 100 * UNIT);
        assert!(frame(&backpressure, 60 * UNIT));
        assert!(frame(&backpressure, 10 * UNIT));
        // Either may have been answered, so the large one may be what is still owed.
        backpressure.give_back();
        assert!(backpressure.take_bytes(41 * UNIT).now_or_never().is_none());
        assert!(backpressure.take_bytes(40 * UNIT).now_or_never().is_some());
        backpressure.give_back();
        backpressure.give_back();
        assert!(backpressure.take_bytes(100 * UNIT).now_or_never().is_some());
    }

    #[test]
    fn giving_back_more_than_was_taken_adds_no_credit() {
        let backpressure = backpressure(1, UNIT);
        backpressure.give_back();
        assert!(frame(&backpressure, 0));
        assert!(!frame(&backpressure, 0));
    }

    #[test]
    fn owed_bytes_are_counted_until_they_are_given_back_or_the_connection_ends() {
        let memory = Arc::new(Memory::new(usize::MAX));
        let backpressure = Backpressure::new(8, 100 * UNIT, Arc::clone(&memory));
        assert!(frame(&backpressure, 10 * UNIT) && frame(&backpressure, 1) && frame(&backpressure, 2 * UNIT));
        assert_eq!((memory.held(), backpressure.owed_bytes()), (13 * UNIT, 13 * UNIT));
        backpressure.give_back();
        assert_eq!((memory.held(), backpressure.owed_bytes()), (12 * UNIT, 12 * UNIT));
        drop(backpressure);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_frame_larger_than_all_credit_is_read_once_all_of_it_is_free() {
        let backpressure = backpressure(8, 10 * UNIT);
        assert!(frame(&backpressure, 11 * UNIT));
        assert!(!frame(&backpressure, 1));
        backpressure.give_back();
        assert!(frame(&backpressure, 11 * UNIT));
    }
}
