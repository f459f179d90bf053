//! Where the session manager is between no connection and an operation that runs. What means
//! something in one phase only is inside it.

use crate::{connection::ConnectionNotes, operation::Operation};

/// The phase.
#[derive(Clone, Debug, Default)]
#[allow(clippy::large_enum_variant, reason = "a session manager has one, and on wasm32 they are small")]
pub(crate) enum Phase {
    /// There is no connection.
    #[default]
    Disconnected,
    /// A connection opens: a challenge may be asked for on it.
    Opening(ConnectionNotes),
    /// The connection takes requests, and nothing is under way.
    Idle(ConnectionNotes),
    /// An operation runs on the connection.
    Busy(ConnectionNotes, Operation),
}

impl Phase {
    pub(crate) fn connection(&self) -> Option<&ConnectionNotes> {
        match self {
            Self::Disconnected => None,
            Self::Opening(connection) | Self::Idle(connection) | Self::Busy(connection, _) => Some(connection),
        }
    }

    pub(crate) fn connection_mut(&mut self) -> Option<&mut ConnectionNotes> {
        match self {
            Self::Disconnected => None,
            Self::Opening(connection) | Self::Idle(connection) | Self::Busy(connection, _) => Some(connection),
        }
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        if let Self::Busy(_, operation) = self { Some(operation) } else { None }
    }

    /// The operation that runs, and its connection.
    pub(crate) fn running(&mut self) -> Option<(&mut ConnectionNotes, &mut Operation)> {
        if let Self::Busy(connection, operation) = self { Some((connection, operation)) } else { None }
    }

    /// Whether the connection takes requests.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self, Self::Idle(_) | Self::Busy(..))
    }

    /// A new connection takes requests: the one that was opening, if one was.
    pub(crate) fn connect(&mut self) {
        *self = match std::mem::take(self) {
            Self::Opening(connection) => Self::Idle(connection),
            _ => Self::Idle(ConnectionNotes::default()),
        };
    }

    /// An operation begins.
    pub(crate) fn begin(&mut self, operation: Operation) {
        *self = match std::mem::take(self) {
            Self::Idle(connection) => Self::Busy(connection, operation),
            other => other,
        };
    }

    /// The operation is over.
    pub(crate) fn finish(&mut self) -> Option<Operation> {
        match std::mem::take(self) {
            Self::Busy(connection, operation) => {
                *self = Self::Idle(connection);
                Some(operation)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}
