//! The browser that uses a key. Must not depend on requests or records' storage.

use relogin_session::Record;

/// What is known of the browser that uses a key.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// Its address, as the gateway reports it.
    pub remote_addr: Option<String>,
    /// Its cookie.
    pub cookie: Cookie,
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

impl Cookie {
    /// What the rules are given, for a session with this record.
    pub(super) fn of(self, record: Option<&Record>) -> Option<[u8; 32]> {
        match self {
            Self::Presented(cookie) => cookie,
            Self::Ignored => record.and_then(|record| record.cookie),
        }
    }
}
