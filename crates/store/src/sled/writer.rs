//! The thread that makes groups of writes durable, one after the other. See the header of
//! [`super`].

use std::sync::{Arc, mpsc};

use super::{
    super::index::is_earlier,
    journal::Journal,
    settler::{Errand, Settlement},
    shared::{Ended, Reason, Settled, Shared},
    state::{Group, Phase},
    vfs::FileError,
};

/// Writes the write-ahead log.
pub(super) struct Writer {
    journal: Journal,
    shared: Arc<Shared>,
    settler: mpsc::Sender<Errand>,
}

impl Writer {
    pub(super) fn new(journal: Journal, shared: Arc<Shared>, settler: mpsc::Sender<Errand>) -> Self {
        Self { journal, shared, settler }
    }

    /// Runs until the store is closed and everything that waits is durable, and then has it
    /// checkpointed.
    pub(super) fn run(mut self) {
        // Even if it panics: nobody may wait for a thread that is gone.
        let _ended = Ended(Arc::clone(&self.shared));
        self.ask(Errand::Prepare);
        while self.write_group() {}
        // After a failure, durable state can still be read.
        let mut state = self.shared.lock();
        while state.phase == Phase::Open {
            state = self.shared.wait(state);
        }
        drop(state);
        if self.shared.wait_for_settler() == Settled::All {
            self.settle();
            // What cannot be checkpointed now stays in the write-ahead log.
            self.shared.wait_for_settler();
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
        if let Err(error) = self.journal.append(frame) {
            self.shared.fail(error);
            return false;
        }
        if let Some(group) = self.show() {
            group.tell();
        }
        self.make_room()
    }

    /// Makes room for a frame of `length` bytes.
    ///
    /// # Errors
    /// There is none.
    fn begin_segment(&mut self, length: usize) -> Result<(), FileError> {
        let is_new = match self.journal.make_room(length) {
            Ok(is_new) => is_new,
            // A checkpoint releases files.
            Err(error) if error.is_shortage() && self.settle_now() => self.journal.make_room(length)?,
            Err(error) => return Err(error),
        };
        if is_new {
            self.ask(Errand::Prepare);
        }
        Ok(())
    }

    /// Has the whole log checkpointed and waits for it. False if there is nothing to checkpoint, or
    /// it cannot be done now.
    fn settle_now(&mut self) -> bool {
        if self.shared.lock().settling.is_none() {
            if self.journal.len() == 0 {
                return false;
            }
            self.settle();
        }
        self.shared.wait_for_settler() == Settled::All
    }

    /// Nothing that waits can be written for now: reports that, and accepts no more until the
    /// checkpointer has what is short.
    fn refuse(&self, reason: &Reason) {
        let groups = self.shared.lock().refuse(reason);
        groups.into_iter().for_each(|group| group.refuse(reason));
        self.ask(Errand::Prepare);
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
        let sizes = self.journal.sizes();
        if self.journal.len() < sizes.shortest {
            return true;
        }
        let state = self.shared.lock();
        let limit = sizes.limit(state.index.len());
        let is_settling = state.settling.is_some();
        drop(state);
        if self.journal.len() > limit + sizes.slack {
            match self.shared.wait_for_settler() {
                Settled::All => {}
                Settled::Short => {
                    let short = self.shared.lock().short.clone();
                    if let Some(reason) = short {
                        self.refuse(&reason);
                    }
                    return true;
                }
                Settled::Failed => return false,
            }
        }
        if self.journal.len() > limit && !is_settling {
            self.settle();
        }
        true
    }

    /// Has everything in the log checkpointed.
    fn settle(&mut self) {
        let (frame, segments) = (self.journal.last(), self.journal.cut());
        let mut state = self.shared.lock();
        let values = Arc::new(std::mem::take(&mut state.recent));
        state.settling = Some(Arc::clone(&values));
        // Nobody knows of this yet.
        state.short = None;
        let damaged = state.damaged.iter().copied().collect();
        let limit = self.journal.sizes().limit(state.index.len());
        drop(state);
        self.ask(Errand::Settle(Settlement { frame, segments, values, damaged, limit }));
    }

    fn ask(&self, errand: Errand) {
        // A checkpointer that is gone has said why, and all writing ends.
        let _ = self.settler.send(errand);
    }
}
