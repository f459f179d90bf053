//! `relogin restore`: checks a backup, and makes a store of it while no service runs. Must not know
//! the file's format.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io::{BufReader, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use relogin_bus::nats::NatsConfig;
use relogin_host::{disk, errors::Chain};
use relogin_session::{Record, SessionId};
use relogin_store::{
    SessionStore, StoreError,
    copy::{Copied, copy},
    jetstream::Replicas,
    memory::MemoryStore,
    sled::SledStore,
};

use super::{
    backing_up::SMALL_FILES,
    config::BusKind,
    copying,
    open::{connect, make_folder},
    retry_deadline::RetryDeadline,
    store::{KNOWN_USERS, StorePlace},
};
use crate::{
    backup::{Backup, sealed_secret},
    secret,
};

/// The backup to restore, and where to.
#[derive(Clone, Debug)]
pub struct Restoring {
    /// The backup.
    pub file: PathBuf,
    /// The store that is to have its sessions.
    pub to: StorePlace,
    /// NATS servers of a bucket.
    pub nats: Option<NatsConfig>,
    /// The resource name of the services that use the bucket.
    pub name: String,
    /// How a bucket is made that does not exist.
    pub replicas: Replicas,
    /// The file with the server's secret; none: it is not looked at.
    pub secret_file: Option<PathBuf>,
    /// The file with the passphrase of the secret in the backup; none: the secret is not restored.
    pub passphrase: Option<PathBuf>,
    /// Whether to restore sessions whose secret is not there.
    pub without_secret: bool,
    /// Whether to put aside what the data folder has.
    pub replace: bool,
}

impl Restoring {
    /// Does it, and reports to `out`.
    ///
    /// # Errors
    /// Why nothing, or not all, was restored.
    pub async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let file = self.file.display();
        let input = File::open(&self.file).with_context(|| format!("cannot open the backup {file}"))?;
        let backup = Backup::read(BufReader::new(input)).with_context(|| format!("cannot use the backup {file}"))?;
        let secret = self.secret(&backup)?;
        let from = in_memory(backup.sessions).await?;
        let count = match self.to.clone() {
            StorePlace::Sled(data) => {
                let aside = self.aside(&data)?;
                make_folder(&data)?;
                let _lock = lock(&data)?;
                let count = fill(&data, &from).await?;
                put_in_place(&data, aside.as_deref(), &backup.files)?;
                if let Some(aside) = aside {
                    writeln!(out, "what was in {} is in {}", data.display(), aside.display())?;
                }
                count
            }
            StorePlace::JetStream(_) => self.fill_bucket(&from, backup.files.get(KNOWN_USERS).cloned()).await?,
        };
        if let Some((path, text)) = secret {
            secret::write_new(&path, &text)?;
            writeln!(out, "the secret is in {}", path.display())?;
        }
        writeln!(out, "all sessions of {file} are restored and compared: {count}")?;
        Ok(())
    }

    /// The secret to write, and where.
    ///
    /// # Errors
    /// If the sessions would be of no use, because their secret is not there.
    fn secret(&self, backup: &Backup) -> anyhow::Result<Option<(PathBuf, zeroize::Zeroizing<String>)>> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let there = sealed_secret::fingerprints(path)?;
        let shown = path.display();
        if let Some(passphrase) = &self.passphrase {
            let sealed = backup.secret.as_deref().context("the backup has no secret: it was made without one")?;
            let text = sealed_secret::open(sealed, passphrase)?
                .context("the passphrase does not open the secret in the backup; give the one that it was made with")?;
            if there.is_none() {
                return Ok(Some((path.clone(), text)));
            }
        }
        let is_known = |there: &[String]| there.iter().any(|secret| backup.head.secrets.contains(secret));
        match there {
            _ if self.without_secret => {}
            Some(there) => anyhow::ensure!(
                backup.head.secrets.is_empty() || is_known(&there),
                "the secret in {shown} is another one than when the backup was made: all keys of its sessions would be \
                 refused. Put the former one there, or restore with --without-secret"
            ),
            None => anyhow::bail!(
                "there is no secret in {shown}: all keys of the sessions would be refused. Put the service's secret \
                 there, or name its file with --secret-file, or have that in the backup written there with \
                 --secret-passphrase, or restore with --without-secret"
            ),
        }
        Ok(None)
    }

    /// Where what the data folder has is to be put; none if it has nothing.
    ///
    /// # Errors
    /// If it has something, and nobody said that it may be put aside.
    fn aside(&self, data: &Path) -> anyhow::Result<Option<PathBuf>> {
        let Some(there) = all_names().find(|name| data.join(name).exists()) else { return Ok(None) };
        anyhow::ensure!(
            self.replace,
            "there is {} already; restore into another folder with --data, or put what is there aside with --replace",
            data.join(there).display()
        );
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let mut names = (now..).map(|now| data.join(format!("replaced-{now}")));
        Ok(names.find(|name| !name.exists()))
    }

    async fn fill_bucket(&self, from: &MemoryStore, seen: Option<Vec<u8>>) -> anyhow::Result<usize> {
        let nats = self.nats.clone().context("sessions in JetStream need a connection to NATS: --nats")?;
        let (bus, nats) = connect(BusKind::Nats(nats)).await?;
        let _watching = copying::claim(bus, &self.name).await.map_err(|error| copying::in_use(error, &self.name))?;
        let nats = nats.as_deref();
        let to = RetryDeadline::for_command().retry(nats, || self.to.open(self.replicas, nats)).await?;
        let Copied { sessions, .. } = copy(from, to.as_ref(), |_, _| {}).await?;
        self.to.keep_last_seen(seen, nats).await.context("cannot restore the last seen users")?;
        to.close().await.context("cannot close the bucket")?;
        Ok(sessions)
    }
}

