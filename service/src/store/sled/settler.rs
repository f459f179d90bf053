//! The thread with time: it gives sled what is in the journal, then drops that part of the journal. See the header of
//! [`super`].

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

use relogin_session::SessionId;

use super::{
    StoreError,
    barrier::Barrier,
    database::{Database, failed},
    journal::{Files, Segment},
    shared::{Ended, Shared},
    snapshot::SnapshotWriter,
    state::{Phase, Values},
};

/// Owns the database's writing side.
pub(super) struct Settler {
    pub(super) database: Database,
    pub(super) files: Arc<Files>,
    /// Where the snapshot of the index is.
    pub(super) snapshot: PathBuf,
    pub(super) barrier: Arc<dyn Barrier>,
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
    pub(super) segments: Vec<Segment>,
    pub(super) values: Arc<Values>,
    pub(super) damaged: Vec<SessionId>,
    /// How long the journal is let grow, in bytes.
    pub(super) limit: usize,
}

/// How many writes to sled share a sync at most.
const MAX_CHUNK: usize = 256;

/// How many bytes of values share a sync at most, but for the last one's. sled writes up to ten times that: every tenth
/// write of a page writes the whole page anew and cleans up another, and new sessions split pages.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// How many places of the index are looked at under one lock.
const SLOTS: usize = 1024;

impl Settler {
    /// Runs until nobody can bring more errands, and closes the database.
    pub(super) fn run(self, errands: &mpsc::Receiver<Errand>) {
        let _ended = Ended(Arc::clone(&self.shared));
        while let Ok(errand) = errands.recv() {
            let done = match errand {
                Errand::Prepare => self.files.prepare().map_err(failed),
                Errand::Settle(settlement) => self.settle(settlement),
            };
            if let Err(error) = done {
                self.shared.fail(error);
            }
        }
        let mut state = self.shared.lock();
        (state.tree, state.phase) = (None, Phase::Closed);
        drop(state);
        if let Err(error) = self.database.close() {
            self.shared.fail(error);
        }
    }

    fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        // After a failure nothing is known of the disk: what the journal has, it keeps.
        self.shared.check()?;
        self.give(&settlement.values).map_err(failed)?;
        self.write_snapshot(settlement.frame, &settlement.damaged).map_err(failed)?;
        self.files.drop_segments(settlement.segments, settlement.limit).map_err(failed)?;
        self.shared.lock().settling = None;
        self.shared.notify();
        Ok(())
    }

    /// Makes sessions durable in sled, in the order of their ids, for neighbours share a page.
    fn give(&self, values: &Values) -> Result<(), ::sled::Error> {
        let mut values: Vec<_> = values.iter().collect();
        values.sort_unstable_by_key(|(sid, _)| **sid);
        let (mut writes, mut bytes) = (0, 0);
        for (sid, value) in values {
            self.database.apply(*sid, value.as_deref())?;
            writes += 1;
            bytes += value.as_ref().map_or(0, |value| value.len());
            if writes == MAX_CHUNK || bytes >= MAX_CHUNK_BYTES {
                self.database.sync()?;
                (writes, bytes) = (0, 0);
            }
        }
        self.database.sync()
    }

    /// Writes down what the index knows. Writers need not wait for more than a few sessions of it: what they change meanwhile
    /// is in the journal behind `frame`.
    fn write_snapshot(&self, frame: u64, damaged: &[SessionId]) -> std::io::Result<()> {
        let mut snapshot = SnapshotWriter::begin(&self.snapshot, frame, damaged)?;
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
            from = to;
        }
        snapshot.finish(&*self.barrier)
    }
}
