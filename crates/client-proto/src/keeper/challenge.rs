//! Challenges of the service, which a bound session's device signs: asked for with the handshake, kept for the connection, and
//! asked for anew before they are too old. Signs nothing itself.

use std::time::Duration;

use relogin_res::client::Method;
use relogin_session::api::{Challenge, SignedChallenge, proof_text};
use serde_json::Value as Json;

use super::{
    Keeper,
    errand::{Errand, Stage},
};
use crate::{
    Action, RequestError, Secret, Signature,
    input::Turn,
    outbox::{Outbox, Purpose},
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

impl Keeper {
    /// Asks for a challenge, unless one is under way.
    pub(super) fn ask_challenge(&mut self, turn: &Turn, out: &mut Outbox) {
        if self.here.challenges.asked.is_none() {
            self.here.challenges.asked = Some(turn.now);
            let method = Method::Auth(self.session.clone(), "challenge".to_owned());
            out.send(Purpose::Challenge, &method, None, Some(turn.after(self.relogin_timeout)));
        }
    }

    /// The answer to that.
    pub(crate) fn challenged(&mut self, result: Result<Json, RequestError>, turn: &mut Turn, out: &mut Outbox) {
        let asked = self.here.challenges.asked.take();
        let challenge = result.and_then(|result| wire::challenge(result).ok_or(RequestError::Garbled));
        let failed = match challenge {
            Ok(Challenge { challenge, expires_in }) => {
                // It was made after it was asked for, so it lives for at least that long.
                let until = asked.unwrap_or(turn.now).saturating_add(Duration::from_millis(expires_in));
                self.here.challenges.last = Some((challenge, until.saturating_sub(MARGIN)));
                // One that is no good when it comes would be asked for without end.
                self.here.challenges.usable(turn.now).is_none().then_some(RequestError::TimedOut)
            }
            Err(error) => Some(error),
        };
        let Some(errand) = self.errand.take_if(|errand| matches!(errand.stage, Stage::Challenging)) else { return };
        match failed {
            None => self.prove(errand, turn, out),
            Some(error) => self.use_failed(&errand, &error, turn, out),
        }
        self.pump(turn, out);
    }

    /// Sends the key of the errand, with a proof if it needs one.
    pub(super) fn prove(&mut self, mut errand: Errand, turn: &mut Turn, out: &mut Outbox) {
        let Some(record) = &errand.used else { return };
        if !record.bound {
            return self.send_key(errand, None, turn, out);
        }
        errand.stage = match self.here.challenges.usable(turn.now) {
            Some(challenge) => {
                out.push(Action::Sign(Secret::new(proof_text(challenge, &record.key))));
                Stage::Signing(challenge.to_owned())
            }
            None => {
                self.ask_challenge(turn, out);
                Stage::Challenging
            }
        };
        self.errand = Some(errand);
    }

    /// The device has signed, or cannot any more: then the key is of no use, and the service will say so. If it cannot now, the use
    /// is put off: sent without a proof, the key would be refused, and that says nothing of the session.
    pub(crate) fn signed(&mut self, signature: Signature, turn: &mut Turn, out: &mut Outbox) {
        let Some(errand) = self.errand.take_if(|errand| matches!(errand.stage, Stage::Signing(_))) else { return };
        let signature = match signature {
            Signature::Made(signature) => Some(signature),
            Signature::NoKey => None,
            Signature::Unavailable => {
                self.use_failed(&errand, &RequestError::TimedOut, turn, out);
                return self.pump(turn, out);
            }
        };
        // A tab may have been frozen while it signed.
        if self.here.challenges.usable(turn.now).is_none() {
            return self.prove(errand, turn, out);
        }
        let Stage::Signing(challenge) = &errand.stage else { return };
        let proof = signature.map(|signature| SignedChallenge { challenge: challenge.clone(), signature });
        self.send_key(errand, proof, turn, out);
    }
}
