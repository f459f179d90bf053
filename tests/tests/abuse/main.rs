//! The abuse suite: attacks by strangers and operational faults against the real binary, and beside
//! them an honest client on connections of its own.
//!
//! The tests assert bounds (bytes, which connections are ended, what the honest client gets), never
//! times. Each file has the attacks on one area; docs/limits.md has each of the bounds.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a long soak says how it goes")]

#[macro_use(on)]
extern crate relogin_tests;

mod auth;
mod harness;
mod http;
mod machine;
mod nats;
mod soak;
mod sockets;
mod store;
mod users;
