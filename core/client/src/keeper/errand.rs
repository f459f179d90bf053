//! One errand of the keeper's: lock, read, write the attempt, send, write the successor, unlock. And what follows from each
//! answer: a transient one keeps the key, a refused key gets a second look at storage, a logout is brought to its end.

use std::time::Duration;

use relogin_res::client::Method;
use relogin_session::{
    Denied, LoggedIn,
    api::{LoginParams, Password, ReloginParams},
};
use serde_json::value::RawValue;

use super::{Holding, Keeper, MAX_REFRESH, MIN_REFRESH, Record, Seen, Standing, Stored};
use crate::{
    Action, Answer, Ended, RequestError, Secret, Token,
    input::Turn,
    outbox::{Outbox, Purpose, params},
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

/// A login that a caller wants.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) token: Token,
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// How long it may wait for its turn.
    pub(crate) deadline: Duration,
    /// How long it may then wait for its answer.
    pub(crate) timeout: Duration,
}

/// What the keeper is about.
#[derive(Debug)]
pub(super) struct Errand {
    task: Task,
    stage: Stage,
    /// The key that was sent.
    used: Option<Record>,
    /// When it was: the key in the answer cannot be older.
    sent: Duration,
    /// The user logged out since: the answer must leave no trace.
    pub(super) void: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    Relogin(Want),
    Login(Login),
    /// Bringing a logout to its end: first the session back onto the connection, if it is a new one.
    EndRelogin,
    EndLogout,
}

#[derive(Debug)]
enum Stage {
    Locking,
    /// Before sending.
    Reading,
    Sent,
    /// After the answer: storage is read once more, so that the successor replaces nothing but its predecessor.
    Storing(LoggedIn),
    /// After a refusal.
    SecondLook,
}

impl Keeper {
    /// Begins the next errand, if there is one and its time has come.
    pub(super) fn pump(&mut self, turn: &mut Turn, out: &mut Outbox) {
        if !self.linked || self.errand.is_some() || self.look.is_some() {
            return;
        }
        if std::mem::take(&mut self.lost_meanwhile) && self.seen == Seen::Nobody {
            self.lost_user(turn);
        }
        if let Some(ending) = self.ending.take() {
            if ending.retry.is_some_and(|retry| retry > turn.now) {
                self.settled = true;
                self.ending = Some(ending);
                return;
            }
            return self.bring_to_end(ending, turn, out);
        }
        let due = self.retry.is_none_or(|retry| retry <= turn.now);
        let task = match self.wanted.filter(|_| due) {
            Some(Want::Resume) => Some(Task::Relogin(Want::Resume)),
            wanted => {
                self.settled = true;
                // Nothing that a login would not settle, too.
                self.next_login().map(Task::Login).or(wanted.map(Task::Relogin))
            }
        };
        let Some(task) = task else { return };
        if matches!(task, Task::Relogin(_)) {
            (self.wanted, self.retry) = (None, None);
        }
        self.errand = Some(Errand::new(task));
        self.lock.request(turn, out);
    }

    /// The lock is ours, or not worth waiting for any longer.
    pub(super) fn errand_go(&mut self, turn: &mut Turn, out: &mut Outbox) {
        let Some(errand) = &mut self.errand else { return };
        match &errand.task {
            Task::Relogin(_) => {
                errand.stage = Stage::Reading;
                out.push(Action::ReadStorage);
            }
            Task::Login(login) => {
                let login_params = LoginParams {
                    username: login.username.clone(),
                    password: Password::new(login.password.expose().to_owned()),
                    attempt: Some(turn.attempt),
                    label: None,
                    device: None,
                };
                let deadline = turn.after(login.timeout);
                (errand.stage, errand.sent) = (Stage::Sent, turn.now);
                self.send("login", params(&login_params), deadline, out);
            }
            Task::EndRelogin | Task::EndLogout => {}
        }
    }

