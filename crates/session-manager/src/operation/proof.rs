//! How a key is sent: with a signature of the device, if the session is bound to one. For that, a
//! challenge is needed; one that is too old when the device has signed is replaced. Must not sign
//! anything itself.

use relogin_session::api::{ReloginParams, SignedChallenge, proof_text};

use super::{Call, Facts, OperationEvent, Step};
use crate::{Diagnostic, RequestError, Secret, ShortAttempt, Signature, record::Record, wire};

/// How far the proof of possession has come.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Waiting for a challenge.
    Challenging,
    /// Having this challenge signed.
    Signing(String),
}

/// What is next on the way to the request.
#[derive(Debug)]
pub(crate) enum ProofNext {
    /// This is to be done; without a proof, it is the request.
    Do(Option<Proof>, Step),
    /// The proof cannot be made now.
    Failed(RequestError),
    /// The event was not for it.
    Wait(Proof),
}

impl Proof {
    /// Begins to use `record`'s key: what is to be done, and the proof that waits for it, unless
    /// that is the request already.
    pub(crate) fn begin(record: &Record, facts: &Facts<'_>) -> (Option<Self>, Step) {
        if !record.bound {
            return (None, request(record, None));
        }
        match facts.connection.challenges.usable(facts.turn.now) {
            Some(challenge) => {
                let text = Secret::new(proof_text(challenge, &record.key));
                (Some(Self::Signing(challenge.to_owned())), Step::Sign(text))
            }
            None => (Some(Self::Challenging), Step::AskChallenge),
        }
    }

    pub(crate) fn handle(self, event: OperationEvent, record: &Record, facts: &Facts<'_>) -> ProofNext {
        let begin = || {
            let (proof, step) = Self::begin(record, facts);
            ProofNext::Do(proof, step)
        };
        match (self, event) {
            (Self::Challenging, OperationEvent::Challenged(Ok(()))) => begin(),
            (Self::Challenging, OperationEvent::Challenged(Err(error))) => ProofNext::Failed(error),
            // Sent without a proof, the key would be refused, and that says nothing of the session.
            (Self::Signing(_), OperationEvent::Signed(Signature::Unavailable)) => {
                ProofNext::Failed(RequestError::TimedOut)
            }
            // A tab may have been frozen while it signed.
            (Self::Signing(_), OperationEvent::Signed(_))
                if facts.connection.challenges.usable(facts.turn.now).is_none() =>
            {
                begin()
            }
            (Self::Signing(challenge), OperationEvent::Signed(Signature::Made(signature))) => {
                ProofNext::Do(None, request(record, Some(SignedChallenge { challenge, signature })))
            }
            // Without its device's key the session's key is of no use, and the service will say so.
            (Self::Signing(_), OperationEvent::Signed(Signature::NoKey)) => ProofNext::Do(None, request(record, None)),
            (proof, _) => ProofNext::Wait(proof),
        }
    }
}

/// The use of a key.
fn request(record: &Record, proof: Option<SignedChallenge>) -> Step {
    // A legacy service may refuse params that it does not know. The attempt in storage is for our
    // siblings to see.
    let attempt = record.attempt().filter(|_| !record.is_legacy());
    let note = Diagnostic::KeySent {
        generation: record.generation,
        attempt: attempt.map(ShortAttempt::from),
        proof: proof.is_some(),
    };
    let params = ReloginParams { relogin_key: record.key.clone(), attempt, proof };
    Step::Send(Call { method: "relogin", params: Some(wire::relogin(&params)), note })
}
