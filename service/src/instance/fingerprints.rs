//! Asks all instances of a name which secrets they have. Must not answer, nor claim the name.

use relogin_bus::{Bus, BusError, Delivery, Mailbox};
use tokio::time::{Instant, timeout_at};

use super::{ANSWER, ANSWER_DEADLINE, Instance, subject};

/// The fingerprints of the secrets of each instance of `name` that answers within a second.
///
/// # Errors
/// [`BusError`] if the bus fails.
pub async fn fingerprints(bus: &dyn Bus, name: &str) -> Result<Vec<Vec<String>>, BusError> {
    let (mailbox, mut answers) = Mailbox::with_capacity(1 << 16);
    // The highest id: it takes precedence over nobody.
    let me = Instance { id: "f".repeat(32), began: 0, ready: false, shared: None, users: None };
    let _asking = bus.ask(&subject(name), me.words(), &mailbox, ANSWER).await?;
    let (deadline, mut known) = (Instant::now() + ANSWER_DEADLINE, Vec::new());
    while let Ok(Some(delivery)) = timeout_at(deadline, answers.next()).await {
        match delivery {
            Delivery::Reply { payload, .. } => {
                known.extend(Instance::read(&payload).and_then(|other| other.shared).map(|shared| shared.secrets));
            }
            Delivery::NoResponders { .. } => break,
            Delivery::Message { .. } | Delivery::Lost => {}
        }
    }
    Ok(known)
}
