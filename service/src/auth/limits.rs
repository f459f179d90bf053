//! How many requests are processed at once. Must not depend on what they ask for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that are processed at once. Logins have a limit of their own, because they wait for
/// password checks: however many there are, they take no place from a relogin.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimits {
    logins: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl ConcurrencyLimits {
    /// Logins beyond the password checks that may wait are refused there. These come on top, while
    /// they look for their session.
    const LOGINS: usize = 2048;
    const OTHERS: usize = 1024;

    pub(super) fn new() -> Self {
        Self { logins: Arc::new(Semaphore::new(Self::LOGINS)), others: Arc::new(Semaphore::new(Self::OTHERS)) }
    }

    /// How many logins, and how many other requests, are processed.
    pub(super) fn taken(&self) -> (usize, usize) {
        (Self::LOGINS - self.logins.available_permits(), Self::OTHERS - self.others.available_permits())
    }

    /// A place for a login; none if there are too many.
    pub(super) fn enter_login(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.logins).try_acquire_owned().ok()
    }

    /// A place for another request, if one is free.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.others).try_acquire_owned().ok()
    }

    /// The next free place for another request. The request waits for it, and so do those behind
    /// it.
    pub(super) async fn wait_and_enter(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.others).acquire_owned().await.expect("limits are never closed")
    }
}
