//! Which certificates of gateways are trusted. Must not connect.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio_tungstenite::Connector;

/// Why a text names no authority whose certificates could be trusted.
#[derive(Debug, Error)]
#[error("no certificate in PEM")]
pub struct NoCertificate(#[source] pem::Error);

/// Who vouches for gateways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Only these; none: those that the system trusts.
    only: Option<Vec<CertificateDer<'static>>>,
    /// Made for the first connection that needs it.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Trust {
    /// Trusts those whose certificates are in `pem`, and nobody else.
    pub(crate) fn only(pem: &[u8]) -> Result<Self, NoCertificate> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(NoCertificate)?;
        if certificates.is_empty() {
            return Err(NoCertificate(pem::Error::NoItemsFound));
        }
        Ok(Self { only: Some(certificates), config: Arc::default() })
    }

    /// The TLS connector for this URL; none if it needs no TLS, or none can be made.
    pub(crate) async fn connector(&self, url: &str) -> Option<Connector> {
        if !url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss:")) {
            return None;
        }
        let trust = self.clone();
        // The system's root certificates are in files.
        let config = spawn_blocking(move || Arc::clone(trust.config.get_or_init(|| trust.make()))).await.ok()?;
        Some(Connector::Rustls(config))
    }

    fn make(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.only {
            Some(certificates) => drop(roots.add_parsable_certificates(certificates.iter().cloned())),
            None => {
                let found = rustls_native_certs::load_native_certs();
                for error in &found.errors {
                    log::warn!(target: "relogin", "cannot read all certificates that the system trusts: {error}");
                }
                roots.add_parsable_certificates(found.certs);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows all versions of TLS that rustls does")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}
