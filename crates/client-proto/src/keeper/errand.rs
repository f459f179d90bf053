//! What the keeper sends, one errand at a time: which comes next, how far it has come, and whom an answer is for.

use std::time::Duration;

use relogin_res::{client::Method, error::code};
use relogin_session::Denied;
use serde_json::Value as Json;

use super::{
    Keeper, Record, Seen, Stored,
    login::Login,
    record::Granted,
    state::{Asked, Standing},
};
use crate::{
    Action, Answer, Diagnostic, RequestError, Secret,
    input::Turn,
    outbox::{Outbox, Purpose},
    wire,
};

/// Why the key is to be used; the greater, the more pressing. Only the last one cannot be met by a sibling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// It is time: unless storage has a newer key than this connection knows of.
    Refresh,
    /// Somebody made this generation: unless storage has it.
    Reach(u64),
    /// This connection does not hold the session.
    Resume,
}

/// What the keeper is about.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    number: u32,
    pub(super) task: Task,
    pub(super) stage: Stage,
    /// The key that is used, with the attempt.
    pub(super) used: Option<Record>,
    /// The pending logouts that storage has beside it.
    pub(super) beside: Vec<Record>,
    /// When it was sent: the key in the answer cannot be older.
    pub(super) sent: Duration,
    /// How often it has tried to put the answer's key into storage.
    pub(super) tries: u8,
    /// The user logged out since: the answer must leave no trace.
    pub(super) void: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Task {
    Relogin(Want),
    Login(Login),
    /// Bringing a logout to its end: first the session back onto the connection, if it is a new one.
    EndRelogin,
    EndLogout,
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Waiting for the storage lock.
    Locking,
    /// Finding out what storage has, and noting an attempt there.
    Claiming,
    /// Waiting for a challenge.
    Challenging,
    /// Having this challenge signed.
    Signing(String),
    /// Finding out what device this is.
    Making,
    /// Waiting for the answer.
    Sent,
    /// Putting the answer's key into storage.
    Storing(Granted),
    /// After a refusal: finding out what storage has now.
    SecondLook,
    /// After a refusal: removing the key.
    Removing,
}

impl Keeper {
    /// Begins the next errand, if there is one and its time has come.
    pub(super) fn pump(&mut self, turn: &mut Turn, out: &mut Outbox) {
        if !self.linked || self.errand.is_some() || !self.questions.is_empty() || self.hang_up {
            return;
        }
        if std::mem::take(&mut self.here.lost_meanwhile) && self.seen == Seen::Nobody {
            self.lost_user(turn);
        }
        self.account_for_stray(turn);
        if self.must_end_first(turn) {
            return self.bring_to_end(turn, out);
        }
        self.endings.settle(out);
        let due = self.retry.is_none_or(|retry| retry <= turn.now);
        let wanted = self.wanted.filter(|_| due);
        // A copy of what was sent before may still be on its way, to end what begins now.
        if self.here.tainted && (wanted.is_some() || !self.logins.is_empty()) {
            self.hang_up = true;
            return;
        }
        match wanted {
            Some(Want::Resume) if !self.login_first => self.begin_relogin(Want::Resume, turn, out),
            wanted => {
                self.settled = true;
                // Nothing that a login would not settle, too.
                if !self.logins.is_empty() {
                    self.begin_login(turn, out);
                } else if let Some(want) = wanted {
                    self.begin_relogin(want, turn, out);
                }
            }
        }
    }

    /// An errand that begins.
    pub(super) fn errand(&mut self, task: Task, stage: Stage) -> Errand {
        self.errands = self.errands.wrapping_add(1);
        Errand {
            number: self.errands,
            task,
            stage,
            used: None,
            beside: Vec::new(),
            sent: Duration::ZERO,
            tries: 0,
            void: false,
        }
    }

    /// The lock is ours, or not worth waiting for any longer.
    pub(super) fn errand_go(&mut self, out: &mut Outbox) {
        let Some(errand) = self.errand.as_mut().filter(|errand| matches!(errand.stage, Stage::Locking)) else { return };
        match &errand.task {
            Task::Relogin(_) => {
                errand.stage = Stage::Claiming;
                self.questions.read(Asked::Errand(errand.number), out);
            }
            Task::Login(_) => {
                errand.stage = Stage::Making;
                out.push(Action::MakeDevice);
            }
            Task::EndRelogin | Task::EndLogout => {}
        }
    }

    /// What storage has, for the errand that asked.
    pub(super) fn errand_read(&mut self, errand: Errand, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        match errand.task {
            Task::Login(_) => self.login_read(errand, &stored, turn, out),
            _ => self.relogin_read(errand, stored, turn, out),
        }
    }

