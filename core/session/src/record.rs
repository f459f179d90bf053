//! What stores keep of a session.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Attempt, ConnectionId, SessionId, Timestamp, UserId};

/// A session as it is stored. Holds no relogin key and no hash of one: keys are made from the server's secret and `salt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The session's name.
    pub sid: SessionId,
    /// Whose session it is.
    pub user_id: UserId,
    /// When it was made.
    pub created: Timestamp,
    /// When its key was last used.
    pub last_seen: Timestamp,
    /// The idle deadline: moves with each rotation and replay, never past `session_deadline`.
    pub key_deadline: Timestamp,
    /// The absolute deadline.
    pub session_deadline: Timestamp,
    /// The generation of the newest key that was given out; 1 at login.
    pub generation: u64,
    /// What the session's keys are derived from, with the server's secret.
    pub salt: [u8; 16],
    /// The connections that hold the session, oldest first.
    pub connections: Vec<ConnectionId>,
    /// Where the session was made.
    pub device: Device,
    /// Digest of the cookie that login was bound to.
    pub cookie: Option<[u8; 32]>,
    /// How `generation` came to be.
    pub made_by: MadeBy,
}

/// What is known of the device that logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The registered public key (a JWK, as JSON text); with one the session is a bound one.
    pub public_key: Option<String>,
    /// The browser's User-Agent header.
    pub user_agent: Option<String>,
    /// The address that logged in, `ip:port`.
    pub remote_addr: Option<String>,
    /// What the user calls the device.
    pub label: Option<String>,
}

/// The request that made a record's generation: a repetition of it is a replay and no theft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The connection it came on.
    pub connection: ConnectionId,
    /// The attempt it carried; none from clients of the guide's kind.
    pub attempt: Option<Attempt>,
}

/// A stored record that cannot be read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Written by a version of Relogin that this one does not know.
    #[error("session record has the unknown format {0}")]
    UnknownFormat(u8),
    /// No record at all, or a damaged one.
    #[error("session record is damaged")]
    Damaged(#[from] postcard::Error),
    /// Nothing was stored.
    #[error("session record is empty")]
    Empty,
}

/// The first byte of a stored record.
const FORMAT: u8 = 1;

impl Record {
    /// When the session ends if its key is not used before.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.key_deadline.min(self.session_deadline)
    }

    /// True once the session has passed its deadline.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.deadline() <= now
    }

    /// True if `connection` holds this session.
    #[must_use]
    pub fn is_on(&self, connection: &ConnectionId) -> bool {
        self.connections.contains(connection)
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if the serializer fails, which only a lack of memory could cause.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(postcard::to_extend(self, vec![FORMAT])?)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`RecordError`] if they are not a record of a known format.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => Ok(postcard::from_bytes(body)?),
            Some((&format, _)) => Err(RecordError::UnknownFormat(format)),
            None => Err(RecordError::Empty),
        }
    }
}
