//! A RES gateway as a state machine.
//!
//! All connections of one process in one machine, so that what one of them has loaded serves the
//! others. Pure: no async, no clock, no randomness, no I/O; a driver carries frames and bus
//! messages to and fro. Knows RES, and neither sessions nor passwords. Start at [`Gateway`].
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api;
mod bus;
mod cache;
mod connection;
mod content;
mod counts;
mod crowd;
mod decoding;
mod discard;
mod event;
pub mod http;
mod ids;
mod machine;
mod malformed;
mod resource;
mod tag;
#[cfg(test)]
mod tests;

pub use api::{Action, Config, ConnectionKey, Input};
pub use counts::{ClientMethod, MessageKind, RequestCounts, RequestKind, RequestOutcome, Stats, Times};
pub use crowd::time_to_come_back;
pub use decoding::{Decoded, Encoded};
pub use discard::Discarded;
pub use machine::Gateway;
pub use malformed::Malformed;
pub use tag::Tag;
