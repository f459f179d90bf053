//! Turns failures of a request into RES errors. This is the only place that does.

use std::{error::Error as StdError, time::Duration};

use relogin_res::{Error, code};
use relogin_session::Denied;
use serde_json::json;
use tracing::{debug, error, warn};

use super::route::Route;
use crate::{errors::Chain, users::DirectoryError};

/// Why a request is not answered with a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The payload is not what the request takes.
    Malformed,
    /// The caller may not have what it asks for.
    Denied(Denied),
    /// There is no such resource.
    NotFound,
    /// The user or the address has failed to log in too often, and has to wait for so long.
    TooManyAttempts(Duration),
    /// Too many logins wait.
    Busy,
    /// The session store cannot take a write for now.
    Shortage,
    /// Something of ours failed.
    Ours(Box<dyn StdError + Send + Sync>),
    /// The request's task panicked.
    Panic,
}

impl Failure {
    /// There is no such method.
    pub(super) fn method_not_found() -> Self {
        Self::Denied(Denied::MethodNotFound)
    }

    /// True if the payload was at fault.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed | Self::Denied(Denied::InvalidParams))
    }

    /// What the caller is told.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Malformed => Error::invalid_params(),
            Self::Denied(denied) => Error::new(denied.code(), denied.to_string()),
            Self::NotFound => Error::not_found(),
            Self::TooManyAttempts(wait) => {
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                let error = Error::new("session.tooManyAttempts", "Too many failed logins; try again later");
                Error { data: Some(json!({ "retryAfter": ms })), ..error }
            }
            // A client takes it for what it is: nothing was decided, and a later try may do.
            Self::Busy => Error::new(code::TIMEOUT, "Too many logins at once; try again in a moment"),
            Self::Ours(_) | Self::Shortage | Self::Panic => Error::internal(),
        }
    }

    /// Says in the log what the caller is not told.
    pub(super) fn log(&self, route: &Route) {
        match self {
            Self::Malformed | Self::NotFound => {}
            Self::Denied(denied) => debug!(%route, "denied: {denied}"),
            Self::TooManyAttempts(wait) => debug!(%route, ?wait, "denied: too many failed logins"),
            Self::Busy => warn!(%route, "refused: too many password checks are waiting"),
            Self::Shortage => debug!(%route, "refused: the session store is out of a resource, see its own message"),
            Self::Ours(source) => error!(%route, "failed: {}", Chain(source.as_ref())),
            Self::Panic => error!(%route, "panicked; see the message above"),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Error> for Failure {
    /// What `crates/res` finds wrong with a payload.
    fn from(_: Error) -> Self {
        Self::Malformed
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Busy => Self::Busy,
            DirectoryError::Failed(source) => Self::Ours(source),
        }
    }
}

impl From<crate::sessions::SessionsError> for Failure {
    fn from(error: crate::sessions::SessionsError) -> Self {
        use crate::{sessions::SessionsError, store::StoreError};
        if matches!(error, SessionsError::Store(StoreError::Shortage(_))) {
            return Self::Shortage;
        }
        Self::Ours(Box::new(error))
    }
}
