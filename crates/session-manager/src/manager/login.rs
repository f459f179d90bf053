//! A login: find out what device this is, send, and put the key into storage, whatever is there. One whose answer was lost is
//! repeated once, with its own attempt, so that what it made is not left behind.

use std::time::Duration;

use relogin_res::error::code;
use relogin_session::{
    Attempt, Denied,
    api::{LoginParams, NewDevice, PublicKey},
};

use super::{
    SessionManager,
    operation::{Operation, Stage, Task, is_denied, is_unanswered},
    relogin::MAX_TRIES,
    status::SessionStatus,
};
use crate::record::{Granted, Stored};
use crate::{
    Diagnostic, RequestError, Secret, ShortAttempt, Token,
    outbox::{Outbox, Purpose},
    turn::Turn,
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
    pub(super) fn new(token: Token, username: String, password: Secret, deadline: Duration, timeout: Duration) -> Self {
        Self { token, username, password, deadline, timeout, device: None, attempt: None, again: false }
    }
}

impl SessionManager {
    pub(super) fn begin_login(&mut self, turn: &mut Turn, out: &mut Outbox) {
        // What may still be on its way would take the connection from the new session.
        if self.notes.unanswered.is_some() {
            (self.hang_up, self.login_first) = (true, true);
            return;
        }
        if self.logins.is_empty() {
            return;
        }
        let login = self.logins.remove(0);
        self.login_first = false;
        self.operation = Some(self.operation(Task::Login(login), Stage::Locking));
        self.lock.request(turn, out);
    }

    /// What this device is, if the browser can keep its key.
    pub(super) fn device(&mut self, device: Option<PublicKey>, turn: &mut Turn, out: &mut Outbox) {
        let Some(mut operation) = self.operation.take_if(|operation| matches!(operation.stage, Stage::Making)) else {
            return;
        };
        if let Task::Login(login) = &mut operation.task {
            (login.device, login.attempt) = (device, Some(turn.attempt));
        }
        self.send_login(operation, turn, out);
    }

    fn send_login(&mut self, mut operation: Operation, turn: &mut Turn, out: &mut Outbox) {
        let Task::Login(login) = &operation.task else { return };
        let login_params = LoginParams {
            username: login.username.clone(),
            password: login.password.clone(),
            attempt: login.attempt,
            label: None,
            device: login.device.clone().map(|public_key| NewDevice { public_key }),
        };
        out.send(Purpose::Operation, "login", Some(wire::login(&login_params)), turn.after(login.timeout));
        let (attempt, device) = (login.attempt.map(ShortAttempt::from), login.device.is_some());
        self.note(Diagnostic::LoginSent { attempt, device });
        (operation.stage, operation.sent) = (Stage::Sent, turn.now);
        self.notes.used = true;
        self.operation = Some(operation);
    }

    pub(super) fn login_answered(
        &mut self,
        mut operation: Operation,
        result: Result<Granted, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let Task::Login(login) = &mut operation.task else { return };
        let token = login.token;
        match result {
            result if operation.void => {
                self.lock.release(out);
                out.settle(
                    token,
                    result.as_ref().map_or_else(|error| Err(error.clone()), |_| Err(RequestError::Superseded)),
                );
                self.void_answered(None, result);
            }
            Ok(granted) => {
                let new = granted.record.text(&[]);
                operation.stage = Stage::Storing(granted);
                self.swap_for(operation, None, Some(new), out);
            }
            Err(error) if may_have_been_done(&error) && !login.again => {
                login.again = true;
                self.send_login(operation, turn, out);
            }
            // By a login that we know nothing of any more: the connection is of no use.
            Err(error)
                if is_denied(&error, Denied::AlreadyLoggedIn)
                    && !login.again
                    && !matches!(self.status, SessionStatus::Attached { .. }) =>
            {
                (login.again, self.notes.tainted) = (true, true);
                self.lock.release(out);
                if let Task::Login(login) = operation.task {
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
    pub(super) fn login_read(&mut self, mut operation: Operation, stored: &Stored, turn: &mut Turn, out: &mut Outbox) {
        let (Task::Login(login), Stage::Storing(granted)) = (&operation.task, &operation.stage) else {
            self.operation = Some(operation);
            return;
        };
        let record = &granted.record;
        let is_stored = stored.has_key_of(record);
        if !is_stored && operation.tries < MAX_TRIES {
            operation.tries += 1;
            let new = stored.with(record);
            return self.swap_for(operation, stored.text.clone(), new, out);
        }
        self.wanted = None;
        self.attached(record, granted, is_stored, operation.sent, turn, out);
        self.lock.release(out);
        out.settle(login.token, Ok(()));
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
