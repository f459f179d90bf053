//! The Relogin client for native programs: the state machine of `relogin-client-proto`, driven by a
//! WebSocket of tokio.
//!
//! [`relogin_client`] documents the methods of [`Client`]. This crate decides nothing:
//! `relogin-client-proto` decides when to connect and which key to use.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod driver;
mod socket;
mod storage;
#[cfg(feature = "tls")]
mod tls;

pub use driver::Options;
pub use relogin_client::{
    Addresses, Binding, Changes, Client, Collection, Config, ConnectionState, EndReason, Error, Event, Events,
    Freshness, ListedSession, Model, Reference, RequestError, Resource, ResourceChange, ResourceValues, Returned,
    SessionId, SessionState, Typed, User,
};
pub use relogin_res::{InvalidResourceId, ResourceId};
pub use storage::{FileStorage, MemoryStorage, Storage};
#[cfg(feature = "tls")]
pub use tls::NoCertificate;

/// What docs/client.md shows is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/client.md")]
struct ClientPage;
