//! Reads storage texts: which session one is of, and how new its key is.

use relogin_session::SessionId;

use crate::{Secret, record::Record};

/// What reconciling has to know of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// There is no text.
    Nothing,
    /// A text without a key that could be used.
    NoKey,
    /// A relogin key.
    Key {
        /// `None` for keys of a form that does not show it.
        session: Option<SessionId>,
        generation: u64,
        /// Whether a use of the key has begun.
        is_begun: bool,
    },
}

impl Content {
    pub(super) fn of(text: Option<&Secret>) -> Self {
        match (text, Record::parse(text)) {
            (None, _) => Self::Nothing,
            (Some(_), None) => Self::NoKey,
            (Some(_), Some(record)) => Self::Key {
                session: record.session(),
                generation: record.generation,
                is_begun: record.attempt().is_some(),
            },
        }
    }

    /// The session of the key, if there is one that shows it.
    pub(super) fn session(self) -> Option<SessionId> {
        if let Self::Key { session, .. } = self { session } else { None }
    }

    /// What that session is called; nothing if the key does not show it, or there is none.
    pub(super) fn name(self) -> String {
        self.session().map_or_else(String::new, SessionId::to_text)
    }

    /// True if both are keys of one session. Where keys do not show it: if nothing speaks against
    /// it.
    pub(super) fn is_same_session(self, other: Self) -> bool {
        self.is_key() && other.is_key() && self.session() == other.session()
    }

    pub(super) fn is_key(self) -> bool {
        matches!(self, Self::Key { .. })
    }
}
