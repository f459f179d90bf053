//! The session stores that may be chosen, and all that depends on which of them it is: a new one
//! gets its variants here. Must not depend on how options are read, nor on what stores do inside
//! (`relogin-store`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use relogin_bus::nats::NatsBus;
use relogin_host::disk;
use relogin_store::{
    SessionStore, StoreError,
    jetstream::{BucketConfig, JetStreamStore, Replicas},
    memory::MemoryStore,
    sled::SledStore,
};

use super::unfinished;
use crate::{
    bucket_entry::{self, BucketEntry},
    secret::SecretSource,
};

/// The file in the data folder with what was last seen of the users.
pub(super) const KNOWN_USERS: &str = "users.known";

/// What `--store` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreName {
    /// In the data folder.
    Sled,
    /// In a bucket of JetStream.
    JetStream,
    /// In memory.
    Memory,
}

impl StoreName {
    /// The names, as a message lists them.
    pub const CHOICES: &str = "sled, jetstream or memory";
    /// The names, as the help lists them.
    pub const VALUES: &str = "sled|jetstream|memory";
    /// The first line of the help.
    pub const HELP: &str = "Keep sessions in the data folder, in JetStream, or only in memory [default: sled]";
    /// All of the help.
    pub const LONG_HELP: &str = "\
Keep sessions in the data folder, in JetStream, or only in memory [default: sled]

`jetstream` needs --nats and --secret-file or --secret-passphrase, and nothing on the machine; see scale.md.";

    /// The store of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "sled" => Some(Self::Sled),
            "jetstream" => Some(Self::JetStream),
            "memory" => Some(Self::Memory),
            _ => None,
        }
    }

    /// The store of that name, in the bucket that options ask for if it is to be in one.
    ///
    /// # Errors
    /// Those of `bucket`.
    pub fn kind<E>(self, bucket: impl FnOnce() -> Result<BucketConfig, E>) -> Result<StoreKind, E> {
        Ok(match self {
            Self::Sled => StoreKind::Sled,
            Self::JetStream => StoreKind::JetStream(bucket()?),
            Self::Memory => StoreKind::Memory,
        })
    }
}

/// The session store, with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// In the data folder.
    #[default]
    Sled,
    /// In a bucket of JetStream.
    JetStream(BucketConfig),
    /// In memory: a restart ends them.
    Memory,
}

