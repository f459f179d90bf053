//! What the suites of several crates need: a nats-server of a test's own ([`nats_server`]) or three
//! ([`nats_cluster`]), a wire to one that delivers late ([`late_wire`]), a scripted RES service on
//! a bus ([`service`]) and a bare RES client ([`client`]). Panics where a test would. Must not
//! depend on what is tested, except for the bus.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod client;
pub mod late_wire;
pub mod nats_cluster;
pub mod nats_server;
pub mod service;

use std::time::Duration;

/// Waits for what must happen. The deadline is there only to end a test that has failed.
pub async fn soon<T>(happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happening).await.expect("did not happen")
}
