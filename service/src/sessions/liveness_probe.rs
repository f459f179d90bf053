//! The liveness probe: which sessions' connections are being probed, and which have answered. RES
//! does not notify services when a connection ends, so connections of closed pages stay on their
//! sessions until they are probed. Must not depend on the bus or the store.
//!
//! A session is probed once at a time. A connection that has not answered is unresponsive, but that
//! counts only if the connection that certainly exists has answered: a gateway that does not
//! support the probe, or does not receive it, answers for none.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_session::{Command, ConnectionId, Record, SessionId};
use tokio::{sync::Notify, time::Instant};

/// The probe threshold: a session with more connections than this is probed.
pub(crate) const THRESHOLD: usize = 4;

/// How long an answer may take.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// The sessions that are being probed.
#[derive(Default)]
pub(super) struct LivenessProbe {
    rounds: Mutex<HashMap<SessionId, Round>>,
    wanted: Notify,
}

struct Round {
    /// The connection whose relogin triggered the probe.
    here: ConnectionId,
    /// The connections that have not answered.
    unresponsive: Vec<ConnectionId>,
    /// None before they are probed.
    until: Option<Instant>,
}

impl LivenessProbe {
    /// A relogin on `here` has left the session as in `record`.
    pub(super) fn relogged_in(&self, record: &Record, here: &ConnectionId) {
        let mut rounds = self.rounds();
        if let Some(round) = rounds.get_mut(&record.sid) {
            // It is alive; whether its gateway supports the probe is another matter. (Of relogins
            // at other processes the record tells.)
            if round.here != *here {
                round.unresponsive.retain(|unresponsive| unresponsive != here);
            }
        } else if record.connections.len() > THRESHOLD {
            let round = Round { here: here.clone(), unresponsive: record.connections.clone(), until: None };
            rounds.insert(record.sid, round);
            self.wanted.notify_one();
        }
    }

    /// `connection` has answered for the session `sid`.
    pub(super) fn answered(&self, sid: SessionId, connection: &ConnectionId) {
        if let Some(round) = self.rounds().get_mut(&sid) {
            round.unresponsive.retain(|unresponsive| unresponsive != connection);
        }
    }

    /// The sessions that are yet to be probed.
    pub(super) fn to_ask(&self) -> Vec<SessionId> {
        let rounds = self.rounds();
        rounds.iter().filter(|(_, round)| round.until.is_none()).map(|(sid, _)| *sid).collect()
    }

    /// They have been probed at the instant `now`.
    pub(super) fn asked(&self, sids: &[SessionId], now: Instant) {
        let mut rounds = self.rounds();
        for sid in sids {
            if let Some(round) = rounds.get_mut(sid) {
                round.until = Some(now + ANSWER_DEADLINE);
            }
        }
    }

    /// The sessions whose time to answer is over, each with what is to be done to it: connections
    /// leave. They may be probed again from now on.
    pub(super) fn over(&self, now: Instant) -> Vec<(SessionId, Command)> {
        let over =
            self.rounds().extract_if(|_, round| round.until.is_some_and(|until| until <= now)).collect::<Vec<_>>();
        let says_something =
            |round: &Round| !round.unresponsive.is_empty() && !round.unresponsive.contains(&round.here);
        over.into_iter()
            .filter(|(_, round)| says_something(round))
            .map(|(sid, Round { here, unresponsive, .. })| (sid, Command::Prune { unresponsive, asked_by: here }))
            .collect()
    }

    /// When the next time to answer is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.rounds().values().filter_map(|round| round.until).min()
    }

    /// Resolves when there is a session to probe.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    fn rounds(&self) -> MutexGuard<'_, HashMap<SessionId, Round>> {
        // Nothing above panics halfway through a change.
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
