//! The browser that uses a key. Must not depend on requests or records' storage.

use relogin_session::{Keyring, Proof, Record, SessionId, Timestamp, device_session};

/// What is known of the browser that uses a key.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// Its address, as the gateway reports it.
    pub remote_addr: Option<String>,
    /// Its cookie.
    pub cookie: Cookie,
    /// What it shows of its device.
    pub device: BrowserDevice,
}

/// How a browser is identified to sessions that are bound to a cookie.
#[derive(Clone, Copy, Debug, Default)]
pub enum Cookie {
    /// Cookies are not checked.
    #[default]
    Ignored,
    /// The digest of its cookie; none if it sent none.
    Presented(Option<[u8; 32]>),
}

/// How a browser shows that its device has signed, to sessions whose keys travel in a cookie.
#[derive(Clone, Debug, Default)]
pub enum BrowserDevice {
    /// Devices are not checked.
    #[default]
    Ignored,
    /// What it sent.
    Presented {
        /// The text in the cookie of the session that it comes for.
        shown: Option<String>,
        /// Whether it says that it could not have its device sign.
        has_skipped: bool,
    },
}

impl Cookie {
    /// What the rules are given, for a session with this record.
    pub(super) fn of(self, record: Option<&Record>) -> Option<[u8; 32]> {
        match self {
            Self::Presented(cookie) => cookie,
            Self::Ignored => record.and_then(|record| record.cookie),
        }
    }
}

impl BrowserDevice {
    /// What the rules are given, for session `sid`.
    pub(super) fn proof(&self, keyring: &Keyring, sid: SessionId, now: Timestamp) -> Proof {
        match self {
            Self::Ignored => Proof::Valid,
            Self::Presented { shown, has_skipped } => {
                device_session::shown(keyring, shown.as_deref(), *has_skipped, sid, now)
            }
        }
    }
}
