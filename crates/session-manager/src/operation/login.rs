//! A login: find out what device this is, send, and put the key into storage, whatever is there.
//! One whose answer was lost is repeated once, with its own attempt, so that what it made is not
//! left behind.
//!
//! | stage | event | next |
//! |---|---|---|
//! | locking | locked | find the device's key: making device |
//! | making device | device | send: sent |
//! | sent | granted | put the key into storage: storing |
//! | sent | no answer, for the first time | send it again: sent |
//! | sent | somebody is logged in, whom nobody knows | over: needs a new connection |
//! | sent | another error | over: failed |
//! | storing | stored, or not to be stored | over: attached |

use std::time::Duration;

use relogin_res::error::code;
use relogin_session::{
    Attempt, Denied,
    api::{LoginParams, NewDevice, PublicKey},
};

use super::{Call, Facts, MAX_TRIES, Next, OperationEvent, Step, is_denied, is_unanswered};
use crate::{
    Diagnostic, RequestError, Secret, ShortAttempt, Token,
    record::{Granted, Stored},
    session::Attached,
    wire,
};

/// A login that a caller wants.
#[derive(Clone, Debug)]
pub(crate) struct LoginRequest {
    pub(crate) token: Token,
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// How long it may wait for its turn.
    pub(crate) deadline: Duration,
    /// Whether this is its second try.
    pub(crate) is_second_try: bool,
}

/// A login that runs.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    request: LoginRequest,
    stage: LoginStage,
}

#[derive(Clone, Debug, Default)]
enum LoginStage {
    /// Waiting for the storage lock.
    #[default]
    Locking,
    /// Finding out what device this is.
    MakingDevice,
    /// Waiting for the answer.
    Sent {
        device: Option<PublicKey>,
        attempt: Attempt,
        sent: Duration,
        /// The user logged out since.
        is_overtaken: bool,
    },
    /// Putting the answer's key into storage; `tries` counts the attempts at that.
    Storing { granted: Granted, sent: Duration, tries: u8 },
}

/// What a login came to.
#[derive(Debug)]
pub(crate) enum LoginOutcome {
    /// The connection holds the session.
    Attached(Box<Attached>),
    /// It was refused, or nobody answered.
    Failed(RequestError),
    /// Somebody is logged in on the connection, by a login that nobody knows of any more.
    NeedsNewConnection,
    /// The user has logged out meanwhile: what became of the login.
    Overtaken(Result<Granted, RequestError>),
}

/// What becomes of a login that is broken off.
#[derive(Debug)]
pub(crate) enum BrokenOff {
    /// Its key is on its way into storage.
    Done,
    /// It may have been carried out.
    Lost,
    /// It was not sent, and can begin once more.
    NotSent(LoginRequest),
}

impl Login {
    /// One that waits for the lock.
    pub(crate) fn new(request: LoginRequest) -> Self {
        Self { request, stage: LoginStage::Locking }
    }

    pub(crate) fn handle(&mut self, event: OperationEvent, facts: &Facts<'_>) -> Next<LoginOutcome> {
        match (std::mem::take(&mut self.stage), event) {
            (LoginStage::Locking, OperationEvent::Locked) => {
                self.stage = LoginStage::MakingDevice;
                Next::Do(Step::MakeDevice)
            }
            (LoginStage::MakingDevice, OperationEvent::Device(device)) => {
                Next::Do(self.send(device, facts.turn.attempt, facts.turn.now))
            }
            (LoginStage::Sent { is_overtaken: true, .. }, OperationEvent::Answered(result)) => {
                Next::Over(LoginOutcome::Overtaken(result))
            }
            (LoginStage::Sent { sent, .. }, OperationEvent::Answered(Ok(granted))) => {
                let to = Some(granted.record.text(&[]));
                self.stage = LoginStage::Storing { granted, sent, tries: 0 };
                Next::Do(Step::Swap { from: None, to })
            }
            (LoginStage::Sent { device, attempt, .. }, OperationEvent::Answered(Err(error))) => {
                if self.request.is_second_try {
                    return Next::Over(LoginOutcome::Failed(error));
                }
                if may_have_been_done(&error) {
                    self.request.is_second_try = true;
                    return Next::Do(self.send(device, attempt, facts.turn.now));
                }
                let is_orphaned = is_denied(&error, Denied::AlreadyLoggedIn) && facts.session.held().is_none();
                Next::Over(if is_orphaned { LoginOutcome::NeedsNewConnection } else { LoginOutcome::Failed(error) })
            }
            (LoginStage::Storing { granted, sent, tries }, OperationEvent::Stored(stored)) => {
                self.store(granted, sent, tries, &stored)
            }
            (stage, _) => {
                self.stage = stage;
                Next::Wait
            }
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self.stage, LoginStage::Locking | LoginStage::MakingDevice)
    }

