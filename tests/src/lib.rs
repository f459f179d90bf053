//! The harness of the end-to-end tests: starts and ends real parts (the `relogin` binary,
//! nats-server, Resgate, Chromium, WebKit, ResClient under node), stands between a page and its
//! gateway, and keeps the evidence when a test fails.
//!
//! Knows the parts only by what a user sees of them: their command lines, their sockets and the
//! page's DOM. Nothing of the workspace is linked in, so a test here cannot agree with a fault
//! there. Errors are `anyhow`'s: nobody handles them, and their readers want to know what was
//! waited for.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, anyhow};

pub mod attack;
pub mod browser;
pub mod chromedriver;
pub mod clock;
pub mod exact;
pub mod front;
pub mod innocent;
pub mod net;
pub mod node;
pub mod parts;
pub mod play;
pub mod process;
pub mod raw;
pub mod res;
pub mod secrets;
pub mod service;
pub mod site;
pub mod small_disk;
pub mod stage;
mod watch;
pub mod webkit;

/// How long anything is waited for. Long, because it only passes when a test fails: on a machine
/// that is busy building, a browser may take many seconds to start.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `done`, but no longer than [`DEADLINE`] in all: what it takes in meanwhile is no sign
/// that it will come to an end.
///
/// # Errors
/// As `done`, and if it is not done in time; `what` says what did not come.
pub async fn in_time<T>(what: &str, done: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(DEADLINE, done).await.unwrap_or_else(|_| Err(anyhow!("{what} did not come in time")))
}
