//! A bus that checks its permissions at start and after a refusal. Must not depend on RES.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ConnectError, FLUSH_DEADLINE, NatsBus, denied};
use relogin_host::errors::Chain;

use crate::{Act, Link, Need, Permission};

/// How long after a refusal, and between two tries, it is tried again.
const RECHECK: Duration = Duration::from_secs(5);

impl NatsBus {
    /// Checks that the server permits what is needed. From now on, refusals of that are available
    /// from [`denied`](crate::Bus::denied). Returns those of `optional` that are refused.
    ///
    /// # Errors
    /// [`ConnectError`] if it does not permit them, or does not answer.
    pub async fn require(&self, needs: Vec<Need>, optional: Vec<Need>) -> Result<Vec<Permission>, ConnectError> {
        let all: Vec<_> = needs.iter().chain(&optional).filter(|need| !need.is_used_at_start).cloned().collect();
        let (mut denied, mut unfulfilled) = (denied::check(&self.config, &all).await?, Vec::new());
        denied.retain(|permission| {
            let is_needed = needs.iter().any(|need| need.permission == *permission);
            if !is_needed {
                unfulfilled.push(permission.clone());
            }
            is_needed
        });
        if !denied.is_empty() {
            return Err(ConnectError::Denied { servers: self.servers.clone(), denied });
        }
        self.shared.denials.require(needs);
        Ok(unfulfilled)
    }

    /// Publishes `payload` to `subject` on a connection of its own, and checks that the server
    /// permits it.
    ///
    /// # Errors
    /// [`ConnectError`] if it does not permit it, or does not answer.
    pub async fn publish_or_refuse(&self, subject: &str, payload: Bytes) -> Result<(), ConnectError> {
        let denied = denied::check(&self.config, &[Need::publish(subject, subject, payload)]).await?;
        if denied.is_empty() { Ok(()) } else { Err(ConnectError::Denied { servers: self.servers.clone(), denied }) }
    }

    /// Waits until the server does not permit this user a subject of JetStream. Such a request is
    /// not answered, so whoever made it would wait in vain.
    pub async fn jetstream_refused(&self) -> ConnectError {
        let denied = vec![self.shared.denials.of_jetstream().await];
        ConnectError::Denied { servers: self.servers.clone(), denied }
    }

    /// Once something that is needed is refused, tries repeatedly whether it is permitted again,
    /// until it is told to stop.
    pub async fn follow_permissions(&self, stop: CancellationToken) {
        let following = async {
            loop {
                while self.shared.denials.denied().is_empty() {
                    self.shared.refused.notified().await;
                }
                tokio::time::sleep(RECHECK).await;
                match self.recheck().await {
                    Ok(true) => tracing::info!("NATS permits again what it had refused"),
                    Ok(false) => {}
                    Err(error) => tracing::debug!("permissions are not known: {}", Chain(&error)),
                }
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// True if nothing that is needed is refused any more.
    async fn recheck(&self) -> Result<bool, ConnectError> {
        let (before, needs) = (self.shared.denials.denied(), self.shared.denials.needs());
        let mut denied = denied::check(&self.config, &needs).await?;
        // The server has dropped subscriptions, and gets them again only when a connection starts.
        if denied.is_empty() && before.iter().any(|permission| permission.act == Act::Subscribe) {
            let mut link = self.shared.link.subscribe();
            self.client.force_reconnect().await.ok();
            let renewed = async {
                link.wait_for(|link| *link == Link::Down).await?;
                link.wait_for(|link| *link == Link::Up).await
            };
            timeout(FLUSH_DEADLINE, renewed).await.ok();
            denied = denied::check(&self.config, &needs).await?;
        }
        let is_well = denied.is_empty();
        self.shared.denials.set(denied);
        Ok(is_well)
    }
}
