//! Opens the listening sockets, and serves HTTP on them. Must not know what is served.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::{config::Listening, tasks::Tasks};
use crate::{
    http::{self, ConnectionLimits, Site, Tls},
    metrics::Metrics,
};

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    clients: Option<TcpListener>,
    metrics: Option<TcpListener>,
    /// How, if not plainly.
    pub(super) tls: Option<Arc<Tls>>,
    /// Where clients connect.
    pub(super) address: Option<SocketAddr>,
}

impl Listeners {
    pub(super) async fn open(config: &Listening) -> anyhow::Result<Self> {
        let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
        let clients = match &config.listen {
            Some(address) => Some(http::listen(address, "--listen").await?),
            None => None,
        };
        let address = clients
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()
            .context("cannot find out the address that is listened on")?;
        if address.is_some_and(|address| !address.ip().is_loopback()) && !config.has_public_url {
            warn!(
                "listening beyond this machine without --public-url: every requested host counts as this server's name"
            );
        }
        let metrics = match &config.metrics {
            Some(address) => {
                let listener = http::listen(address, "--metrics-listen").await?;
                info!("metrics are on http://{}/metrics", listener.local_addr()?);
                Some(listener)
            }
            None => None,
        };
        Ok(Self { clients, metrics, tls, address })
    }

    /// Serves `site` to clients, within `limits`, until `doors` are closed. The certificate is
    /// followed in the `background`.
    pub(super) fn serve(
        self,
        doors: &Tasks,
        background: &Tasks,
        site: Site,
        limits: ConnectionLimits,
        metrics: Metrics,
    ) {
        if let Some(tls) = self.tls {
            background.open("following the certificate", |stop| async move {
                stop.run_until_cancelled_owned(tls.follow()).await;
            });
        }
        if let Some(listener) = self.clients {
            doors.open("serving HTTP", move |stop| http::run(listener, site, limits, stop.cancelled_owned()));
        }
        if let Some(listener) = self.metrics {
            let metrics = Arc::new(metrics);
            let text = move || {
                let metrics = Arc::clone(&metrics);
                async move { metrics.text().await }
            };
            doors.open("serving metrics", move |stop| {
                http::serve_metrics(listener, Metrics::CONTENT_TYPE, text, stop.cancelled_owned())
            });
        }
    }
}
