//! The Relogin client for browsers: the state machine of `relogin-client-proto`, driven by a
//! browser's sockets, timers, storage and locks.
//!
//! ```no_run
//! use futures_util::StreamExt as _;
//! use relogin_web::{Options, SessionState};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Ticker {
//!     seconds: u64,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Options::new("wss://api.example.com/").session("session")?.connect().await?;
//! // A key that was in storage opens the session by itself: no login form on a reload.
//! if client.session() == SessionState::Anonymous {
//!     client.login("jane", "jane").await?;
//! }
//! let ticker = client.model::<Ticker>("ticker.model").await?;
//! let mut changes = ticker.changes();
//! while let Some(now) = changes.next().await {
//!     web_sys::console::log_1(&format!("{} s", now?.seconds).into());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`relogin_client`] documents the methods of [`Client`]. The page in `page` uses this crate. The
//! npm package is built with the feature `bindings`.
#![forbid(unsafe_code)]

#[cfg(feature = "bindings")]
pub mod bindings;
mod browser;
#[cfg(feature = "demo")]
pub mod demo;
mod driver;

pub use browser::Exception;
pub use driver::Options;
pub use relogin_client::{
    Addresses, Binding, Changes, Client, Collection, Config, ConnectionState, EndReason, Error, Event, Events,
    Freshness, ListedSession, Model, Reference, RequestError, Resource, ResourceChange, ResourceValues, Returned,
    SessionId, SessionState, Typed, User,
};
pub use relogin_res::{InvalidResourceId, ResourceId};

#[cfg(all(test, target_arch = "wasm32"))]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
