//! `relogin restore`: checks a backup, and makes a store of it while no service runs. Must not know
//! the file's format.
//!
//! Cut short at any moment, it leaves what was there, or a store with which nothing starts
//! (`app/unfinished.rs`), or all that it was to restore.

use std::{
    fs::{self, File},
    io::{self, BufReader, Seek, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use futures_util::{Stream, TryStreamExt, future::Either, stream};
use relogin_bus::nats::NatsConfig;
use relogin_host::{disk, errors::Chain};
use relogin_session::{Record, SessionId};
use relogin_store::{
    SessionStore, StoreError,
    copy::{Copied, Copy, CopyError, PORTION, Source},
    jetstream::Replicas,
    sled::SledStore,
};
use zeroize::Zeroizing;

use super::{
    backing_up::SMALL_FILES,
    config::BusKind,
    copying,
    open::{connect, make_folder},
    retry_deadline::RetryDeadline,
    store::{KNOWN_USERS, StorePlace},
    unfinished,
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
        let is_file = input.metadata().is_ok_and(|found| found.is_file());
        anyhow::ensure!(is_file, "the backup {file} is no file, and it is read several times");
        let backup = Backup::read(|| again(&input)).with_context(|| format!("cannot use the backup {file}"))?;
        let secret = self.secret(&backup)?;
        let is_secret_restored = secret.is_some();
        let from = BackupSource { backup: &backup, file: &input };
        let count = match self.to.clone() {
            StorePlace::Sled(data) => {
                let aside = self.aside(&data)?;
                make_folder(&data)?;
                let _lock = lock(&data)?;
                let count = fill(&data, &from).await?;
                steps(&data, aside.as_deref(), &backup, secret)?.into_iter().try_for_each(Step::take)?;
                if let Some(aside) = aside {
                    writeln!(out, "what was in {} is in {}", data.display(), aside.display())?;
                }
                count
            }
            StorePlace::JetStream(_) => self.fill_bucket(&from, secret).await?,
        };
        if let Some(path) = self.secret_file.filter(|_| is_secret_restored) {
            writeln!(out, "the secret is in {}", path.display())?;
        }
        writeln!(out, "all sessions of {file} are restored and compared: {count}")?;
        Ok(())
    }

    /// The secret to write, and where.
    ///
    /// # Errors
    /// If the sessions would be of no use, because their secret is not there.
    fn secret(&self, backup: &Backup) -> anyhow::Result<Option<SecretText>> {
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

    async fn fill_bucket(&self, from: &BackupSource<'_>, secret: Option<SecretText>) -> anyhow::Result<usize> {
        let nats = self.nats.clone().context("sessions in JetStream need a connection to NATS: --nats")?;
        let (bus, nats) = connect(BusKind::Nats(nats)).await?;
        let _watching = copying::claim(bus, &self.name).await.map_err(|error| copying::in_use(error, &self.name))?;
        let nats = nats.as_deref();
        let to = RetryDeadline::for_command().retry(nats, || self.to.open(self.replicas, nats)).await?;
        let copy = Copy::check(from, to.as_ref()).await?;
        self.to.mark_unfinished(Some(unfinished::RESTORE), nats).await?;
        let Copied { sessions, .. } = copy.run(|_, _| {}).await?;
        let seen = from.backup.files.get(KNOWN_USERS).cloned();
        self.to.keep_last_seen(seen, nats).await.context("cannot restore the last seen users")?;
        if let Some((path, text)) = secret {
            secret::write_new(&path, &text)?;
        }
        self.to.mark_unfinished(None, nats).await?;
        to.close().await.context("cannot close the bucket")?;
        Ok(sessions)
    }
}

/// The text of a secret file, and where it is to be.
type SecretText = (PathBuf, Zeroizing<String>);

/// The files and folders that a restore makes in a data folder, and what is said of them.
fn all_names() -> impl Iterator<Item = &'static str> {
    ["sessions", unfinished::MARK].into_iter().chain(SMALL_FILES)
}

/// The sessions of a backup, read again whenever somebody goes through them.
struct BackupSource<'a> {
    backup: &'a Backup,
    file: &'a File,
}

impl Source for BackupSource<'_> {
    fn count(&self) -> usize {
        self.backup.count()
    }

    fn has(&self, sid: SessionId) -> bool {
        self.backup.has(sid)
    }

    fn portions(&self) -> impl Stream<Item = Result<Vec<Record>, CopyError>> {
        let sessions = match again(self.file) {
            Ok(input) => Either::Left(stream::iter(self.backup.sessions(input).map(|record| record.map_err(unread)))),
            Err(error) => Either::Right(stream::iter([Err(unread(error))])),
        };
        sessions.try_chunks(PORTION).map_err(|cut_short| cut_short.1)
    }
}

