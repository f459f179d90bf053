//! A bucket that goes back to an earlier state, and how instances notice. Must not know what they
//! do.

use super::{Config, LOSSES, Mutant, State};

impl State {
    /// The bucket goes back to one of its earlier states.
    pub(super) fn lose(&mut self, earlier: usize, config: &Config) {
        self.left[LOSSES] -= 1;
        self.floating = None;
        let now = self.truth.gone_back(earlier, self.left[LOSSES] > 0);
        let lost = std::mem::replace(&mut self.truth, now);
        for (sid, stored) in lost.records {
            let is_damaged = match self.truth.records.get(&sid) {
                // Of a bearer session nobody knows who has used its keys.
                Some(now) => !config.is_bound && *now != stored,
                None => true,
            };
            if is_damaged {
                self.damaged.insert(sid);
            }
        }
        if !config.is_quiet && !config.waits {
            (0..2).for_each(|number| self.answered(number, None));
        }
        for connection in self.gateway.values_mut() {
            (connection.is_token_unsure, connection.is_user_unsure) = (true, true);
        }
        self.instances.iter_mut().for_each(|instance| instance.old = instance.lane.len());
    }

    /// An instance that has lost its connection reads all of the bucket first.
    pub(super) fn reconnect(&mut self, number: usize, config: &Config) {
        let view = &mut self.instances[number].view;
        if !config.is_quiet && config.mutant != Some(Mutant::HistoryGoesOn) && !view.is_of(&self.truth) {
            view.catch_up(&self.truth);
        }
    }

    /// The watch shows an instance what is stored.
    pub(super) fn follow(&mut self, number: usize, config: &Config) {
        let view = &mut self.instances[number].view;
        if config.mutant == Some(Mutant::HistoryGoesOn) && !view.is_of(&self.truth) {
            view.go_on(&self.truth);
        } else {
            view.catch_up(&self.truth);
        }
    }
}
