//! The abuse suite: what a stranger with a socket, or a bad day in a data centre, does to the real
//! binary, and beside it an honest client on connections of its own.
//!
//! Asserted are bounds (bytes, who is ended, what the honest client gets), never times. A file has
//! the attacks on one room; each bound that they are about is in docs/limits.md.
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
