//! Why the store cannot be opened. Must not depend on how it is.

use thiserror::Error;

use crate::StoreError;

/// Why the bucket cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The server is too old.
    #[error("nats-server {0} is too old: sessions in JetStream need version 2.12 or later")]
    ServerTooOld(String),
    /// There is no JetStream, it does not let us in, or the bucket cannot be made.
    #[error("cannot use the JetStream bucket {bucket:?}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such bucket.
    #[error("there is no JetStream bucket {0:?}")]
    Missing(String),
    /// There is a bucket of this name that is made in another way.
    #[error("the JetStream bucket {bucket:?} keeps {found}, but {wanted} is asked for")]
    Different {
        /// Its name.
        bucket: String,
        /// How it is made.
        found: String,
        /// How it should be made.
        wanted: String,
    },
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// True if the bucket is there and takes no writes: one that was just made has no leader yet.
    pub(super) fn is_shortage(&self) -> bool {
        matches!(self, Self::Bucket { source, .. } if matches!(source.downcast_ref(), Some(StoreError::Shortage(_))))
    }
}
