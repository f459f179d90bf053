//! Records as the second format had them. Knows nothing of what came since but how to leave it empty.

use serde::Deserialize;

use super::{Device, MadeBy, PastAttempt, Record};
use crate::{ConnectionId, SessionId, Timestamp, UserId};

/// The first byte of a stored record of this format.
pub(super) const FORMAT: u8 = 2;

/// Reads what follows the first byte.
pub(super) fn decode(body: &[u8]) -> Result<Record, postcard::Error> {
    let second: Second = postcard::from_bytes(body)?;
    Ok(Record {
        sid: second.sid,
        user_id: second.user_id,
        created: second.created,
        last_seen: second.last_seen,
        key_deadline: second.key_deadline,
        session_deadline: second.session_deadline,
        generation: second.generation,
        // Not before it was made, and no later than it was handed out.
        made: second.last_seen,
        salt: second.salt,
        connections: second.connections,
        device: second.device,
        cookie: second.cookie,
        made_by: second.made_by,
        past: second.past,
        claims: None,
        in_cookie: false,
    })
}

#[derive(Deserialize)]
struct Second {
    sid: SessionId,
    user_id: UserId,
    created: Timestamp,
    last_seen: Timestamp,
    key_deadline: Timestamp,
    session_deadline: Timestamp,
    generation: u64,
    salt: [u8; 16],
    connections: Vec<ConnectionId>,
    device: Device,
    cookie: Option<[u8; 32]>,
    made_by: MadeBy,
    past: Vec<PastAttempt>,
}
