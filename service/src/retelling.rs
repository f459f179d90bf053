//! Tells connections again what the store says of them: when another instance is gone without a
//! word, for it may have told some of them something late, and was not there to correct that; and
//! what this one has told and not looked at again. Must not depend on the store, RES or the rules.

use std::{sync::Arc, time::Duration};

use relogin_host::errors::Chain;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{instance::Peers, sessions::Sessions};

/// The sleep after an error, and for how long what is to be looked at gathers.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells them each time that an instance is missed, and each second what has to be told, until
/// `stop`.
pub async fn run(sessions: Arc<Sessions>, peers: Peers, stop: CancellationToken) {
    let confirming = async {
        loop {
            sessions.confirm_wanted().await;
            sleep(PAUSE).await;
            if let Err(error) = sessions.confirm_late().await {
                tracing::debug!("cannot look yet at what connections were told: {}", Chain(&error));
            }
        }
    };
    let telling = async {
        let mut missed = peers.missed();
        while missed.changed().await.is_ok() {
            loop {
                match sessions.tell_again().await {
                    Ok(connections) => {
                        tracing::warn!(
                            connections,
                            "another instance is gone without a word: connections are told again"
                        );
                        break;
                    }
                    Err(error) => tracing::error!("cannot tell connections again yet: {}", Chain(&error)),
                }
                sleep(PAUSE).await;
            }
        }
    };
    stop.run_until_cancelled(async { tokio::join!(confirming, telling) }).await;
}
