//! Gateway and bus in one process behind a bare HTTP server, with clients in front and a small
//! service behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod compression;
mod ending;
mod http_api;
mod opening;
mod stage;