    /// What storage has, read for the errand.
    pub(super) fn errand_read(&mut self, stored: Stored, turn: &mut Turn, out: &mut Outbox) {
        let Some(mut errand) = self.errand.take() else { return };
        match std::mem::replace(&mut errand.stage, Stage::Sent) {
            Stage::Reading => match &stored.record {
                Some(record) if errand.is_met(self.standing, record) => {
                    self.caught_up(record, turn);
                    self.lock.release(out);
                }
                Some(_) => self.use_key(errand, stored, turn, out),
                None => {
                    self.no_key();
                    self.lock.release(out);
                }
            },
            Stage::Storing(answer) => {
                match errand.task {
                    Task::Login(login) => {
                        self.logged_in(answer, stored, errand.sent, turn, out);
                        out.settle(login.token, Ok(Answer::Done));
                    }
                    _ => self.store(answer, stored, errand.sent, turn, out),
                }
                self.lock.release(out);
            }
            Stage::SecondLook => match (&stored.record, &errand.used) {
                // A sibling's, who was ahead of us.
                (Some(record), Some(used)) if record.key != used.key => self.use_key(errand, stored, turn, out),
                (Some(_), _) => {
                    out.push(stored.swap(None));
                    self.lock.release(out);
                    self.ended(Ended::Refused);
                }
                (None, _) => {
                    self.lock.release(out);
                    self.ended(Ended::LoggedOutElsewhere);
                }
            },
            stage @ (Stage::Locking | Stage::Sent) => {
                errand.stage = stage;
                self.errand = Some(errand);
            }
        }
    }

    /// The answer to what was sent last.
    pub(crate) fn answered(&mut self, result: Result<Box<RawValue>, RequestError>, turn: &mut Turn, out: &mut Outbox) {
        let Some(mut errand) = self.errand.take() else { return };
        match errand.task {
            Task::Relogin(_) if errand.void => {
                self.lock.release(out);
                self.void_answered(&logged_in(result), out);
            }
            Task::Relogin(want) => self.relogin_answered(errand, want, logged_in(result), turn, out),
            Task::Login(login) => {
                let result = logged_in(result);
                let settled = match (errand.void, result) {
                    (true, result) => {
                        self.void_answered(&result, out);
                        result.and(Err(RequestError::Superseded))
                    }
                    (false, Ok(answer)) => {
                        errand.stage = Stage::Storing(answer);
                        self.errand = Some(Errand { task: Task::Login(login), ..errand });
                        return out.push(Action::ReadStorage);
                    }
                    (false, Err(error)) => Err(error),
                };
                self.lock.release(out);
                out.settle(login.token, settled);
            }
            Task::EndRelogin => self.end_relogin_answered(&logged_in(result), turn, out),
            Task::EndLogout => self.end_logout_answered(result.err(), turn, out),
        }
        self.pump(turn, out);
    }

    /// Gives up what has not been answered, and puts back what has not been sent.
    pub(super) fn drop_errand(&mut self, out: &mut Outbox) {
        let Some(errand) = self.errand.take() else { return };
        self.lock.release(out);
        let sent = errand.is_sent();
        if let Task::Login(login) = errand.task {
            if sent {
                out.settle(login.token, Err(RequestError::ConnectionLost));
            } else {
                self.logins.insert(0, login);
            }
        }
    }

    fn next_login(&mut self) -> Option<Login> {
        (!self.logins.is_empty()).then(|| self.logins.remove(0))
    }

    /// Writes the attempt, unless one is noted already, then sends.
    fn use_key(&mut self, mut errand: Errand, stored: Stored, turn: &Turn, out: &mut Outbox) {
        let Some(mut record) = stored.record.clone() else { return };
        if record.attempt().is_none() {
            record.begin(turn.attempt);
            out.push(stored.swap(Some(&record)));
        }
        self.send_key(&record, turn, out);
        (errand.stage, errand.used, errand.sent) = (Stage::Sent, Some(record), turn.now);
        self.errand = Some(errand);
    }

    fn relogin_answered(
        &mut self,
        mut errand: Errand,
        want: Want,
        result: Result<LoggedIn, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        match result {
            Ok(answer) => errand.stage = Stage::Storing(answer),
            Err(error) if is_refused_key(&error) => errand.stage = Stage::SecondLook,
            Err(_) => {
                // The key and its attempt stay in storage: whatever became of this use, the next one repeats it.
                self.lock.release(out);
                self.want(want);
                self.retry = Some(turn.now + self.backoff.next(&mut turn.dice));
                return;
            }
        }
        self.errand = Some(errand);
        out.push(Action::ReadStorage);
    }