    pub(crate) fn overtake(&mut self) {
        if let LoginStage::Sent { is_overtaken, .. } = &mut self.stage {
            *is_overtaken = true;
        }
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(self.stage, LoginStage::Sent { is_overtaken: true, .. })
    }

    /// Who asked for it.
    pub(crate) fn token(&self) -> Token {
        self.request.token
    }

    /// The request, for a second try.
    pub(crate) fn again(self) -> LoginRequest {
        LoginRequest { is_second_try: true, ..self.request }
    }

    /// It cannot go on.
    pub(crate) fn break_off(self) -> BrokenOff {
        match self.stage {
            LoginStage::Locking | LoginStage::MakingDevice => BrokenOff::NotSent(self.request),
            LoginStage::Sent { .. } => BrokenOff::Lost,
            LoginStage::Storing { .. } => BrokenOff::Done,
        }
    }

    fn send(&mut self, device: Option<PublicKey>, attempt: Attempt, now: Duration) -> Step {
        let params = LoginParams {
            username: self.request.username.clone(),
            password: self.request.password.clone(),
            attempt: Some(attempt),
            label: None,
            device: device.clone().map(|public_key| NewDevice { public_key }),
        };
        let note = Diagnostic::LoginSent { attempt: Some(ShortAttempt::from(attempt)), device: device.is_some() };
        self.stage = LoginStage::Sent { device, attempt, sent: now, is_overtaken: false };
        Step::Send(Call { method: "login", params: Some(wire::login(&params)), note })
    }

    /// What storage has after the login's key was put there: in the place of whatever was there,
    /// for the user has just said who they are.
    fn store(&mut self, granted: Granted, sent: Duration, tries: u8, stored: &Stored) -> Next<LoginOutcome> {
        let is_stored = stored.has_key_of(&granted.record);
        if !is_stored && tries < MAX_TRIES {
            let step = Step::Swap { from: stored.text.clone(), to: stored.with(&granted.record) };
            self.stage = LoginStage::Storing { granted, sent, tries: tries + 1 };
            return Next::Do(step);
        }
        let record = granted.record.clone();
        Next::Over(LoginOutcome::Attached(Box::new(Attached { record, granted, is_stored, is_beside: false, sent })))
    }
}

