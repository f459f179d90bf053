//! Opens what a service stands on beside its store (`store.rs`): bus, data folder and secret. Must
//! not start anything.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::SystemTime};

use anyhow::Context;
use relogin_bus::{
    Bus, Permission,
    local::LocalBus,
    nats::{NatsBus, OWN_SUBSCRIPTIONS},
};
use relogin_host::{disk, errors::Chain};

use super::config::BusKind;
use crate::{
    instance,
    needs::{self, Uses},
    reload::SecretPlace,
    secret::{self, SecretBucket, SecretSource},
};

/// Creates the data folder, accessible only to its owner, and removes what crashes have left in it.
pub(super) fn make_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the data folder {}; choose another one with --data", path.display()))?;
    if let Err(error) = disk::remove_unfinished(path, SystemTime::now()) {
        tracing::warn!("cannot look for unfinished files in {}: {}", path.display(), Chain(&error));
    }
    Ok(())
}

/// What keys are made from, and where that is read again.
pub(super) async fn read_secret(
    source: &SecretSource,
    nats: Option<&NatsBus>,
) -> anyhow::Result<(secret::FromFile, Option<SecretPlace>)> {
    Ok(match source {
        SecretSource::Memory => (secret::FromFile { keyring: secret::in_memory()?, is_new: false }, None),
        SecretSource::File(path) => (secret::from_file(path)?, Some(SecretPlace::File(path.clone()))),
        SecretSource::Bucket { name, replicas, passphrase } => {
            let nats = nats.context("secrets in a bucket need a connection to NATS")?;
            let bucket = SecretBucket::open(nats.client(), name, Some(*replicas), passphrase).await?;
            (bucket.load().await?, Some(SecretPlace::Bucket(Arc::new(bucket))))
        }
    })
}

/// The message bus, twice if it is NATS.
pub(super) async fn connect(kind: BusKind) -> anyhow::Result<(Arc<dyn Bus>, Option<Arc<NatsBus>>)> {
    Ok(match kind {
        BusKind::Local => (Arc::new(LocalBus::new()), None),
        BusKind::Nats(nats) => {
            let nats = Arc::new(NatsBus::connect(&nats).await?);
            (Arc::clone(&nats) as _, Some(nats))
        }
    })
}

/// Checks that NATS permits what is needed. Returns what it does not permit of that by which other
/// instances are noticed.
pub(super) async fn check_permissions(nats: &NatsBus, uses: &Uses) -> anyhow::Result<Option<Permission>> {
    let (needs, mut wildcards, mut optional) =
        (needs::needs(uses), needs::wildcards(uses), instance::needs(&uses.name));
    optional.extend(wildcards.iter().filter(|wildcard| !needs.contains(wildcard)).cloned());
    let mut refused = nats.require(needs, optional).await?;
    wildcards.retain(|wildcard| match refused.iter().position(|refused| *refused == wildcard.permission) {
        Some(at) => {
            let refused = refused.remove(at);
            tracing::warn!(
                "NATS does not permit this user to {refused}: each name that clients subscribe to takes 8 KiB of memory more"
            );
            false
        }
        None => true,
    });
    nats.share_subscriptions(wildcards, OWN_SUBSCRIPTIONS);
    Ok(refused.pop())
}
