//! Sends connections again what the store says of them: when another instance has vanished, which
//! may have sent something late and not corrected it, and where this one has sent something and not
//! checked it. Must not depend on the store, RES or the rules.

use std::{sync::Arc, time::Duration};

use relogin_host::errors::Chain;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{instance::Peers, sessions::Sessions};

/// The pause after an error, and for how long connections to be checked are collected.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the last check may take when the service stops.
const LAST_CHECK: Duration = Duration::from_secs(2);

/// Resends each time that an instance has vanished, and checks at once or after a second, until
/// `stop` and once more then.
pub async fn run(sessions: Arc<Sessions>, peers: Peers, stop: CancellationToken) {
    let confirming = async {
        let wanted = async || {
            sessions.confirm_wanted().await;
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = sessions.confirm_urgent() => {}
            }
        };
        // A check is not cut short: what it has not corrected would be forgotten.
        while stop.run_until_cancelled(wanted()).await.is_some() {
            if let Err(error) = sessions.confirm_late().await {
                tracing::debug!("cannot check yet what connections were sent: {}", Chain(&error));
                stop.run_until_cancelled(sleep(PAUSE)).await;
            }
        }
    };
    let resending = async {
        let mut missed = peers.missed();
        while missed.changed().await.is_ok() {
            loop {
                let resent = async { sessions.tell_all_lists().await.and(sessions.resend().await) };
                match resent.await {
                    Ok(connections) => {
                        tracing::warn!(
                            connections,
                            "another instance has vanished: connections get their events again"
                        );
                        break;
                    }
                    Err(error) => tracing::error!("cannot send connections their events again yet: {}", Chain(&error)),
                }
                sleep(PAUSE).await;
            }
        }
    };
    tokio::join!(confirming, stop.run_until_cancelled(resending));
    // An instance that has stopped has not vanished, so nobody else would check.
    match timeout(LAST_CHECK, sessions.confirm_late()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("cannot check what connections were sent: {}", Chain(&error)),
        Err(_) => tracing::warn!("cannot check in time what connections were sent"),
    }
}
