//! One step of a pending logout towards its end. A session that the connection holds is ended; one
//! that it does not hold is taken up by its key first. Which is next is not decided here.
//!
//! | stage | event | next |
//! |---|---|---|
//! | proving | proven | send the key: taking up |
//! | taking up | granted, or the key is refused | over: taken up |
//! | taking up | no decision | over: not taken up |
//! | ending | answered | over: ended, or not |

use relogin_session::{Denied, SessionId, api::LogoutParams};

use super::{
    Call, Facts, Next, OperationEvent, Step, is_denied,
    proof::{Proof, ProofNext},
};
use crate::{
    Diagnostic, RequestError,
    record::{Granted, Record},
    wire,
};

/// A step of a logout.
#[derive(Clone, Debug)]
pub(crate) struct Logout {
    stage: LogoutStage,
}

#[derive(Clone, Debug, Default)]
enum LogoutStage {
    /// Proving possession of the device's key.
    Proving(Record, Proof),
    /// The key was sent.
    TakingUp(Record),
    /// The logout was sent.
    #[default]
    Ending,
}

/// What the step came to.
#[derive(Debug)]
pub(crate) enum LogoutOutcome {
    /// What became of the use of this key.
    TakenUp(Record, Result<Granted, RequestError>),
    /// The service could not be asked, or the key not be proven.
    NotTakenUp(RequestError),
    /// The service's answer; `None`: the session is over.
    Ended(Option<RequestError>),
}

impl Logout {
    /// Ends the session that the connection holds: `sid`, or whichever it is.
    pub(crate) fn end(sid: Option<SessionId>) -> (Self, Step) {
        let params = sid.map(|sid| wire::logout(LogoutParams { sid: Some(sid) }));
        (
            Self { stage: LogoutStage::Ending },
            Step::Send(Call { method: "logout", params, note: Diagnostic::LogoutSent }),
        )
    }

    /// Takes the session of `record` up, so that it can be ended.
    pub(crate) fn take_up(record: Record, facts: &Facts<'_>) -> (Self, Step) {
        let (proof, step) = Proof::begin(&record, facts);
        (Self::prove(record, proof), step)
    }

    pub(crate) fn handle(&mut self, event: OperationEvent, facts: &Facts<'_>) -> Next<LogoutOutcome> {
        match (std::mem::take(&mut self.stage), event) {
            (LogoutStage::Proving(record, proof), event) => match proof.handle(event, &record, facts) {
                ProofNext::Do(proof, step) => {
                    *self = Self::prove(record, proof);
                    Next::Do(step)
                }
                ProofNext::Failed(error) => Next::Over(LogoutOutcome::NotTakenUp(error)),
                ProofNext::Wait(proof) => {
                    self.stage = LogoutStage::Proving(record, proof);
                    Next::Wait
                }
            },
            (LogoutStage::TakingUp(_), OperationEvent::Answered(Err(error)))
                if !is_denied(&error, Denied::InvalidReloginKey) =>
            {
                Next::Over(LogoutOutcome::NotTakenUp(error))
            }
            (LogoutStage::TakingUp(record), OperationEvent::Answered(result)) => {
                Next::Over(LogoutOutcome::TakenUp(record, result))
            }
            (LogoutStage::Ending, OperationEvent::LoggedOut(error)) => Next::Over(LogoutOutcome::Ended(error)),
            (stage, _) => {
                self.stage = stage;
                Next::Wait
            }
        }
    }

    /// The key that it uses, with the attempt.
    pub(crate) fn used(&self) -> Option<&Record> {
        match &self.stage {
            LogoutStage::Proving(record, _) | LogoutStage::TakingUp(record) => Some(record),
            LogoutStage::Ending => None,
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self.stage, LogoutStage::Proving(..))
    }

    /// Whether the logout itself was sent, and not a key.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.stage, LogoutStage::Ending)
    }

    fn prove(record: Record, proof: Option<Proof>) -> Self {
        let stage = match proof {
            Some(proof) => LogoutStage::Proving(record, proof),
            None => LogoutStage::TakingUp(record),
        };
        Self { stage }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{SIBLINGS, World, bound_key, check, key, name, step_words, words},
        *,
    };
    use crate::Signature;

    fn outcome(outcome: &LogoutOutcome) -> String {
        match outcome {
            LogoutOutcome::TakenUp(record, result) => {
                format!("{} {}", name(record), if result.is_ok() { "taken up" } else { "refused" })
            }
            LogoutOutcome::NotTakenUp(error) => format!("not taken up, {}", error.code()),
            LogoutOutcome::Ended(None) => "ended".to_owned(),
            LogoutOutcome::Ended(Some(error)) => format!("not ended, {}", error.code()),
        }
    }

    #[test]
    fn each_event_in_each_state() {
        let next = |state: &str, event| {
            let stage = match state {
                "challenging" => LogoutStage::Proving(bound_key(), Proof::Challenging),
                "signing" => LogoutStage::Proving(bound_key(), Proof::Signing("c".to_owned())),
                "taking up" => LogoutStage::TakingUp(key().begun(SIBLINGS)),
                _ => LogoutStage::Ending,
            };
            words(&Logout { stage }.handle(event, &World::with_challenge().facts()), outcome)
        };
        let table = [
            ("challenging", "challenged", "sign"),
            ("challenging", "not challenged", "over: not taken up, system.timeout"),
            ("signing", "signed", "send relogin with proof"),
            ("signing", "no device key", "send relogin"),
            ("signing", "not signed", "over: not taken up, system.timeout"),
            ("taking up", "granted", "over: k1* taken up"),
            ("taking up", "invalid key", "over: k1* refused"),
            ("taking up", "already logged in", "over: not taken up, session.alreadyLoggedIn"),
            ("taking up", "no answer", "over: not taken up, system.timeout"),
            ("ending", "logged out", "over: ended"),
            ("ending", "not logged out", "over: not ended, system.timeout"),
        ];
        check(&table, next, &["challenging", "signing", "taking up", "ending"]);
    }

    #[test]
    fn a_challenge_that_is_too_old_is_asked_for_once_more() {
        let mut world = World::new();
        let (mut logout, step) = Logout::take_up(bound_key(), &world.facts());
        assert_eq!(step_words(&step), "ask for a challenge");
        let next = logout.handle(OperationEvent::Challenged(Ok(())), &world.facts());
        assert_eq!(words(&next, outcome), "ask for a challenge", "it has passed by now");
        let mut signing = Logout { stage: LogoutStage::Proving(bound_key(), Proof::Signing("c".to_owned())) };
        let next = signing.handle(OperationEvent::Signed(Signature::Made("s".to_owned())), &world.facts());
        assert_eq!(words(&next, outcome), "ask for a challenge", "it has passed while the device signed");
        let (_, step) = Logout::take_up(key().begun(SIBLINGS), &world.facts());
        assert_eq!(step_words(&step), "send relogin", "a bearer's key needs none");
    }
}
