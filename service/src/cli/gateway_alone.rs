//! The command line of `relogin gateway`: of the options of `relogin serve` those that are about a
//! gateway, and Resgate's configuration file. Must not interpret them.

use std::path::PathBuf;

use clap::{Arg, Args};

use super::ConfigArgs;
use crate::config::{OF_THE_GATEWAY_ALONE, Options};

#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    /// Resgate's configuration file, in JSON, instead of relogin.toml
    ///
    /// Resgate's defaults hold then: NATS on this machine, port 8080 on all addresses, pages of all
    /// origins. Other options go before the file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(super) resgate_config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) options: Options,
}

/// Refuses an option of `relogin serve` that is not about a gateway, and leaves it out of the help.
pub(super) fn only_of_a_gateway(arg: Arg) -> Arg {
    let mut of_a_gateway = ["resgate_config", "config"].iter().chain(OF_THE_GATEWAY_ALONE);
    if of_a_gateway.any(|id| arg.get_id() == id) {
        return arg;
    }
    let refuse = |_: &str| Err::<String, _>("it is an option of `relogin serve`");
    arg.env(None).hide(true).value_parser(refuse)
}
