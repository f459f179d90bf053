//! The Relogin client for browsers: core/client, driven by a browser's sockets, timers, storage and locks.
//!
//! From Rust: [`Relogin`]. The page in `src/page` is a user of it; from JavaScript: the feature `bindings`.
#![forbid(unsafe_code)]

#[cfg(feature = "bindings")]
pub mod bindings;
pub mod browser;
mod driver;

pub use driver::Relogin;
