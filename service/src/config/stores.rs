//! Which session store is asked for, and whether the options that go with it do. Must not open one.
//! Of the stores (`app/store.rs`) it knows only those with options of their own.

use relogin_store::jetstream::BucketConfig;

use super::{
    ConfigError,
    layers::Given,
    values::{self, Problem},
};
use crate::app::{config::BusKind, store::StoreKind};

/// Where sessions are kept, and in what of it.
pub(super) fn store(options: &Given, bus: &BusKind, name: &str) -> Result<StoreKind, ConfigError> {
    let (store, bucket, replicas) = (options.store()?, options.bucket()?, options.replicas()?);
    let kind = match &store {
        None => StoreKind::default(),
        Some(store) => store.value.kind(|| {
            let name = match &bucket {
                Some(bucket) => bucket.value.clone(),
                None => values::bucket(format!("relogin-{name}")).map_err(|problem| store.is_wrong(problem))?,
            };
            let replicas = replicas.as_ref().map(|it| it.value).unwrap_or_default();
            Ok(BucketConfig { name, replicas })
        })?,
    };
    if let Some(store) = store.filter(|_| kind.shared_identity().is_some()) {
        // By NATS instances find each other.
        if *bus == BusKind::Local {
            return Err(store.is_wrong(Problem::NeedsNats));
        }
        // A secret that is made here would end all sessions when the service moves to another
        // machine.
        if options.secret_file()?.is_none() && options.secret_passphrase()?.is_none() {
            return Err(store.is_wrong(Problem::NeedsSecretFile));
        }
    }
    match (kind.bucket(), bucket, replicas) {
        (None, Some(bucket), _) => Err(bucket.is_wrong(Problem::NeedsJetStream)),
        (None, None, Some(replicas)) => Err(replicas.is_wrong(Problem::NeedsJetStream)),
        _ => Ok(kind),
    }
}
