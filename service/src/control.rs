//! Answers operators who ask a running service: `relogin status`, `relogin session`.
//! Requests and answers are one small protocol (`control/protocol.rs`); a socket
//! (`control/socket.rs`) or the bus (`control/bus.rs`) only carries it, and `control/client.rs` is
//! the other end of both. Must not know the command line, nor how answers are shown.

pub mod bus;
pub mod client;
pub mod export;
pub mod protocol;
mod sessions;
mod socket;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use relogin_bus::Link;
use relogin_host::errors::Chain;
use relogin_users::UserDirectory;
use tokio::time::timeout;

use self::protocol::{
    BusStatus, BusStatusKind, ControlAnswer, ControlRefusal, ControlRequest, InstancesStatus, Status,
};
pub use self::socket::{ControlSocket, SocketError, SocketPlace};
use crate::{http::Health, sessions::Sessions};

/// Answers the requests of operators. Whoever can reach it may do everything that it offers.
pub struct Control {
    /// The resource name of the service.
    pub name: String,
    /// What its store is called.
    pub store: &'static str,
    /// Whether the bus is NATS.
    pub has_nats: bool,
    /// What distinguishes this instance from others with the same store; none if there are none.
    pub instance: Option<String>,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// Its users.
    pub users: Arc<dyn UserDirectory>,
    /// What its health check asks: store, bus, gateway and other instances.
    pub health: Health,
    /// When it began to answer.
    pub began: Began,
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    at: SystemTime,
    since: Instant,
}

/// How long the service may take for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How long the gateway and the store may take to say what they have.
const COUNTING: Duration = Duration::from_secs(3);

impl Began {
    /// The current moment.
    #[must_use]
    pub fn now() -> Self {
        Self { at: SystemTime::now(), since: Instant::now() }
    }
}

impl Control {
    /// Answers a request, given as the text of its line.
    pub async fn answer(&self, line: &[u8]) -> ControlAnswer {
        let answer = match ControlRequest::read(line) {
            Ok(ControlRequest::Status) => Ok(ControlAnswer::Status(Box::new(self.status().await))),
            Ok(ControlRequest::Sessions { user, after }) => self.page(user.as_deref(), after).await,
            Ok(ControlRequest::Session { id }) => self.session(id).await,
            Ok(ControlRequest::Revoke { id }) => self.revoke(id).await,
            Ok(ControlRequest::RevokeUser { user }) => self.revoke_user(&user).await,
            Ok(ControlRequest::Export) => match &self.health.store {
                Some(store) if !store.is_shared() => Ok(ControlAnswer::Export {}),
                _ => Err(ControlRefusal::not_its_own()),
            },
            Err(error) => Err(ControlRefusal::invalid(&Chain(&error))),
        };
        answer.unwrap_or_else(ControlAnswer::Error)
    }

    /// Answers a request that all instances get: only what differs between them.
    pub async fn answer_as_one_of_all(&self, line: &[u8]) -> ControlAnswer {
        match ControlRequest::read(line) {
            Ok(ControlRequest::Status) | Err(_) => self.answer(line).await,
            Ok(_) => ControlAnswer::Error(ControlRefusal::is_for_one()),
        }
    }

    async fn status(&self) -> Status {
        let Health { store, bus, peers, gateway, .. } = &self.health;
        let sessions = async { timeout(COUNTING, store.as_ref()?.count()).await.ok()?.ok() };
        let connections = async {
            timeout(COUNTING, gateway.as_ref()?.stats())
                .await
                .ok()?
                .map(|stats| stats.opened.saturating_sub(stats.ended.iter().sum()))
        };
        let (sessions, connections, health) = tokio::join!(sessions, connections, self.health.check());
        let started = self.began.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.name.clone(),
            ready: health.is_ok(),
            problem: health.err().map(|problem| problem.to_string()),
            started: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            uptime: self.began.since.elapsed().as_secs(),
            store: self.store.to_owned(),
            sessions: sessions.map(|count| count as u64),
            connections,
            bus: BusStatus {
                kind: if self.has_nats { BusStatusKind::Nats } else { BusStatusKind::Local },
                connected: *bus.link().borrow() == Link::Up,
            },
            instances: self.instance.clone().map(|this| InstancesStatus { this, others: peers.belonging() }),
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("name", &self.name).field("instance", &self.instance).finish_non_exhaustive()
    }
}
