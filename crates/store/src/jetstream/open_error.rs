//! Why the store cannot be opened, and whether that may pass. Must not depend on how it is opened.

use std::{error::Error, iter::successors};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{AccountError, CreateStreamError, CreateStreamErrorKind},
};

use crate::StoreError;

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The server is too old.
    #[error("nats-server {0} is too old: sessions in JetStream need version 2.12 or later")]
    ServerTooOld(String),
    /// JetStream is not enabled.
    #[error("there is no JetStream for this user at the NATS server {0}; start nats-server with --jetstream")]
    NoJetStream(String),
    /// JetStream says nothing, or nothing of use.
    #[error("JetStream does not answer")]
    Unanswered {
        /// What is known of that.
        #[source]
        source: AccountError,
    },
    /// The bucket cannot be made or used.
    #[error("cannot use the JetStream bucket {bucket:?}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What the server said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
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
    /// True if it may be otherwise in a moment: servers that have just started have no leader, and
    /// neither has a bucket that was just made.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Bucket { source, .. } => may_pass(source.as_ref()),
            Self::Store(error) => matches!(error, StoreError::Backend(_) | StoreError::Shortage(_)),
            Self::Unanswered { .. } => true,
            Self::ServerTooOld(_) | Self::NoJetStream(_) | Self::Missing(_) | Self::Different { .. } => false,
        }
    }
}

/// True if what JetStream says, or that it says nothing, may be otherwise in a moment. Everything
/// is taken for that but what is known not to be: whoever waits in vain has lost a minute, whoever
/// does not wait has no service.
#[must_use]
pub fn may_pass(error: &(dyn Error + 'static)) -> bool {
    let mut answers = successors(Some(error), |&error| error.source()).filter_map(code);
    !answers.any(|code| LASTING.contains(&code))
}

/// More than one replica without a cluster; no room, or no room for another stream; another stream
/// has the bucket's subjects.
const LASTING: [ErrorCode; 5] = [
    ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ErrorCode::STREAM_SUBJECT_OVERLAP,
];

/// What JetStream has answered, which the client does not always give as an error's source.
fn code(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    if let Some(error) = error.downcast_ref::<CreateStreamError>() {
        let CreateStreamErrorKind::JetStream(answer) = error.kind() else { return None };
        return Some(answer.error_code());
    }
    error.downcast_ref().map(jetstream::Error::error_code)
}
