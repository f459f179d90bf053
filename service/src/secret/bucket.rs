//! Secrets in a bucket of NATS, encrypted: all instances have the same, and no file has to be
//! carried from machine to machine. Must not know what the secrets are for.
//!
//! The bucket has one key, whose value is the text of a secret file, sealed (`sealed.rs`). It is
//! created and changed by compare-and-swap, so of instances that start at the same time all take
//! the secret of one.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        self,
        kv::{self, CreateErrorKind, Store},
        stream::StorageType,
    },
};
use relogin_session::Keyring;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{FromFile, SecretError, fresh_line, parse, read_private, sealed};

/// The secrets in a bucket.
#[derive(Debug)]
pub struct SecretBucket {
    store: Store,
    passphrase: Zeroizing<Vec<u8>>,
    /// The revision that was read last.
    read: AtomicU64,
}

/// The text of a secret file, and the revision that it has in the bucket.
pub struct Entry {
    /// Its text.
    pub text: Zeroizing<String>,
    /// Its revision; 0 if there is none yet.
    pub revision: u64,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("revision", &self.revision).finish_non_exhaustive()
    }
}

const KEY: &str = "secrets";

/// How long NATS has for its answers.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Former versions that are kept.
const HISTORY: i64 = 8;

/// The shortest accepted passphrase, in bytes.
const MIN_PASSPHRASE: usize = 16;

impl SecretBucket {
    /// The bucket `name`, which is made if it is not there, and the passphrase in this file.
    ///
    /// # Errors
    /// [`SecretError`] if one of them cannot be used.
    pub async fn open(client: Client, name: &str, replicas: usize, passphrase: &Path) -> Result<Self, SecretError> {
        let text = read_private(passphrase)?;
        let line = text.lines().next().unwrap_or_default().trim();
        if line.len() < MIN_PASSPHRASE {
            let (path, len) = (passphrase.to_owned(), line.len());
            return Err(SecretError::ShortPassphrase { path, len, min: MIN_PASSPHRASE });
        }
        let passphrase = Zeroizing::new(line.as_bytes().to_vec());
        let config = kv::Config {
            bucket: name.to_owned(),
            description: "secrets of relogin, encrypted".to_owned(),
            history: HISTORY,
            storage: StorageType::File,
            num_replicas: replicas,
            ..kv::Config::default()
        };
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER_DEADLINE);
        let store = match context.get_key_value(name).await {
            Ok(store) => store,
            Err(_) => context.create_key_value(config).await.map_err(|error| SecretError::bucket(name, error))?,
        };
        Ok(Self { store, passphrase, read: AtomicU64::new(0) })
    }

    /// The secrets; made now if there are none.
    ///
    /// # Errors
    /// [`SecretError`] if they can be neither read nor made.
    pub async fn load(&self) -> Result<FromFile, SecretError> {
        let mut is_new = false;
        loop {
            let Entry { text, revision } = self.read().await?;
            if revision != 0 {
                self.read.store(revision, Ordering::SeqCst);
                return Ok(FromFile { keyring: self.parse(&text)?, is_new });
            }
            is_new = self.write(&fresh_line()?, 0).await?.is_some();
        }
    }

    /// The same for a service that uses the secrets `in_use`.
    ///
    /// # Errors
    /// [`SecretError`] if they cannot be read, or none of those in use is among them.
    pub async fn again(&self, in_use: &Keyring) -> Result<Keyring, SecretError> {
        let Entry { text, revision } = self.read().await?;
        let keyring = self.parse(&text)?;
        self.read.store(revision, Ordering::SeqCst);
        if keyring.has_secret_of(in_use) { Ok(keyring) } else { Err(SecretError::Foreign { path: self.name() }) }
    }

    /// True if the bucket has other secrets than those that were read last.
    ///
    /// # Errors
    /// [`SecretError`] if it does not answer.
    pub async fn is_changed(&self) -> Result<bool, SecretError> {
        let entry = self.store.entry(KEY).await.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        Ok(entry.is_some_and(|entry| entry.revision != self.read.load(Ordering::SeqCst)))
    }

    /// What is stored.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be read.
    pub async fn read(&self) -> Result<Entry, SecretError> {
        let entry = self.store.entry(KEY).await.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        let Some(entry) = entry.filter(|entry| !entry.value.is_empty()) else {
            return Ok(Entry { text: Zeroizing::default(), revision: 0 });
        };
        let passphrase = self.passphrase.clone();
        let opened = spawn_blocking(move || sealed::open(&passphrase, &entry.value)).await.ok().flatten();
        let text = opened.ok_or_else(|| SecretError::Passphrase { bucket: self.store.name.clone() })?;
        Ok(Entry { text, revision: entry.revision })
    }

    /// Stores this text in place of what has `revision` (0: of nothing), and returns its revision.
    /// None if there is something else by now.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be written.
    pub async fn write(&self, text: &str, revision: u64) -> Result<Option<u64>, SecretError> {
        let (passphrase, text) = (self.passphrase.clone(), Zeroizing::new(text.to_owned()));
        let sealed = spawn_blocking(move || sealed::seal(&passphrase, text.as_bytes())).await;
        let sealed = sealed.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        let sealed = sealed.map_err(SecretError::Random)?;
        if revision == 0 {
            return match self.store.create(KEY, sealed.into()).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(SecretError::bucket(&self.store.name, error)),
            };
        }
        match self.store.update(KEY, sealed.into(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(SecretError::bucket(&self.store.name, error)),
        }
    }

    /// The keyring of such a text.
    ///
    /// # Errors
    /// [`SecretError`] if it is not the text of a secret file.
    pub fn parse(&self, text: &str) -> Result<Keyring, SecretError> {
        parse(text, &self.name())
    }

    fn name(&self) -> std::path::PathBuf {
        format!("the bucket {}", self.store.name).into()
    }
}