    /// Writes the successor, over its predecessor only: neither over a sibling's newer key or another session's, nor where
    /// a logout has left nothing.
    fn store(&mut self, answer: LoggedIn, stored: Stored, sent: Duration, turn: &mut Turn, out: &mut Outbox) {
        let refresh_in = answer.refresh_in;
        let new = Record::of(answer);
        self.leaving = None;
        match &stored.record {
            Some(old) if old.is_before(&new) => {
                out.push(stored.swap(Some(&new)));
                self.attached(new.holding(), refresh_in, true, sent, turn);
            }
            Some(old) if old.holding().is_same_session(new.holding()) => {
                self.attached(old.holding(), refresh_in, true, sent, turn);
            }
            Some(_) => {
                self.attached(new.holding(), refresh_in, false, sent, turn);
                self.want(Want::Resume);
            }
            None => self.attached(new.holding(), refresh_in, false, sent, turn),
        }
    }

    fn logged_in(&mut self, answer: LoggedIn, stored: Stored, sent: Duration, turn: &mut Turn, out: &mut Outbox) {
        let refresh_in = answer.refresh_in;
        let record = Record::of(answer);
        // Whatever was there: the user has just said who they are.
        out.push(stored.swap(Some(&record)));
        self.wanted = None;
        self.attached(record.holding(), refresh_in, true, sent, turn);
    }

    fn attached(&mut self, holding: Holding, refresh_in: u64, stored: bool, sent: Duration, turn: &mut Turn) {
        self.standing = Standing::Attached { holding, stored };
        self.refresh_in = Duration::from_millis(refresh_in).clamp(MIN_REFRESH, MAX_REFRESH);
        // From when it was sent: the answer may have waited for a tab that was frozen.
        self.refresh = stored.then(|| sent + turn.dice.about(self.refresh_in));
        self.wanted = self.wanted.filter(|want| *want > Want::Reach(holding.generation));
        self.retry = None;
        self.backoff.reset();
        self.gained = true;
    }

    pub(super) fn send_key(&self, record: &Record, turn: &Turn, out: &mut Outbox) {
        let relogin_params = ReloginParams { relogin_key: record.key.clone(), attempt: record.attempt(), proof: None };
        self.send("relogin", params(&relogin_params), turn.after(self.relogin_timeout), out);
    }

    pub(super) fn send(&self, method: &str, params: Option<Box<RawValue>>, deadline: Duration, out: &mut Outbox) {
        let method = Method::Auth(self.session.clone(), method.to_owned());
        out.send(Purpose::Session, method, params, Some(deadline));
    }
}

impl Errand {
    pub(super) fn new(task: Task) -> Self {
        let stage = match task {
            Task::Relogin(_) | Task::Login(_) => Stage::Locking,
            // They touch no storage.
            Task::EndRelogin | Task::EndLogout => Stage::Sent,
        };
        Self { task, stage, used: None, sent: Duration::ZERO, void: false }
    }

    /// Whether a sibling has done what was wanted: storage has a key that is new enough.
    fn is_met(&self, standing: Standing, record: &Record) -> bool {
        let (Task::Relogin(want), Standing::Attached { holding, .. }) = (&self.task, standing) else { return false };
        holding.is_same_session(record.holding())
            && match want {
                Want::Refresh => record.generation > holding.generation,
                Want::Reach(generation) => record.generation >= *generation,
                Want::Resume => false,
            }
    }

    /// Whether the service may have heard of it.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self.stage, Stage::Locking | Stage::Reading)
    }
}

/// Reads the answer to login and relogin.
fn logged_in(result: Result<Box<RawValue>, RequestError>) -> Result<LoggedIn, RequestError> {
    serde_json::from_str(result?.get()).map_err(|_| RequestError::Garbled)
}

/// True for the one error that ends a session.
pub(super) fn is_refused_key(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused(error) if error.is(Denied::InvalidReloginKey.code()))
}
