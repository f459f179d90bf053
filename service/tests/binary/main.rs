//! The `relogin` program from outside: command line, environment, standard streams, sockets, signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod nats_gateway;
#[path = "../nats_server/mod.rs"]
mod nats_server;
mod program;
mod sessions;
mod start;
mod user;
