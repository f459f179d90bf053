//! Diagnostics: what the session manager saw and did, for people who want to know why a session is
//! as it is. They hold no keys, no passwords, and of an attempt only what distinguishes it from
//! others.

use std::fmt;

use relogin_session::Attempt;

use crate::EndReason;

/// Something that the session manager saw or did. [`Display`](fmt::Display) says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// It has started: storage has the key of this generation, or none.
    Started(Option<u64>),
    /// It has sent a login.
    LoginSent {
        /// Its attempt.
        attempt: Option<ShortAttempt>,
        /// Whether the browser has a device key, so that the session will be bound to it.
        device: bool,
    },
    /// It has sent the relogin key.
    KeySent {
        /// The key's generation.
        generation: u64,
        /// The attempt that the key is used with; none with a legacy service.
        attempt: Option<ShortAttempt>,
        /// Whether the device has signed for it.
        proof: bool,
    },
    /// It has sent a logout.
    LogoutSent,
    /// The service has answered with the key of this generation.
    KeyReceived {
        /// The new key's generation.
        generation: u64,
        /// Whether it is bound to the device.
        bound: bool,
    },
    /// A login, relogin or logout came to nothing, by this error code.
    Failed(String),
    /// It goes on without the storage lock: there is none, or another tab has stolen it.
    WithoutLock,
    /// The connection holds the newest key that storage has, which another tab has put there.
    CaughtUp(u64),
    /// Somebody has made a generation that storage does not have: another tab that is about to
    /// store it, or a thief.
    MadeElsewhere {
        /// The new generation.
        generation: u64,
        /// The newest that this tab knows.
        known: u64,
    },
    /// The service says that nobody is logged in any more, and the key is still in storage.
    UserLost,
    /// The session is over.
    Ended(EndReason),
}

/// The beginning of an attempt: enough to distinguish it from others, and too little to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortAttempt([u8; 2]);

impl From<Attempt> for ShortAttempt {
    fn from(Attempt([first, second, ..]): Attempt) -> Self {
        Self([first, second])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(Some(generation)) => write!(f, "started: storage has generation {generation}"),
            Self::Started(None) => f.write_str("started: storage has no key"),
            Self::LoginSent { attempt, device } => {
                f.write_str("login sent")?;
                write_attempt(*attempt, f)?;
                f.write_str(if *device { ", with a device key" } else { ", without a device key" })
            }
            Self::KeySent { generation, attempt, proof } => {
                write!(f, "relogin sent: generation {generation}")?;
                write_attempt(*attempt, f)?;
                f.write_str(if *proof { ", with a proof" } else { "" })
            }
            Self::LogoutSent => f.write_str("logout sent"),
            Self::KeyReceived { generation, bound } => {
                let binding = if *bound { "bound" } else { "bearer" };
                write!(f, "answer: generation {generation}, {binding}")
            }
            Self::Failed(code) => write!(f, "answer: {code}"),
            Self::WithoutLock => f.write_str("going on without the storage lock"),
            Self::CaughtUp(generation) => write!(f, "another tab has stored generation {generation}"),
            Self::MadeElsewhere { generation, known } => {
                write!(f, "generation {generation} was made elsewhere, {known} is known here")
            }
            Self::UserLost => f.write_str("the service has taken the user away"),
            Self::Ended(reason) => write!(f, "ended: {}", reason.name()),
        }
    }
}

fn write_attempt(attempt: Option<ShortAttempt>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(ShortAttempt([first, second])) = attempt else { return Ok(()) };
    write!(f, ", attempt {first:02x}{second:02x}…")
}
