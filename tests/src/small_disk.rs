//! A disk of a few megabytes for the data folder of a stage, which a test can fill and empty: a
//! tmpfs in a mount namespace of its own, so that no privilege is needed. Must not depend on what
//! is stored.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{process::Process, stage::Stage};

/// The disk. It and what is on it go with its guard, and with the service that uses it.
#[derive(Debug)]
pub struct SmallDisk {
    /// Keeps the namespace.
    holder: Process,
    folder: PathBuf,
}

impl SmallDisk {
    /// Puts a disk of `megabytes` where the stage's data are, and has the service started with it
    /// from its next start on.
    ///
    /// # Errors
    /// If the system lets nobody have a namespace.
    pub async fn under(stage: &mut Stage, megabytes: u32) -> Result<Self> {
        let folder = stage.data();
        fs::create_dir_all(&folder).context("making the data folder")?;
        let script = "mount -t tmpfs -o size=$1m tmpfs \"$0\" && echo mounted && exec cat";
        let size = megabytes.to_string();
        let folder_text = folder.display().to_string();
        let args = ["--user", "--map-root-user", "--mount", "sh", "-c", script, &folder_text, &size];
        let log = stage.evidence().join("small-disk.log");
        let holder = Process::start(Path::new("/usr/bin/unshare"), args, &log, |command| {
            // As long as the test has the other end.
            command.stdin(Stdio::piped());
        })?;
        holder.line("that the disk is there", |line| (line == "mounted").then_some(())).await?;
        let pid = holder.pid()?.as_raw_nonzero().to_string();
        let from = stage.folder().display().to_string();
        stage.under(&[
            "nsenter",
            "--target",
            &pid,
            "--user",
            "--mount",
            "--preserve-credentials",
            &format!("--wd={from}"),
        ]);
        Ok(Self { holder, folder })
    }

    /// The data folder, as it can be seen from outside the namespace.
    ///
    /// # Errors
    /// If the disk is gone.
    pub fn folder(&self) -> Result<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()?.as_raw_nonzero()));
        Ok(root.join(self.folder.strip_prefix("/").context("the data folder's path is whole")?))
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// If that is not what stops it.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast()?).context("making a file to fill the disk")?;
        for length in [1 << 16, 1 << 12, 1] {
            loop {
                match ballast.write(&vec![b'x'; length]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("filling the disk: {error}"),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// If it was not taken.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()?).context("emptying the disk")
    }

    fn ballast(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("ballast"))
    }
}
