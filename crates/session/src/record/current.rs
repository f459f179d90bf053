//! The format in which records are stored, which is also what the rules work on: [`Record`].
//!
//! Stored bytes are positional, so each new field is a new format. To add one:
//!
//! 1. In the tests of `record.rs`, the stored text `V3` stays as it is; its test loses the line
//!    that writes it, which the test of the new format's text gets in step 4.
//! 2. Copy the struct as it is to a new file `v3.rs` (the number in [`FORMAT`]), as `RecordV3` with
//!    that number, and let it convert into [`Record`], as `v2.rs` does; `v2.rs` then converts into
//!    `RecordV3`.
//!    A field of `Device`, `MadeBy` or `Claims` changes all formats that have one: keep the old
//!    struct in `v3.rs` for these, as `v1.rs` keeps `DeviceV1`.
//! 3. Add the field here, last, and to [`Record::new`], and raise [`FORMAT`].
//! 4. In `record.rs`: the module, an arm of [`Record::decode`], one more conversion in those of
//!    older formats, a stored text `V4` of `everything()` with the new field, which a test that you
//!    throw away prints in base64, with the test of `V3` for it, and the sizes that a test expects.
//! 5. In `service/tests/binary/rolling.rs`: the format's number, that of a newer one, and the
//!    struct of the last format but one, which is `V3` then.
//!
//! The compiler asks for the second half of 2, for [`Record::new`] and for the arms of 4, the tests
//! for the sizes and the numbers of 5, for nothing else. An older service cannot read the new
//! records (`RecordError::UnknownFormat`).

use serde::{Deserialize, Serialize};

use super::{Claims, Device, MadeBy, PastAttempt};
use crate::{ConnectionId, SessionId, Timestamp, UserId};

/// The first byte of a stored record of this format.
pub(super) const FORMAT: u8 = 3;

/// A session as it is stored. Holds no relogin key and no hash of one: keys are derived from the
/// server's secret and `salt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The session's id.
    pub sid: SessionId,
    /// Whose session it is.
    pub user_id: UserId,
    /// When it was made.
    pub created: Timestamp,
    /// When its key was last used.
    pub last_seen: Timestamp,
    /// The idle deadline: moves with each successful use of a key, never past `session_deadline`.
    pub key_deadline: Timestamp,
    /// The absolute deadline.
    pub session_deadline: Timestamp,
    /// The generation of the newest key that was given out; 1 at login.
    pub generation: u64,
    /// When that generation was made. A key that is handed out again is the same to the second.
    pub made: Timestamp,
    /// What the session's keys are derived from, with the server's secret.
    pub salt: [u8; 16],
    /// The connections that hold the session, oldest first.
    pub connections: Vec<ConnectionId>,
    /// Where the session was made.
    pub device: Device,
    /// Digest of the cookie that the login was bound to.
    pub cookie: Option<[u8; 32]>,
    /// The request that made `generation`.
    pub made_by: MadeBy,
    /// The attempts that made the generations before it, of bearer sessions: at most
    /// [`Record::PAST_ATTEMPTS`], the last one that of the generation before the newest.
    pub past: Vec<PastAttempt>,
    /// Who the user is according to a token issuer; `None` if the user directory knows.
    pub claims: Option<Claims>,
    /// Whether the session's keys travel in a cookie, where no script reads them; then `cookie` is
    /// set, too.
    pub in_cookie: bool,
}

impl Record {
    /// A bearer session at its first generation, on one connection, made at the time `now`, with no
    /// deadline.
    #[must_use]
    pub fn new(sid: SessionId, salt: [u8; 16], user_id: UserId, connection: ConnectionId, now: Timestamp) -> Self {
        Self {
            sid,
            user_id,
            created: now,
            last_seen: now,
            key_deadline: Timestamp::NEVER,
            session_deadline: Timestamp::NEVER,
            generation: 1,
            made: now,
            salt,
            connections: vec![connection.clone()],
            device: Device::default(),
            cookie: None,
            made_by: MadeBy { connection, attempt: None, retried: false },
            past: Vec::new(),
            claims: None,
            in_cookie: false,
        }
    }
}
