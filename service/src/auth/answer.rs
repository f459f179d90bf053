//! Turns failures of a request into RES errors. This is the only place that does.

use std::{error::Error as StdError, fmt::Display, time::Duration};

use relogin_host::errors::Chain;
use relogin_res::{Error, code};
use relogin_session::Denied;
use relogin_users::DirectoryError;
use serde_json::json;
use tracing::{debug, error, warn};

/// Why a request is not answered with a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The payload is not what the request expects.
    Malformed,
    /// The caller is not permitted what it asks for.
    Denied(Denied),
    /// The resource does not exist.
    NotFound,
    /// The user or the address has failed to log in too often, and has to wait this long.
    TooManyAttempts(Duration),
    /// A new password has fewer characters than this.
    PasswordTooShort(usize),
    /// Too many logins are waiting.
    Busy,
    /// The session store cannot accept a write at the moment.
    Shortage,
    /// An internal error.
    Ours(Box<dyn StdError + Send + Sync>),
    /// The request's task panicked.
    Panic,
}

impl Failure {
    /// The method does not exist.
    pub(super) fn method_not_found() -> Self {
        Self::Denied(Denied::MethodNotFound)
    }

    /// True if the payload is at fault.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed | Self::Denied(Denied::InvalidParams))
    }

    /// True if this instance lacks the session that the request is about: another one may have it.
    pub(super) fn lacks_session(&self) -> bool {
        matches!(self, Self::Denied(Denied::InvalidReloginKey | Denied::NotLoggedIn))
    }

    /// The error that the caller gets.
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
            Self::PasswordTooShort(min_length) => {
                let error = Error::new("session.passwordTooShort", "The password is too short");
                Error { data: Some(json!({ "minLength": min_length })), ..error }
            }
            // Clients understand it as: nothing was decided, and a later try may succeed.
            Self::Busy => Error::new(code::TIMEOUT, "Too many logins at once; try again in a moment"),
            Self::Ours(_) | Self::Shortage | Self::Panic => Error::internal(),
        }
    }

    /// Logs what the answer does not say.
    pub(super) fn log(&self, route: &impl Display) {
        match self {
            Self::Malformed | Self::NotFound => {}
            Self::Denied(denied) => debug!(%route, "denied: {denied}"),
            Self::TooManyAttempts(wait) => debug!(%route, ?wait, "denied: too many failed logins"),
            Self::PasswordTooShort(_) => debug!(%route, "denied: the new password is too short"),
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
    /// An error of `crates/res` in a payload.
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
        use relogin_store::StoreError;

        use crate::sessions::SessionsError;
        if matches!(error, SessionsError::Store(StoreError::Shortage(_))) {
            return Self::Shortage;
        }
        Self::Ours(Box::new(error))
    }
}
