//! Challenges of the service, which a bound session's device evidence: asked for with the handshake, kept for the connection, and
//! asked for anew before they are too old. TheftEvidence nothing itself.

use std::time::Duration;

use relogin_session::api::{Challenge, SignedChallenge, proof_text};
use serde_json::Value as Json;

use super::{
    SessionManager,
    operation::{Operation, Stage},
};
use crate::{
    Action, RequestError, Secret, Signature,
    outbox::{Outbox, Purpose},
    turn::Turn,
    wire,
};

/// A challenge that is good for less than this may be too old when it comes back.
const MARGIN: Duration = Duration::from_secs(10);

/// The challenge of this connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges {
    /// When the one that is under way was asked for.
    asked: Option<Duration>,
    /// The last one, and until when it can be used.
    last: Option<(String, Duration)>,
}

impl Challenges {
    /// The service did not take the last one.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    fn usable(&self, now: Duration) -> Option<&str> {
        self.last.as_ref().filter(|(_, until)| *until > now).map(|(challenge, _)| challenge.as_str())
    }
}

impl SessionManager {
    /// Asks for a challenge, unless one is under way.
    pub(super) fn ask_challenge(&mut self, turn: &Turn, out: &mut Outbox) {
        if self.notes.challenges.asked.is_none() {
            self.notes.challenges.asked = Some(turn.now);
            out.send(Purpose::Challenge, "challenge", None, turn.after(self.config.relogin_timeout));
        }
    }

    /// The answer to that.
    pub(super) fn challenged(&mut self, result: Result<Json, RequestError>, turn: &mut Turn, out: &mut Outbox) {
        let asked = self.notes.challenges.asked.take();
        let challenge = result.and_then(|result| wire::challenge(result).ok_or(RequestError::Garbled));
        let failed = match challenge {
            Ok(Challenge { challenge, expires_in }) => {
                // It was made after it was asked for, so it lives for at least that long.
                let until = asked.unwrap_or(turn.now).saturating_add(Duration::from_millis(expires_in));
                self.notes.challenges.last = Some((challenge, until.saturating_sub(MARGIN)));
                // One that is no good when it comes would be asked for without end.
                self.notes.challenges.usable(turn.now).is_none().then_some(RequestError::TimedOut)
            }
            Err(error) => Some(error),
        };
        let Some(operation) = self.operation.take_if(|operation| matches!(operation.stage, Stage::Challenging)) else {
            return;
        };
        match failed {
            None => self.prove(operation, turn, out),
            Some(error) => self.use_failed(&operation, &error, turn, out),
        }
        self.pump(turn, out);
    }

    /// Sends the key of the operation, with a proof if it needs one.
    pub(super) fn prove(&mut self, mut operation: Operation, turn: &mut Turn, out: &mut Outbox) {
        let Some(record) = &operation.used else { return };
        if !record.bound {
            return self.send_key(operation, None, turn, out);
        }
        operation.stage = match self.notes.challenges.usable(turn.now) {
            Some(challenge) => {
                out.push(Action::Sign(Secret::new(proof_text(challenge, &record.key))));
                Stage::Signing(challenge.to_owned())
            }
            None => {
                self.ask_challenge(turn, out);
                Stage::Challenging
            }
        };
        self.operation = Some(operation);
    }

    /// The device has signed, or cannot any more: then the key is of no use, and the service will say so. If it cannot now, the use
    /// is put off: sent without a proof, the key would be refused, and that says nothing of the session.
    pub(super) fn signed(&mut self, signature: Signature, turn: &mut Turn, out: &mut Outbox) {
        let Some(operation) = self.operation.take_if(|operation| matches!(operation.stage, Stage::Signing(_))) else {
            return;
        };
        let signature = match signature {
            Signature::Made(signature) => Some(signature),
            Signature::NoKey => None,
            Signature::Unavailable => {
                self.use_failed(&operation, &RequestError::TimedOut, turn, out);
                return self.pump(turn, out);
            }
        };
        // A tab may have been frozen while it signed.
        if self.notes.challenges.usable(turn.now).is_none() {
            return self.prove(operation, turn, out);
        }
        let Stage::Signing(challenge) = &operation.stage else { return };
        let proof = signature.map(|signature| SignedChallenge { challenge: challenge.clone(), signature });
        self.send_key(operation, proof, turn, out);
    }
}
