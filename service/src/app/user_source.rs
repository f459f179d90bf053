//! Picks the user directory for the composition root. Must not start anything.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use relogin_bus::{Bus, nats::NatsBus};
use relogin_users::{
    UserDirectory, demo,
    directory::{ListDirectory, Saved},
    edit::{self, EditError},
    exec::{self, ExecDirectory},
    follow::Follower,
    nats::NatsDirectory,
    password::{PasswordChecks, PasswordHash},
};

use super::{
    config::{Config, UsersSource},
    store::{KNOWN_USERS, LastSeenPlace, StoreKind},
};
use crate::{
    bucket_entry::{self, BucketEntry},
    instance::{Claim, Peers},
    last_seen::SharedUsers,
};

/// The user source, as far as it can be set up before there is a bus.
pub(super) enum UserSource {
    Demo(Arc<ListDirectory>),
    /// The users, and the task that follows their file.
    File(Arc<ListDirectory>, Box<Follower>),
    Nats(String),
    Exec(Arc<ExecDirectory>),
}

impl UserSource {
    /// Opens the user source of `--users`. Reads a users file.
    ///
    /// # Errors
    /// What prevents it, and what to do about it.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let list = |users| ListDirectory::new(users, PasswordChecks::new());
        // Instances that share sessions have a users file each, or a list in memory: a password
        // that one of them changes would stay as it was at the others, and come back with the next
        // copy of the file.
        let is_changing = config.store.shared_identity().is_none();
        let cost = config.password_cost;
        let (path, is_default) = match &config.users {
            UsersSource::Demo => {
                let list = list(demo::users()?);
                return Ok(Self::Demo(Arc::new(if is_changing { list.changing(cost, None) } else { list })));
            }
            UsersSource::Nats(subject) => return Ok(Self::Nats(subject.clone())),
            UsersSource::Exec(program, arguments) => {
                let directory = ExecDirectory::new(program.clone(), arguments.clone(), exec::Limits::default());
                directory.check(std::env::var_os("PATH").as_deref())?;
                return Ok(Self::Exec(Arc::new(directory)));
            }
            UsersSource::File { path, is_default } => (path.clone(), *is_default),
        };
        let known = known_users(config);
        // The first user may be added while the service runs.
        let follower = Follower::open(path.clone(), known, is_default).map_err(|error| match error.is_missing() {
            true => anyhow::anyhow!("there is no users file {}; create it with `relogin user add`", path.display()),
            false => error.into(),
        })?;
        let renewed = path.clone();
        let keep = move |name: &str, old: &PasswordHash, new: &PasswordHash| {
            edit::replace_hash(&renewed, name, old, new)?;
            Ok(())
        };
        let save =
            move |name: &str, old: &PasswordHash, new: &PasswordHash| match edit::replace_hash(&path, name, old, new) {
                Ok(true) => Ok(Saved::Done),
                Ok(false) | Err(EditError::NoSuchUser(_)) => Ok(Saved::Outdated),
                Err(error) if error.is_read_only() => Ok(Saved::ReadOnly),
                Err(error) => Err(error.into()),
            };
        let directory = list(follower.users()).renewing(cost, Arc::new(keep));
        let directory = if is_changing { directory.changing(cost, Some(Arc::new(save))) } else { directory };
        directory.exchange_keeping(follower.users(), follower.kept());
        Ok(Self::File(Arc::new(directory), Box::new(follower)))
    }

    /// If other instances use the same bucket: what was last seen of the users of a file is in it.
    ///
    /// # Errors
    /// What prevents it from being read.
    pub(super) async fn share(
        &mut self,
        store: &StoreKind,
        nats: Option<&NatsBus>,
        claim: Option<&Claim>,
        peers: &Peers,
    ) -> anyhow::Result<()> {
        let Self::File(list, follower) = self else { return Ok(()) };
        let bucket = match store.last_seen_place() {
            LastSeenPlace::Bucket(bucket) => bucket,
            LastSeenPlace::DataFolder | LastSeenPlace::NeedsNone => return Ok(()),
        };
        let (Some(nats), Some(claim)) = (nats, claim) else { return Ok(()) };
        let sharing = async {
            let entry = BucketEntry::open(nats.client(), &bucket.name, bucket_entry::USERS).await?;
            follower.share(SharedUsers::new(entry, claim.handle(), peers.clone())).await
        };
        let shared = sharing.await.map_err(|error| anyhow::anyhow!(error));
        shared.with_context(|| format!("cannot read the last seen users in the bucket {:?}", bucket.name))?;
        list.exchange_keeping(follower.users(), follower.kept());
        Ok(())
    }

    pub(super) fn directory(&self, bus: &Arc<dyn Bus>) -> Arc<dyn UserDirectory> {
        match self {
            Self::Demo(list) | Self::File(list, _) => Arc::clone(list) as _,
            Self::Nats(subject) => Arc::new(NatsDirectory::new(Arc::clone(bus), subject.clone())),
            Self::Exec(directory) => Arc::clone(directory) as _,
        }
    }

    /// True if `relogin user changed` announces their changes.
    pub(super) fn announces(&self) -> bool {
        matches!(self, Self::Nats(_) | Self::Exec(_))
    }

    /// True if nobody could log in now, as far as is known here.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::File(list, _) if list.users().entries().is_empty())
    }
}

/// The file that the last seen users are kept in, if it is a file.
fn known_users(config: &Config) -> Option<PathBuf> {
    match config.store.last_seen_place() {
        LastSeenPlace::DataFolder => Some(config.data.join(KNOWN_USERS)),
        LastSeenPlace::Bucket(_) | LastSeenPlace::NeedsNone => None,
    }
}
