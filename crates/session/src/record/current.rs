//! The format in which records are stored, which is also what the rules work on: [`Record`].
//!
//! Stored bytes are positional, so each new field is a new format. N is the number in [`FORMAT`]
//! before the change.
//!
//! 1. Copy this file's struct as it is to a new file `vN.rs`, as `RecordVN` with the number N, and
//!    let it convert into [`Record`]. The format before N converts into `RecordVN` from now on.
//!    A field of `Device`, `MadeBy` or `Claims` changes all formats that have one: keep the old
//!    struct in `vN.rs` for these, as `v1.rs` keeps `DeviceV1`.
//! 2. Add the field here, last, and to [`Record::new`], and raise [`FORMAT`].
//! 3. In `record.rs`: the module, an arm of [`Record::decode`] for N, one more conversion in those
//!    of older formats.
//! 4. In the tests there: the stored text `VN` stays, and its test no longer writes it, but expects
//!    the new field's default. Add the field to `everything()`, its stored text (a test that you
//!    throw away prints it in base64), and a test that reads and writes that. The same bytes are a
//!    seed, `fuzz/seeds/session_record/vN`, for which a test asks.
//! 5. Raise `FORMAT` in `crates/store/src/sled/format.rs`, whose test asks for it: an older service
//!    leaves such a data folder alone.
//!
//! The compiler asks for the conversions, for [`Record::new`] and for the arms; the tests for the
//! sizes that they expect. A text that a client sends is cut to a length: see [`Device::bounded`].
//! An older service cannot read the new records (`RecordError::UnknownFormat`).

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
    /// Where the session was made, and where it was used last.
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
