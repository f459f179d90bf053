//! Format 2 of stored records. Decodes into format 3.

use serde::Deserialize;

use super::{Device, MadeBy, PastAttempt, Record};
use crate::{ConnectionId, SessionId, Timestamp, UserId};

/// The first byte of a stored record of this format.
pub(super) const FORMAT: u8 = 2;

/// What follows the first byte.
#[derive(Deserialize)]
pub(super) struct RecordV2 {
    pub(super) sid: SessionId,
    pub(super) user_id: UserId,
    pub(super) created: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) key_deadline: Timestamp,
    pub(super) session_deadline: Timestamp,
    pub(super) generation: u64,
    pub(super) salt: [u8; 16],
    pub(super) connections: Vec<ConnectionId>,
    pub(super) device: Device,
    pub(super) cookie: Option<[u8; 32]>,
    pub(super) made_by: MadeBy,
    pub(super) past: Vec<PastAttempt>,
}

impl From<RecordV2> for Record {
    /// Fields added in format 3 get their defaults.
    fn from(v2: RecordV2) -> Self {
        Self {
            sid: v2.sid,
            user_id: v2.user_id,
            created: v2.created,
            last_seen: v2.last_seen,
            key_deadline: v2.key_deadline,
            session_deadline: v2.session_deadline,
            generation: v2.generation,
            // Format 2 does not say. The key was made by then, and not handed out later.
            made: v2.last_seen,
            salt: v2.salt,
            connections: v2.connections,
            device: v2.device,
            cookie: v2.cookie,
            made_by: v2.made_by,
            past: v2.past,
            claims: None,
            in_cookie: false,
        }
    }
}
