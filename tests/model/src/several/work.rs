//! The steps of an instance around a decision, in the order of `service/src/sessions/serve.rs`, and
//! what it does because of the other instance, as in `service/src/sessions/several.rs`.

use std::collections::{BTreeMap, VecDeque};

use relogin_session::{
    Command, ConnectionId, Denied, Effect, Login, OtherSession, Proof, Record, Relogin, ReloginKey, Reply, SessionId,
    Token,
    machine::{ended_by_logout, events_for, over_cap, several::last_tokens},
};

use super::{
    Config, Instance, Mutant, NOW, Sent, State,
    scripts::{Ask, Request, attempt, device},
    store::Stored,
};
use crate::service::jane;

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is done or refused, and the instance gets the answer.
    Answered,
    /// It is done or refused, and the answer is lost.
    Unanswered,
    /// It may be done later, and there is no answer.
    Delayed,
}

/// Something that an instance does: a request, or work of its own.
#[derive(Clone, Debug)]
pub enum Task {
    /// A key is used.
    Relogin(ConnectionId, String, u8, Option<SessionId>),
    /// A login creates this session.
    Login(ConnectionId, Option<u8>, SessionId),
    /// A logout, on a connection whose token names this session.
    Logout(ConnectionId, Option<SessionId>),
    /// A get of the user of a connection, whose token named this session when the request was sent.
    Get(ConnectionId, Option<SessionId>),
    /// An overdue session is disposed of.
    Expire(SessionId),
    /// A connection leaves a session.
    Detach(SessionId, ConnectionId),
    /// A session beyond the limit ends.
    Evict(SessionId),
    /// A session ends because its user has another password.
    Revoke(SessionId),
    /// A session is notified that its user has changed.
    UserChanged(SessionId),
    /// All sessions of the user are notified.
    Notify,
    /// Connections that have not answered leave a session. The last one has asked.
    Prune(SessionId, Vec<ConnectionId>, ConnectionId),
    /// All connections get their events again.
    Resend,
    /// What connections were sent is checked.
    Confirm(LastSent),
}

/// The session that the last token event of each connection named.
pub type LastSent = BTreeMap<ConnectionId, Option<SessionId>>;

/// A step of a task.
#[derive(Clone, Debug)]
pub enum TaskStep {
    /// Find what is stored, and decide.
    Decide,
    /// Pass a read barrier.
    Barrier,
    /// Write a session if it still has this revision; 0: if there is none.
    Write(SessionId, u64, Option<Box<Record>>),
    /// Mark a session as ended.
    Mark(SessionId, u64, Box<Record>),
    /// Remove it, if it has this revision or that of its mark.
    Remove(SessionId, u64),
    /// Send events to the gateway.
    Publish(Vec<Effect>),
    /// Send these connections what the replica says of them.
    Resend(LastSent),
    /// Leave these connections for a later check.
    CheckLater(LastSent),
    /// Answer a get.
    Answer,
    /// Send all connections their events again.
    ResendAll,
    /// Pass a read barrier, and compare what connections were sent with what is stored.
    Check(LastSent),
    /// Compare it, without a barrier.
    Compare(LastSent),
    /// Take connections off sessions that they should not be on, after these events, and the
    /// creation of this session.
    Settle(LastSent, Option<SessionId>),
    /// Remove a session that no event has named.
    Withdraw(SessionId),
    /// Do another task first.
    Run(Task),
    /// End the sessions beyond the limit, but never this one.
    Cap(SessionId),
    /// Check the password of a login.
    CheckPassword,
    /// Check it again, if users have changed meanwhile.
    CheckAgain,
    /// Notify all sessions of the user.
    NotifySessions,
    /// End the task.
    End(Reply),
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub task: Task,
    pub(super) is_fresh: bool,
    /// How often the replica had gone back when this was decided.
    pub(super) setbacks: u8,
    pub(super) has_left: bool,
    pub(super) todo: VecDeque<TaskStep>,
    /// The session that it ends.
    pub ends: Option<SessionId>,
    marked: Option<u64>,
    /// What connections were sent when that was checked.
    pub(super) shown: LastSent,
    /// Whether it ends it because a used key came.
    pub(super) is_theft: bool,
    /// How often users had changed when the password was checked.
    changes: u8,
}

impl Frame {
    fn new(task: Task) -> Self {
        let todo = match task {
            Task::Get(..) => vec![TaskStep::Barrier, TaskStep::Answer],
            Task::Resend => vec![TaskStep::Barrier, TaskStep::ResendAll],
            Task::Confirm(ref sent) => {
                vec![TaskStep::Check(sent.clone()), TaskStep::Settle(sent.clone(), None), TaskStep::End(Ok(None))]
            }
            _ => vec![TaskStep::Decide],
        };
        Self::with(task, todo)
    }

