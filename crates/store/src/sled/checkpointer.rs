//! The checkpointer thread: gives sled what is in the write-ahead log, then drops that part of the
//! log. See the header of [`super`].
//!
//! Its work can be cut short anywhere and repeated. So if a resource is short, it waits and
//! continues where it was; and what only prepares for later may fail in any way. Any other error is
//! the end of the store.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use relogin_session::SessionId;

use super::{
    StoreError,
    database::Database,
    reason::Reason,
    shared::{Ended, SledShared},
    snapshot::SnapshotWriter,
    state::{Phase, Values},
    vfs::{FileError, Fs},
    wal::{Files, Segment},
};

/// The checkpointer: owns the database's writing side.
pub(super) struct Checkpointer {
    pub(super) database: Database,
    pub(super) files: Arc<Files>,
    /// Where the snapshot of the index is.
    pub(super) snapshot: PathBuf,
    pub(super) fs: Fs,
    pub(super) shared: Arc<SledShared>,
}

/// A job.
pub(super) enum Job {
    /// Have files ready for the write-ahead log.
    Prepare,
    Checkpoint(Checkpoint),
}

/// A part of the write-ahead log, and its final state of each session in it.
pub(super) struct Checkpoint {
    /// The number of its last frame.
    pub(super) frame: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) values: Arc<Values>,
    pub(super) damaged: Vec<SessionId>,
    /// How long the log may grow, in bytes.
    pub(super) limit: usize,
}

/// What is not done yet.
#[derive(Default)]
struct Work {
    prepare: bool,
    checkpoint: Option<(Checkpoint, CheckpointProgress)>,
}

/// The progress of a checkpoint.
enum CheckpointProgress {
    /// This many sessions are in sled, in the order of their ids.
    Giving(usize),
    Snapshot,
    Dropping,
}

/// Why something is not done.
enum Stop {
    /// A resource is short: it can be retried.
    Short(FileError),
    Failed(StoreError),
}

/// How many writes to sled share a sync at most.
const MAX_CHUNK: usize = 256;

/// How many bytes of values share a sync at most, except for the last one's. sled writes up to ten
/// times that: every tenth write of a page rewrites the whole page and cleans up another, and new
/// sessions split pages.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// How many slots of the index are read under one lock.
const SLOTS: usize = 1024;

/// How long until an operation that lacked a resource is retried: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// How often it is reported that a resource is still short.
const REMINDER: Duration = Duration::from_secs(30);

