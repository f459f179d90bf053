//! The arguments of `relogin backup` and `relogin restore`. Must not do what they ask for.

use std::path::PathBuf;

use clap::{ArgMatches, Args};
use relogin_store::jetstream::Replicas;

use super::{ConfigArgs, copy::parse_replicas, layers, nats::NatsLogin};
use crate::{
    app::{backing_up::BackingUp, restoring::Restoring, store::StorePlace},
    config::{DataPlaces, Layers, Options},
};

/// The arguments of `relogin backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; one of this name is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put the server's secret into the backup, encrypted under the passphrase in this file
    #[arg(long, value_name = "FILE")]
    secret_passphrase: Option<PathBuf>,
    /// The store with the sessions: sled:FOLDER, or jetstream:BUCKET [default: that of --data]
    #[arg(long, value_name = "STORE", value_parser = StorePlace::parse)]
    from: Option<StorePlace>,
    #[command(flatten)]
    pub(super) places: PlacesArgs,
}

/// The arguments of `relogin restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put aside what the data folder has
    #[arg(long)]
    replace: bool,
    /// Write the secret in the backup to the secret file, decrypted by the passphrase in this file
    #[arg(long, value_name = "FILE")]
    secret_passphrase: Option<PathBuf>,
    /// Restore although the secret is missing or another one: all keys will be refused
    #[arg(long, conflicts_with = "secret_passphrase")]
    without_secret: bool,
    /// The store to fill: sled:FOLDER, or jetstream:BUCKET, which must be empty [default: that of
    /// --data]
    #[arg(long, value_name = "STORE", value_parser = StorePlace::parse)]
    to: Option<StorePlace>,
    /// Resource name of the services that use the bucket
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME", default_value = "session")]
    name: String,
    /// Number of NATS servers that keep each session, if the bucket is created
    #[arg(long, env = "RELOGIN_REPLICAS", value_name = "1|3|5", default_value = "1", value_parser = parse_replicas)]
    replicas: Replicas,
    #[command(flatten)]
    pub(super) places: PlacesArgs,
}

/// Where a service has what it has.
#[derive(Debug, Args)]
pub(super) struct PlacesArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The data folder of the service [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The socket of the service [default: control.sock in the data folder]
    #[arg(long, env = "RELOGIN_CONTROL_SOCKET", value_name = "PATH|off")]
    control_socket: Option<PathBuf>,
    /// The file with the server's secret [default: secret in the data folder]
    #[arg(long, env = "RELOGIN_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// NATS servers of a bucket
    #[arg(long, env = "RELOGIN_NATS", value_name = "URL", hide_env_values = true)]
    nats: Option<String>,
    #[command(flatten)]
    login: NatsLogin,
}

impl BackupArgs {
    /// The store that is to be backed up, if it was named.
    #[must_use]
    pub fn store(&self) -> Option<StorePlace> {
        self.from.clone()
    }

    /// What is to be done, at these places.
    #[must_use]
    pub fn at(self, places: DataPlaces) -> BackingUp {
        let DataPlaces { store: from, control, secret_file } = places;
        let Self { file, secret_passphrase: passphrase, places: PlacesArgs { nats, login, .. }, .. } = self;
        BackingUp { file, from, control, nats: nats.map(|url| login.to(url)), secret_file, passphrase }
    }
}

impl RestoreArgs {
    /// The store that is to be filled, if it was named.
    #[must_use]
    pub fn store(&self) -> Option<StorePlace> {
        self.to.clone()
    }

    /// What is to be done, at these places.
    #[must_use]
    pub fn at(self, places: DataPlaces) -> Restoring {
        let DataPlaces { store: to, secret_file, .. } = places;
        let Self { file, replace, secret_passphrase: passphrase, without_secret, name, replicas, .. } = self;
        let PlacesArgs { nats, login, .. } = self.places;
        let nats = nats.map(|url| login.to(url));
        Restoring { file, to, nats, name, replicas, secret_file, passphrase, without_secret, replace }
    }
}

impl PlacesArgs {
    /// The options that a configuration file may have as well.
    pub(super) fn layers(&mut self, matches: &ArgMatches) -> Layers {
        let Self { config, data, control_socket, secret_file, .. } = self;
        let options = Options {
            data: data.take(),
            control_socket: control_socket.take(),
            secret_file: secret_file.take(),
            ..Options::default()
        };
        layers(options, ConfigArgs { config: config.config.take() }, matches)
    }
}