    /// A task of these steps.
    pub(super) fn with(task: Task, todo: impl IntoIterator<Item = TaskStep>) -> Self {
        let todo = todo.into_iter().collect();
        Self {
            task,
            is_fresh: false,
            setbacks: 0,
            has_left: false,
            todo,
            ends: None,
            marked: None,
            shown: LastSent::new(),
            is_theft: false,
            changes: 0,
        }
    }

    /// The task of a request. A login creates the session of this number.
    #[must_use]
    pub fn of(request: &Request, session: u8, config: &Config) -> Self {
        let (on, token) = (request.connection.clone(), request.token);
        let mut frame = Self::new(match request.ask {
            Ask::Relogin { attempt, .. } => Task::Relogin(on, request.key.clone().expect("a key"), attempt, token),
            Ask::Login { attempt, .. } => Task::Login(on, attempt, SessionId([session; 16])),
            Ask::Logout { .. } => Task::Logout(on, token),
            Ask::Get { .. } => Task::Get(on, token),
        });
        if config.edit.is_some() && matches!(frame.task, Task::Login(..)) {
            frame.todo.push_front(TaskStep::CheckPassword);
        }
        frame
    }

    /// Whether it is a login whose password was checked and that is not decided on.
    pub(super) fn is_login_to_be_decided(&self) -> bool {
        matches!((&self.task, self.todo.front()), (Task::Login(..), Some(TaskStep::Decide)))
    }

    /// Connections that have not answered leave a session.
    pub(super) fn pruning(sid: SessionId, silent: Vec<ConnectionId>, asked_by: ConnectionId) -> Self {
        Self::new(Task::Prune(sid, silent, asked_by))
    }

    /// The disposal of an overdue session.
    #[must_use]
    pub fn expiring(sid: SessionId) -> Self {
        Self::new(Task::Expire(sid))
    }

    /// All connections get their events again.
    #[must_use]
    pub fn resending() -> Self {
        Self::new(Task::Resend)
    }

    /// What connections were sent is checked.
    #[must_use]
    pub fn confirming(sent: LastSent) -> Self {
        Self::new(Task::Confirm(sent))
    }
}

impl Instance {
    /// Whether its next step asks the store for something, which may not be answered.
    #[must_use]
    pub fn is_about_to_write(&self) -> bool {
        let next = self.work.last().and_then(|frame| frame.todo.front());
        matches!(
            next,
            Some(
                TaskStep::Write(..)
                    | TaskStep::Mark(..)
                    | TaskStep::Remove(..)
                    | TaskStep::Barrier
                    | TaskStep::Check(..)
            )
        )
    }

    pub(super) fn frame(&mut self) -> &mut Frame {
        self.work.last_mut().expect("it has a task")
    }

    /// Puts steps before the rest of its task.
    pub(super) fn prepend(&mut self, steps: impl IntoIterator<Item = TaskStep, IntoIter: DoubleEndedIterator>) {
        for step in steps.into_iter().rev() {
            self.frame().todo.push_front(step);
        }
    }

    /// The live session on a connection.
    pub(super) fn held_by(&self, connection: &ConnectionId) -> Option<&Record> {
        let newest = self.view.all_on(connection).into_iter().next().map(|stored| &stored.record);
        newest.filter(|record| !record.is_expired(self.now()))
    }

    fn publish(&mut self, effects: Vec<Effect>) {
        self.notified.extend(last_tokens(&effects).map(|(connection, _)| connection.clone()));
        self.lane.extend(effects.into_iter().map(Sent::Event));
    }

    /// Sends a connection what the replica says of it.
    pub(super) fn resend(&mut self, connection: &ConnectionId) -> Option<SessionId> {
        let held = self.held_by(connection).cloned();
        self.publish(events_for(connection, held.as_ref().zip(self.user())).into());
        held.map(|record| record.sid)
    }

