//! A running service: where it is, how it reloads, how it ends. Must not start any part of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use relogin_bus::Bus;
use relogin_gateway::Gateway;
use relogin_host::errors::Chain;
use relogin_store::SessionStore;
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use super::tasks::{Tasks, Watch};
use crate::reload::Reloads;

/// A running service.
pub struct App {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) gateway: Option<Arc<Gateway>>,
    pub(super) drain: Duration,
    pub(super) address: Option<SocketAddr>,
    pub(super) has_tls: bool,
    /// Stops what accepts requests from outside.
    pub(super) doors: Tasks,
    /// Stops what answers them.
    pub(super) services: Tasks,
    /// Stops background work.
    pub(super) background: Tasks,
    /// Stops what records what the others do.
    pub(super) trails: Tasks,
    pub(super) watch: Watch,
    pub(super) reloads: Arc<Reloads>,
    /// Starts the stop when dropped, also that of a service that failed before it became an
    /// [`App`].
    pub(super) _stopping: DropGuard,
}

/// Why a service cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppFailure {
    /// A task has ended. Requests in flight can be completed: [`App::stop`].
    Part,
    /// Sessions can no longer be written, because it is unknown what is on disk. The process must
    /// end at once: [`App::abandon`].
    Store,
}

/// How long requests in flight may take once the service is stopping. Nothing is lost after that
/// either: what was answered is on disk, and what was not is asked again.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

impl App {
    /// URL of page, WebSocket and health check; none if they are not served.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let scheme = if self.has_tls { "https" } else { "http" };
        self.address.map(|address| format!("{scheme}://{address}"))
    }

    /// Reloads users, secrets and issuers in the background.
    pub fn reload(&self) {
        let reloads = Arc::clone(&self.reloads);
        tokio::spawn(async move { reloads.run().await });
    }

    /// Returns if the service is no longer complete: it should end, and be restarted.
    pub async fn failed(&self) -> AppFailure {
        tokio::select! {
            biased;
            () = self.store.failed() => AppFailure::Store,
            () = self.watch.failed.cancelled() => AppFailure::Part,
        }
    }

    /// What remains to be done after [`AppFailure::Store`]: writes the rest of the audit trail, for
    /// a second at most. What was answered is on disk, and the rest cannot be answered.
    pub async fn abandon(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.trails.close()).await;
    }

    /// Stops the service: closes the gateway's connections one after the other, accepts no new
    /// request, answers those it has, and writes what is left to write.
    ///
    /// # Errors
    /// What was not completed.
    pub async fn stop(self) -> anyhow::Result<()> {
        // From now on the health check fails.
        self.watch.stopping.cancel();
        if let Some(gateway) = &self.gateway {
            gateway.drain(self.drain).await;
        }
        let stopped = async {
            // The gateway waits for the answers of the services, so they stop after it.
            self.doors.stop.cancel();
            if let Some(gateway) = &self.gateway {
                gateway.stop().await;
            }
            self.doors.close().await;
            self.services.close().await;
            self.background.close().await;
            self.trails.close().await;
        };
        let is_in_time = tokio::time::timeout(STOP_DEADLINE, stopped).await.is_ok();
        // The bus first: it has the answers to what the store has written.
        if let Err(error) = self.bus.close().await {
            // Not an error: without NATS nobody could be answered, and the next start makes
            // gateways to fetch again.
            warn!("cannot send the last messages: {}", Chain(&error));
        }
        self.store.close().await.context("cannot close the session store")?;
        anyhow::ensure!(is_in_time, "some requests were not answered in time");
        info!("stopped");
        Ok(())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}
