//! A RES client and the keeper of its session, as state machines.
//!
//! Pure: no async, no clock, no randomness, no I/O, and no word of browsers; builds for wasm32 and natively. One machine,
//! [`Client`], takes an [`Input`] at a [`Moment`] and queues [`Action`]s; whoever drives it carries those out. What a
//! session is to a browser stands in docs/protocol.md, section 4; whether a key was stolen is never decided here.
//!
//! ```
//! use relogin_client_proto::{Action, Client, Config, Input, Moment};
//! use relogin_res::ResourceId;
//!
//! let mut client = Client::new(Config::new(ResourceId::parse("session")?));
//! client.handle(Input::Start, Moment { now: std::time::Duration::ZERO, random: [7; 24] });
//! while let Some(action) = client.poll_action() {
//!     match action {
//!         Action::ReadStorage => { /* read, then handle(Input::StorageRead(…)) at once */ }
//!         Action::OpenSocket(_id) => { /* connect, later handle(Input::SocketOpened(id)) */ }
//!         _ => {}
//!     }
//! }
//! let _when_to_send_input_timer = client.poll_timeout();
//! # Ok::<(), relogin_res::InvalidResourceId>(())
//! ```
#![forbid(unsafe_code)]

mod action;
mod alone;
mod answers;
mod backoff;
mod cache;
mod calls;
mod client;
mod connection;
mod diagnostic;
mod end_reason;
mod input;
mod keeper;
mod outbox;
mod requests;
pub mod storage;
mod told;
mod wire;

pub use action::{
    Action, Answer, Binding, ConnectionState, Event, Freshness, RequestError, Resource, ResourceChange, SessionState,
};
pub use alone::{AloneAction, AloneInput, KeeperAlone};
pub use client::Client;
pub use diagnostic::{Diagnostic, ShortAttempt};
pub use end_reason::EndReason;
pub use input::{Command, Config, Input, LockId, Moment, Signature, SocketId, Token};
pub use keeper::{AdoptedKey, stored_key};
pub use relogin_session::Secret;

/// Who is logged in, as the user model says.
pub use relogin_session::User;

/// The public half of a device's key pair.
pub use relogin_session::api::PublicKey;