    /// The session of the task, and the one that the request's connection holds.
    pub(super) fn find(&self) -> (Option<Stored>, Option<Stored>) {
        let on = |connection: &ConnectionId| self.view.all_on(connection).into_iter().next().cloned();
        let load = |sid: SessionId| self.view.load(sid).cloned();
        match &self.work.last().expect("it has a task").task {
            Task::Relogin(connection, key, ..) => {
                let key = ReloginKey::new(key.clone()).parse().expect("a key");
                (load(key.sid), on(connection))
            }
            Task::Login(connection, ..) => (on(connection), on(connection)),
            Task::Logout(connection, token) => {
                let held = on(connection);
                let ended = ended_by_logout(None, held.as_ref().map(|held| held.record.sid), *token);
                (ended.and_then(load), held)
            }
            Task::Expire(sid)
            | Task::Detach(sid, _)
            | Task::Evict(sid)
            | Task::Revoke(sid)
            | Task::UserChanged(sid)
            | Task::Prune(sid, ..) => (load(*sid), None),
            Task::Get(..) | Task::Resend | Task::Confirm(_) | Task::Notify => (None, None),
        }
    }

    pub(super) fn command(&self, held: Option<&Record>, config: &Config) -> Command {
        let Frame { task, has_left, .. } = self.work.last().expect("it has a task");
        match task {
            Task::Relogin(connection, key, number, token) => {
                let key = ReloginKey::new(key.clone()).parse().expect("a key");
                let other = OtherSession::than(key.sid, held, *has_left);
                let token = token.map(|sid| Token { sid, user_id: jane().id, role: jane().role });
                Command::Relogin(Relogin {
                    connection: connection.clone(),
                    key,
                    attempt: Some(attempt(*number)),
                    proof: if config.is_bound { Proof::Valid } else { Proof::None },
                    cookie: None,
                    remote_addr: None,
                    user: self.user(),
                    token,
                    other,
                })
            }
            Task::Login(connection, number, sid) => {
                let user = self.user().unwrap_or_else(jane);
                let number = number.filter(|_| config.mutant != Some(Mutant::LoginIsAnother));
                let (attempt, device) = (number.map(attempt), device(config.is_bound));
                let began = if self.began_later { NOW.plus(1) } else { NOW };
                let login = Login { attempt, device, ..Login::new(connection.clone(), user) };
                Command::Login { login, sid: *sid, salt: sid.0, began }
            }
            Task::Logout(connection, token) => Command::Logout {
                connection: connection.clone(),
                sid: None,
                held: held.map(|held| held.sid),
                token: *token,
            },
            Task::Detach(_, connection) => Command::Detach { connection: connection.clone() },
            Task::Evict(_) => Command::Evict,
            Task::Revoke(_) => Command::Revoke,
            Task::UserChanged(_) => Command::UserChanged { user: self.user() },
            Task::Prune(_, unresponsive, asked_by) => {
                Command::Prune { unresponsive: unresponsive.clone(), asked_by: asked_by.clone() }
            }
            Task::Expire(_) | Task::Get(..) | Task::Resend | Task::Confirm(_) | Task::Notify => Command::Expire,
        }
    }
}

