//! Asks all instances of a name what they share with the others, such as which secrets they have.
//! Must not answer, nor claim the name.

use relogin_bus::{Bus, BusError, Delivery, Mailbox};
use tokio::time::{Instant, timeout_at};

use super::{ANSWER, ANSWER_DEADLINE, Instance, Shared, subject};

/// What each instance of `name` that answers within a second shares with the others.
///
/// # Errors
/// [`BusError`] if the bus fails.
pub async fn survey(bus: &dyn Bus, name: &str) -> Result<Vec<Shared>, BusError> {
    let (mailbox, mut answers) = Mailbox::with_capacity(1 << 16);
    // The highest id: it takes precedence over nobody.
    let me = Instance { id: "f".repeat(32), began: 0, ready: false, shared: None, users: None };
    let _asking = bus.ask(&subject(name), me.words(), &mailbox, ANSWER).await?;
    let (deadline, mut found) = (Instant::now() + ANSWER_DEADLINE, Vec::new());
    while let Ok(Some(delivery)) = timeout_at(deadline, answers.next()).await {
        match delivery {
            Delivery::Reply { payload, .. } => found.extend(Instance::read(&payload).and_then(|other| other.shared)),
            Delivery::NoResponders { .. } => break,
            Delivery::Message { .. } | Delivery::Lost => {}
        }
    }
    Ok(found)
}
