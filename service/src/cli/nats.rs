//! How commands beside `relogin serve` reach NATS. Must not connect.

use std::path::PathBuf;

use clap::Args;
use relogin_bus::nats::NatsConfig;

/// The login to NATS: the same options as those of `relogin serve`.
#[derive(Debug, Args)]
pub(super) struct NatsLogin {
    /// Credentials file for NATS
    #[arg(long, env = "RELOGIN_NATS_CREDS", value_name = "FILE", global = true)]
    nats_creds: Option<PathBuf>,
    /// Certificates of the authorities that vouch for the NATS servers, in PEM
    #[arg(long, env = "RELOGIN_NATS_CA", value_name = "FILE", global = true)]
    nats_ca: Option<PathBuf>,
    /// Certificate by which NATS servers recognise this one, in PEM
    #[arg(long, env = "RELOGIN_NATS_CERT", value_name = "FILE", requires = "nats_key", global = true)]
    nats_cert: Option<PathBuf>,
    /// Key of --nats-cert, in PEM
    #[arg(long, env = "RELOGIN_NATS_KEY", value_name = "FILE", requires = "nats_cert", global = true)]
    nats_key: Option<PathBuf>,
}

impl NatsLogin {
    /// How to reach the servers at `url`.
    pub(super) fn to(self, url: String) -> NatsConfig {
        let Self { nats_creds: credentials, nats_ca: ca, nats_cert, nats_key } = self;
        NatsConfig { url, credentials, ca, certificate: nats_cert.zip(nats_key) }
    }
}
