//! Which session store is asked for, and whether the options that go with it do. Must not open one.

use relogin_store::jetstream::BucketConfig;

use super::{
    ConfigError,
    layers::Given,
    values::{self, Problem, StoreName},
};
use crate::app::config::{BusKind, StoreKind};

/// Where sessions are kept, and in what of it.
pub(super) fn store(options: &Given, bus: &BusKind, name: &str) -> Result<StoreKind, ConfigError> {
    let (bucket, replicas) = (options.bucket()?, options.replicas()?);
    let store = options.store()?;
    match (store.as_ref().map(|store| store.value), store) {
        (Some(StoreName::JetStream), Some(store)) => {
            if *bus == BusKind::Local {
                return Err(store.is_wrong(Problem::NeedsNats));
            }
            // A secret that is made here would end all sessions when the service moves to another
            // machine.
            if options.secret_file()?.is_none() && options.secret_passphrase()?.is_none() {
                return Err(store.is_wrong(Problem::NeedsSecretFile));
            }
            let name = match bucket {
                Some(bucket) => bucket.value,
                None => values::bucket(format!("relogin-{name}")).map_err(|problem| store.is_wrong(problem))?,
            };
            Ok(StoreKind::JetStream(BucketConfig { name, replicas: replicas.map(|it| it.value).unwrap_or_default() }))
        }
        (store, _) => {
            if let Some(bucket) = bucket {
                return Err(bucket.is_wrong(Problem::NeedsJetStream));
            }
            if let Some(replicas) = replicas {
                return Err(replicas.is_wrong(Problem::NeedsJetStream));
            }
            Ok(match store {
                Some(StoreName::Memory) => StoreKind::Memory,
                Some(StoreName::Sled | StoreName::JetStream) | None => StoreKind::Sled,
            })
        }
    }
}
