//! Records as the first format had them, for sessions that were made by a service of then. Knows nothing of what came since but
//! how to leave it empty.

use serde::Deserialize;

use super::{Device, MadeBy, Record};
use crate::{Attempt, ConnectionId, SessionId, Timestamp, UserId};

/// The first byte of a stored record of this format.
pub(super) const FORMAT: u8 = 1;

/// Reads what follows the first byte.
pub(super) fn decode(body: &[u8]) -> Result<Record, postcard::Error> {
    let first: First = postcard::from_bytes(body)?;
    let FirstDevice { _public_key, user_agent, remote_addr, label } = first.device;
    Ok(Record {
        sid: first.sid,
        user_id: first.user_id,
        created: first.created,
        last_seen: first.last_seen,
        key_deadline: first.key_deadline,
        session_deadline: first.session_deadline,
        generation: first.generation,
        made: first.last_seen,
        salt: first.salt,
        connections: first.connections,
        // No device could be registered then: every session is a bearer one.
        device: Device { public_key: None, user_agent, remote_addr, label },
        cookie: first.cookie,
        made_by: MadeBy { connection: first.made_by.connection, attempt: first.made_by.attempt, replayed: false },
        past: Vec::new(),
        claims: None,
        in_cookie: false,
    })
}

#[derive(Deserialize)]
struct First {
    sid: SessionId,
    user_id: UserId,
    created: Timestamp,
    last_seen: Timestamp,
    key_deadline: Timestamp,
    session_deadline: Timestamp,
    generation: u64,
    salt: [u8; 16],
    connections: Vec<ConnectionId>,
    device: FirstDevice,
    cookie: Option<[u8; 32]>,
    made_by: FirstMadeBy,
}

#[derive(Deserialize)]
struct FirstDevice {
    _public_key: Option<String>,
    user_agent: Option<String>,
    remote_addr: Option<String>,
    label: Option<String>,
}

#[derive(Deserialize)]
struct FirstMadeBy {
    connection: ConnectionId,
    attempt: Option<Attempt>,
}