impl StoreKind {
    /// Its name, as `--store` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::JetStream(_) => "jetstream",
            Self::Memory => "memory",
        }
    }

    /// What tells it from other stores, if several instances may use it at the same time; none if
    /// only one may. Instances send each other this text, and those with another text do not belong
    /// together: one store must always have the same, and nothing secret may be in it, such as a
    /// password in a URL. With a shared store, options have to name NATS and a common secret.
    #[must_use]
    pub fn shared_identity(&self) -> Option<String> {
        match self {
            Self::JetStream(bucket) => Some(format!("the JetStream bucket {}", bucket.name)),
            Self::Sled | Self::Memory => None,
        }
    }

    /// The bucket, beside which secrets may be kept.
    #[must_use]
    pub fn bucket(&self) -> Option<&BucketConfig> {
        match self {
            Self::JetStream(bucket) => Some(bucket),
            Self::Sled | Self::Memory => None,
        }
    }

    /// Where the last seen users are kept. Without them, a password that is changed while no
    /// service runs ends no session.
    #[must_use]
    pub fn last_seen_place(&self) -> LastSeenPlace<'_> {
        match self {
            Self::Sled => LastSeenPlace::DataFolder,
            Self::JetStream(bucket) => LastSeenPlace::Bucket(bucket),
            Self::Memory => LastSeenPlace::NeedsNone,
        }
    }

    /// Whether the session clock is kept in the data folder. True for each store of one process
    /// whose sessions outlive it.
    #[must_use]
    pub fn keeps_clock_in_data_folder(&self) -> bool {
        match self {
            Self::Sled => true,
            Self::JetStream(_) | Self::Memory => false,
        }
    }

    /// What keys are made from if no option says so: it lasts as long as the sessions do. If they
    /// outlive the machine, an option has to (`config/stores.rs`).
    #[must_use]
    pub fn default_secret(&self, data: &Path) -> SecretSource {
        match self {
            Self::Sled | Self::JetStream(_) => SecretSource::File(data.join("secret")),
            Self::Memory => SecretSource::Memory,
        }
    }

    /// Refuses a data folder into which sessions were not all copied or restored. Before anything
    /// is made in it: the secret may be missing, too.
    pub(super) fn ensure_complete_folder(&self, data: &Path) -> anyhow::Result<()> {
        match self {
            Self::Sled => unfinished::ensure_complete_folder(data),
            Self::JetStream(_) | Self::Memory => Ok(()),
        }
    }

    /// The same of a bucket, which must be open.
    pub(super) async fn ensure_complete_bucket(&self, nats: Option<&NatsBus>) -> anyhow::Result<()> {
        match self {
            Self::JetStream(bucket) => {
                unfinished::ensure_complete_bucket(nats.context(NO_NATS)?.client(), &bucket.name).await
            }
            Self::Sled | Self::Memory => Ok(()),
        }
    }

    /// Opens it.
    pub(super) async fn open(&self, data: &Path, nats: Option<&NatsBus>) -> anyhow::Result<Arc<dyn SessionStore>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::default()),
            Self::JetStream(bucket) => Arc::new(JetStreamStore::open(nats.context(NO_NATS)?.client(), bucket).await?),
            Self::Sled => {
                let folder = data.join("sessions");
                let opened = tokio::task::spawn_blocking(move || SledStore::open(&folder)).await?;
                Arc::new(opened.map_err(|error| cannot_use(data, error))?)
            }
        })
    }
}

/// Where the last seen users are kept. A shared store that is no bucket gets another place, to
/// which `app/user_source.rs` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSeenPlace<'a> {
    /// In the data folder, for one process.
    DataFolder,
    /// In the bucket of the sessions, for all instances (`last_seen.rs`).
    Bucket(&'a BucketConfig),
    /// Nowhere: no session outlives the process.
    NeedsNone,
}

/// A store that outlives the process, as `relogin store copy` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// In a data folder.
    Sled(PathBuf),
    /// In a bucket.
    JetStream(String),
}

impl StorePlace {
    /// What the help says of the source of a copy.
    pub const HELP: &str = "The store with the sessions: the data folder sled:FOLDER, or jetstream:BUCKET";