    /// Puts `to` in the place of `from`, for the errand.
    pub(super) fn swap_for(&mut self, errand: Errand, from: Option<Secret>, to: Option<Secret>, out: &mut Outbox) {
        self.questions.swap(Asked::Errand(errand.number), from, to, out);
        self.errand = Some(errand);
    }

    /// The errand that has asked storage under this number.
    pub(super) fn take_errand(&mut self, number: u32) -> Option<Errand> {
        self.errand.take_if(|errand| errand.number == number)
    }

    /// The answer to what was sent last.
    pub(crate) fn answered(&mut self, result: Result<Json, RequestError>, turn: &mut Turn, out: &mut Outbox) {
        let Some(errand) = self.errand.take_if(|errand| matches!(errand.stage, Stage::Sent)) else { return };
        if let (Some(used), Err(error)) = (&errand.used, &result)
            && is_unanswered(error)
        {
            self.here.unanswered = Some(used.holding());
        }
        if let Task::EndLogout = errand.task {
            if let Err(error) = &result {
                self.note(error.into());
            }
            self.end_logout_answered(result.err(), turn, out);
            self.clear_over(out);
            return self.pump(turn, out);
        }
        let granted = granted(result, errand.used.as_ref(), turn);
        self.note(match &granted {
            Ok(Granted { record, .. }) => {
                Diagnostic::KeyReceived { generation: record.generation, bound: record.bound }
            }
            Err(error) => error.into(),
        });
        match &errand.task {
            Task::Relogin(_) => self.relogin_answered(errand, granted, turn, out),
            Task::Login(_) => self.login_answered(errand, granted, turn, out),
            Task::EndRelogin => self.end_relogin_answered(&errand, granted, turn, out),
            Task::EndLogout => {}
        }
        self.clear_over(out);
        self.pump(turn, out);
    }

    /// Gives up what has not been answered, and puts back what has not been sent.
    pub(super) fn drop_errand(&mut self, out: &mut Outbox) {
        let Some(errand) = self.errand.take() else { return };
        self.lock.release(out);
        let sent = errand.is_sent();
        if let Task::Login(login) = errand.task {
            match errand.stage {
                // Its key is on its way into storage.
                Stage::Storing(_) => out.settle(login.token, Ok(Answer::Done)),
                _ if sent => out.settle(login.token, Err(RequestError::ConnectionLost)),
                _ => self.logins.insert(0, login),
            }
        }
    }

    pub(super) fn send(
        &self,
        purpose: Purpose,
        method: &str,
        params: Option<&str>,
        deadline: Duration,
        out: &mut Outbox,
    ) {
        let method = Method::Auth(self.session.clone(), method.to_owned());
        out.send(purpose, &method, params, Some(deadline));
    }
}

impl Errand {
    /// The text that storage has with that.
    pub(super) fn used_text(&self) -> Option<Secret> {
        Some(self.used.as_ref()?.text(&self.beside))
    }

    /// Whether the service may have heard of it.
    pub(super) fn is_sent(&self) -> bool {
        match self.stage {
            Stage::Locking | Stage::Claiming | Stage::Challenging | Stage::Signing(_) | Stage::Making => false,
            Stage::Sent | Stage::Storing(_) | Stage::SecondLook | Stage::Removing => true,
        }
    }

    /// Whether a sibling has done what was wanted: storage has a key that is new enough.
    pub(super) fn is_met(&self, standing: Standing, record: &Record) -> bool {
        let (Task::Relogin(want), Standing::Attached { holding, stored: true }) = (&self.task, standing) else {
            return false;
        };
        holding.is_same_session(record.holding())
            && match want {
                Want::Refresh => record.generation > holding.generation,
                Want::Reach(generation) => record.generation >= *generation,
                Want::Resume => false,
            }
    }
}

/// Reads the answer to login and relogin.
fn granted(result: Result<Json, RequestError>, used: Option<&Record>, turn: &Turn) -> Result<Granted, RequestError> {
    let answer = wire::logged_in(result?).ok_or(RequestError::Garbled)?;
    Granted::read(answer, used, turn.attempt)
}

/// True for the service's `denied`.
pub(super) fn is_denied(error: &RequestError, denied: Denied) -> bool {
    matches!(error, RequestError::Refused(error) if error.is(denied.code()))
}

/// True if what was sent may still be on its way.
pub(super) fn is_unanswered(error: &RequestError) -> bool {
    match error {
        RequestError::TimedOut => true,
        RequestError::Refused(error) => error.is(code::TIMEOUT),
        _ => false,
    }
}

/// True if nothing was decided: it may go better the next time.
pub(super) fn is_transient(error: &RequestError) -> bool {
    !matches!(error, RequestError::Refused(error) if !error.is_system())
}
