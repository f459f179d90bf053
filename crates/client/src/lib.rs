//! What Rust programs hold of a client: commands as futures, resources typed through serde, streams of changes.
//!
//! One face for browsers and native programs: whoever drives the machine (crates `relogin-client-tokio` and `relogin-web`) owns an
//! [`Engine`] and gives its user a [`Client`]. No runtime, no clock, no I/O: futures and wakers of the standard library.
//!
//! ```
//! # use relogin_client::{Client, Config, Engine, Error};
//! use futures_util::StreamExt as _;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Ticker {
//!     seconds: u64,
//! }
//!
//! async fn watch(client: Client) -> Result<(), Error> {
//!     let ticker = client.model::<Ticker>("ticker.model").await?;
//!     println!("{} s", ticker.get()?.seconds);
//!     let mut changes = ticker.changes();
//!     while let Some(now) = changes.next().await {
//!         println!("{} s", now?.seconds);
//!     }
//!     Ok(())
//! }
//! # let config = Config::new(relogin_res::ResourceId::parse("session").unwrap());
//! # let (client, _engine) = Engine::new(config, || std::time::Duration::ZERO);
//! # drop(watch(client));
//! ```
//!
//! Dropping is cancelling: a future that is dropped has its command forgotten, and a resource is given back when the last that
//! was made of it is dropped. What a resource refers to is read along with it; a [`Reference`] stands where only its id is
//! wanted.
#![forbid(unsafe_code)]

mod client;
mod engine;
mod error;
mod held;
mod read;
mod reply;
mod resource;
mod shared;
mod stream;

pub use client::{Client, Returned};
pub use engine::Engine;
pub use error::Error;
pub use read::Reference;
pub use resource::{Collection, Model, Resource, ResourceValues, Typed};
pub use stream::{Changes, Events};

pub use relogin_client_proto::{
    Action, Binding, Config, ConnectionState, EndReason, Event, Freshness, Input, Moment, RequestError, ResourceChange,
    Secret, SessionState, SocketId, User,
};
