//! WebSockets, HTTP, gateway and bus in one process; the clients are another WebSocket library's... the service is a few lines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod ending;
mod http;
#[path = "../nats_server/mod.rs"]
mod nats_server;
mod opening;
mod stage;
