//! Format 1 of stored records, for sessions made by an early version of the service. Decodes into
//! format 2.

use serde::Deserialize;

use super::{Device, MadeBy, v2::RecordV2};
use crate::{Attempt, ConnectionId, SessionId, Timestamp, UserId};

/// The first byte of a stored record of this format.
pub(super) const FORMAT: u8 = 1;

/// What follows the first byte.
#[derive(Deserialize)]
pub(super) struct RecordV1 {
    sid: SessionId,
    user_id: UserId,
    created: Timestamp,
    last_seen: Timestamp,
    key_deadline: Timestamp,
    session_deadline: Timestamp,
    generation: u64,
    salt: [u8; 16],
    connections: Vec<ConnectionId>,
    device: DeviceV1,
    cookie: Option<[u8; 32]>,
    made_by: MadeByV1,
}

#[derive(Deserialize)]
struct DeviceV1 {
    /// Always absent: no device could be registered, so every session is a bearer session.
    _public_key: Option<String>,
    user_agent: Option<String>,
    remote_addr: Option<String>,
    label: Option<String>,
}

#[derive(Deserialize)]
struct MadeByV1 {
    connection: ConnectionId,
    attempt: Option<Attempt>,
}

impl From<RecordV1> for RecordV2 {
    /// Fields added in format 2 get their defaults.
    fn from(v1: RecordV1) -> Self {
        let DeviceV1 { _public_key, user_agent, remote_addr, label } = v1.device;
        let MadeByV1 { connection, attempt } = v1.made_by;
        Self {
            sid: v1.sid,
            user_id: v1.user_id,
            created: v1.created,
            last_seen: v1.last_seen,
            key_deadline: v1.key_deadline,
            session_deadline: v1.session_deadline,
            generation: v1.generation,
            salt: v1.salt,
            connections: v1.connections,
            device: Device { public_key: None, user_agent, remote_addr, label },
            cookie: v1.cookie,
            made_by: MadeBy { connection, attempt, retried: false },
            past: Vec::new(),
        }
    }
}
