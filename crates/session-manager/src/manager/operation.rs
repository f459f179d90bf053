//! What the manager sends, one operation at a time: which comes next, how far it has come, and whom an answer is for.

use std::time::Duration;

use relogin_res::error::code;
use relogin_session::Denied;
use serde_json::Value as Json;

use super::{
    SessionManager,
    login::Login,
    status::{SessionStatus, StorageQuery},
};
use crate::ObservedUser;
use crate::record::{Granted, Record, Stored};
use crate::{Action, Diagnostic, RequestError, Secret, outbox::Outbox, turn::Turn, wire};

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

/// What the manager is about.
#[derive(Clone, Debug)]
pub(super) struct Operation {
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

impl SessionManager {
    /// Begins the next operation, if there is one and its time has come.
    pub(super) fn pump(&mut self, turn: &mut Turn, out: &mut Outbox) {
        if !self.connected || self.operation.is_some() || !self.queries.is_empty() || self.hang_up {
            return;
        }
        if std::mem::take(&mut self.notes.lost_meanwhile) && self.observed_user == ObservedUser::Nobody {
            self.lost_user(turn);
        }
        self.account_for_orphan(turn);
        if self.must_end_first(turn) {
            return self.bring_to_end(turn, out);
        }
        self.pending_logouts.settle(out);
        let due = self.retry.is_none_or(|retry| retry <= turn.now);
        let wanted = self.wanted.filter(|_| due);
        // A copy of what was sent before may still be on its way, to end what begins now.
        if self.notes.tainted && (wanted.is_some() || !self.logins.is_empty()) {
            self.hang_up = true;
            return;
        }
        match wanted {
            Some(Want::Resume) if !self.login_first => self.begin_relogin(Want::Resume, turn, out),
            wanted => {
                self.open_gate();
                // Nothing that a login would not settle, too.
                if !self.logins.is_empty() {
                    self.begin_login(turn, out);
                } else if let Some(want) = wanted {
                    self.begin_relogin(want, turn, out);
                }
            }
        }
    }

    /// An operation that begins.
    pub(super) fn operation(&mut self, task: Task, stage: Stage) -> Operation {
        self.operations = self.operations.wrapping_add(1);
        Operation {
            number: self.operations,
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
    pub(super) fn operation_go(&mut self, out: &mut Outbox) {
        let Some(operation) = self.operation.as_mut().filter(|operation| matches!(operation.stage, Stage::Locking))
        else {
            return;
        };
        match &operation.task {
            Task::Relogin(_) => {
                operation.stage = Stage::Claiming;
                self.queries.read(StorageQuery::Operation(operation.number), out);
            }
            Task::Login(_) => {
                operation.stage = Stage::Making;
                out.push(Action::MakeDevice);
            }
            Task::EndRelogin | Task::EndLogout => {}
        }
    }

    /// What storage has, for the operation that asked.
    pub(super) fn operation_read(&mut self, operation: Operation, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        match operation.task {
            Task::Login(_) => self.login_read(operation, &stored, turn, out),
            _ => self.relogin_read(operation, stored, turn, out),
        }
    }

    /// Puts `to` in the place of `from`, for the operation.
    pub(super) fn swap_for(
        &mut self,
        operation: Operation,
        from: Option<Secret>,
        to: Option<Secret>,
        out: &mut Outbox,
    ) {
        self.queries.swap(StorageQuery::Operation(operation.number), from, to, out);
        self.operation = Some(operation);
    }

    /// The operation that has asked storage under this number.
    pub(super) fn take_operation(&mut self, number: u32) -> Option<Operation> {
        self.operation.take_if(|operation| operation.number == number)
    }

    /// The answer to what was sent last.
    pub(super) fn answered(&mut self, result: Result<Json, RequestError>, turn: &mut Turn, out: &mut Outbox) {
        let Some(operation) = self.operation.take_if(|operation| matches!(operation.stage, Stage::Sent)) else {
            return;
        };
        if let (Some(used), Err(error)) = (&operation.used, &result)
            && is_unanswered(error)
        {
            self.notes.unanswered = Some(used.holding());
        }
        if let Task::EndLogout = operation.task {
            if let Err(error) = &result {
                self.note(error.into());
            }
            self.end_logout_answered(result.err(), turn, out);
            self.clear_over(out);
            return self.pump(turn, out);
        }
        let granted = granted(result, operation.used.as_ref(), turn);
        self.note(match &granted {
            Ok(Granted { record, .. }) => {
                Diagnostic::KeyReceived { generation: record.generation, bound: record.bound }
            }
            Err(error) => error.into(),
        });
        match &operation.task {
            Task::Relogin(_) => self.relogin_answered(operation, granted, turn, out),
            Task::Login(_) => self.login_answered(operation, granted, turn, out),
            Task::EndRelogin => self.end_relogin_answered(&operation, granted, turn, out),
            Task::EndLogout => {}
        }
        self.clear_over(out);
        self.pump(turn, out);
    }

    /// Gives up what has not been answered, and puts back what has not been sent.
    pub(super) fn abort_operation(&mut self, out: &mut Outbox) {
        let Some(operation) = self.operation.take() else { return };
        self.lock.release(out);
        let sent = operation.is_sent();
        if let Task::Login(login) = operation.task {
            match operation.stage {
                // Its key is on its way into storage.
                Stage::Storing(_) => out.settle(login.token, Ok(())),
                _ if sent => out.settle(login.token, Err(RequestError::ConnectionLost)),
                _ => self.logins.insert(0, login),
            }
        }
    }
}

impl Operation {
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
    pub(super) fn is_met(&self, status: SessionStatus, record: &Record) -> bool {
        let (Task::Relogin(want), SessionStatus::Attached { holding, stored: true }) = (&self.task, status) else {
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
