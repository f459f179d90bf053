//! The options of `relogin store copy`. Must not copy.

use clap::Args;
use relogin_store::jetstream::Replicas;

use super::nats::NatsLogin;
use crate::{
    app::{copying::Copying, store::StorePlace},
    config,
};

/// The arguments of `relogin store copy`.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    #[arg(long, value_name = "STORE", value_parser = StorePlace::parse, help = StorePlace::HELP)]
    from: StorePlace,
    /// The store to fill, likewise
    #[arg(long, value_name = "STORE", value_parser = StorePlace::parse)]
    to: StorePlace,
    /// NATS servers of the bucket
    #[arg(long, env = "RELOGIN_NATS", value_name = "URL", hide_env_values = true)]
    nats: Option<String>,
    #[command(flatten)]
    login: NatsLogin,
    /// Resource name of the services that use the bucket
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME", default_value = "session")]
    name: String,
    /// Number of NATS servers that keep each session, if the bucket is created
    #[arg(long, env = "RELOGIN_REPLICAS", value_name = "1|3|5", default_value = "1", value_parser = parse_replicas)]
    replicas: Replicas,
}

impl CopyArgs {
    /// The copy that they ask for.
    pub(super) fn copying(self) -> Copying {
        let Self { from, to, nats, login, name, replicas } = self;
        Copying { from, to, nats: nats.map(|url| login.to(url)), name, replicas }
    }
}

pub(super) fn parse_replicas(text: &str) -> Result<Replicas, String> {
    config::replicas(text.to_owned()).map_err(|problem| problem.to_string())
}
