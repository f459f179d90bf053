//! The state that the store's callers and its two threads share, and how they wake each other.

use std::{
    error::Error,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relogin_host::durations::Durations;
use tokio::sync::{Notify, SetOnce};

use super::{
    StoreError,
    reason::Reason,
    state::{Phase, State},
};

/// See the header of the store.
#[derive(Debug)]
pub(super) struct SledShared {
    state: Mutex<State>,
    /// Whoever waits for the state should look again.
    changed: Condvar,
    pub(super) deadline_moved: Notify,
    /// How long groups took to be written and synced.
    pub(super) syncs: Durations,
    /// Why nothing can be written any more.
    failure: SetOnce<Reason>,
    /// True once the first failure is in the log.
    is_told: AtomicBool,
    /// Increases with each step of the checkpointer's progress.
    steps: AtomicU64,
    /// How long the checkpointer may make no progress while somebody waits for it.
    stall_limit: Duration,
}

/// The result of waiting for the checkpointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpointed {
    /// Everything that it was given is checkpointed.
    All,
    /// It is short of a resource, and retries later.
    Short,
    /// The store has failed.
    Failed,
}

/// The checkpointer makes no progress.
#[derive(Debug, thiserror::Error)]
#[error("the database has not answered for {} s", .0.as_secs())]
struct Stuck(Duration);

/// A thread of the store is gone.
#[derive(Debug, thiserror::Error)]
#[error("a thread that writes sessions has stopped")]
struct Stopped;

/// Reports that a thread has ended when it is dropped: if the store was not being closed, it has
/// failed.
pub(super) struct Ended(pub(super) Arc<SledShared>);

impl SledShared {
    pub(super) fn new(state: State, stall_limit: Duration) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            deadline_moved: Notify::new(),
            syncs: Durations::default(),
            failure: SetOnce::new(),
            is_told: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            stall_limit,
        }
    }

    /// Never held while waiting for the disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in steps that cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for [`SledShared::notify`].
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Whether the store can accept writes, as far as the disk is concerned.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(StoreError::Backend(Box::new(failure.clone()))),
        }
    }

    /// Resolves once the store has failed.
    pub(super) async fn failed(&self) {
        self.failure.wait().await;
    }

    /// The checkpointer makes progress.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    /// Waits until nothing is being checkpointed, or nothing can be.
    pub(super) fn wait_for_checkpointer(&self) -> Checkpointed {
        let mut state = self.lock();
        let (mut steps, mut since) = (self.steps.load(Relaxed), Instant::now());
        while state.checkpointing.is_some() && state.short.is_none() && self.check().is_ok() {
            (state, _) = self.changed.wait_timeout(state, self.stall_limit).unwrap_or_else(PoisonError::into_inner);
            let now = self.steps.load(Relaxed);
            if now != steps {
                (steps, since) = (now, Instant::now());
            } else if since.elapsed() >= self.stall_limit {
                drop(state);
                self.fail(Stuck(self.stall_limit));
                return Checkpointed::Failed;
            }
        }
        match &*state {
            _ if self.check().is_err() => Checkpointed::Failed,
            State { checkpointing: Some(_), .. } => Checkpointed::Short,
            _ => Checkpointed::All,
        }
    }

    /// Ends all writing: after a failure it is unknown what is on disk, and a second sync would
    /// lie.
    pub(super) fn fail(&self, error: impl Error + Send + Sync + 'static) {
        let failure = Reason::new(error);
        if !self.is_told.swap(true, Relaxed) {
            // Before anybody knows: the process ends as soon as somebody does.
            tracing::error!(
                error = %relogin_host::errors::Chain(&failure),
                "can no longer write sessions, exiting; everything that was answered is on disk"
            );
        }
        // The first reason counts.
        self.failure.set(failure).ok();
        let groups = self.lock().give_up();
        // After the failure is recorded, and the lock is free: this answers all that wait.
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
