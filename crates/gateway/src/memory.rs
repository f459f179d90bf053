//! The memory budget of all clients together. Only counts bytes; the driver decides whom to close
//! when there are too many. Must not depend on sockets.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell};

/// Counts what is held for all clients, in bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    held: AtomicUsize,
    max: usize,
    is_exceeded: AtomicBool,
    exceeded: Notify,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    memory: Arc<Memory>,
    bytes: usize,
}

/// A buffer that waits for several clients, counted once however many they are.
#[derive(Debug)]
pub(crate) struct SharedBuffer {
    _held: HeldBytes,
    /// The same compressed, once it was to be; `None` in it if it goes as it is.
    pub(crate) deflated: OnceCell<Option<Deflated>>,
}

/// A compressed message. Its bytes are counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Deflated {
    pub(crate) bytes: Bytes,
    _held: HeldBytes,
}

/// Recognises the buffer that was counted last: frames for many clients are sent one after the
/// other.
#[derive(Debug, Default)]
pub(crate) struct LastShared(Option<(Bytes, Arc<SharedBuffer>)>);

impl Memory {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max, is_exceeded: AtomicBool::new(false), exceeded: Notify::new() }
    }

    pub(crate) fn add(&self, size: usize) {
        let held = self.held.fetch_add(size, Ordering::AcqRel) + size;
        if held > self.max && !self.is_exceeded.swap(true, Ordering::AcqRel) {
            self.exceeded.notify_one();
        }
    }

    pub(crate) fn remove(&self, size: usize) {
        self.held.fetch_sub(size, Ordering::AcqRel);
    }

    /// True while more is held than allowed.
    pub(crate) fn is_short(&self) -> bool {
        self.held.load(Ordering::Acquire) > self.max
    }

    /// Returns when more is held than allowed. Cancel safe.
    pub(crate) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// How many bytes too many are held. What is added from now on is reported again.
    pub(crate) fn excess(&self) -> usize {
        self.is_exceeded.store(false, Ordering::Release);
        self.held.load(Ordering::Acquire).saturating_sub(self.max)
    }

    /// How many bytes are held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

impl HeldBytes {
    pub(crate) fn new(memory: &Arc<Memory>, bytes: usize) -> Self {
        memory.add(bytes);
        Self { memory: Arc::clone(memory), bytes }
    }

    /// Counts so many bytes instead.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.memory.add(bytes.saturating_sub(self.bytes));
        self.memory.remove(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
    }
}

impl Deflated {
    pub(crate) fn new(bytes: Bytes, held: HeldBytes) -> Self {
        Self { bytes, _held: held }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.memory.remove(self.bytes);
    }
}

impl LastShared {
    /// The count of a buffer that is shared with other clients; none if it is for one client only.
    pub(crate) fn count(&mut self, buffer: &Bytes, memory: &Arc<Memory>) -> Option<Arc<SharedBuffer>> {
        if let Some((last, shared)) = &self.0
            && last.as_ptr() == buffer.as_ptr()
            && last.len() == buffer.len()
        {
            return Some(Arc::clone(shared));
        }
        if buffer.is_unique() {
            return None;
        }
        let held = HeldBytes::new(memory, buffer.len());
        let shared = Arc::new(SharedBuffer { _held: held, deflated: OnceCell::new() });
        // The handle keeps another buffer from being allocated at the same address.
        self.0 = Some((buffer.clone(), Arc::clone(&shared)));
        Some(shared)
    }

    /// Drops the last buffer. Call it once the frames of one event have been sent.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_excess_is_reported_once_until_it_is_looked_at() {
        let memory = Memory::new(100);
        memory.add(100);
        assert!(memory.exceeded().now_or_never().is_none());
        memory.add(1);
        memory.add(10);
        assert!(memory.exceeded().now_or_never().is_some());
        assert!(memory.exceeded().now_or_never().is_none());
        assert_eq!(memory.excess(), 11);
        memory.add(1);
        assert!(memory.exceeded().now_or_never().is_some());
        memory.remove(112);
        assert_eq!((memory.excess(), memory.held()), (0, 0));
    }

    #[test]
    fn a_shared_buffer_counts_once_until_its_last_holder_drops_it() {
        let memory = Arc::new(Memory::new(usize::MAX));
        let mut last = LastShared::default();
        let event = Bytes::from(vec![0; 1000]);
        let waiting: Vec<_> = (0..10).map(|_| (event.clone(), last.count(&event, &memory).unwrap())).collect();
        assert_eq!(memory.held(), 1000);
        let other = Bytes::from(vec![1; 10]);
        assert!(last.count(&other, &memory).is_none(), "a buffer for one client is counted by that client");
        let shared = (other.clone(), last.count(&other, &memory).unwrap());
        assert_eq!(memory.held(), 1010);
        drop(waiting);
        assert_eq!(memory.held(), 10);
        last.forget();
        drop(shared);
        assert_eq!(memory.held(), 0);
    }
}
