//! WebSockets, HTTP, gateway and bus in one process, with clients in front and a service of a few lines behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod ending;
mod http;
#[path = "../nats_server/mod.rs"]
mod nats_server;
mod opening;
mod stage;
