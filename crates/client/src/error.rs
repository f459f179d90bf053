//! What can go wrong, as a caller sees it.

use relogin_client_proto::RequestError;
use relogin_res::InvalidResourceId;
use thiserror::Error as ThisError;

/// Why a command came to nothing.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The gateway or the service said no, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What came is not what the caller's type takes, or the params have no JSON form.
    #[error("not of the expected form: {0}")]
    Format(#[from] serde_json::Error),
    /// A text that is no resource id.
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
    /// The RES error code, if it has one: `system.accessDenied`, `session.invalidReloginKey`, …
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Request(error) => Some(error.code()),
            Self::Deleted => Some(relogin_res::code::DELETED),
            Self::Format(_) | Self::Id(_) | Self::Kind => None,
        }
    }
}
