//! The thread that makes groups of writes durable, one after the other. See the header of [`super`].

use std::sync::{Arc, mpsc};

use super::{
    super::index::is_earlier,
    journal::Journal,
    settler::{Errand, Settlement},
    shared::{Ended, Shared},
    state::{Group, Phase},
};

/// Writes the journal.
pub(super) struct Writer {
    journal: Journal,
    shared: Arc<Shared>,
    settler: mpsc::Sender<Errand>,
}

impl Writer {
    pub(super) fn new(journal: Journal, shared: Arc<Shared>, settler: mpsc::Sender<Errand>) -> Self {
        Self { journal, shared, settler }
    }

    /// Runs until the store is closed and all that waits is durable, and has all of it settled.
    pub(super) fn run(mut self) {
        // Also if it panics: nobody shall wait for a thread that is gone.
        let _ended = Ended(Arc::clone(&self.shared));
        self.ask(Errand::Prepare);
        while self.write_group() {}
        // After a failure what is durable is still read.
        let mut state = self.shared.lock();
        while state.phase == Phase::Open {
            state = self.shared.wait(state);
        }
        drop(state);
        if self.wait_for_settler() {
            self.settle();
            self.wait_for_settler();
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
        match self.journal.append(frame) {
            Ok(is_new_segment) if is_new_segment => self.ask(Errand::Prepare),
            Ok(_) => {}
            Err(error) => {
                self.shared.fail(error);
                return false;
            }
        }
        if let Some(group) = self.show() {
            group.tell();
        }
        self.make_room()
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

    /// Has a long journal settled. False if that failed.
    fn make_room(&mut self) -> bool {
        let sizes = self.journal.sizes();
        if self.journal.len() < sizes.shortest {
            return true;
        }
        let state = self.shared.lock();
        let limit = sizes.limit(state.index.len());
        let is_settling = state.settling.is_some();
        drop(state);
        if self.journal.len() > limit + sizes.slack && !self.wait_for_settler() {
            return false;
        }
        if self.journal.len() > limit && !is_settling {
            self.settle();
        }
        true
    }

    /// Has all that is in the journal settled.
    fn settle(&mut self) {
        let (frame, segments) = (self.journal.last(), self.journal.cut());
        let mut state = self.shared.lock();
        let values = Arc::new(std::mem::take(&mut state.recent));
        state.settling = Some(Arc::clone(&values));
        let damaged = state.damaged.iter().copied().collect();
        let limit = self.journal.sizes().limit(state.index.len());
        drop(state);
        self.ask(Errand::Settle(Settlement { frame, segments, values, damaged, limit }));
    }

    fn ask(&self, errand: Errand) {
        // A settler that is gone has said why, and all writing ends.
        let _ = self.settler.send(errand);
    }

    /// Waits until nothing is being settled. False if the store has failed.
    fn wait_for_settler(&self) -> bool {
        let mut state = self.shared.lock();
        while state.settling.is_some() && self.shared.check().is_ok() {
            state = self.shared.wait(state);
        }
        drop(state);
        self.shared.check().is_ok()
    }
}
