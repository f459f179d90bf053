//! Relogin keys: mint, verify, parse. See docs/protocol.md, section 2.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::SessionId;

/// The text of a relogin key, on its way from or to a client. Redacted in `Debug`, wiped on drop.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct ReloginKey(String);

impl ReloginKey {
    /// Takes the text as it is; whether it is a key is found out by [`ReloginKey::parse`].
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the wire and for storage.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the key apart, without telling whether it is genuine. `None` if it cannot be a key.
    #[must_use]
    pub fn parse(&self) -> Option<PresentedKey> {
        todo!()
    }
}

impl fmt::Debug for ReloginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloginKey(…)")
    }
}

/// The parts of a key that a client sent: whose it claims to be, and the proof of it.
#[derive(Clone)]
pub struct PresentedKey {
    /// The session that the key names.
    pub sid: SessionId,
    /// The generation that the key names.
    pub generation: u64,
    tag: [u8; 32],
}

/// The server's secrets, each at least 32 bytes: the first signs, all verify.
pub struct Keyring {
    secrets: Vec<Vec<u8>>,
}

impl Keyring {
    /// A keyring of `secrets`. `None` if there is none, or one is shorter than 32 bytes.
    #[must_use]
    pub fn new(secrets: Vec<Vec<u8>>) -> Option<Self> {
        todo!()
    }

    /// The key of generation `generation` of a session. The same arguments give the same key.
    #[must_use]
    pub fn mint(&self, sid: SessionId, salt: &[u8; 16], generation: u64) -> ReloginKey {
        todo!()
    }

    /// True if one of our secrets made `key` for a session with this `salt`. Constant time in the tag.
    #[must_use]
    pub fn verify(&self, key: &PresentedKey, salt: &[u8; 16]) -> bool {
        todo!()
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey")
            .field("sid", &self.sid)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} secrets)", self.secrets.len())
    }
}