    /// The place that a text names.
    ///
    /// # Errors
    /// What a text should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sled", folder)) if !folder.is_empty() => Ok(Self::Sled(folder.into())),
            Some(("jetstream", bucket)) if !bucket.is_empty() => Ok(Self::JetStream(bucket.to_owned())),
            _ => Err("expected sled:FOLDER or jetstream:BUCKET".to_owned()),
        }
    }

    /// The data folder that it needs.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Sled(data) => Some(data),
            Self::JetStream(_) => None,
        }
    }

    /// Opens what is there, and complete. Makes nothing: under a mistyped name it would be an empty
    /// store.
    pub(super) async fn open_existing(&self, nats: Option<&NatsBus>) -> anyhow::Result<Arc<dyn SessionStore>> {
        match self {
            Self::Sled(data) => {
                anyhow::ensure!(data.join("sessions").is_dir(), "there is no session store in {}", data.display());
                unfinished::ensure_complete_folder(data)?;
                StoreKind::Sled.open(data, nats).await
            }
            Self::JetStream(name) => {
                let store = Arc::new(JetStreamStore::open_existing(nats.context(NO_NATS)?.client(), name).await?);
                unfinished::ensure_complete_bucket(nats.context(NO_NATS)?.client(), name).await?;
                Ok(store)
            }
        }
    }

    /// Opens it, or makes it, in its folder if it needs one.
    pub(super) async fn open(
        &self,
        replicas: Replicas,
        nats: Option<&NatsBus>,
    ) -> anyhow::Result<Arc<dyn SessionStore>> {
        match self {
            Self::Sled(data) => StoreKind::Sled.open(data, nats).await,
            Self::JetStream(name) => {
                let bucket = BucketConfig { name: name.clone(), replicas };
                StoreKind::JetStream(bucket).open(Path::new(""), nats).await
            }
        }
    }

    /// Marks it as one that is being filled by this command, with which nothing starts; none: it
    /// has all its sessions.
    pub(super) async fn mark_unfinished(&self, by: Option<&str>, nats: Option<&NatsBus>) -> anyhow::Result<()> {
        let marked = match self {
            Self::Sled(data) => unfinished::mark_folder(data, by).map_err(Into::into),
            Self::JetStream(name) => unfinished::mark_bucket(nats.context(NO_NATS)?.client(), name, by).await,
        };
        marked.context("cannot write whether the store is complete")
    }

    /// What was last seen of the users of a file. The service compares it with what they are when
    /// it starts, so it goes where the sessions go.
    pub(super) async fn last_seen(&self, nats: Option<&NatsBus>) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Self::Sled(data) => match fs::read(data.join(KNOWN_USERS)) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::JetStream(name) => Ok(entry(name, nats).await?.read().await.map_err(|error| anyhow!(error))?.text),
        }
    }

    /// Keeps that in the place of what was there.
    pub(super) async fn keep_last_seen(&self, text: Option<Vec<u8>>, nats: Option<&NatsBus>) -> anyhow::Result<()> {
        match (self, text) {
            (Self::Sled(data), Some(text)) => disk::replace(&data.join(KNOWN_USERS), &text)?,
            (Self::Sled(data), None) => match fs::remove_file(data.join(KNOWN_USERS)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            },
            (Self::JetStream(name), text) => {
                let entry = entry(name, nats).await?;
                let kept = entry.read().await.map_err(|error| anyhow!(error))?;
                if kept.text != text {
                    let written = entry.write(text, kept.revision).await.map_err(|error| anyhow!(error))?;
                    written.context("somebody else has written them at the same time")?;
                }
            }
        }
        Ok(())
    }
}

async fn entry(bucket: &str, nats: Option<&NatsBus>) -> anyhow::Result<BucketEntry> {
    BucketEntry::open(nats.context(NO_NATS)?.client(), bucket, bucket_entry::USERS)
        .await
        .map_err(|error| anyhow!(error))
}

const NO_NATS: &str = "sessions in JetStream need a connection to NATS";

/// Why the store in a data folder cannot be used, and what to do.
fn cannot_use(data: &Path, error: StoreError) -> anyhow::Error {
    let data = data.display();
    let advice = match error {
        StoreError::Newer { .. } => "a later version of Relogin has used it".to_owned(),
        StoreError::InUse(_) => "stop the other relogin, or choose another one with --data".to_owned(),
        StoreError::Damaged(..) => format!(
            "`relogin store check --data {data}` says what is lost, `relogin store repair --data {data}` keeps the rest"
        ),
        _ => "free some space or repair it, or choose another one with --data".to_owned(),
    };
    let text = format!("cannot use the data folder {data}: {advice}");
    anyhow::Error::new(error).context(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_names_name_each_store() {
        let names: Vec<&str> = StoreName::VALUES.split('|').collect();
        for name in &names {
            assert!(StoreName::parse(name).is_some(), "{name}");
            assert!(StoreName::CHOICES.contains(name), "{name}");
        }
        assert_eq!(StoreName::CHOICES.replace(" or ", ", ").split(", ").collect::<Vec<_>>(), names);
    }
}
