//! The health of this process. Knows what to check, not what is behind it.

use std::{fmt, sync::Arc, time::Duration};

use relogin_bus::{Bus, Link, Permission};
use relogin_gateway::Gateway;
use relogin_store::{SessionStore, StoreError};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::instance::Peers;

/// What the health check asks.
#[derive(Clone)]
pub struct Health {
    /// The session store, if this process has one.
    pub store: Option<Arc<dyn SessionStore>>,
    /// The message bus.
    pub bus: Arc<dyn Bus>,
    /// The state of other instances of the same name.
    pub peers: Peers,
    /// The embedded gateway, if there is one.
    pub gateway: Option<Arc<Gateway>>,
    /// Cancelled once the service stops.
    pub stopping: CancellationToken,
}

/// Why this process cannot do its work.
#[derive(Debug, Error)]
pub(crate) enum Unhealthy {
    #[error("the session store cannot take writes: {0}")]
    Store(#[source] StoreError),
    #[error("the session store does not answer")]
    StoreIsSilent,
    #[error("the connection to NATS is lost")]
    BusIsDown,
    #[error("NATS does not permit this user to {0}; add it to the user's permissions")]
    Denied(Permission),
    #[error("another instance of the same name answers on this NATS; stop one of the two")]
    AnotherInstance,
    #[error("the service is being stopped")]
    IsStopping,
    #[error("the gateway has ended")]
    GatewayHasEnded,
}

/// A store that takes longer counts as not working.
const STORE_DEADLINE: Duration = Duration::from_secs(3);

impl Health {
    /// Why the process cannot do its work, if so.
    pub(crate) async fn check(&self) -> Result<(), Unhealthy> {
        if self.stopping.is_cancelled() {
            return Err(Unhealthy::IsStopping);
        }
        if let Some(store) = &self.store {
            timeout(STORE_DEADLINE, store.check())
                .await
                .map_err(|_| Unhealthy::StoreIsSilent)?
                .map_err(Unhealthy::Store)?;
        }
        if *self.bus.link().borrow() == Link::Down {
            return Err(Unhealthy::BusIsDown);
        }
        if let Some(permission) = self.bus.denied().into_iter().next() {
            return Err(Unhealthy::Denied(permission));
        }
        if self.peers.is_met() {
            return Err(Unhealthy::AnotherInstance);
        }
        match &self.gateway {
            Some(gateway) if !gateway.is_running() => Err(Unhealthy::GatewayHasEnded),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}
