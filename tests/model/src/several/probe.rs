//! The liveness probe, as in `service/src/sessions/liveness_probe.rs`: each instance knows only
//! what it was answered. Must not decide who leaves.

use relogin_session::{ConnectionId, Record};

use super::{Config, FIRST, Instance, Mutant, State, scripts::cid, steps::Step, work::Frame};

/// More connections than this are probed.
const THRESHOLD: usize = 1;

/// A probe of the first session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The connection whose relogin is the reason.
    pub here: ConnectionId,
    /// Those that have not answered.
    pub silent: Vec<ConnectionId>,
    /// Those that will.
    pub awaited: Vec<ConnectionId>,
}

impl Instance {
    /// A relogin has left the session so.
    pub(super) fn relogged_in(&mut self, record: &Record, here: &ConnectionId, config: &Config) {
        if config.probe.is_none() {
            return;
        }
        match &mut self.round {
            Some(round) if round.here != *here => round.silent.retain(|silent| silent != here),
            Some(_) => {}
            None if record.connections.len() > THRESHOLD => {
                let silent = record.connections.clone();
                let awaited = silent.iter().filter(|on| **on != cid("a")).cloned().collect();
                self.round = Some(Round { here: here.clone(), silent, awaited });
            }
            None => {}
        }
    }

    /// The time to answer is over.
    pub(super) fn judge(&mut self) {
        let Some(Round { here, silent, .. }) = self.round.take() else { return };
        if !silent.is_empty() && !silent.contains(&here) {
            self.work.push(Frame::pruning(FIRST, silent, here));
        }
    }
}

impl State {
    /// The answers that may come to this instance's probe.
    pub(super) fn possible_responses(&self, number: usize, config: &Config, steps: &mut Vec<Step>) {
        let awaited = self.instances[number].round.iter().flat_map(|round| &round.awaited);
        for (index, _) in awaited.enumerate() {
            steps.push(Step::Respond(number, number, index));
            if config.mutant == Some(Mutant::ProbeAnsweredToAny) {
                steps.push(Step::Respond(number, 1 - number, index));
            }
        }
    }

    /// A connection answers the probe of an instance.
    pub(super) fn respond(&mut self, number: usize, taker: usize, index: usize) {
        let Some(round) = &mut self.instances[number].round else { return };
        let connection = round.awaited.remove(index);
        if let Some(round) = &mut self.instances[taker].round {
            round.silent.retain(|silent| *silent != connection);
        }
    }
}
