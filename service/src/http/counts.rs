//! What HTTP counts, for whoever shows it: connections, and what was refused. Must not know who
//! does.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection or a request was refused, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many connections as allowed.
    Connections,
    /// There are as many from one address as allowed.
    ConnectionsPerAddress,
    /// The requested host is not the server's.
    Host,
    /// The page may not connect.
    Origin,
    /// A WebSocket request without the header `Upgrade`.
    Upgrade,
}

/// Counts of one server.
#[derive(Debug, Default)]
pub struct HttpCounts {
    accepted: AtomicU64,
    ended: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Connections, Self::ConnectionsPerAddress, Self::Host, Self::Origin, Self::Upgrade];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ConnectionsPerAddress => "max_connections_per_address",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Upgrade => "upgrade",
        }
    }
}

impl HttpCounts {
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // Ends first: no more than were accepted.
        let ended = self.ended.load(Ordering::Relaxed);
        self.accepted.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// How many were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were refused for this reason.
    #[must_use]
    pub fn refused(&self, refused: Refused) -> u64 {
        self.refused[refused as usize].load(Ordering::Relaxed)
    }
}
