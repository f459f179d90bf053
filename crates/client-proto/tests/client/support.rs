//! Helpers of these tests: scripted gateways, services and browsers.

mod browser;
mod device;
mod legacy;
mod rng;
mod scripted;
mod service;
mod shipped;
mod tab;
mod world;

pub(crate) use browser::{Browser, Profile};
pub(crate) use legacy::Legacy;
pub(crate) use rng::Rng;
pub(crate) use scripted::Scripted;
pub(crate) use service::{Service, Thief};
pub(crate) use shipped::Shipped;
pub(crate) use tab::{Sent, Tab, login};
pub(crate) use world::World;

use std::time::Duration;

use relogin_client_proto::User;
use relogin_res::ResourceId;
use relogin_session::{Denied, Effect, UserId};
use relogin_session_manager::Backoff;
use serde_json::Value as Json;

/// What a service makes of a request: events for gateways, then the reply.
pub(crate) type Reply = (Vec<Effect>, Result<Json, Denied>);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The longest delay of a first try, and of the next ones that double it.
pub(crate) const FIRST: Duration = Backoff::BASE;

pub(crate) fn rid(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

pub(crate) fn admin() -> User {
    User { id: UserId::Number(1), name: "Administrator".into(), role: "admin".into() }
}

pub(crate) fn guest() -> User {
    User { id: UserId::Number(2), name: "Guest".into(), role: "guest".into() }
}
