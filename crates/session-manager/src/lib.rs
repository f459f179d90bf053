//! The session manager of a RES client: keeps the relogin key, and decides when to use it.
//!
//! Pure: no async, no clock, no randomness, no I/O; builds for wasm32 and natively. It knows
//! neither sockets nor resources. Whoever has those drives it: one machine, [`SessionManager`],
//! takes an [`Input`] in a [`Turn`] and queues [`Action`]s and [`Event`]s. `relogin-client-proto`
//! drives it for our own RES client, and the npm package for ResClient and others, by the same
//! interface. What a session is to a browser is in docs/protocol.md, section 4; whether a key was
//! stolen is inferred here, after a refusal, and ends nothing.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod action;
mod backoff;
mod connection;
mod diagnostic;
mod end_reason;
mod error;
mod evidence;
mod id;
mod input;
mod last_reported;
mod lock;
mod logins;
mod machine;
mod manager;
mod operation;
mod outbox;
mod pending_logouts;
mod phase;
mod platform;
mod queries;
mod record;
mod schedule;
mod session;
pub mod storage;
mod turn;
mod wire;

pub use action::{Action, Binding, Event, Request, SessionState};
pub use backoff::{Backoff, Dice};
pub use diagnostic::{Diagnostic, ShortAttempt};
pub use end_reason::EndReason;
pub use error::RequestError;
pub use id::{LockId, RequestId, Token};
pub use input::{Input, ObservedUser, SessionCommand, SessionConfig};
pub use manager::SessionManager;
pub use platform::{PlatformAction, PlatformEvent, Signature};
pub use record::{AdoptedKey, stored_key};
pub use relogin_session::Secret;
pub use turn::{Clock, Moment, Turn};
pub use wire::rotated_generation;

/// Who is logged in, as the user model says.
pub use relogin_session::User;

/// What a list of the user's sessions has of each, and what names a session.
pub use relogin_session::{SessionId, api::ListedSession};

/// The public half of a device's key pair.
pub use relogin_session::api::PublicKey;
