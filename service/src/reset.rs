//! Tells gateways that their copies of the service's resources may be stale. Depends on the bus and
//! RES, not on the resources.

use std::sync::Arc;

use bytes::Bytes;
use relogin_bus::{Bus, BusError, Link};
use relogin_host::errors::Chain;
use relogin_res::service::{Payload, Reset, SYSTEM_RESET};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Sends `system.reset` for all resources under some names, including their access.
pub struct Resets {
    bus: Arc<dyn Bus>,
    names: Vec<String>,
    link: watch::Receiver<Link>,
}

impl Resets {
    /// Resets of the resources under `names`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, names: Vec<String>) -> Self {
        // Before the first announcement, so that no later loss is missed.
        let link = bus.link();
        Self { bus, names, link }
    }

    /// Sends a reset.
    ///
    /// # Errors
    /// [`BusError`] if it was not sent.
    pub async fn announce(&self) -> Result<(), BusError> {
        let (subject, payload) = self.message();
        self.bus.publish(subject, payload).await?;
        self.bus.flush().await
    }

    /// The subject and payload of a reset.
    #[must_use]
    pub fn message(&self) -> (&'static str, Bytes) {
        let patterns: Vec<_> = self.names.iter().map(|name| format!("{name}.>")).collect();
        let reset = Reset { resources: patterns.clone(), access: patterns };
        (SYSTEM_RESET, reset.encode().into())
    }

    /// Announces each time the bus was cut off, until it is told to stop: events of that time
    /// reached nobody.
    pub async fn announce_after_losses(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.link.changed() => if changed.is_err() { return },
            }
            let link = *self.link.borrow_and_update();
            match link {
                Link::Down => warn!("lost the connection to the message bus; reconnecting"),
                Link::Up => {
                    info!("reconnected to the message bus");
                    if let Err(error) = self.announce().await {
                        // If it was lost again in the meantime, the next change of the link leads
                        // here.
                        warn!("cannot make gateways fetch their resources again: {}", Chain(&error));
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Resets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resets").field("names", &self.names).finish_non_exhaustive()
    }
}
