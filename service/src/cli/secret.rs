//! The arguments of `relogin secret …`. Must not do what they ask for.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use relogin_store::jetstream::Replicas;

use super::{copy::parse_replicas, nats::NatsLogin};
use crate::app::secrets::{SecretAction, SecretChange};

/// What to do to the secrets in NATS.
#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Make a new secret, which signs once all running services know it; no key is refused
    Rotate(SecretPlaceArgs),
    /// Forget all secrets but the one that signs
    ///
    /// Ends the sessions whose keys were not used since it signs: wait until the longest session is
    /// over.
    Prune(SecretPlaceArgs),
    /// Take the secrets of a secret file, before the first service with --secret-passphrase starts
    Import {
        /// The secret file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Number of NATS servers that keep the secrets: that of the services [default: that of
        /// their sessions, or 1 if there are none yet]
        #[arg(long, env = "RELOGIN_REPLICAS", value_name = "1|3|5", value_parser = parse_replicas)]
        replicas: Option<Replicas>,
        #[command(flatten)]
        place: SecretPlaceArgs,
    },
    /// Write the secrets to a new secret file, to go on with --secret-file; changes nothing
    Export {
        /// The file, which must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: SecretPlaceArgs,
    },
    /// Encrypt the secrets under another passphrase, while services run
    ///
    /// Then put it in the file of each service: they read that again when they meet secrets that
    /// the former one does not open.
    Passphrase {
        /// The file with the new passphrase
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: SecretPlaceArgs,
    },
}

/// Where services keep their secrets.
#[derive(Debug, Args)]
pub(super) struct SecretPlaceArgs {
    /// NATS servers of the services
    #[arg(long, env = "RELOGIN_NATS", value_name = "URL", hide_env_values = true)]
    nats: String,
    #[command(flatten)]
    login: NatsLogin,
    /// Resource name of the services
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME", default_value = "session")]
    name: String,
    /// Bucket of their sessions [default: relogin-NAME]
    #[arg(long, env = "RELOGIN_BUCKET", value_name = "BUCKET")]
    bucket: Option<String>,
    /// File with the passphrase
    #[arg(long, env = "RELOGIN_SECRET_PASSPHRASE", value_name = "FILE")]
    secret_passphrase: PathBuf,
}

/// The change that a command asks for.
pub(super) fn change(command: SecretCommand) -> SecretChange {
    let (what, place) = match command {
        SecretCommand::Rotate(place) => (SecretAction::Rotate, place),
        SecretCommand::Prune(place) => (SecretAction::Prune, place),
        SecretCommand::Import { file, replicas, place } => {
            (SecretAction::Import(file, replicas.map(Replicas::number)), place)
        }
        SecretCommand::Export { file, place } => (SecretAction::Export(file), place),
        SecretCommand::Passphrase { file, place } => (SecretAction::Passphrase(file), place),
    };
    let SecretPlaceArgs { nats, login, name, bucket, secret_passphrase } = place;
    SecretChange {
        what,
        nats: login.to(nats),
        bucket: bucket.unwrap_or_else(|| format!("relogin-{name}")),
        name,
        passphrase: secret_passphrase,
    }
}
