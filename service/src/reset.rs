//! Telling gateways that what they know of our resources may be out of date. Knows the bus and RES, not what the resources are.

use std::sync::Arc;

use relogin_res::service::{Payload, Reset, SYSTEM_RESET};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    bus::{Bus, BusError, Link},
    errors::Chain,
};

/// Sends `system.reset` for all resources under `names`, their access included.
///
/// # Errors
/// [`BusError`] if it was not sent.
pub async fn announce(bus: &dyn Bus, names: &[String]) -> Result<(), BusError> {
    let patterns: Vec<_> = names.iter().map(|name| format!("{name}.>")).collect();
    let reset = Reset { resources: patterns.clone(), access: patterns };
    bus.publish(SYSTEM_RESET, reset.encode().into()).await?;
    bus.flush().await
}

/// Announces again each time the bus was cut off, until it is told to stop: events of that time reached nobody.
pub async fn announce_after_losses(bus: Arc<dyn Bus>, names: Vec<String>, stop: CancellationToken) {
    let mut link = bus.link();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = link.changed() => if changed.is_err() { return },
        }
        let state = *link.borrow_and_update();
        match state {
            Link::Down => warn!("the connection to the message bus is lost; it is tried again until it is back"),
            Link::Up => {
                info!("the connection to the message bus is back");
                if let Err(error) = announce(&*bus, &names).await {
                    // If it was lost again meanwhile, the next change of the link comes by here.
                    warn!("gateways were not told to fetch anew: {}", Chain(&error));
                }
            }
        }
    }
}
