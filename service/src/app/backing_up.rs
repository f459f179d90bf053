//! `relogin backup`: asks the running service for its sessions, or opens the store of one that does
//! not run, and writes them to a file with what belongs to them. Must not know the file's format.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use relogin_bus::nats::{NatsBus, NatsConfig};
use relogin_host::{
    disk::{self, NewFile},
    errors::Chain,
};
use relogin_session::SessionId;
use relogin_store::{Export, StoreError};
use tokio::sync::mpsc;

use super::{
    config::BusKind,
    open::connect,
    retry_deadline::RetryDeadline,
    store::{KNOWN_USERS, StorePlace},
};
use crate::{
    backup::{BackupWriter, Written, sealed_secret},
    control::export::{self, ExportError},
};

/// The small files of a data folder that belong to its sessions: what was last seen of users, which
/// of their changes were not applied yet, and the session clock.
pub(super) const SMALL_FILES: [&str; 3] = [KNOWN_USERS, "users.changes", "clock"];

/// The sessions to back up.
#[derive(Clone, Debug)]
pub struct BackingUp {
    /// The file to write.
    pub file: PathBuf,
    /// The store with the sessions.
    pub from: StorePlace,
    /// The socket where a service that runs on a data folder answers.
    pub control: Option<PathBuf>,
    /// NATS servers of a bucket.
    pub nats: Option<NatsConfig>,
    /// The file with the server's secret.
    pub secret_file: Option<PathBuf>,
    /// The file with the passphrase under which the secret is to be in the backup; none: it is not.
    pub passphrase: Option<PathBuf>,
}

/// How many portions of sessions may wait to be written.
const WAITING: usize = 4;

const NO_FILE: &str = "cannot write the backup";

impl BackingUp {
    /// Does it, and reports to `out`.
    ///
    /// # Errors
    /// Why there is no backup; what had its name is then still there.
    pub async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let made = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let secrets = match &self.secret_file {
            Some(path) => sealed_secret::fingerprints(path)?,
            None => None,
        };
        let nats = match &self.nats {
            Some(nats) => connect(BusKind::Nats(nats.clone())).await?.1,
            None => None,
        };
        let folder = disk::folder_of(&self.file);
        if let Err(error) = disk::remove_unfinished(folder, SystemTime::now()) {
            tracing::warn!("cannot look for unfinished files in {}: {}", folder.display(), Chain(&error));
        }
        let file = NewFile::beside(&self.file)
            .with_context(|| format!("cannot make a file in the folder of {}", self.file.display()))?;
        let made = u64::try_from(made).unwrap_or(u64::MAX);
        let has_fingerprints = secrets.is_some();
        let mut writer =
            BackupWriter::begin(BufWriter::new(file), made, secrets.unwrap_or_default()).context(NO_FILE)?;
        // Before the sessions: a change of a user that is noted as seen has reached them.
        for (name, content) in self.small_files(nats.as_deref()).await? {
            writer.file(name, &content).context(NO_FILE)?;
        }
        if let Some(passphrase) = &self.passphrase {
            let secret_file = self.secret_file.as_deref().filter(|_| has_fingerprints);
            let secret_file = secret_file.context("there is no secret file; name it with --secret-file")?;
            writer.secret(&sealed_secret::seal(secret_file, passphrase)?).context(NO_FILE)?;
        }
        let unreadable = match (&self.from, &self.control) {
            (StorePlace::Sled(_), Some(control)) => match export::receive(control, |part| writer.exported(&part)).await
            {
                Err(ExportError::NotRunning(_)) => self.export(None, &mut writer).await?,
                exported => exported?,
            },
            _ => self.export(nats.as_deref(), &mut writer).await?,
        };
        let (file, Written { sessions, bytes }) = writer.end().context(NO_FILE)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).context(NO_FILE)?;
        file.finish(&self.file).context(NO_FILE)?;
        let secret = if self.passphrase.is_some() { "with the secret, encrypted" } else { "without the secret" };
        writeln!(out, "{}: sessions: {sessions}; bytes: {bytes}; {secret}", self.file.display())
            .context("cannot write the report")?;
        anyhow::ensure!(
            unreadable.is_empty(),
            "the backup is written, but for sessions that are damaged in the store: {}; `relogin store check` says more",
            unreadable.iter().map(SessionId::to_string).collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }

    async fn small_files(&self, nats: Option<&NatsBus>) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        match &self.from {
            StorePlace::Sled(data) => read_small_files(data),
            StorePlace::JetStream(_) => {
                let seen = self.from.last_seen(nats).await.context("cannot read the last seen users")?;
                Ok(seen.map(|seen| (KNOWN_USERS, seen)).into_iter().collect())
            }
        }
    }

    /// Exports the store without a service.
    async fn export<W: Write>(
        &self,
        nats: Option<&NatsBus>,
        writer: &mut BackupWriter<W>,
    ) -> anyhow::Result<Vec<SessionId>> {
        let opened = RetryDeadline::for_command().retry(nats, || self.from.open_existing(nats)).await;
        let store = opened.map_err(|error| match error.downcast_ref() {
            Some(StoreError::InUse(folder)) => anyhow::anyhow!(
                "a process uses {}, and no service answers at its control socket; name that with --control-socket, or \
                 stop the process",
                folder.display()
            ),
            _ => error,
        })?;
        let (to, mut portions) = mpsc::channel::<Vec<Export>>(WAITING);
        // Its end drops the receiver, and an export that nobody receives ends.
        let writing = async move {
            while let Some(portion) = portions.recv().await {
                portion.iter().try_for_each(|part| writer.exported(part))?;
            }
            Ok::<_, io::Error>(())
        };
        let (exported, written) = tokio::join!(store.export(to), writing);
        written.context(NO_FILE)?;
        let unreadable = exported.context("cannot read the sessions")?.unreadable;
        store.close().await.context("cannot close the session store")?;
        Ok(unreadable)
    }
}

fn read_small_files(data: &Path) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in SMALL_FILES {
        match fs::read(data.join(name)) {
            Ok(content) => files.push((name, content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", data.join(name).display())),
        }
    }
    Ok(files)
}
