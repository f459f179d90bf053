//! Keeps the memory in which password hashes are computed from one check to the next. Must not
//! depend on passwords or users.
//!
//! Argon2 fills tens of megabytes for each hash. Allocated and freed by whichever thread checks,
//! that memory would stay in the allocator, once for each of its arenas. So it is kept here, one
//! set for each concurrent check, and freed when none has been used for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argon2::Block;
use tokio::runtime::Handle;

/// Memory for one hash at a time. Grows to what the costliest hash needs.
#[derive(Default)]
pub struct HashMemory(Vec<Block>);

/// Memories that no check uses at the moment.
#[derive(Debug)]
pub(crate) struct HashMemoryPool {
    kept: Mutex<KeptBlock>,
    idle: Duration,
}

#[derive(Default)]
struct KeptBlock {
    free: Vec<HashMemory>,
    /// How many times a memory was taken: tells whether one was taken since the last look.
    taken: u64,
    is_watched: bool,
}

/// How long memories are kept after the last check.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

impl HashMemory {
    /// At least `count` blocks of 1 KiB, with any content.
    ///
    /// # Errors
    /// [`argon2::Error::OutOfMemory`] if the system has no memory left.
    pub(crate) fn blocks(&mut self, count: usize) -> Result<&mut [Block], argon2::Error> {
        if self.0.len() < count {
            // The smaller one is freed first; otherwise both would exist at the same time.
            self.0 = Vec::new();
            self.0.try_reserve_exact(count).map_err(|_| argon2::Error::OutOfMemory)?;
            self.0.resize(count, Block::new());
        }
        Ok(&mut self.0)
    }
}

impl HashMemoryPool {
    /// An empty pool, which frees its memories once none was taken for `idle`.
    pub(crate) fn new(idle: Duration) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), idle })
    }

    /// A memory that was used before, if there is one.
    pub(crate) fn take(&self) -> HashMemory {
        let mut kept = self.lock();
        kept.taken += 1;
        kept.free.pop().unwrap_or_default()
    }

    /// Keeps a memory for the next check. Call it within a runtime, which frees it after a while
    /// without checks.
    pub(crate) fn give_back(self: &Arc<Self>, memory: HashMemory) {
        let mut kept = self.lock();
        kept.free.push(memory);
        if !std::mem::replace(&mut kept.is_watched, true) {
            drop(kept);
            Handle::current().spawn(Arc::clone(self).free_when_idle());
        }
    }

    async fn free_when_idle(self: Arc<Self>) {
        let mut seen = None;
        loop {
            let taken = self.lock().taken;
            if seen.replace(taken) == Some(taken) && self.free_unless_taken_since(taken) {
                return;
            }
            tokio::time::sleep(self.idle).await;
        }
    }

    fn free_unless_taken_since(&self, taken: u64) -> bool {
        let mut kept = self.lock();
        if kept.taken != taken {
            return false;
        }
        kept.is_watched = false;
        let free = std::mem::take(&mut kept.free);
        drop(kept);
        // Outside of the lock, because freeing so much memory takes the system a moment.
        drop(free);
        true
    }

    fn lock(&self) -> MutexGuard<'_, KeptBlock> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many memories are kept, and their blocks.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.free.len(), kept.free.iter().map(|memory| memory.0.len()).sum())
    }
}

impl std::fmt::Debug for HashMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HashMemory").field(&self.0.len()).finish()
    }
}

impl std::fmt::Debug for KeptBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptBlock").field("free", &self.free).field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_reused_and_freed_once_it_was_idle_for_a_while() {
        let pool = HashMemoryPool::new(IDLE);
        let (mut first, second) = (pool.take(), pool.take());
        assert_eq!(first.blocks(16).unwrap().len(), 16);
        pool.give_back(first);
        pool.give_back(second);
        assert_eq!(pool.kept(), (2, 16));
        for _ in 0..3 {
            tokio::time::sleep(IDLE * 2 / 3).await;
            let mut again = pool.take();
            assert_eq!(again.blocks(8).unwrap().len(), 16.min(again.0.len()));
            pool.give_back(again);
            assert_eq!(pool.kept().0, 2, "in use now and then");
        }
        tokio::time::sleep(IDLE * 3).await;
        assert_eq!(pool.kept(), (0, 0));
        // And again after that.
        let memory = pool.take();
        pool.give_back(memory);
        assert_eq!(pool.kept().0, 1);
        tokio::time::sleep(IDLE * 3).await;
        assert_eq!(pool.kept().0, 0);
    }

    #[test]
    fn a_failed_allocation_is_an_error_and_not_a_crash() {
        let mut memory = HashMemory::default();
        assert!(matches!(memory.blocks(usize::MAX / 2048), Err(argon2::Error::OutOfMemory)));
        assert_eq!(memory.blocks(8).unwrap().len(), 8, "the next one is not worse off");
    }
}
