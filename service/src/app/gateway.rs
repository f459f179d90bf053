//! The embedded gateway alone, between clients and NATS: `relogin gateway`. Must not depend on
//! sessions or stores.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use relogin_bus::Bus;
use relogin_gateway::{Gateway, Limits};
use relogin_host::errors::Chain;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use super::{
    config::{BusKind, GatewayConfig},
    listeners::Listeners,
    open::connect,
    retry_deadline::RetryDeadline,
    tasks::{Tasks, Watch},
};
use crate::{
    descriptors,
    http::{ConnectionLimits, Health, HttpCounts, Site, Tls},
    instance::Peers,
    metrics::Metrics,
    origins::Origins,
    reload::Reloads,
};

/// A running gateway.
pub struct GatewayApp {
    bus: Arc<dyn Bus>,
    gateway: Arc<Gateway>,
    drain: Duration,
    address: Option<SocketAddr>,
    tls: Option<Arc<Tls>>,
    doors: Tasks,
    background: Tasks,
    watch: Watch,
    /// Starts the stop when dropped.
    _stopping: DropGuard,
}

impl GatewayApp {
    /// Starts the gateway. When this returns, it serves clients.
    ///
    /// # Errors
    /// What prevents the start, and what to do about it.
    pub async fn start(config: GatewayConfig) -> anyhow::Result<Self> {
        let descriptors = descriptors::raise_limit();
        let listeners = Listeners::open(&config.listening).await?;
        let (address, tls) = (listeners.address, listeners.tls.clone());
        let bus = BusKind::Nats(config.nats);
        let (bus, nats) = RetryDeadline::for_server().retry(None, || connect(bus.clone())).await?;
        let watch = Watch::default();
        let stopping = watch.stopping.clone().drop_guard();
        let [doors, background] = std::array::from_fn(|_| Tasks::new(&watch));
        if let Some(nats) = nats {
            background.open("following permissions", |stop| async move { nats.follow_permissions(stop).await });
        }
        let proxies = config.trusted_proxies;
        let origins = Origins::new(Vec::new(), config.allow_origin, address, !proxies.is_empty());
        let origins = origins.over_tls(tls.is_some()).without_page();
        let has_header_auth = config.options.header_auth.is_some();
        let gateway = Arc::new(Gateway::start(Arc::clone(&bus), config.options, Limits::default()));
        let counts = Arc::new(HttpCounts::default());
        let metrics = Metrics {
            gateway: Some(Arc::clone(&gateway)),
            bus: Arc::clone(&bus),
            http: Arc::clone(&counts),
            service: None,
        };
        let health = Health {
            store: None,
            bus: Arc::clone(&bus),
            peers: Peers::default(),
            gateway: Some(Arc::clone(&gateway)),
            stopping: watch.stopping.clone(),
        };
        let site = Site {
            gateway: Some(Arc::clone(&gateway)),
            health,
            jwks: watch::channel(None).1,
            has_page: false,
            demo: false,
            cookie: None,
            ws_paths: config.ws_paths,
            has_header_auth,
            proxies,
            origins: Arc::new(origins),
            tls: tls.clone(),
            counts,
        };
        let limits = ConnectionLimits::new(config.max_connections, config.max_connections_per_address, descriptors);
        listeners.serve(&doors, &background, site, limits, metrics);
        let drain = config.drain;
        Ok(Self { bus, gateway, drain, address, tls, doors, background, watch, _stopping: stopping })
    }

    /// URL of WebSockets, HTTP API and health check.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.address.map(|address| format!("{scheme}://{address}"))
    }

    /// Reads the certificate again, in the background.
    pub fn reload(&self) {
        let reloads = Reloads { tls: self.tls.clone(), ..Reloads::default() };
        tokio::spawn(async move { reloads.run().await });
    }

    /// Returns if the gateway should end, and be restarted.
    pub async fn failed(&self) {
        self.watch.failed.cancelled().await;
    }

    /// Stops the gateway: closes connections one after the other, once their requests are answered.
    pub async fn stop(self) {
        self.watch.stopping.cancel();
        self.gateway.drain(self.drain).await;
        self.doors.stop.cancel();
        self.gateway.stop().await;
        self.doors.close().await;
        self.background.close().await;
        if let Err(error) = self.bus.close().await {
            warn!("cannot send the last messages: {}", Chain(&error));
        }
        info!("stopped");
    }
}

impl std::fmt::Debug for GatewayApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayApp").field("address", &self.address).finish_non_exhaustive()
    }
}
