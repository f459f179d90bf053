//! Sends connections again what the store says of them: when another instance has vanished, which
//! may have sent something late and not corrected it, and where this one has sent something and not
//! checked it. Must not depend on the store, RES or the rules.

use std::{sync::Arc, time::Duration};

use relogin_host::errors::Chain;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{instance::Peers, sessions::Sessions};

/// The pause after an error, and for how long connections to be checked are collected.
const PAUSE: Duration = Duration::from_secs(1);

/// Resends each time that an instance has vanished, and checks once a second, until `stop`.
pub async fn run(sessions: Arc<Sessions>, peers: Peers, stop: CancellationToken) {
    let confirming = async {
        loop {
            sessions.confirm_wanted().await;
            sleep(PAUSE).await;
            if let Err(error) = sessions.confirm_late().await {
                tracing::debug!("cannot check yet what connections were sent: {}", Chain(&error));
            }
        }
    };
    let resending = async {
        let mut missed = peers.missed();
        while missed.changed().await.is_ok() {
            loop {
                match sessions.resend().await {
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
    stop.run_until_cancelled(async { tokio::join!(confirming, resending) }).await;
}
