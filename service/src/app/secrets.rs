//! `relogin secret`: changes the secrets in the bucket while services use them.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use relogin_bus::{
    Bus,
    nats::{NatsBus, NatsConfig},
};
use relogin_store::jetstream::replicas;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{config::BusKind, open::connect, retry_deadline::RetryDeadline};
use crate::{
    instance::{self, Shared},
    reload::LOOK_AT_SECRETS,
    secret::{self, SecretBucket},
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretAction {
    /// Make a new secret, which signs from now on.
    Rotate,
    /// Forget all secrets but the one that signs.
    Prune,
    /// Take those of a file, and keep them on so many servers; none: on as many as the sessions.
    Import(PathBuf, Option<usize>),
    /// Write them to a file.
    Export(PathBuf),
    /// Encrypt them under the passphrase in this file.
    Passphrase(PathBuf),
}

/// A change of the secrets in a bucket.
#[derive(Clone, Debug)]
pub struct SecretChange {
    /// What is to be done.
    pub what: SecretAction,
    /// NATS servers.
    pub nats: NatsConfig,
    /// The resource name of the services that use the secrets.
    pub name: String,
    /// The bucket of their sessions.
    pub bucket: String,
    /// The file with the passphrase.
    pub passphrase: PathBuf,
}

/// How long instances may take to take up a new secret.
const TAKE_UP_DEADLINE: Duration = Duration::from_secs(60);

/// How often in a row all instances that answer must know the new secret, before it signs: one may
/// have been too busy to answer the first time.
const KNOWN_ROUNDS: u32 = 3;

const NO_REPORT: &str = "cannot write the report";

const CONTENDED: &str = "somebody else changes the secrets at the same time; run the command again";

impl SecretChange {
    /// Does it, and reports to `out`.
    ///
    /// # Errors
    /// Why it was not done, or not to its end.
    pub async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let (bus, nats) = connect(BusKind::Nats(self.nats.clone())).await?;
        let nats: &NatsBus = nats.as_deref().context("secrets in a bucket need NATS")?;
        let name = secret::bucket_name(&self.bucket);
        let read = async || {
            let replicas = match self.what {
                SecretAction::Import(_, Some(replicas)) => Some(replicas),
                SecretAction::Import(_, None) => Some(replicas(nats.client(), &self.bucket).await?.unwrap_or(1)),
                _ => None,
            };
            let bucket = SecretBucket::open(nats.client(), &name, replicas, &self.passphrase).await?;
            let entry = bucket.read().await?;
            Ok((bucket, entry))
        };
        let (bucket, secret::Entry { text, seen }) = RetryDeadline::for_command().retry(Some(nats), read).await?;
        let said = match &self.what {
            SecretAction::Import(path, _) => {
                anyhow::ensure!(seen.is_nothing(), "the bucket {name} has secrets already; rotate them instead");
                let text = secret::text_of(path)?;
                let count = bucket.parse(&text)?.count();
                write(&bucket, &text, &seen).await?;
                format!("secrets in the bucket {name}: {count}; replicas: {}", bucket.replicas())
            }
            _ if seen.is_nothing() => return Err(secret::SecretError::Missing { bucket: name }.into()),
            SecretAction::Passphrase(file) => {
                let written = bucket.reseal(secret::Entry { text, seen }, file).await?;
                written.context(CONTENDED)?;
                "the secrets are encrypted under the new passphrase; put it in the file of each service".to_owned()
            }
            SecretAction::Export(file) => {
                let count = bucket.parse(&text)?.count();
                secret::write_new(file, &text)?;
                format!("secrets in the file {}: {count}", file.display())
            }
            SecretAction::Prune => {
                let first = lines(&text).next().unwrap_or_default();
                write(&bucket, first, &seen).await?;
                "all secrets but the one that signs are forgotten".to_owned()
            }
            SecretAction::Rotate => {
                let running = survey(bus.as_ref(), &self.name).await?;
                let new = secret::fresh_line()?;
                let fingerprint = bucket.parse(&new)?.fingerprints().concat();
                let mut all: Vec<_> = lines(&text).collect();
                all.insert(1, new.trim());
                let seen = write(&bucket, &joined(&all), &seen).await?;
                let (seconds, running) = (TAKE_UP_DEADLINE.as_secs(), running.len());
                writeln!(out, "waiting for up to {seconds} s until the new secret is known; instances: {running}")
                    .and_then(|()| out.flush())
                    .context(NO_REPORT)?;
                // Nothing is signed with it before everybody can verify that.
                let knows = |known: &[String]| known.contains(&fingerprint);
                wait_until_all(bus.as_ref(), &self.name, KNOWN_ROUNDS, knows).await?;
                all.swap(0, 1);
                write(&bucket, &joined(&all), &seen).await?;
                let signs = |known: &[String]| known.first() == Some(&fingerprint);
                let instances = wait_until_all(bus.as_ref(), &self.name, 1, signs).await?;
                format!("the new secret signs; instances: {instances}; secrets: {}", all.len())
            }
        };
        writeln!(out, "{said}").context(NO_REPORT)
    }
}

async fn write(bucket: &SecretBucket, text: &str, seen: &secret::Seen) -> anyhow::Result<secret::Seen> {
    let written = bucket.write(text, seen).await?;
    written.context(CONTENDED)
}

/// What each instance that answers shares with the others.
///
/// # Errors
/// If one of them does not take up what is changed in the bucket.
async fn survey(bus: &dyn Bus, name: &str) -> anyhow::Result<Vec<Shared>> {
    let running = instance::survey(bus, name).await?;
    let with_file = running.iter().filter(|shared| shared.has_file).count();
    anyhow::ensure!(
        with_file == 0,
        "instances named {name:?} with a secret file: {with_file}; they would never know a secret that is made in NATS. \
         Start all of them with --secret-passphrase, or rotate the secret in their files"
    );
    Ok(running)
}

/// How many instances answer, once all of them have taken up the secret, as often in a row as this.
async fn wait_until_all(
    bus: &dyn Bus,
    name: &str,
    wanted: u32,
    has_it: impl Fn(&[String]) -> bool,
) -> anyhow::Result<usize> {
    let deadline = Instant::now() + TAKE_UP_DEADLINE;
    let mut rounds = 0;
    loop {
        let running = survey(bus, name).await?;
        let lack = running.iter().filter(|shared| !has_it(&shared.secrets)).count();
        rounds = if lack == 0 { rounds + 1 } else { 0 };
        if rounds == wanted {
            return Ok(running.len());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "instances that do not take up the new secret: {lack}; look at their logs, then run the command again"
        );
        sleep(LOOK_AT_SECRETS).await;
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn joined(lines: &[&str]) -> Zeroizing<String> {
    Zeroizing::new(lines.join("\n") + "\n")
}
