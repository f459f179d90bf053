//! The rules of sessions and relogin keys.
//!
//! Pure: no async, no clock, no randomness, no I/O. Time and random values are arguments, so that
//! the same code is shipped, simulated and fuzzed. Start at [`machine::decide`]; docs/protocol.md
//! is the specification.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod api;
pub mod base64url;
pub mod challenge;
pub mod device;
pub mod device_session;
pub mod exchange;
pub mod id;
pub mod key;
pub mod machine;
pub mod policy;
pub mod record;
pub mod rotation;
mod secret;
pub mod time;
pub mod user;
pub mod user_agent;

pub use api::{Denied, LoggedIn};
pub use device::DeviceKey;
pub use id::{Attempt, ConnectionId, SessionId, UserId};
pub use key::{Keyring, PresentedKey, ReloginKey};
pub use machine::{
    Command, Decision, Effect, Login, NewCookie, Next, OtherSession, Outcome, ProvenDevice, Refresh, Relogin, Reply,
    Revoker, Rules, Vouched, Write, decide,
};
pub use policy::Policy;
pub use record::{Claims, Device, MadeBy, PastAttempt, Record};
pub use rotation::Proof;
pub use secret::Secret;
pub use time::Timestamp;
pub use user::{Token, User, UserModel};
