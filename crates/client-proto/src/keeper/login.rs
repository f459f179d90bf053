//! A login: find out what device this is, send, and put the key into storage, whatever is there. One whose answer was lost is
//! repeated once, with its own attempt, so that what it made is not left behind.

use std::time::Duration;

use relogin_res::error::code;
use relogin_session::{
    Attempt, Denied,
    api::{LoginParams, NewDevice, PublicKey},
};

use super::{
    Keeper, Stored,
    errand::{Errand, Stage, Task, is_denied, is_unanswered},
    record::Granted,
    relogin::MAX_TRIES,
    state::Standing,
};
use crate::{
    Answer, Diagnostic, RequestError, Secret, ShortAttempt, Token,
    input::Turn,
    outbox::{Outbox, Purpose},
    wire,
};

/// A login that a caller wants.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(super) token: Token,
    username: String,
    password: Secret,
    /// How long it may wait for its turn.
    pub(super) deadline: Duration,
    /// How long it may then wait for its answer.
    timeout: Duration,
    /// What this device is.
    device: Option<PublicKey>,
    /// This login, when it was sent.
    attempt: Option<Attempt>,
    /// Whether this is its second try.
    again: bool,
}

impl Login {
    pub(crate) fn new(token: Token, username: String, password: Secret, deadline: Duration, timeout: Duration) -> Self {
        Self { token, username, password, deadline, timeout, device: None, attempt: None, again: false }
    }
}

impl Keeper {
    pub(super) fn begin_login(&mut self, turn: &mut Turn, out: &mut Outbox) {
        // What may still be on its way would take the connection from the new session.
        if self.here.unanswered.is_some() {
            (self.hang_up, self.login_first) = (true, true);
            return;
        }
        if self.logins.is_empty() {
            return;
        }
        let login = self.logins.remove(0);
        self.login_first = false;
        self.errand = Some(self.errand(Task::Login(login), Stage::Locking));
        self.lock.request(turn, out);
    }

    /// What this device is, if the browser can keep its key.
    pub(crate) fn device(&mut self, device: Option<PublicKey>, turn: &mut Turn, out: &mut Outbox) {
        let Some(mut errand) = self.errand.take_if(|errand| matches!(errand.stage, Stage::Making)) else { return };
        if let Task::Login(login) = &mut errand.task {
            (login.device, login.attempt) = (device, Some(turn.attempt));
        }
        self.send_login(errand, turn, out);
    }

    fn send_login(&mut self, mut errand: Errand, turn: &mut Turn, out: &mut Outbox) {
        let Task::Login(login) = &errand.task else { return };
        let login_params = LoginParams {
            username: login.username.clone(),
            password: login.password.clone(),
            attempt: login.attempt,
            label: None,
            device: login.device.clone().map(|public_key| NewDevice { public_key }),
        };
        self.send(Purpose::Session, "login", Some(&wire::login(&login_params)), turn.after(login.timeout), out);
        let (attempt, device) = (login.attempt.map(ShortAttempt::from), login.device.is_some());
        self.note(Diagnostic::LoginSent { attempt, device });
        (errand.stage, errand.sent) = (Stage::Sent, turn.now);
        self.here.used = true;
        self.errand = Some(errand);
    }

    pub(super) fn login_answered(
        &mut self,
        mut errand: Errand,
        result: Result<Granted, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let Task::Login(login) = &mut errand.task else { return };
        let token = login.token;
        match result {
            result if errand.void => {
                self.lock.release(out);
                out.settle(
                    token,
                    result.as_ref().map_or_else(|error| Err(error.clone()), |_| Err(RequestError::Superseded)),
                );
                self.void_answered(None, result);
            }
            Ok(granted) => {
                let new = granted.record.text(&[]);
                errand.stage = Stage::Storing(granted);
                self.swap_for(errand, None, Some(new), out);
            }
            Err(error) if may_have_been_done(&error) && !login.again => {
                login.again = true;
                self.send_login(errand, turn, out);
            }
            // By a login that we know nothing of any more: the connection is of no use.
            Err(error)
                if is_denied(&error, Denied::AlreadyLoggedIn)
                    && !login.again
                    && !matches!(self.standing, Standing::Attached { .. }) =>
            {
                (login.again, self.here.tainted) = (true, true);
                self.lock.release(out);
                if let Task::Login(login) = errand.task {
                    self.logins.insert(0, login);
                }
            }
            Err(error) => {
                self.lock.release(out);
                out.settle(token, Err(error));
            }
        }
    }

    /// What storage has after the login's key was put there: in the place of whatever was there, for the user has just said
    /// who they are.
    pub(super) fn login_read(&mut self, mut errand: Errand, stored: &Stored, turn: &mut Turn, out: &mut Outbox) {
        let (Task::Login(login), Stage::Storing(granted)) = (&errand.task, &errand.stage) else {
            self.errand = Some(errand);
            return;
        };
        let record = &granted.record;
        let is_stored = stored.has_key_of(record);
        if !is_stored && errand.tries < MAX_TRIES {
            errand.tries += 1;
            let new = stored.with(record);
            return self.swap_for(errand, stored.text.clone(), new, out);
        }
        self.wanted = None;
        self.attached(record, granted, is_stored, errand.sent, turn);
        self.lock.release(out);
        out.settle(login.token, Ok(Answer::Done));
    }

    /// Tells all who wait for a login that it will not be.
    pub(super) fn refuse_logins(&mut self, error: &RequestError, out: &mut Outbox) {
        self.login_first = false;
        for login in std::mem::take(&mut self.logins) {
            out.settle(login.token, Err(error.clone()));
        }
    }

    /// Tells those who have waited for too long.
    pub(super) fn refuse_late_logins(&mut self, turn: &Turn, out: &mut Outbox) {
        self.logins.retain(|login| {
            let late = login.deadline <= turn.now;
            if late {
                out.settle(login.token, Err(RequestError::TimedOut));
            }
            !late
        });
        self.login_first &= !self.logins.is_empty();
    }
}

/// True if the service may have carried it out, and its answer may be the thing that was lost.
fn may_have_been_done(error: &RequestError) -> bool {
    match error {
        RequestError::Refused(error) if error.is(code::INTERNAL_ERROR) => true,
        error => is_unanswered(error),
    }
}
