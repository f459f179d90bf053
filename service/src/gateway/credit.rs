//! How far a client may be ahead of its answers: so many frames, and so many bytes of them. Knows no sockets.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

/// The credits of one connection.
#[derive(Debug)]
pub(super) struct Credits {
    frames: Semaphore,
    bytes: Semaphore,
    /// What the unanswered frames cost. An answer does not say to which frame, so each gives back the least that is owed:
    /// never more than its own.
    owed: Mutex<BinaryHeap<Reverse<u32>>>,
}

/// Bytes are counted in these, for a semaphore counts no further than 32 bits of them at once.
const UNIT: usize = 1024;

impl Credits {
    /// Credits for `frames` frames of `bytes` bytes together. A single frame may have as many.
    pub(super) fn new(frames: usize, bytes: usize) -> Self {
        Self { frames: Semaphore::new(frames), bytes: Semaphore::new(bytes.div_ceil(UNIT)), owed: Mutex::default() }
    }

    /// Waits until one more frame may be read, and takes its credit.
    pub(super) async fn take_frame(&self) {
        take(&self.frames, 1).await;
    }

    /// Waits until a frame of this size may be handed on, and takes credit for its bytes.
    pub(super) async fn take_bytes(&self, size: usize) {
        let cost = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX);
        take(&self.bytes, cost).await;
        self.owed().push(Reverse(cost));
    }

    /// A frame is dealt with.
    pub(super) fn give_back(&self) {
        if let Some(Reverse(cost)) = self.owed().pop() {
            self.bytes.add_permits(cost as usize);
            self.frames.add_permits(1);
        }
    }

    /// Nothing under the lock panics halfway, so what a poisoned lock guards is whole.
    fn owed(&self) -> MutexGuard<'_, BinaryHeap<Reverse<u32>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(credits: &Semaphore, count: u32) {
    credits.acquire_many(count).await.expect("nobody closes the semaphore").forget();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn frame(credits: &Credits, size: usize) -> bool {
        credits.take_frame().now_or_never().is_some() && credits.take_bytes(size).now_or_never().is_some()
    }

    #[test]
    fn so_many_frames() {
        let credits = Credits::new(3, 1 << 20);
        assert!((0..3).all(|_| frame(&credits, 10)));
        assert!(!frame(&credits, 10));
        credits.give_back();
        assert!(frame(&credits, 10));
        assert!(!frame(&credits, 10));
    }

    #[test]
    fn so_many_bytes_whatever_frame_is_answered_first() {
        let credits = Credits::new(100, 100 * UNIT);
        assert!(frame(&credits, 60 * UNIT));
        assert!(frame(&credits, 10 * UNIT));
        // Whichever of both it was: what is left may be the large one.
        credits.give_back();
        assert!(credits.take_bytes(41 * UNIT).now_or_never().is_none());
        assert!(credits.take_bytes(40 * UNIT).now_or_never().is_some());
        credits.give_back();
        credits.give_back();
        assert!(credits.take_bytes(100 * UNIT).now_or_never().is_some());
    }

    #[test]
    fn nothing_is_given_back_that_was_not_taken() {
        let credits = Credits::new(1, UNIT);
        credits.give_back();
        assert!(frame(&credits, 0));
        assert!(!frame(&credits, 0));
    }
}
