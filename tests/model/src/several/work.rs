//! The steps of an instance around a decision, in the order of `service/src/sessions/serve.rs`, and
//! what it does because of the other instance, as in `service/src/sessions/several.rs`.

use std::collections::{BTreeMap, VecDeque};

use relogin_session::{
    Command, ConnectionId, Decision, Effect, Login, Next, OtherSession, Outcome, Proof, Record, Relogin, ReloginKey,
    Reply, SessionId, Token, Write, decide,
    machine::{
        ended_by_logout, events_for, over_cap,
        several::{apart, last_tokens, shown_only},
    },
};

use super::{
    Config, Instance, Mutant, NOW, Sent, State,
    scripts::{Ask, Request, attempt},
    store::{Floating, Stored},
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
    /// End the task.
    End(Reply),
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Frame {
    task: Task,
    is_fresh: bool,
    has_left: bool,
    todo: VecDeque<TaskStep>,
    /// The session that it ends.
    pub ends: Option<SessionId>,
    marked: Option<u64>,
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
        Self { task, is_fresh: false, has_left: false, todo: todo.into(), ends: None, marked: None }
    }

    /// The task of a request. A login creates the session of this number.
    #[must_use]
    pub fn of(request: &Request, session: u8) -> Self {
        let (on, token) = (request.connection.clone(), request.token);
        Self::new(match request.ask {
            Ask::Relogin { attempt, .. } => Task::Relogin(on, request.key.clone().expect("a key"), attempt, token),
            Ask::Login { attempt, .. } => Task::Login(on, attempt, SessionId([session; 16])),
            Ask::Logout { .. } => Task::Logout(on, token),
            Ask::Get { .. } => Task::Get(on, token),
        })
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

    fn frame(&mut self) -> &mut Frame {
        self.work.last_mut().expect("it has a task")
    }

    /// Puts steps before the rest of its task.
    fn prepend(&mut self, steps: impl IntoIterator<Item = TaskStep, IntoIter: DoubleEndedIterator>) {
        for step in steps.into_iter().rev() {
            self.frame().todo.push_front(step);
        }
    }

    /// The live session on a connection.
    fn held_by(&self, connection: &ConnectionId) -> Option<&Record> {
        let newest = self.view.all_on(connection).into_iter().next().map(|stored| &stored.record);
        newest.filter(|record| !record.is_expired(self.now()))
    }

    fn publish(&mut self, effects: Vec<Effect>) {
        self.notified.extend(last_tokens(&effects).map(|(connection, _)| connection.clone()));
        self.lane.extend(effects.into_iter().map(Sent::Event));
    }

    /// Sends a connection what the replica says of it.
    fn resend(&mut self, connection: &ConnectionId) -> Option<SessionId> {
        let held = self.held_by(connection).cloned();
        self.publish(events_for(connection, held.as_ref().map(|record| (record, jane()))).into());
        held.map(|record| record.sid)
    }

    /// The session of the task, and the one that the request's connection holds.
    fn find(&self) -> (Option<Stored>, Option<Stored>) {
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
            Task::Expire(sid) | Task::Detach(sid, _) | Task::Evict(sid) => (load(*sid), None),
            Task::Get(..) | Task::Resend | Task::Confirm(_) => (None, None),
        }
    }

    fn command(&self, held: Option<&Record>) -> Command {
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
                    proof: Proof::None,
                    cookie: None,
                    remote_addr: None,
                    user: Some(jane()),
                    token,
                    other,
                })
            }
            Task::Login(connection, number, sid) => {
                let login = Login { attempt: number.map(attempt), ..Login::new(connection.clone(), jane()) };
                Command::Login { login, sid: *sid, salt: sid.0, began: NOW }
            }
            Task::Logout(connection, token) => Command::Logout {
                connection: connection.clone(),
                sid: None,
                held: held.map(|held| held.sid),
                token: *token,
            },
            Task::Detach(_, connection) => Command::Detach { connection: connection.clone() },
            Task::Evict(_) => Command::Evict,
            Task::Expire(_) | Task::Get(..) | Task::Resend | Task::Confirm(_) => Command::Expire,
        }
    }
}

