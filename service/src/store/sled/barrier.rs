//! What makes files durable: the one place where the store waits for the disk, so that a test can stand in for it.

use std::{fs::File, io, path::Path};

/// What is being made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A group of writes that somebody waits for.
    Frame,
    /// A file of the journal that is made, blanked, or read after a crash.
    Journal,
    /// sled's files.
    Database,
    /// The snapshot of the index.
    Snapshot,
}

/// Makes files durable.
pub(super) trait Barrier: std::fmt::Debug + Send + Sync {
    /// Returns once all that was written to `file`, which lies at `path`, would survive a power loss.
    fn data(&self, kind: Kind, file: &File, path: &Path) -> io::Result<()>;

    /// Returns once the names in `folder` would survive one.
    fn folder(&self, folder: &Path) -> io::Result<()>;
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct Disk;

impl Barrier for Disk {
    fn data(&self, _: Kind, file: &File, _: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}
