//! Says of a store that it does not have all its sessions, because they are being copied or
//! restored into it, or that was cut short. Nothing starts with such a store, or takes it for a
//! whole one. Must not know how stores are filled.
//!
//! A restore into a data folder makes the store beside its place: as long as that is there
//! ([`restored`]), something is missing. Whatever else fills a store leaves a mark.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use async_nats::Client;
use relogin_host::disk;

use crate::bucket_entry::{self, BucketEntry};

/// What fills a store, for its mark.
pub(super) const COPY: &str = "relogin store copy";
pub(super) const RESTORE: &str = "relogin restore";

/// The mark in a data folder.
pub(super) const MARK: &str = "sessions.unfinished";

/// Where a restored store is until all that belongs to it is in its place.
pub(super) fn restored(data: &Path) -> PathBuf {
    data.join("sessions.restore")
}

/// Refuses a data folder that is not complete.
///
/// # Errors
/// What it lacks, and what to do.
pub(super) fn ensure_complete_folder(data: &Path) -> anyhow::Result<()> {
    let restored = restored(data);
    let is_there = fs::exists(&restored).with_context(|| format!("cannot look for {}", restored.display()))?;
    anyhow::ensure!(
        !is_there,
        "the data folder {} is not complete: `{RESTORE}` has not ended, or was cut short; run it again, with --replace \
         if it says so, or remove {} to go on with what is there",
        data.display(),
        restored.display()
    );
    let mark = data.join(MARK);
    match fs::read_to_string(&mark) {
        Ok(by) => Err(anyhow!(
            "the data folder {} does not have all its sessions: `{by}` has not ended, or was cut short; run it again, \
             or remove {} to go on with what is there",
            data.display(),
            mark.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", mark.display())),
    }
}

/// Refuses a bucket that is not complete. It must be there.
///
/// # Errors
/// The same.
pub(super) async fn ensure_complete_bucket(client: Client, bucket: &str) -> anyhow::Result<()> {
    let kept = entry(client, bucket).await?.read().await.map_err(|error| anyhow!(error));
    let Some(by) = kept.with_context(|| format!("cannot read the bucket {bucket:?}"))?.text else { return Ok(()) };
    Err(anyhow!(
        "the bucket {bucket:?} does not have all its sessions: `{}` has not ended, or was cut short; run it again, or \
         delete the bucket, or its entry {:?} to go on with what is there",
        String::from_utf8_lossy(&by),
        bucket_entry::UNFINISHED
    ))
}

/// Marks a data folder that is going to be filled by this command; none: it is complete.
///
/// # Errors
/// If that cannot be written.
pub(super) fn mark_folder(data: &Path, by: Option<&str>) -> io::Result<()> {
    let mark = data.join(MARK);
    match by {
        Some(by) => disk::replace(&mark, by.as_bytes()),
        None => match fs::remove_file(mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => disk::sync_folder(data),
        },
    }
}

/// The same of a bucket.
///
/// # Errors
/// If that cannot be written.
pub(super) async fn mark_bucket(client: Client, bucket: &str, by: Option<&str>) -> anyhow::Result<()> {
    let (entry, mark) = (entry(client, bucket).await?, by.map(Into::into));
    let kept = entry.read().await.map_err(|error| anyhow!(error))?;
    if kept.text != mark {
        let written = entry.write(mark, kept.revision).await.map_err(|error| anyhow!(error))?;
        written.context("somebody else has changed it at the same time")?;
    }
    Ok(())
}

async fn entry(client: Client, bucket: &str) -> anyhow::Result<BucketEntry> {
    BucketEntry::open(client, bucket, bucket_entry::UNFINISHED).await.map_err(|error| anyhow!(error))
}
