//! The reasons for which sessions end, by one name in Rust, in JavaScript and in logs.

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The user logged out here.
    LoggedOut,
    /// It was ended, but not here: in another tab (or the browser's storage was cleared), or at the
    /// service, by an administrator.
    LoggedOutElsewhere,
    /// It was not used for too long, or has reached the age at which it ends.
    Expired,
    /// Somebody else has used its key, and by that it ended for everybody. Only said when that was
    /// seen, which it is not always: also one who was [`Refused`](Self::Refused) may have been
    /// stolen from.
    Stolen,
    /// The service takes the key that was in storage no more, and why cannot be known here: it
    /// expired while nobody was connected, or was ended meanwhile.
    Refused,
}

impl EndReason {
    /// Its name, in logs and in JavaScript.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoggedOut => "loggedOut",
            Self::LoggedOutElsewhere => "loggedOutElsewhere",
            Self::Expired => "expired",
            Self::Stolen => "stolen",
            Self::Refused => "refused",
        }
    }
}