impl Checkpointer {
    /// Runs until nobody can send more jobs, and closes the database. What is still short then
    /// stays in the write-ahead log.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let _ended = Ended(Arc::clone(&self.shared));
        let (mut work, mut pause, mut said) = (Work::default(), PAUSES[0], None);
        loop {
            let job = if work.prepare || work.checkpoint.is_some() {
                jobs.recv_timeout(pause)
            } else {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match job {
                Ok(Job::Prepare) => work.prepare = true,
                Ok(Job::Checkpoint(checkpoint)) => work.checkpoint = Some((checkpoint, CheckpointProgress::Giving(0))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match self.try_all(&mut work) {
                Ok(()) => {
                    pause = PAUSES[0];
                    if said.take().is_some() {
                        tracing::info!("the session store is no longer short of resources");
                    }
                }
                Err(reason) => {
                    pause = (pause * 2).min(PAUSES[1]);
                    if said.is_none_or(|said: Instant| said.elapsed() >= REMINDER) {
                        said = Some(Instant::now());
                        tracing::warn!(
                            "the session store is short of a resource, trying again: {}",
                            relogin_host::errors::Chain(&reason)
                        );
                    }
                }
            }
        }
        let mut state = self.shared.lock();
        (state.tree, state.phase) = (None, Phase::Closed);
        drop(state);
        if let Err(error) = self.database.close() {
            self.shared.fail(error);
        }
    }

    /// Does what can be done.
    ///
    /// # Errors
    /// What prevents the rest.
    fn try_all(&mut self, work: &mut Work) -> Result<(), Reason> {
        let mut short = None;
        // First what releases files, rather than takes some.
        if let Some((checkpoint, progress)) = &mut work.checkpoint {
            let mut checkpointed = self.checkpoint(checkpoint, progress);
            if let Err(Stop::Short(_)) = checkpointed {
                // What is only for later occupies space and descriptors that are needed now.
                checkpointed =
                    self.files.release().map_err(Stop::from).and_then(|()| self.checkpoint(checkpoint, progress));
            }
            match checkpointed {
                Ok(()) => {
                    work.checkpoint = None;
                    self.shared.lock().checkpointing = None;
                }
                Err(Stop::Short(error)) => short = Some(Reason::new(error)),
                Err(Stop::Failed(error)) => {
                    work.checkpoint = None;
                    self.shared.fail(error);
                }
            }
        }
        if short.is_none() {
            short = self.prepare(work).err();
        }
        let mut state = self.shared.lock();
        // Whoever has asked for a checkpoint in the meantime waits for its result, which may
        // release what is short.
        let is_asked = state.checkpointing.is_some() && work.checkpoint.is_none();
        if !is_asked {
            state.short.clone_from(&short);
        }
        if short.is_none() {
            state.refusing = None;
        }
        drop(state);
        self.shared.notify();
        short.map_or(Ok(()), Err)
    }

    /// Prepares what the write-ahead log will need; nobody waits for it.
    fn prepare(&self, work: &mut Work) -> Result<(), Reason> {
        if work.prepare {
            self.files.prepare().map_err(Reason::new)?;
            work.prepare = false;
        }
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: &mut Checkpoint, progress: &mut CheckpointProgress) -> Result<(), Stop> {
        // After a failure nothing is known of the disk: what is in the write-ahead log stays there.
        self.shared.check().map_err(Stop::Failed)?;
        if let CheckpointProgress::Giving(given) = progress {
            self.give(&checkpoint.values, given)?;
            *progress = CheckpointProgress::Snapshot;
        }
        if let CheckpointProgress::Snapshot = progress {
            self.write_snapshot(checkpoint.frame, &checkpoint.damaged)?;
            *progress = CheckpointProgress::Dropping;
        }
        self.files.note_checkpointed(checkpoint.frame)?;
        self.shared.step();
        Ok(self.files.drop_segments(&mut checkpoint.segments, checkpoint.limit)?)
    }

    /// Makes sessions durable in sled, in the order of their ids, because neighbours share a page;
    /// skips those that `given` counts.
    fn give(&mut self, values: &Values, given: &mut usize) -> Result<(), Stop> {
        let mut values: Vec<_> = values.iter().collect();
        values.sort_unstable_by_key(|(sid, _)| **sid);
        loop {
            self.database.reserve()?;
            let mut bytes = 0;
            let chunk = values[*given..].iter().take(MAX_CHUNK).take_while(|(_, value)| {
                let is_first_over = bytes < MAX_CHUNK_BYTES;
                bytes += value.as_ref().map_or(0, |value| value.len());
                is_first_over
            });
            let mut count = 0;
            for (sid, value) in chunk {
                self.database.apply(**sid, value.as_deref()).map_err(Stop::Failed)?;
                count += 1;
            }
            self.database.sync().map_err(Stop::Failed)?;
            self.shared.step();
            *given += count;
            if *given == values.len() {
                return Ok(());
            }
        }
    }

    /// Writes the index to disk. Writers wait only for a few sessions of it: what they change in
    /// the meantime is in the write-ahead log after `frame`.
    fn write_snapshot(&self, frame: u64, damaged: &[SessionId]) -> Result<(), FileError> {
        let mut snapshot = SnapshotWriter::begin(&self.fs, &self.snapshot, frame, damaged)?;
        let mut from = 0;
        loop {
            let state = self.shared.lock();
            let to = state.index.slots().min(from + SLOTS);
            if from == to {
                break;
            }
            snapshot.gather(state.index.in_slots(from..to));
            drop(state);
            snapshot.write()?;
            self.shared.step();
            from = to;
        }
        snapshot.finish()
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        if error.is_shortage() { Self::Short(error) } else { Self::Failed(error.into()) }
    }
}
