//! Has gateways fetch lists of sessions again that have changed, with one task for all of them.
//! Must not depend on the store, RES or the rules.

use std::{sync::Arc, time::Duration};

use relogin_host::errors::Chain;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::sessions::Sessions;

/// For how long uses of keys are collected: they change nothing but a time and an address.
const COLLECTED: Duration = Duration::from_secs(5);

/// The pause after each message, which limits what a storm of logins costs.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells gateways of sessions that were made or ended at once, of others after a while, until
/// `stop`.
pub async fn run(sessions: Arc<Sessions>, stop: CancellationToken) {
    let telling = async {
        loop {
            sessions.lists_wanted().await;
            tokio::select! {
                () = sleep(COLLECTED) => {}
                () = sessions.lists_urgent() => {}
            }
            if let Err(error) = sessions.tell_stale_lists().await {
                tracing::debug!("cannot tell gateways that lists of sessions are stale: {}", Chain(&error));
            }
            sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(telling).await;
}
