//! The HTTP server with page, health check, gateway and bus in one process, and clients in front.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod opening;
mod site;
mod stage;