/// The files and folders that a restore makes in a data folder.
fn all_names() -> impl Iterator<Item = &'static str> {
    ["sessions"].into_iter().chain(SMALL_FILES)
}

/// A store with these sessions. A connection is on one of them: those of a bucket are not of one
/// moment, and then the session has it that was used last.
async fn in_memory(sessions: HashMap<SessionId, Record>) -> anyhow::Result<MemoryStore> {
    let mut sessions: Vec<_> = sessions.into_values().collect();
    sessions.sort_unstable_by_key(|record| (std::cmp::Reverse(record.last_seen), record.sid));
    let (store, mut taken) = (MemoryStore::default(), HashSet::new());
    for mut record in sessions {
        record.connections.retain(|connection| taken.insert(connection.clone()));
        store.create(record).await?;
    }
    Ok(store)
}

/// Keeps services off the sessions that are there, if any are.
///
/// # Errors
/// If a service uses them.
fn lock(data: &Path) -> anyhow::Result<Option<File>> {
    let sessions = data.join("sessions");
    if !sessions.exists() {
        return Ok(None);
    }
    match SledStore::lock(&sessions) {
        Ok(lock) => Ok(Some(lock)),
        Err(StoreError::InUse(_)) => {
            anyhow::bail!("a service uses the data folder {}; stop it first", data.display())
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the store is until it is complete.
fn unfinished(data: &Path) -> PathBuf {
    data.join("sessions.restore")
}

/// Makes the store beside its place. Returns how many sessions it has, each compared.
async fn fill(data: &Path, from: &MemoryStore) -> anyhow::Result<usize> {
    let folder = unfinished(data);
    if folder.exists() {
        // Of a restore that was cut short; not of one that runs.
        drop(SledStore::lock(&folder).context("another restore runs on this data folder")?);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let filled = async {
        let open = folder.clone();
        let to = tokio::task::spawn_blocking(move || SledStore::open(&open)).await??;
        let copied = copy(from, &to, |_, _| {}).await;
        // In any case, so that nothing writes there any more.
        to.close().await.context("cannot close the restored store")?;
        anyhow::Ok(copied?.sessions)
    };
    match filled.await {
        Ok(sessions) => Ok(sessions),
        Err(error) => {
            if let Err(left) = fs::remove_dir_all(&folder) {
                tracing::warn!("cannot remove {}: {}", folder.display(), Chain(&left));
            }
            Err(error.context("nothing is restored"))
        }
    }
}

/// Puts the complete store and the small files in their places, and what is there aside.
fn put_in_place(data: &Path, aside: Option<&Path>, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    if let Some(aside) = aside {
        fs::create_dir(aside).with_context(|| format!("cannot make {}", aside.display()))?;
        for name in all_names().filter(|name| data.join(name).exists()) {
            fs::rename(data.join(name), aside.join(name))
                .with_context(|| format!("cannot put {} aside", data.join(name).display()))?;
        }
        disk::sync_folder(aside)?;
    }
    for name in SMALL_FILES {
        if let Some(content) = files.get(name) {
            disk::replace(&data.join(name), content)
                .with_context(|| format!("cannot write {}", data.join(name).display()))?;
        }
    }
    // Last: only now is there a store to start with. A service that has started since has its own
    // there.
    fs::rename(unfinished(data), data.join("sessions"))
        .with_context(|| format!("cannot put the sessions in {}; was a service started?", data.display()))?;
    disk::sync_folder(data)?;
    Ok(())
}