impl State {
    /// An instance does its next step.
    pub(super) fn work(&mut self, number: usize, outcome: WriteOutcome, config: &Config) {
        self.reconnect(number, config);
        let instance = &mut self.instances[number];
        let next = instance.frame().todo.pop_front().expect("it has a task");
        match next {
            TaskStep::Decide => self.decide(number, config),
            TaskStep::Barrier => {
                let is_left_out =
                    config.mutant == Some(Mutant::StaleAnswer) && matches!(instance.frame().task, Task::Get(..));
                if is_left_out {
                } else if outcome == WriteOutcome::Answered {
                    self.barrier(number, config);
                } else {
                    self.answered(number, None);
                }
            }
            TaskStep::Write(sid, expected, next) => {
                if instance.is_taken(sid, next.as_deref()) || expected != 0 && instance.has_gone_back(config) {
                    instance.frame().todo = [TaskStep::Decide].into();
                } else if self.write(number, outcome, config, sid, expected, next.as_deref().cloned()).is_some() {
                    let instance = &mut self.instances[number];
                    if expected == 0 {
                        instance.made.insert(sid);
                    }
                    if let (Some(next), Task::Relogin(here, ..)) = (next, instance.frame().task.clone())
                        && next.is_on(&here)
                    {
                        instance.relogged_in(&next, &here, config);
                    }
                }
            }
            TaskStep::Mark(..) if instance.has_gone_back(config) => instance.lose_race(config),
            TaskStep::Mark(sid, expected, record) => {
                let marked = self.write(number, outcome, config, sid, expected, Some(*record));
                if let (Some(revision), Some(frame)) = (marked, self.instances[number].work.last_mut()) {
                    frame.marked = Some(revision);
                    self.has_cried_theft |= frame.is_theft;
                }
            }
            TaskStep::Remove(sid, revision) => {
                let revision = instance.frame().marked.unwrap_or(revision);
                if !instance.has_gone_back(config) {
                    self.remove(number, outcome, config, sid, revision);
                }
            }
            TaskStep::Publish(effects) => instance.publish(effects),
            TaskStep::Resend(left) => {
                for connection in left.into_keys() {
                    let session = instance.resend(&connection);
                    for step in &mut instance.frame().todo {
                        if let TaskStep::Check(sent) = step {
                            sent.insert(connection.clone(), session);
                        }
                    }
                }
            }
            TaskStep::CheckLater(sent) => instance.unconfirmed.extend(sent),
            TaskStep::Answer => {
                let Task::Get(connection, known) = instance.frame().task.clone() else { return };
                instance.view.be_certain(&self.truth);
                let session = instance.held_by(&connection).map(|record| record.sid);
                instance.lane.push_back(Sent::Answer(connection.clone(), session, known));
                if config.mutant != Some(Mutant::NoCheckAfterAnswer) {
                    instance.prepend([TaskStep::Check([(connection, session)].into())]);
                }
                instance.frame().todo.push_back(TaskStep::End(Ok(None)));
            }
            TaskStep::ResendAll => {
                let connections = instance.notified.clone();
                let sent = connections.into_iter().map(|connection| {
                    let session = instance.resend(&connection);
                    (connection, session)
                });
                let sent: LastSent = sent.collect();
                instance.prepend([
                    TaskStep::Check(sent.clone()),
                    TaskStep::Settle(sent, None),
                    TaskStep::End(Ok(None)),
                ]);
            }
            TaskStep::Check(sent) if outcome != WriteOutcome::Answered => {
                if config.mutant != Some(Mutant::FailedCheckIsForgotten) {
                    instance.unconfirmed.extend(sent);
                }
                self.answered(number, None);
            }
            TaskStep::Check(sent) => {
                instance.prepend([TaskStep::Compare(sent)]);
                if config.mutant != Some(Mutant::StaleCheck) {
                    self.barrier(number, config);
                }
            }
            TaskStep::Compare(sent) => self.correct(number, sent),
            TaskStep::Settle(sent, made) => self.settle(number, &sent, made, config),
            TaskStep::Withdraw(sid) => {
                if let Some(revision) = instance.view.load(sid).map(|stored| stored.revision)
                    && self.truth.swap(sid, revision, None, true).is_none()
                {
                    instance.prepend([TaskStep::Withdraw(sid)]);
                }
                instance.view.refresh(sid, &self.truth);
            }
            TaskStep::Run(task) => instance.work.push(Frame::new(task)),
            TaskStep::Cap(newest) => {
                let of_own = config.mutant == Some(Mutant::CapOfOwn);
                let made = instance.view.load(newest).filter(|stored| !stored.record.is_ending());
                let Some(revision) = made.map(|stored| stored.revision) else { return };
                let counts = |Stored { record, revision: other }: &&Stored| {
                    let is_later_login = record.generation == 1 && *other > revision;
                    let is_left_out = is_later_login && config.mutant != Some(Mutant::CapOfAll);
                    !is_left_out && (!of_own || instance.made.contains(&record.sid))
                };
                let sessions = instance.view.records().filter(counts);
                let sessions = sessions.map(|stored| (stored.record.last_seen, stored.record.sid)).collect();
                let excess = over_cap(sessions, newest, config.cap.unwrap_or(usize::MAX));
                instance.prepend(excess.into_iter().map(|sid| TaskStep::Run(Task::Evict(sid))).collect::<Vec<_>>());
            }
            TaskStep::CheckPassword if instance.lets_in() => instance.frame().changes = instance.changes,
            TaskStep::CheckPassword => self.answered(number, Some(Err(Denied::WrongUsernamePassword))),
            TaskStep::CheckAgain => {
                let Task::Login(connection, ..) = instance.frame().task.clone() else { return };
                if instance.frame().changes != instance.changes && !instance.lets_in() {
                    let end = TaskStep::End(Err(Denied::WrongUsernamePassword));
                    instance.prepend([TaskStep::Run(Task::Logout(connection, None)), end]);
                }
            }
            TaskStep::NotifySessions => {
                let steps = instance.notified_sessions();
                instance.prepend(steps);
            }
            TaskStep::End(_) if instance.work.len() > 1 => drop(instance.work.pop()),
            TaskStep::End(reply) => self.answered(number, Some(reply)),
        }
    }

    /// A read barrier: the gateway has got all that the instance has sent, and the replica has
    /// every acknowledged write.
    fn barrier(&mut self, number: usize, config: &Config) {
        while !self.instances[number].lane.is_empty() {
            self.deliver(number);
        }
        self.follow(number, config);
    }
}
