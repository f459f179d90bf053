//! A logout brought to its end: on the page it takes effect at once, at the service as soon as it can be reached. On a new
//! connection, the session has to be taken up once more to be ended.

use std::time::Duration;

use relogin_session::LoggedIn;

use super::{
    Keeper, Record, Seen, Standing, Stored,
    errand::{Errand, Task, is_refused_key},
};
use crate::{Answer, Ended, RequestError, Token, backoff::Backoff, input::Turn, outbox::Outbox};

/// A logout that the service has not confirmed. The page is not kept waiting for it, and no other tab sees the key.
#[derive(Debug)]
pub(super) struct Ending {
    token: Option<Token>,
    /// The key that was in storage: it alone can end the session on another connection.
    record: Option<Record>,
    /// Whether to log out on this connection.
    attached: bool,
    /// Not before this time.
    pub(super) retry: Option<Duration>,
    backoff: Backoff,
}

impl Keeper {
    /// The user logs out: the key goes first, so that nothing here or in other tabs can use it.
    pub(super) fn leave(&mut self, token: Token, stored: Stored, out: &mut Outbox) {
        let record = stored.record.clone();
        out.push(stored.swap(None));
        let attached = matches!((self.standing, &self.seen), (Standing::Attached { .. }, _) | (_, Seen::Somebody(_)));
        match &mut self.errand {
            // Its answer must not bring the key back.
            Some(errand) if errand.is_sent() => errand.void = true,
            _ => self.drop_errand(out),
        }
        for login in std::mem::take(&mut self.logins) {
            out.settle(login.token, Err(RequestError::Superseded));
        }
        if let Some(mut former) = self.ending.take() {
            former.settle(out);
        }
        if let Seen::Somebody(user) = &self.seen {
            self.leaving = Some(user.clone());
        }
        self.losses = None;
        self.ended(Ended::LoggedOut);
        let mut ending = Ending::new(token, record, attached);
        if !self.linked {
            // To be told once there is a connection, if the key is there to say which session it is.
            ending.connection_lost(out);
        }
        self.ending = Some(ending).filter(|ending| self.linked || !ending.is_hopeless());
    }

    /// The answer to a use of the key that the user's logout has overtaken.
    pub(super) fn void_answered(&mut self, result: &Result<LoggedIn, RequestError>, out: &mut Outbox) {
        match result {
            Ok(answer) => {
                if let Some(ending) = &mut self.ending {
                    ending.record = Some(Record::of(answer.clone()));
                    (ending.attached, ending.retry) = (true, None);
                }
            }
            // There is no session left to end.
            Err(error) if is_refused_key(error) => self.end_done(out),
            Err(_) => {}
        }
    }

    pub(super) fn bring_to_end(&mut self, mut ending: Ending, turn: &mut Turn, out: &mut Outbox) {
        let task = if ending.attached {
            self.send("logout", None, turn.after(self.relogin_timeout), out);
            Task::EndLogout
        } else if let Some(record) = &mut ending.record {
            if record.attempt().is_none() {
                record.begin(turn.attempt);
            }
            self.send_key(record, turn, out);
            Task::EndRelogin
        } else {
            ending.settle(out);
            return self.pump(turn, out);
        };
        self.ending = Some(ending);
        self.errand = Some(Errand::new(task));
    }

    pub(super) fn end_relogin_answered(
        &mut self,
        result: &Result<LoggedIn, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        match result {
            Err(error) if !is_refused_key(error) => self.end_later(error, turn, out),
            _ => self.void_answered(result, out),
        }
    }

    pub(super) fn end_logout_answered(&mut self, error: Option<RequestError>, turn: &mut Turn, out: &mut Outbox) {
        match error {
            Some(error) if is_transient(&error) => self.end_later(&error, turn, out),
            _ => self.end_done(out),
        }
    }

    /// The service could not be asked. The page need not know; a login that waits for this must.
    fn end_later(&mut self, error: &RequestError, turn: &mut Turn, out: &mut Outbox) {
        if let Some(ending) = &mut self.ending {
            ending.retry = Some(turn.now + ending.backoff.next(&mut turn.dice));
            ending.settle(out);
        }
        for login in std::mem::take(&mut self.logins) {
            out.settle(login.token, Err(error.clone()));
        }
    }

    fn end_done(&mut self, out: &mut Outbox) {
        if let Some(mut ending) = self.ending.take() {
            ending.settle(out);
        }
    }
}

impl Ending {
    /// The end of the session that `record` is of; `attached`: this connection holds it.
    pub(super) fn new(token: Token, record: Option<Record>, attached: bool) -> Self {
        // Without a key, this connection's is the only one that can be meant.
        let attached = attached || record.is_none();
        Self { token: Some(token), record, attached, retry: None, backoff: Backoff::default() }
    }

    /// True if there is nothing left to do it with.
    pub(super) fn is_hopeless(&self) -> bool {
        !self.attached && self.record.is_none()
    }

    pub(super) fn connection_lost(&mut self, out: &mut Outbox) {
        (self.attached, self.retry) = (false, None);
        self.settle(out);
    }

    /// Tells the caller that the user is logged out.
    pub(super) fn settle(&mut self, out: &mut Outbox) {
        if let Some(token) = self.token.take() {
            out.settle(token, Ok(Answer::Done));
        }
    }
}

/// True if nothing was decided: it may go better the next time.
fn is_transient(error: &RequestError) -> bool {
    !matches!(error, RequestError::Refused(error) if !error.is_system())
}
