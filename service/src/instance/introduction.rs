//! How an instance introduces itself to others. Must not depend on the bus.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::shared::{Contradiction, Shared};

/// An instance, as it introduces itself to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instance {
    /// 128 random bits in hexadecimal.
    pub(super) id: String,
    /// When it started, in milliseconds since 1970.
    pub(super) began: u64,
    /// True once it answers requests.
    pub(super) ready: bool,
    /// None: its store is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared: Option<Shared>,
    /// What distinguishes its list of users from others; none: it has no list, or none that can be
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<String>,
}

impl Instance {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        relogin_res::read::object(payload).ok()
    }

    /// Why the two do not belong together, if they do not.
    pub(super) fn contradicts(&self, other: &Self) -> Option<Contradiction> {
        match (&self.shared, &other.shared) {
            (Some(ours), Some(theirs)) => ours.contradicts(theirs),
            _ => Some(Contradiction::Apart),
        }
    }

    pub(super) fn words(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts and numbers are written without fail").into()
    }
}