/// True if the service may have carried it out, and its answer may be the thing that was lost.
fn may_have_been_done(error: &RequestError) -> bool {
    match error {
        RequestError::Refused(error) if error.is(code::INTERNAL_ERROR) => true,
        error => is_unanswered(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{World, check, granted, name, words},
        *,
    };

    const ATTEMPT: Attempt = Attempt([3; 16]);

    fn login(state: &str) -> Login {
        let sent =
            |is_overtaken| LoginStage::Sent { device: None, attempt: ATTEMPT, sent: Duration::ZERO, is_overtaken };
        let stage = match state {
            "locking" => LoginStage::Locking,
            "making device" => LoginStage::MakingDevice,
            "overtaken" => sent(true),
            "storing" => LoginStage::Storing { granted: granted(), sent: Duration::ZERO, tries: 0 },
            "storing for the last time" => {
                LoginStage::Storing { granted: granted(), sent: Duration::ZERO, tries: MAX_TRIES }
            }
            _ => sent(false),
        };
        let request = LoginRequest {
            token: Token(1),
            username: "jane".to_owned(),
            password: Secret::new("jane".to_owned()),
            deadline: Duration::MAX,
            is_second_try: state == "sent again",
        };
        Login { request, stage }
    }

    fn outcome(outcome: &LoginOutcome) -> String {
        match outcome {
            LoginOutcome::Attached(new) => {
                let stored = if new.is_stored { "stored" } else { "not stored" };
                format!("attached by {}, {stored}", name(&new.record))
            }
            LoginOutcome::Failed(error) => format!("failed, {}", error.code()),
            LoginOutcome::NeedsNewConnection => "needs a new connection".to_owned(),
            LoginOutcome::Overtaken(_) => "overtaken".to_owned(),
        }
    }

    #[test]
    fn each_event_in_each_state() {
        let next = |state: &str, event| words(&login(state).handle(event, &World::new().facts()), outcome);
        let table = [
            ("locking", "locked", "make device"),
            ("making device", "device", "send login"),
            ("sent", "granted", "swap nothing for k2"),
            ("sent", "invalid key", "over: failed, session.invalidReloginKey"),
            ("sent", "already logged in", "over: needs a new connection"),
            ("sent", "no answer", "send login"),
            ("sent again", "granted", "swap nothing for k2"),
            ("sent again", "invalid key", "over: failed, session.invalidReloginKey"),
            ("sent again", "already logged in", "over: failed, session.alreadyLoggedIn"),
            ("sent again", "no answer", "over: failed, system.timeout"),
            ("overtaken", "granted", "over: overtaken"),
            ("overtaken", "invalid key", "over: overtaken"),
            ("overtaken", "already logged in", "over: overtaken"),
            ("overtaken", "no answer", "over: overtaken"),
            ("storing", "read nothing", "swap nothing for k2"),
            ("storing", "has nothing", "swap nothing for k2"),
            ("storing", "read k1", "swap k1 for k2"),
            ("storing", "has k1", "swap k1 for k2"),
            ("storing", "read k1*", "swap k1* for k2"),
            ("storing", "has k1*", "swap k1* for k2"),
            ("storing", "has b1*", "swap b1* for k2"),
            ("storing", "has k2", "over: attached by k2, stored"),
            ("storing", "has k3", "swap k3 for k2"),
            ("storing for the last time", "read nothing", "over: attached by k2, not stored"),
            ("storing for the last time", "has nothing", "over: attached by k2, not stored"),
            ("storing for the last time", "read k1", "over: attached by k2, not stored"),
            ("storing for the last time", "has k1", "over: attached by k2, not stored"),
            ("storing for the last time", "read k1*", "over: attached by k2, not stored"),
            ("storing for the last time", "has k1*", "over: attached by k2, not stored"),
            ("storing for the last time", "has b1*", "over: attached by k2, not stored"),
            ("storing for the last time", "has k2", "over: attached by k2, stored"),
            ("storing for the last time", "has k3", "over: attached by k2, not stored"),
        ];
        let states =
            ["locking", "making device", "sent", "sent again", "overtaken", "storing", "storing for the last time"];
        check(&table, next, &states);
    }

    #[test]
    fn a_second_try_has_the_attempt_of_the_first() {
        let mut login = login("sent");
        let next = login.handle(OperationEvent::Answered(Err(RequestError::TimedOut)), &World::new().facts());
        let Next::Do(Step::Send(Call { params: Some(params), .. })) = next else { panic!("{next:?}") };
        assert!(params.contains(&ATTEMPT.to_text()), "{params}");
    }

    #[test]
    fn what_becomes_of_one_that_is_broken_off_depends_on_how_far_it_was() {
        let broken_off = |state: &str| match login(state).break_off() {
            BrokenOff::NotSent(_) => "not sent",
            BrokenOff::Lost => "lost",
            BrokenOff::Done => "done",
        };
        let states = ["locking", "making device", "sent", "overtaken", "storing"];
        assert_eq!(states.map(broken_off), ["not sent", "not sent", "lost", "lost", "done"]);
    }
}
