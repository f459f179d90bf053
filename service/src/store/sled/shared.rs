//! What the store's callers and its two threads have in common, and how they wake each other.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::Notify;

use super::{
    StoreError,
    state::{Phase, State},
};

/// See the header.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Somebody who waits for the state should look.
    changed: Condvar,
    pub(super) deadline_moved: Notify,
    /// Why nothing can be written any more.
    failure: OnceLock<Failure>,
}

/// A failure that many are told of.
#[derive(Clone, Debug)]
struct Failure(Arc<dyn Error + Send + Sync>);

/// A thread of the store is gone.
#[derive(Debug, thiserror::Error)]
#[error("a thread that writes sessions has stopped")]
struct Stopped;

/// Says that a thread has ended when it is dropped: if the store was not to be closed, it has failed.
pub(super) struct Ended(pub(super) Arc<Shared>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            deadline_moved: Notify::new(),
            failure: OnceLock::new(),
        }
    }

    /// Never held while waiting for the disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in steps that cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for [`Shared::notify`].
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Whether the store can take writes, as far as the disk is concerned.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(StoreError::Backend(Box::new(failure.clone()))),
        }
    }

    /// Ends all writing: after a failure nobody knows what is on disk, and a second sync would lie.
    pub(super) fn fail(&self, error: impl Error + Send + Sync + 'static) {
        let failure = Failure(Arc::new(error));
        if self.failure.set(failure.clone()).is_ok() {
            tracing::error!(
                error = %crate::errors::Chain(&failure),
                "sessions cannot be written any more: start again when the disk is well"
            );
        }
        let groups = self.lock().give_up();
        // After the failure is there to be found, and the lock open: it tells all that wait.
        drop(groups);
        self.notify();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let is_open = self.0.lock().phase == Phase::Open;
        if is_open || std::thread::panicking() {
            self.0.fail(Stopped);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
