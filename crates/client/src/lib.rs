//! The API of the Relogin client in Rust: commands as futures, resources typed by serde, streams of
//! changes.
//!
//! Browsers and native programs have the same API. A driver (the crates `relogin-client-tokio` and
//! `relogin-web`) owns an [`Engine`] and gives its user a [`Client`]. This crate has no runtime, no
//! clock and no I/O, only futures and wakers of the standard library.
//!
//! Dropping cancels: the command of a dropped future is forgotten, and a resource is unsubscribed
//! when its last handle and stream are dropped. What a resource refers to is read along with it; a
//! [`Reference`] takes only the id.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod addresses;
mod client;
mod engine;
mod error;
mod held;
mod read;
mod reply;
mod resource;
mod sessions;
mod shared;
mod stream;

pub use addresses::Addresses;
pub use client::{Client, Returned};
pub use engine::Engine;
pub use error::Error;
pub use read::Reference;
pub use resource::{Collection, Model, Resource, ResourceValues, Typed};
pub use stream::{Changes, Events};

pub use relogin_client_proto::{
    Action, Binding, Closing, Config, ConnectionState, EndReason, Event, Freshness, Input, ListedSession, Moment,
    PlatformAction, PlatformEvent, RequestError, ResourceChange, Secret, SessionId, SessionState, SocketId, User,
};
