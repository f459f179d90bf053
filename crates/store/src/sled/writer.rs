//! The thread that makes groups of writes durable, one after the other. See the header of
//! [`super`].

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use super::{
    super::index::is_earlier,
    checkpointer::{Checkpoint, Job},
    reason::Reason,
    shared::{Checkpointed, Ended, SledShared},
    state::{Group, Phase},
    vfs::FileError,
    wal::Wal,
};

/// Writes the write-ahead log.
pub(super) struct Writer {
    wal: Wal,
    shared: Arc<SledShared>,
    checkpointer: mpsc::Sender<Job>,
}

impl Writer {
    pub(super) fn new(wal: Wal, shared: Arc<SledShared>, checkpointer: mpsc::Sender<Job>) -> Self {
        Self { wal, shared, checkpointer }
    }

    /// Runs until the store is closed and everything that waits is durable, and then has it
    /// checkpointed.
    pub(super) fn run(mut self) {
        // Even if it panics: nobody may wait for a thread that is gone.
        let _ended = Ended(Arc::clone(&self.shared));
        self.ask(Job::Prepare);
        while self.write_group() {}
        // After a failure, durable state can still be read.
        let mut state = self.shared.lock();
        while state.phase == Phase::Open {
            state = self.shared.wait(state);
        }
        drop(state);
        if self.shared.wait_for_checkpointer() == Checkpointed::All {
            self.checkpoint();
            // What cannot be checkpointed now stays in the write-ahead log.
            self.shared.wait_for_checkpointer();
        }
    }

    /// Waits for a group and makes it durable. False once there will be none.
    fn write_group(&mut self) -> bool {
        let mut state = self.shared.lock();
        let frame = loop {
            if let Some(frame) = state.next_frame() {
                break frame;
            }
            if state.phase != Phase::Open {
                return false;
            }
            state = self.shared.wait(state);
        };
        drop(state);
        match self.begin_segment(frame.len()) {
            Ok(()) => {}
            Err(error) if error.is_shortage() => {
                self.refuse(&Reason::new(error));
                return true;
            }
            Err(error) => {
                self.shared.fail(error);
                return false;
            }
        }
        let began = Instant::now();
        if let Err(error) = self.wal.append(frame) {
            self.shared.fail(error);
            return false;
        }
        self.shared.syncs.add(began.elapsed());
        if let Some(group) = self.show() {
            group.acknowledge();
        }
        self.make_room()
    }

    /// Makes room for a frame of `length` bytes.
    ///
    /// # Errors
    /// There is none.
    fn begin_segment(&mut self, length: usize) -> Result<(), FileError> {
        let is_new = match self.wal.make_room(length) {
            Ok(is_new) => is_new,
            // A checkpoint releases files.
            Err(error) if error.is_shortage() && self.checkpoint_now() => self.wal.make_room(length)?,
            Err(error) => return Err(error),
        };
        if is_new {
            self.ask(Job::Prepare);
        }
        Ok(())
    }

    /// Has the whole log checkpointed and waits for it. False if there is nothing to checkpoint, or
    /// it cannot be done now.
    fn checkpoint_now(&mut self) -> bool {
        if self.shared.lock().checkpointing.is_none() {
            if self.wal.len() == 0 {
                return false;
            }
            self.checkpoint();
        }
        self.shared.wait_for_checkpointer() == Checkpointed::All
    }

    /// Nothing that waits can be written for now: reports that, and accepts no more until the
    /// checkpointer has what is short.
    fn refuse(&self, reason: &Reason) {
        let groups = self.shared.lock().refuse(reason);
        groups.into_iter().for_each(|group| group.refuse(reason));
        self.ask(Job::Prepare);
    }

    /// What was written is durable now: shows it.
    fn show(&self) -> Option<Group> {
        let mut state = self.shared.lock();
        let earliest = state.index.next_deadline();
        let group = state.show();
        if is_earlier(state.index.next_deadline(), earliest) {
            self.shared.deadline_moved.notify_one();
        }
        group
    }

    /// Has a long log checkpointed. If that cannot be done, no more is written than there is slack.
    /// False if it failed.
    fn make_room(&mut self) -> bool {
        let sizes = self.wal.sizes();
        if self.wal.len() < sizes.shortest {
            return true;
        }
        let state = self.shared.lock();
        let limit = sizes.limit(state.index.len());
        let is_checkpointing = state.checkpointing.is_some();
        drop(state);
        if self.wal.len() > limit + sizes.slack {
            match self.shared.wait_for_checkpointer() {
                Checkpointed::All => {}
                Checkpointed::Short => {
                    let short = self.shared.lock().short.clone();
                    if let Some(reason) = short {
                        self.refuse(&reason);
                    }
                    return true;
                }
                Checkpointed::Failed => return false,
            }
        }
        if self.wal.len() > limit && !is_checkpointing {
            self.checkpoint();
        }
        true
    }

    /// Has everything in the log checkpointed.
    fn checkpoint(&mut self) {
        let (frame, segments) = (self.wal.last(), self.wal.cut());
        let mut state = self.shared.lock();
        let values = Arc::new(std::mem::take(&mut state.recent));
        state.checkpointing = Some(Arc::clone(&values));
        // Nobody knows of this yet.
        state.short = None;
        let damaged = state.damaged.iter().copied().collect();
        let limit = self.wal.sizes().limit(state.index.len());
        drop(state);
        self.ask(Job::Checkpoint(Checkpoint { frame, segments, values, damaged, limit }));
    }

    fn ask(&self, job: Job) {
        // A checkpointer that is gone has said why, and all writing ends.
        let _ = self.checkpointer.send(job);
    }
}