impl State {
    /// An instance does its next step.
    pub(super) fn work(&mut self, number: usize, outcome: WriteOutcome, config: &Config) {
        let instance = &mut self.instances[number];
        let next = instance.frame().todo.pop_front().expect("it has a task");
        match next {
            TaskStep::Decide => self.decide(number, config),
            TaskStep::Barrier => {
                let is_left_out =
                    config.mutant == Some(Mutant::StaleAnswer) && matches!(instance.frame().task, Task::Get(..));
                if is_left_out {
                } else if outcome == WriteOutcome::Answered {
                    self.barrier(number);
                } else {
                    self.answered(number, None);
                }
            }
            TaskStep::Write(sid, expected, next) => {
                if instance.is_taken(sid, next.as_deref()) {
                    instance.frame().todo = [TaskStep::Decide].into();
                } else if self.write(number, outcome, config, sid, expected, next.map(|next| *next)).is_some()
                    && expected == 0
                {
                    self.instances[number].made.insert(sid);
                }
            }
            TaskStep::Mark(sid, expected, record) => {
                let marked = self.write(number, outcome, config, sid, expected, Some(*record));
                if let (Some(revision), Some(frame)) = (marked, self.instances[number].work.last_mut()) {
                    frame.marked = Some(revision);
                }
            }
            TaskStep::Remove(sid, revision) => {
                let revision = instance.frame().marked.unwrap_or(revision);
                self.remove(number, outcome, config, sid, revision);
            }
            TaskStep::Publish(effects) => instance.publish(effects),
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
                let sent = sent.collect();
                instance.prepend([TaskStep::Check(sent), TaskStep::End(Ok(None))]);
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
                    self.barrier(number);
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
            TaskStep::End(_) if instance.work.len() > 1 => drop(instance.work.pop()),
            TaskStep::End(reply) => self.answered(number, Some(reply)),
        }
    }

    /// A read barrier: the gateway has got all that the instance has sent, and the replica has
    /// every acknowledged write.
    fn barrier(&mut self, number: usize) {
        while !self.instances[number].lane.is_empty() {
            self.deliver(number);
        }
        self.instances[number].view.catch_up(&self.truth);
    }

    fn decide(&mut self, number: usize, config: &Config) {
        let others_end = |sid| self.instances[1 - number].is_ending(sid);
        let is_left_to_another = {
            let instance = &self.instances[number];
            let is_marked = |sid| instance.view.load(sid).is_some_and(|stored| stored.record.is_ending());
            match instance.work.last().expect("it has a task").task {
                Task::Expire(sid) | Task::Detach(sid, _) | Task::Evict(sid) => is_marked(sid) && others_end(sid),
                _ => false,
            }
        };
        let instance = &mut self.instances[number];
        if is_left_to_another {
            return instance.prepend([TaskStep::End(Ok(None))]);
        }
        instance.view.be_certain(&self.truth);
        let (session, held) = instance.find();
        let record = session.as_ref().map(|stored| &stored.record);
        let command = instance.command(held.as_ref().map(|held| &held.record));
        let decision = decide(record, command, &instance.rules(), instance.now());
        let needs_barrier = !decision.is_proven_by_its_write() && config.mutant != Some(Mutant::StaleVerdict);
        if !instance.frame().is_fresh && needs_barrier {
            instance.frame().is_fresh = true;
            return instance.prepend([TaskStep::Barrier, TaskStep::Decide]);
        }
        let steps = instance.carry_out(&decision, session.as_ref(), held.as_ref(), config);
        instance.frame().todo.extend(steps);
    }

    /// Writes, and returns the new revision; otherwise the work goes on or ends as it has to.
    fn write(
        &mut self,
        number: usize,
        outcome: WriteOutcome,
        config: &Config,
        sid: SessionId,
        expected: u64,
        next: Option<Record>,
    ) -> Option<u64> {
        let compares = config.mutant != Some(Mutant::NoCompare);
        let instance = &mut self.instances[number];
        match outcome {
            WriteOutcome::Answered => {}
            WriteOutcome::Unanswered => drop(self.truth.swap(sid, expected, next.clone(), compares)),
            WriteOutcome::Delayed => self.floating = Some(Floating { sid, expected, next: next.clone() }),
        }
        if outcome != WriteOutcome::Answered {
            if config.mutant == Some(Mutant::UnansweredIsDone) {
                instance.view.apply(sid, expected + 1, next);
                return Some(expected + 1);
            }
            instance.view.doubt(sid);
            self.answered(number, None);
            return None;
        }
        let written = self.truth.swap(sid, expected, next.clone(), compares);
        if let Some(revision) = written {
            instance.view.apply(sid, revision, next);
            return written;
        }
        instance.view.refresh(sid, &self.truth);
        let is_sweep = matches!(instance.frame().task, Task::Expire(_));
        if !is_sweep {
            instance.frame().todo = [TaskStep::Decide].into();
            instance.frame().ends = None;
        } else if config.mutant != Some(Mutant::LoserPublishesToo) {
            instance.frame().todo = [TaskStep::End(Ok(None))].into();
        }
        None
    }

    /// Removes an ended session. Its connections have their events, so the outcome does not matter.
    fn remove(&mut self, number: usize, outcome: WriteOutcome, config: &Config, sid: SessionId, expected: u64) {
        let compares = config.mutant != Some(Mutant::NoCompare);
        let view = &mut self.instances[number].view;
        match outcome {
            WriteOutcome::Answered => {
                self.truth.swap(sid, expected, None, compares);
                view.refresh(sid, &self.truth);
            }
            WriteOutcome::Unanswered => {
                self.truth.swap(sid, expected, None, compares);
                view.doubt(sid);
            }
            WriteOutcome::Delayed => {
                self.floating = Some(Floating { sid, expected, next: None });
                view.doubt(sid);
            }
        }
    }

