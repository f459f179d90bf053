//! The Relogin client for native programs: the state machine of `relogin-client-proto`, driven by a
//! WebSocket of tokio.
//!
//! ```no_run
//! use futures_util::StreamExt as _;
//! use relogin_client_tokio::{Options, MemoryStorage};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Ticker {
//!     seconds: u64,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Options::new("ws://127.0.0.1:8080/ws").session("session", MemoryStorage::default())?.connect();
//! client.login("admin", "admin").await?;
//! let ticker = client.model::<Ticker>("ticker.model").await?;
//! let mut changes = ticker.changes();
//! while let Some(now) = changes.next().await {
//!     println!("{} s", now?.seconds);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`relogin_client`] documents the methods of [`Client`]. This crate decides nothing:
//! `relogin-client-proto` decides when to connect and which key to use.
#![forbid(unsafe_code)]

mod driver;
mod socket;
mod storage;

pub use driver::Options;
pub use relogin_client::{
    Binding, Changes, Client, Collection, Config, ConnectionState, EndReason, Error, Event, Events, Freshness, Model,
    Reference, RequestError, Resource, ResourceChange, ResourceValues, Returned, SessionState, Typed, User,
};
pub use relogin_res::{InvalidResourceId, ResourceId};
pub use storage::{FileStorage, MemoryStorage, Storage};

/// What docs/client.md shows is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/client.md")]
struct ClientPage;
