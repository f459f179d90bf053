//! The error type of the API. Must not depend on how commands are carried out.

use relogin_client_proto::RequestError;
use relogin_res::InvalidResourceId;
use thiserror::Error as ThisError;

/// Why a command failed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The gateway or the service refused, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The values do not have the form of the caller's type, or the params have no JSON form.
    #[error("not of the expected form: {0}")]
    Format(#[from] serde_json::Error),
    /// A text is not a resource id.
    #[error(transparent)]
    Id(#[from] InvalidResourceId),
    /// The service deleted the resource. Its last values stay readable.
    #[error("the resource was deleted")]
    Deleted,
    /// The method answered with a resource where a payload was expected, or the other way round.
    #[error("the method answered with another kind of result")]
    Kind,
}

impl Error {
    /// The RES error code, if there is one: `system.accessDenied`, `session.invalidReloginKey`, …
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Request(error) => Some(error.code()),
            Self::Deleted => Some(relogin_res::code::DELETED),
            Self::Format(_) | Self::Id(_) | Self::Kind => None,
        }
    }
}
