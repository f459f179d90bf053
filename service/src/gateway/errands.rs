//! What the machine wants of the bus, done in its order. In a task of its own: a bus that is slow to take something must not
//! keep the machine from its clients and its clock.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::bus::{Bus, Mailbox, Tag};

/// Something to be done on the bus.
#[derive(Debug)]
pub(super) enum Errand {
    /// Listen to a pattern.
    Listen(Tag, String),
    /// Send a request.
    Ask(Tag, String, Bytes),
    /// Listen no more, or wait for no more answers.
    Release(Tag),
}

/// Runs errands until nobody has any more. What comes of them goes into `mailbox`; what the bus did not take is `refused`.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    mailbox: Mailbox,
    mut errands: mpsc::UnboundedReceiver<Errand>,
    refused: mpsc::UnboundedSender<Tag>,
) {
    let mut guards = HashMap::new();
    while let Some(errand) = errands.recv().await {
        let (tag, done) = match errand {
            Errand::Listen(tag, pattern) => (tag, bus.listen(&pattern, &mailbox, tag).await),
            Errand::Ask(tag, subject, payload) => (tag, bus.ask(&subject, payload, &mailbox, tag).await),
            Errand::Release(tag) => {
                guards.remove(&tag);
                continue;
            }
        };
        match done {
            Ok(guard) => {
                guards.insert(tag, guard);
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the bus refused a message");
                // If the driver has ended, nobody waits for it.
                refused.send(tag).ok();
            }
        }
    }
}
