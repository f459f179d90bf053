//! Carries out the state machine's bus commands, in the order of [`Requests`]. It is a task of its
//! own, so that a slow bus does not keep the state machine from its clients and its clock.

use std::sync::Arc;

use relogin_bus::{Bus, Mailbox, Tag};
use tokio::sync::mpsc;

use crate::{
    id_map::IdMap,
    requests::{BusCommand, Requests},
};

/// Carries out bus commands until there are no more. Their results go into `mailbox`; what the bus
/// did not accept is `refused`.
pub(crate) async fn run(
    bus: Arc<dyn Bus>,
    mailbox: Mailbox,
    requests: Arc<Requests>,
    refused: mpsc::UnboundedSender<Tag>,
) {
    let mut guards = IdMap::default();
    while let Some(command) = requests.next().await {
        let (tag, done) = match command {
            BusCommand::Listen(tag, pattern) => (tag, bus.listen(&pattern, &mailbox, tag).await),
            BusCommand::Ask(tag, subject, payload) => (tag, bus.ask(&subject, payload, &mailbox, tag).await),
            BusCommand::Release(tag) => {
                guards.remove(&tag);
                continue;
            }
        };
        // The bus within this process never blocks.
        tokio::task::consume_budget().await;
        match done {
            Ok(guard) => {
                guards.insert(tag, guard);
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the bus refused a message");
                requests.refused(tag);
                // If the driver has ended, nobody waits for the result.
                refused.send(tag).ok();
            }
        }
    }
}
