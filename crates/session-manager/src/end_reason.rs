//! The reasons for which sessions end, with one name each in Rust, in JavaScript and in logs.

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
    /// Somebody else has used its key, and so it has ended for everybody. This is said only if the
    /// client has seen evidence; the key of a session that was [`Refused`](Self::Refused) may have
    /// been stolen, too.
    Stolen,
    /// The service no longer takes the key in storage, and the client cannot know why: the session
    /// has expired while nobody was connected, or was ended meanwhile.
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
