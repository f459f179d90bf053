//! Why requests and commands fail.

use relogin_res::{Error, code};

use crate::Diagnostic;

/// Why a request or a command failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The gateway or a service said no.
    #[error("refused: {0}")]
    Refused(#[source] Error),
    /// No answer in time, or no connection. The request may have been carried out.
    #[error("no answer in time")]
    TimedOut,
    /// The connection went after the request was sent. The request may have been carried out.
    #[error("the connection was lost")]
    ConnectionLost,
    /// The answer is not RES.
    #[error("the answer makes no sense")]
    Garbled,
    /// A later command made it pointless: unsubscribed before the resource was there, logged out
    /// before logged in.
    #[error("a later command took its place")]
    Superseded,
}

impl RequestError {
    /// The RES error code that says it: the gateway's or service's own, or the one that RES clients
    /// use.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(error) => &error.code,
            Self::TimedOut => code::TIMEOUT,
            Self::ConnectionLost => "system.connectionError",
            Self::Garbled => code::INTERNAL_ERROR,
            Self::Superseded => "client.superseded",
        }
    }
}

impl From<&RequestError> for Diagnostic {
    fn from(error: &RequestError) -> Self {
        Self::Failed(error.code().to_owned())
    }
}