/// The file from its beginning.
fn again(file: &File) -> io::Result<BufReader<&File>> {
    let mut file = file;
    file.rewind()?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn unread(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CopyError {
    CopyError::Source(error.into())
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

/// Makes the store beside its place. Returns how many sessions it has, each compared.
async fn fill(data: &Path, from: &BackupSource<'_>) -> anyhow::Result<usize> {
    let folder = unfinished::restored(data);
    // Of a restore that was cut short. Something may be missing since then, so the folder stays.
    let was_there = folder.exists();
    if was_there {
        let _lock = SledStore::lock(&folder).context("another restore runs on this data folder")?;
        clear(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let open = folder.clone();
    let filled = match tokio::task::spawn_blocking(move || SledStore::open(&open)).await? {
        Ok(to) => {
            let copied = async { Copy::check(from, &to).await?.run(|_, _| {}).await }.await;
            // In any case, so that nothing writes there any more.
            to.close().await.context("cannot close the restored store")?;
            copied.map_err(anyhow::Error::from)
        }
        Err(error @ StoreError::InUse(_)) => return Err(error.into()),
        Err(error) => Err(error.into()),
    };
    match filled {
        Ok(Copied { sessions, .. }) => Ok(sessions),
        Err(error) => {
            if !was_there && let Err(left) = fs::remove_dir_all(&folder) {
                tracing::warn!("cannot remove {}: {}", folder.display(), Chain(&left));
            }
            Err(error.context("nothing is restored"))
        }
    }
}

/// Removes all that is in the folder, and not the folder.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// A change of the data folder, which is on disk as a whole or not at all.
enum Step {
    MakeFolder(PathBuf),
    /// From here to there.
    Move(PathBuf, PathBuf),
    Sync(PathBuf),
    Write(PathBuf, Vec<u8>),
    WriteSecret(SecretText),
}

/// The steps that move what is there aside, and put the complete store, the small files and the
/// secret in their places.
fn steps(data: &Path, aside: Option<&Path>, backup: &Backup, secret: Option<SecretText>) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(aside) = aside {
        steps.push(Step::MakeFolder(aside.to_owned()));
        for name in all_names() {
            if fs::exists(data.join(name)).with_context(|| format!("cannot look into {}", data.display()))? {
                steps.push(Step::Move(data.join(name), aside.join(name)));
            }
        }
        steps.push(Step::Sync(aside.to_owned()));
    }
    for name in SMALL_FILES {
        steps.extend(backup.files.get(name).map(|content| Step::Write(data.join(name), content.clone())));
    }
    steps.extend(secret.map(Step::WriteSecret));
    // Last: until then nothing starts here.
    steps.push(Step::Move(unfinished::restored(data), data.join("sessions")));
    steps.push(Step::Sync(data.to_owned()));
    Ok(steps)
}

impl Step {
    fn take(self) -> anyhow::Result<()> {
        match self {
            Self::MakeFolder(path) => fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display())),
            Self::Move(from, to) => {
                fs::rename(&from, &to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
            }
            Self::Sync(path) => disk::sync_folder(&path).with_context(|| format!("cannot sync {}", path.display())),
            Self::Write(path, content) => {
                disk::replace(&path, &content).with_context(|| format!("cannot write {}", path.display()))
            }
            Self::WriteSecret((path, text)) => Ok(secret::write_new(&path, &text)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use relogin_session::{ConnectionId, Timestamp, UserId};
    use tempfile::TempDir;

    use super::*;
    use crate::backup::BackupWriter;

    const SESSIONS: u8 = 3;
    const PASSPHRASE: &str = "correct horse battery";

    fn record(n: u8) -> Record {
        let connection = ConnectionId::parse(&format!("c{n}")).unwrap();
        Record::new(SessionId([n; 16]), [n; 16], UserId::Number(1), connection, Timestamp(1))
    }

    /// A machine with a backup.
    struct Machine {
        folder: TempDir,
        restoring: Restoring,
        data: PathBuf,
    }

    impl Machine {
        /// With sessions of its own from before, if it has any.
        async fn new(has_sessions: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            disk::create(&path("passphrase"), PASSPHRASE.as_bytes()).unwrap();
            secret::write_new(&path("former secret"), &secret::fresh_line().unwrap()).unwrap();
            let secrets = sealed_secret::fingerprints(&path("former secret")).unwrap().unwrap();
            let mut writer = BackupWriter::begin(Vec::new(), 1, secrets).unwrap();
            for name in SMALL_FILES {
                writer.file(name, format!("former {name}").as_bytes()).unwrap();
            }
            writer.secret(&sealed_secret::seal(&path("former secret"), &path("passphrase")).unwrap()).unwrap();
            for n in 1..=SESSIONS {
                writer.session(SessionId([n; 16]), &record(n).encode().unwrap()).unwrap();
            }
            fs::write(path("backup"), writer.end().unwrap().0).unwrap();
            let data = path("data");
            make_folder(&data).unwrap();
            if has_sessions {
                let store = SledStore::open(&data.join("sessions")).unwrap();
                store.create(record(9)).await.unwrap();
                store.close().await.unwrap();
                fs::write(data.join("clock"), "clock of now").unwrap();
            }
            let restoring = Restoring {
                file: path("backup"),
                to: StorePlace::Sled(data.clone()),
                nats: None,
                name: "session".to_owned(),
                replicas: Replicas::default(),
                secret_file: Some(data.join("secret")),
                passphrase: Some(path("passphrase")),
                without_secret: false,
                replace: true,
            };
            Self { folder, restoring, data }
        }

        /// Restores, and is cut short before so many of the steps at the end. Returns whether it
        /// had that many.
        async fn cut_short(&self, before: usize) -> bool {
            let input = File::open(&self.restoring.file).unwrap();
            let backup = Backup::read(|| again(&input)).unwrap();
            let aside = self.restoring.aside(&self.data).unwrap();
            fill(&self.data, &BackupSource { backup: &backup, file: &input }).await.unwrap();
            let secret = self.restoring.secret(&backup).unwrap();
            let steps = steps(&self.data, aside.as_deref(), &backup, secret).unwrap();
            let has_as_many = before <= steps.len();
            let upto = steps.len() - before.min(steps.len());
            steps.into_iter().take(upto).for_each(|step| step.take().unwrap());
            has_as_many
        }

        async fn has_all(&self) {
            unfinished::ensure_complete_folder(&self.data).unwrap();
            for name in SMALL_FILES {
                assert_eq!(fs::read_to_string(self.data.join(name)).unwrap(), format!("former {name}"));
            }
            let secrets = ["data/secret", "former secret"].map(|name| fs::read(self.folder.path().join(name)).unwrap());
            assert_eq!(secrets[0], secrets[1]);
            let store = SledStore::open(&self.data.join("sessions")).unwrap();
            assert_eq!(store.count().await.unwrap(), usize::from(SESSIONS));
            for n in 1..=SESSIONS {
                assert_eq!(store.load(SessionId([n; 16])).await.unwrap().unwrap().record, record(n));
            }
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_restore_cut_short_between_any_two_steps_is_refused_and_completed_by_another() {
        for has_sessions in [false, true] {
            for left in 0.. {
                let machine = Machine::new(has_sessions).await;
                if !machine.cut_short(left).await {
                    break;
                }
                // The last two put the store in its place, and sync that.
                if left >= 2 {
                    let error = unfinished::ensure_complete_folder(&machine.data).unwrap_err().to_string();
                    assert!(error.contains("`relogin restore` has not ended, or was cut short"), "{error}");
                } else {
                    machine.has_all().await;
                }
                machine.restoring.clone().run(&mut Vec::new()).await.unwrap();
                machine.has_all().await;
            }
        }
    }

    /// What is moved aside is found there, whatever was cut short how often.
    #[tokio::test]
    async fn sessions_from_before_are_kept_however_often_a_restore_is_cut_short() {
        let machine = Machine::new(true).await;
        let mut left = 0;
        while machine.cut_short(left).await {
            left += 1;
        }
        machine.restoring.clone().run(&mut Vec::new()).await.unwrap();
        machine.has_all().await;
        let mut kept = 0;
        for entry in fs::read_dir(&machine.data).unwrap() {
            let sessions = entry.unwrap().path().join("sessions");
            if sessions.parent().unwrap().file_name().unwrap().to_string_lossy().starts_with("replaced-")
                && sessions.exists()
            {
                let store = SledStore::open(&sessions).unwrap();
                kept += usize::from(store.load(SessionId([9; 16])).await.unwrap().is_some());
                store.close().await.unwrap();
            }
        }
        assert_eq!(kept, 1);
    }

    /// It goes aside with the sessions that it is about.
    #[tokio::test]
    async fn the_mark_of_a_copy_that_was_cut_short_is_not_one_of_the_restored_store() {
        let machine = Machine::new(true).await;
        unfinished::mark_folder(&machine.data, Some(unfinished::COPY)).unwrap();
        let error = unfinished::ensure_complete_folder(&machine.data).unwrap_err().to_string();
        assert!(error.contains("`relogin store copy` has not ended, or was cut short"), "{error}");
        machine.restoring.clone().run(&mut Vec::new()).await.unwrap();
        machine.has_all().await;
    }

    #[tokio::test]
    async fn a_restore_that_fails_leaves_a_folder_as_it_was_and_one_cut_short_as_incomplete() {
        for left in [None, Some(3)] {
            let machine = Machine::new(true).await;
            if let Some(left) = left {
                machine.cut_short(left).await;
            }
            // Its sessions are not those that were read before.
            let input = File::open(&machine.restoring.file).unwrap();
            let backup = Backup::read(|| again(&input)).unwrap();
            let whole = fs::read(&machine.restoring.file).unwrap();
            fs::write(&machine.restoring.file, &whole[..whole.len() - 1]).unwrap();
            let error = fill(&machine.data, &BackupSource { backup: &backup, file: &input }).await.unwrap_err();
            assert!(format!("{error:#}").contains("nothing is restored"), "{error:#}");
            assert_eq!(unfinished::ensure_complete_folder(&machine.data).is_ok(), left.is_none());
        }
    }
}
