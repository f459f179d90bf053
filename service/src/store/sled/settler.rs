//! The thread with time: it gives sled what is in the journal, then drops that part of the journal. See the header of
//! [`super`].
//!
//! What it does can be cut short anywhere and done again. So where something is short, it waits and goes on where it was; and
//! what is only made ready for later may fail in any way. Any other error is the end of the store.

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
    journal::{Files, Segment},
    shared::{Ended, Reason, Shared},
    snapshot::SnapshotWriter,
    state::{Phase, Values},
    vfs::{FileError, Fs},
};

/// Owns the database's writing side.
pub(super) struct Settler {
    pub(super) database: Database,
    pub(super) files: Arc<Files>,
    /// Where the snapshot of the index is.
    pub(super) snapshot: PathBuf,
    pub(super) fs: Fs,
    pub(super) shared: Arc<Shared>,
}

/// What there is to do.
pub(super) enum Errand {
    /// Have files ready for the journal.
    Prepare,
    Settle(Settlement),
}

/// A part of the journal, and what it leaves of each session in it.
pub(super) struct Settlement {
    /// The number of its last frame.
    pub(super) frame: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) values: Arc<Values>,
    pub(super) damaged: Vec<SessionId>,
    /// How long the journal is let grow, in bytes.
    pub(super) limit: usize,
}

/// What is not done yet.
#[derive(Default)]
struct Work {
    prepare: bool,
    settlement: Option<(Settlement, Progress)>,
}

/// How far a settlement is.
enum Progress {
    /// So many sessions are in sled, in the order of their ids.
    Giving(usize),
    Snapshot,
    Dropping,
}

/// Why something is not done.
enum Stop {
    /// Something is short: it can be tried again.
    Short(FileError),
    Failed(StoreError),
}

/// How many writes to sled share a sync at most.
const MAX_CHUNK: usize = 256;

/// How many bytes of values share a sync at most, but for the last one's. sled writes up to ten times that: every tenth
/// write of a page writes the whole page anew and cleans up another, and new sessions split pages.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// How many places of the index are looked at under one lock.
const SLOTS: usize = 1024;

/// How long it is until something that was short is tried again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// How often it is said that something is still short.
const REMINDER: Duration = Duration::from_secs(30);

impl Settler {
    /// Runs until nobody can bring more errands, and closes the database. What is still short then stays in the journal.
    pub(super) fn run(mut self, errands: &Receiver<Errand>) {
        let _ended = Ended(Arc::clone(&self.shared));
        let (mut work, mut pause, mut said) = (Work::default(), PAUSES[0], None);
        loop {
            let errand = if work.prepare || work.settlement.is_some() {
                errands.recv_timeout(pause)
            } else {
                errands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match errand {
                Ok(Errand::Prepare) => work.prepare = true,
                Ok(Errand::Settle(settlement)) => work.settlement = Some((settlement, Progress::Giving(0))),
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
                            crate::errors::Chain(&reason)
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
    /// What is in the way of the rest.
    fn try_all(&mut self, work: &mut Work) -> Result<(), Reason> {
        let mut short = None;
        // First what gives files back, rather than takes some.
        if let Some((settlement, progress)) = &mut work.settlement {
            let mut settled = self.settle(settlement, progress);
            if let Err(Stop::Short(_)) = settled {
                // What is only ready for later has room and descriptors that are needed now.
                settled = self.files.release().map_err(Stop::from).and_then(|()| self.settle(settlement, progress));
            }
            match settled {
                Ok(()) => {
                    work.settlement = None;
                    self.shared.lock().settling = None;
                }
                Err(Stop::Short(error)) => short = Some(Reason::new(error)),
                Err(Stop::Failed(error)) => {
                    work.settlement = None;
                    self.shared.fail(error);
                }
            }
        }
        if short.is_none() {
            short = self.prepare(work).err();
        }
        let mut state = self.shared.lock();
        // Who has asked for a settlement meanwhile waits for what comes of that, which may give back what is short.
        let is_asked = state.settling.is_some() && work.settlement.is_none();
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

    /// Makes ready what the journal will need; nobody waits for it.
    fn prepare(&self, work: &mut Work) -> Result<(), Reason> {
        if work.prepare {
            self.files.prepare().map_err(Reason::new)?;
            work.prepare = false;
        }
        Ok(())
    }

    fn settle(&mut self, settlement: &mut Settlement, progress: &mut Progress) -> Result<(), Stop> {
        // After a failure nothing is known of the disk: what the journal has, it keeps.
        self.shared.check().map_err(Stop::Failed)?;
        if let Progress::Giving(given) = progress {
            self.give(&settlement.values, given)?;
            *progress = Progress::Snapshot;
        }
        if let Progress::Snapshot = progress {
            self.write_snapshot(settlement.frame, &settlement.damaged)?;
            *progress = Progress::Dropping;
        }
        self.files.note_settled(settlement.frame)?;
        self.shared.step();
        Ok(self.files.drop_segments(&mut settlement.segments, settlement.limit)?)
    }

    /// Makes sessions durable in sled, in the order of their ids, for neighbours share a page; not again those that `given` counts.
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

    /// Writes down what the index knows. Writers need not wait for more than a few sessions of it: what they change meanwhile
    /// is in the journal behind `frame`.
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