    /// Sends connections what is stored if they were sent something else, and checks that again.
    fn correct(&mut self, number: usize, mut sent: LastSent) {
        let instance = &mut self.instances[number];
        instance.view.be_certain(&self.truth);
        let mut is_right = true;
        for (connection, last) in &mut sent {
            if instance.held_by(connection).map(|record| record.sid) != *last {
                *last = instance.resend(connection);
                is_right = false;
            }
        }
        if is_right {
            instance.unconfirmed.retain(|connection, _| !sent.contains_key(connection));
        } else {
            instance.prepend([TaskStep::Check(sent)]);
        }
    }

    fn settle(&mut self, number: usize, sent: &LastSent, made: Option<SessionId>, config: &Config) {
        if config.mutant == Some(Mutant::NoSettling) {
            return;
        }
        let instance = &mut self.instances[number];
        let (mut steps, mut is_elsewhere) = (Vec::new(), false);
        for (connection, last_token) in sent {
            let sessions = instance.view.all_on(connection).into_iter().map(|stored| stored.record.sid);
            let Some((newest, older)) = apart(*last_token, sessions) else { continue };
            if let Some(sid) = made.filter(|sid| *sid != newest) {
                steps.push(TaskStep::Withdraw(sid));
                is_elsewhere = true;
            }
            steps.extend(older.into_iter().map(|sid| TaskStep::Run(Task::Detach(sid, connection.clone()))));
            steps.push(TaskStep::Check([(connection.clone(), Some(newest))].into()));
        }
        if is_elsewhere {
            instance.frame().todo = [TaskStep::Decide].into();
        }
        instance.prepend(steps);
    }
}

impl Instance {
    /// Whether another session has one of the connections.
    fn is_taken(&self, sid: SessionId, next: Option<&Record>) -> bool {
        next.iter().flat_map(|next| &next.connections).any(|connection| {
            let holders = self.view.all_on(connection);
            !holders.is_empty() && holders.iter().all(|stored| stored.record.sid != sid)
        })
    }

    /// The steps that carry out a decision.
    fn carry_out(
        &mut self,
        decision: &Decision,
        session: Option<&Stored>,
        held: Option<&Stored>,
        config: &Config,
    ) -> Vec<TaskStep> {
        let Decision { write, effects, next, outcome } = decision;
        let publish = |effects: Vec<Effect>| {
            Some(TaskStep::Publish(effects)).filter(|step| !matches!(step, TaskStep::Publish(none) if none.is_empty()))
        };
        let mut steps = Vec::new();
        match (write, session) {
            (Write::Create(record), _) => {
                steps.push(TaskStep::Write(record.sid, 0, Some(Box::new(record.clone()))));
                steps.extend(publish(effects.clone()));
            }
            (Write::Replace(next), _) => {
                let changed = session.into_iter().chain(held).find(|stored| stored.record.sid == next.sid);
                let (leaving, staying) = effects.iter().cloned().partition(|effect| effect.leaves(effects));
                steps.extend(publish(leaving));
                steps.push(TaskStep::Write(
                    next.sid,
                    changed.expect("it is one of them").revision,
                    Some(Box::new(next.clone())),
                ));
                steps.extend(publish(staying));
            }
            (Write::Remove, Some(Stored { record, revision })) => {
                let (before, after) = effects.iter().cloned().partition(Effect::precedes_the_end);
                steps.extend(publish(before));
                self.frame().ends = Some(record.sid);
                if config.mutant != Some(Mutant::EndIsNotMarked) {
                    steps.push(TaskStep::Mark(record.sid, *revision, Box::new(record.ended())));
                }
                steps.extend(publish(after));
                steps.push(TaskStep::Remove(record.sid, *revision));
            }
            (Write::Keep, _) | (_, None) => steps.extend(publish(effects.clone())),
        }
        let mut later = LastSent::new();
        if let (Write::Replace(next), false) = (write, config.mutant == Some(Mutant::NoCheckAfterRefresh)) {
            later.extend(shown_only(effects).map(|connection| (connection.clone(), Some(next.sid))));
        }
        let made = if let Write::Create(record) = write { Some(record.sid) } else { None };
        let sent =
            last_tokens(effects).map(|(connection, session)| (connection.clone(), session)).collect::<LastSent>();
        if config.mutant == Some(Mutant::NoCheck) {
        } else if decision.may_be_confirmed_later() {
            later.extend(sent);
        } else if !sent.is_empty() {
            steps.extend([TaskStep::Check(sent.clone()), TaskStep::Settle(sent, made)]);
        }
        if !later.is_empty() {
            steps.push(TaskStep::CheckLater(later));
        }
        match next {
            Next::Reply(reply) => {
                steps.extend(made.filter(|_| config.cap.is_some()).map(TaskStep::Cap));
                steps.push(TaskStep::End(reply.clone()));
            }
            Next::DecideAgain => {
                self.frame().has_left |= *outcome == Outcome::Detached;
                steps.push(TaskStep::Decide);
            }
        }
        steps
    }
}
