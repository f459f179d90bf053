//! What a decision came to, in a word. Decides nothing.

use std::fmt;

/// Declares the outcomes, each with its word.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What a decision came to: one word for the log, the audit trail and the metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            /// Each of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

outcomes! {
    /// A session was made.
    LoggedIn = "logged_in",
    /// The connection holds a live session already.
    AlreadyLoggedIn = "already_logged_in",
    /// A new generation was made.
    Rotated = "rotated",
    /// A request came once more, and the same answer was given again.
    Retried = "retried",
    /// A proven device, or the browser of a cookie, came with an old key and was given the newest.
    CaughtUp = "caught_up",
    /// A request came once more, when further keys had been made since its answer.
    StaleRetry = "stale_retry",
    /// A used key came from somebody else (RFC 9700, section 4.14); the session was disposed of.
    ReuseDetected = "reuse_detected",
    /// A key was newer than the record, so the store has lost writes; the session was disposed of.
    StoreRolledBack = "store_rolled_back",
    /// A proven device came with a key newer than the record, so the store has lost writes; a new
    /// generation was made.
    Recovered = "recovered",
    /// A bound session's key came without a proof.
    ProofMissing = "proof_missing",
    /// A browser's device key was registered with its session, whose key travels in a cookie.
    DeviceBound = "device_bound",
    /// A browser proved that it still holds that key.
    DeviceProven = "device_proven",
    /// A key came without the cookie that its session is bound to.
    CookieMismatch = "cookie_mismatch",
    /// The key is not genuine, or its session is gone or over.
    Refused = "refused",
    /// The session's user is no more; the session was disposed of.
    UserRemoved = "user_removed",
    /// The user logged out.
    LoggedOut = "logged_out",
    /// There was nothing to log out of.
    NotLoggedIn = "not_logged_in",
    /// The deadline passed; the session was disposed of.
    Expired = "expired",
    /// The deadline has not passed.
    StillAlive = "still_alive",
    /// The connection was taken off the session.
    Detached = "detached",
    /// A session that no connection knew of was disposed of.
    Abandoned = "abandoned",
    /// Connections that kept unresponsive were taken off the session.
    Pruned = "pruned",
    /// The session's connections were sent what its user is like now.
    UserChanged = "user_changed",
    /// The session was ended from elsewhere.
    Revoked = "revoked",
    /// The session was ended by its user, from a list on another connection or on its own.
    RevokedByUser = "revoked_by_user",
    /// The session was ended by an operator.
    RevokedByOperator = "revoked_by_operator",
    /// A user, or an operator, named a session that does not exist, is over, or is not
    /// theirs.
    NoSuchSession = "no_such_session",
    /// A user has logged in too long ago to end other sessions.
    LoginTooOld = "login_too_old",
    /// The session was ended because its user has more than they may have.
    Evicted = "evicted",
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
