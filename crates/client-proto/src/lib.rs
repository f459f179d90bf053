//! A RES client that keeps its user logged in, as a state machine.
//!
//! Pure: no async, no clock, no randomness, no I/O, and nothing of browsers; builds for wasm32 and
//! natively. One machine, [`Client`], takes an [`Input`] at a [`Moment`] and queues [`Action`]s;
//! whoever drives it carries those out. Connection, requests and cache are here; the session is
//! kept by `relogin-session-manager`, whose types that a driver needs are reexported.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod action;
mod addresses;
mod answers;
mod cache;
mod calls;
mod client;
mod closing;
mod connection;
mod input;
mod outbox;
mod requests;

pub use action::{Action, Answer, ConnectionState, Event, Freshness, Resource, ResourceChange};
pub use client::Client;
pub use closing::Closing;
pub use input::{Command, Config, Input, SocketId};
pub use relogin_session_manager::{
    AdoptedKey, Binding, Diagnostic, EndReason, ListedSession, LockId, Moment, PlatformAction, PlatformEvent,
    PublicKey, RequestError, Secret, SessionCommand, SessionConfig, SessionId, SessionState, ShortAttempt, Signature,
    Token, User, storage, stored_key,
};

use relogin_session_manager::{Backoff, ObservedUser, RequestId, Turn};
