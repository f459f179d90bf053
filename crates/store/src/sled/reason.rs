//! Why something cannot be written, for all that wait for it. Must not depend on what they wait
//! for.

use std::{error::Error, fmt, sync::Arc};

use super::StoreError;

/// An error that many callers get.
#[derive(Clone, Debug)]
pub(super) struct Reason(Arc<dyn Error + Send + Sync>);

impl Reason {
    pub(super) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// As the answer to a write that this prevents.
    pub(super) fn as_shortage(&self) -> StoreError {
        StoreError::Shortage(Box::new(self.clone()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Reason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
