//! The steps of an instance around a decision, in the order of `service/src/sessions/serve.rs`, and
//! what it does for the others' sake, as `service/src/sessions/several.rs` does.

use std::collections::{BTreeMap, VecDeque};

use relogin_session::{
    Command, ConnectionId, Decision, Effect, Login, Next, OtherSession, Outcome, Proof, Record, Relogin, ReloginKey,
    Reply, SessionId, Token, Write, decide,
    machine::{
        ended_by_logout, over_cap,
        several::{apart, shown_only, told_last},
        told,
    },
};

use super::{
    Config, Instance, Mutant, NOW, Sent, State,
    scripts::{Ask, Request, attempt},
    store::{Floating, Stored},
};
use crate::service::jane;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is done or refused, and the instance hears that.
    Answered,
    /// It is done or refused, and the instance hears nothing.
    Unanswered,
    /// It may be done later, and the instance hears nothing.
    Astray,
}

/// Something to be done about a session.
#[derive(Clone, Debug)]
pub enum What {
    /// A key is used.
    Relogin(ConnectionId, String, u8, Option<SessionId>),
    /// A login makes this session.
    Login(ConnectionId, Option<u8>, SessionId),
    /// A logout, on a connection whose token names this session.
    Logout(ConnectionId, Option<SessionId>),
    /// Who is on a connection, whose token named this session when that was asked?
    Get(ConnectionId, Option<SessionId>),
    /// A session is overdue.
    Expire(SessionId),
    /// A connection leaves a session.
    Detach(SessionId, ConnectionId),
    /// A session is one too many.
    Evict(SessionId),
    /// Connections are told again.
    TellAgain,
    /// What connections know is checked.
    Confirm(Told),
}

/// What each connection was told last.
pub type Told = BTreeMap<ConnectionId, Option<SessionId>>;

/// What is to be done next.
#[derive(Clone, Debug)]
pub enum Do {
    /// Find what is stored, and decide.
    Decide,
    /// Pass a read barrier.
    Barrier,
    /// Write a session under its revision; 0: there is none.
    Write(SessionId, u64, Option<Box<Record>>),
    /// Mark a session as ended.
    Mark(SessionId, u64, Box<Record>),
    /// Remove it, under this revision if it was not marked.
    Remove(SessionId, u64),
    /// Tell the gateway.
    Tell(Vec<Effect>),
    /// Note what is to be looked at later.
    Note(Told),
    /// Answer who is on the connection.
    Answer,
    /// Tell all connections again.
    TellAll,
    /// Pass a read barrier, and look at what connections were told.
    LookAgain(Told),
    /// Look at it.
    Look(Told),
    /// Take connections off sessions that they should not be on. These events were told, and this
    /// session was made.
    Settle(Vec<Effect>, Option<SessionId>),
    /// Remove a session that nobody was told of.
    Withdraw(SessionId),
    /// Do something else first.
    Serve(What),
    /// End the sessions that are too many, but never this one.
    Cap(SessionId),
    /// It is done.
    End(Reply),
}

/// Something that an instance is at.
#[derive(Clone, Debug)]
pub struct Frame {
    what: What,
    is_fresh: bool,
    has_left: bool,
    todo: VecDeque<Do>,
    /// The session that it ends.
    pub ends: Option<SessionId>,
    marked: Option<u64>,
}

impl Frame {
    fn new(what: What) -> Self {
        let todo = match what {
            What::Get(..) => vec![Do::Barrier, Do::Answer],
            What::TellAgain => vec![Do::Barrier, Do::TellAll],
            What::Confirm(ref told) => vec![Do::LookAgain(told.clone()), Do::End(Ok(None))],
            _ => vec![Do::Decide],
        };
        Self { what, is_fresh: false, has_left: false, todo: todo.into(), ends: None, marked: None }
    }

    /// What a request asks for. If that is a login, it makes the session of this number.
    #[must_use]
    pub fn of(request: &Request, session: u8) -> Self {
        let (on, token) = (request.connection.clone(), request.token);
        Self::new(match request.ask {
            Ask::Relogin { attempt, .. } => What::Relogin(on, request.key.clone().expect("a key"), attempt, token),
            Ask::Login { attempt, .. } => What::Login(on, attempt, SessionId([session; 16])),
            Ask::Logout { .. } => What::Logout(on, token),
            Ask::Get { .. } => What::Get(on, token),
        })
    }

    /// The disposal of an overdue session.
    #[must_use]
    pub fn expiring(sid: SessionId) -> Self {
        Self::new(What::Expire(sid))
    }

    /// Connections are told again.
    #[must_use]
    pub fn telling_again() -> Self {
        Self::new(What::TellAgain)
    }

    /// What connections know is checked.
    #[must_use]
    pub fn confirming(told: Told) -> Self {
        Self::new(What::Confirm(told))
    }
}

impl Instance {
    /// Whether what it does next may stay without an answer.
    #[must_use]
    pub fn is_about_to_write(&self) -> bool {
        let next = self.work.last().and_then(|frame| frame.todo.front());
        matches!(next, Some(Do::Write(..) | Do::Mark(..) | Do::Remove(..) | Do::Barrier | Do::LookAgain(..)))
    }

    fn frame(&mut self) -> &mut Frame {
        self.work.last_mut().expect("it is at something")
    }

    fn first(&mut self, steps: impl IntoIterator<Item = Do, IntoIter: DoubleEndedIterator>) {
        for step in steps.into_iter().rev() {
            self.frame().todo.push_front(step);
        }
    }

    /// The live session on a connection.
    fn held_by(&self, connection: &ConnectionId) -> Option<&Record> {
        let newest = self.view.all_on(connection).into_iter().next().map(|stored| &stored.record);
        newest.filter(|record| !record.is_expired(self.now()))
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        self.told.extend(told_last(&effects).map(|(connection, _)| connection.clone()));
        self.lane.extend(effects.into_iter().map(Sent::Event));
    }

    /// Tells a connection what the replica has of it.
    fn tell_of(&mut self, connection: &ConnectionId) -> Option<SessionId> {
        let held = self.held_by(connection).cloned();
        self.tell(told(connection, held.as_ref().map(|record| (record, jane()))).into());
        held.map(|record| record.sid)
    }

    /// The session that it is about, and the one that the request's connection holds.
    fn find(&self) -> (Option<Stored>, Option<Stored>) {
        let on = |connection: &ConnectionId| self.view.all_on(connection).into_iter().next().cloned();
        let load = |sid: SessionId| self.view.load(sid).cloned();
        match &self.work.last().expect("it is at something").what {
            What::Relogin(connection, key, ..) => {
                let key = ReloginKey::new(key.clone()).parse().expect("a key");
                (load(key.sid), on(connection))
            }
            What::Login(connection, ..) => (on(connection), on(connection)),
            What::Logout(connection, token) => {
                let held = on(connection);
                let ended = ended_by_logout(None, held.as_ref().map(|held| held.record.sid), *token);
                (ended.and_then(load), held)
            }
            What::Expire(sid) | What::Detach(sid, _) | What::Evict(sid) => (load(*sid), None),
            What::Get(..) | What::TellAgain | What::Confirm(_) => (None, None),
        }
    }

    fn command(&self, held: Option<&Record>) -> Command {
        let Frame { what, has_left, .. } = self.work.last().expect("it is at something");
        match what {
            What::Relogin(connection, key, number, token) => {
                let key = ReloginKey::new(key.clone()).parse().expect("a key");
                let other = OtherSession::than(key.sid, held, *has_left);
                let token = token.map(|sid| Token { sid, user_id: jane().id, role: jane().role });
                Command::Relogin(Relogin {
                    connection: connection.clone(),
                    key,
                    attempt: Some(attempt(*number)),
                    proof: Proof::None,
                    cookie: None,
                    user: Some(jane()),
                    token,
                    other,
                })
            }
            What::Login(connection, number, sid) => {
                let login = Login { attempt: number.map(attempt), ..Login::new(connection.clone(), jane()) };
                Command::Login { login, sid: *sid, salt: sid.0, began: NOW }
            }
            What::Logout(connection, token) => Command::Logout {
                connection: connection.clone(),
                sid: None,
                held: held.map(|held| held.sid),
                token: *token,
            },
            What::Detach(_, connection) => Command::Detach { connection: connection.clone() },
            What::Evict(_) => Command::Evict,
            What::Expire(_) | What::Get(..) | What::TellAgain | What::Confirm(_) => Command::Expire,
        }
    }
}

impl State {
    /// An instance does its next thing.
    pub(super) fn work(&mut self, number: usize, kind: Kind, config: &Config) {
        let instance = &mut self.instances[number];
        let next = instance.frame().todo.pop_front().expect("it is at something");
        match next {
            Do::Decide => self.decide(number, config),
            Do::Barrier => {
                let is_left_out =
                    config.mutant == Some(Mutant::StaleAnswer) && matches!(instance.frame().what, What::Get(..));
                if is_left_out {
                } else if kind == Kind::Answered {
                    self.barrier(number);
                } else {
                    self.answered(number, None);
                }
            }
            Do::Write(sid, expected, next) => {
                if instance.is_taken(sid, next.as_deref()) {
                    instance.frame().todo = [Do::Decide].into();
                } else if self.write(number, kind, config, sid, expected, next.map(|next| *next)).is_some()
                    && expected == 0
                {
                    self.instances[number].made.insert(sid);
                }
            }
            Do::Mark(sid, expected, record) => {
                let marked = self.write(number, kind, config, sid, expected, Some(*record));
                if let (Some(revision), Some(frame)) = (marked, self.instances[number].work.last_mut()) {
                    frame.marked = Some(revision);
                }
            }
            Do::Remove(sid, revision) => {
                let revision = instance.frame().marked.unwrap_or(revision);
                self.remove(number, kind, config, sid, revision);
            }
            Do::Tell(effects) => instance.tell(effects),
            Do::Note(told) => instance.unconfirmed.extend(told),
            Do::Answer => {
                let What::Get(connection, known) = instance.frame().what.clone() else { return };
                instance.view.be_certain(&self.truth);
                let session = instance.held_by(&connection).map(|record| record.sid);
                instance.lane.push_back(Sent::Answer(connection.clone(), session, known));
                if config.mutant != Some(Mutant::NoLookBehindAnswer) {
                    instance.first([Do::LookAgain([(connection, session)].into())]);
                }
                instance.frame().todo.push_back(Do::End(Ok(None)));
            }
            Do::TellAll => {
                let connections = instance.told.clone();
                let told = connections.into_iter().map(|connection| {
                    let session = instance.tell_of(&connection);
                    (connection, session)
                });
                let told = told.collect();
                instance.first([Do::LookAgain(told), Do::End(Ok(None))]);
            }
            Do::LookAgain(told) if kind != Kind::Answered => {
                if config.mutant != Some(Mutant::FailedLookIsForgotten) {
                    instance.unconfirmed.extend(told);
                }
                self.answered(number, None);
            }
            Do::LookAgain(told) => {
                instance.first([Do::Look(told)]);
                if config.mutant != Some(Mutant::SecondLookIsStale) {
                    self.barrier(number);
                }
            }
            Do::Look(told) => self.look(number, told),
            Do::Settle(effects, made) => self.settle(number, &effects, made, config),
            Do::Withdraw(sid) => {
                if let Some(revision) = instance.view.load(sid).map(|stored| stored.revision)
                    && self.truth.swap(sid, revision, None, true).is_none()
                {
                    instance.first([Do::Withdraw(sid)]);
                }
                instance.view.refresh(sid, &self.truth);
            }
            Do::Serve(what) => instance.work.push(Frame::new(what)),
            Do::Cap(newest) => {
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
                instance.first(excess.into_iter().map(|sid| Do::Serve(What::Evict(sid))).collect::<Vec<_>>());
            }
            Do::End(_) if instance.work.len() > 1 => drop(instance.work.pop()),
            Do::End(reply) => self.answered(number, Some(reply)),
        }
    }

    /// What the instance has sent is there before it; and whatever was acknowledged is shown.
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
            match instance.work.last().expect("it is at something").what {
                What::Expire(sid) | What::Detach(sid, _) | What::Evict(sid) => is_marked(sid) && others_end(sid),
                _ => false,
            }
        };
        let instance = &mut self.instances[number];
        if is_left_to_another {
            return instance.first([Do::End(Ok(None))]);
        }
        instance.view.be_certain(&self.truth);
        let (session, held) = instance.find();
        let record = session.as_ref().map(|stored| &stored.record);
        let command = instance.command(held.as_ref().map(|held| &held.record));
        let decision = decide(record, command, &instance.rules(), instance.now());
        let needs_barrier = !decision.is_proven_by_its_write() && config.mutant != Some(Mutant::StaleVerdict);
        if !instance.frame().is_fresh && needs_barrier {
            instance.frame().is_fresh = true;
            return instance.first([Do::Barrier, Do::Decide]);
        }
        let steps = instance.carry_out(&decision, session.as_ref(), held.as_ref(), config);
        instance.frame().todo.extend(steps);
    }

    /// Writes, and returns the new revision; otherwise the work goes on or ends as it has to.
    fn write(
        &mut self,
        number: usize,
        kind: Kind,
        config: &Config,
        sid: SessionId,
        expected: u64,
        next: Option<Record>,
    ) -> Option<u64> {
        let compares = config.mutant != Some(Mutant::NoCompare);
        let instance = &mut self.instances[number];
        match kind {
            Kind::Answered => {}
            Kind::Unanswered => drop(self.truth.swap(sid, expected, next.clone(), compares)),
            Kind::Astray => self.floating = Some(Floating { sid, expected, next: next.clone() }),
        }
        if kind != Kind::Answered {
            if config.mutant == Some(Mutant::SilenceIsConsent) {
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
        let is_sweep = matches!(instance.frame().what, What::Expire(_));
        if !is_sweep {
            instance.frame().todo = [Do::Decide].into();
            instance.frame().ends = None;
        } else if config.mutant != Some(Mutant::LoserTellsToo) {
            instance.frame().todo = [Do::End(Ok(None))].into();
        }
        None
    }

    /// Whether that works or not: the session is over and everybody told.
    fn remove(&mut self, number: usize, kind: Kind, config: &Config, sid: SessionId, expected: u64) {
        let compares = config.mutant != Some(Mutant::NoCompare);
        let view = &mut self.instances[number].view;
        match kind {
            Kind::Answered => {
                self.truth.swap(sid, expected, None, compares);
                view.refresh(sid, &self.truth);
            }
            Kind::Unanswered => {
                self.truth.swap(sid, expected, None, compares);
                view.doubt(sid);
            }
            Kind::Astray => {
                self.floating = Some(Floating { sid, expected, next: None });
                view.doubt(sid);
            }
        }
    }

    /// Corrects what connections were told, until nothing has to be corrected.
    fn look(&mut self, number: usize, mut told: Told) {
        let instance = &mut self.instances[number];
        instance.view.be_certain(&self.truth);
        let mut is_right = true;
        for (connection, last) in &mut told {
            if instance.held_by(connection).map(|record| record.sid) != *last {
                *last = instance.tell_of(connection);
                is_right = false;
            }
        }
        if is_right {
            instance.unconfirmed.retain(|connection, _| !told.contains_key(connection));
        } else {
            instance.first([Do::LookAgain(told)]);
        }
    }

    fn settle(&mut self, number: usize, effects: &[Effect], made: Option<SessionId>, config: &Config) {
        if config.mutant == Some(Mutant::NobodySettles) {
            return;
        }
        let instance = &mut self.instances[number];
        let (mut steps, mut is_elsewhere) = (Vec::new(), false);
        for connection in told_of(effects).into_keys() {
            let sessions = instance.view.all_on(&connection).into_iter().map(|stored| stored.record.sid);
            let Some((newest, older)) = apart(effects, &connection, sessions) else { continue };
            if let Some(sid) = made.filter(|sid| *sid != newest) {
                steps.push(Do::Withdraw(sid));
                is_elsewhere = true;
            }
            steps.extend(older.into_iter().map(|sid| Do::Serve(What::Detach(sid, connection.clone()))));
            steps.push(Do::LookAgain([(connection, Some(newest))].into()));
        }
        if is_elsewhere {
            instance.frame().todo = [Do::Decide].into();
        }
        instance.first(steps);
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

    /// What a decision takes.
    fn carry_out(
        &mut self,
        decision: &Decision,
        session: Option<&Stored>,
        held: Option<&Stored>,
        config: &Config,
    ) -> Vec<Do> {
        let Decision { write, effects, next, outcome } = decision;
        let tell = |effects: Vec<Effect>| {
            Some(Do::Tell(effects)).filter(|step| !matches!(step, Do::Tell(none) if none.is_empty()))
        };
        let mut steps = Vec::new();
        match (write, session) {
            (Write::Create(record), _) => {
                steps.push(Do::Write(record.sid, 0, Some(Box::new(record.clone()))));
                steps.extend(tell(effects.clone()));
            }
            (Write::Replace(next), _) => {
                let changed = session.into_iter().chain(held).find(|stored| stored.record.sid == next.sid);
                let (leaving, staying) = effects.iter().cloned().partition(|effect| effect.leaves(effects));
                steps.extend(tell(leaving));
                steps.push(Do::Write(
                    next.sid,
                    changed.expect("it is one of them").revision,
                    Some(Box::new(next.clone())),
                ));
                steps.extend(tell(staying));
            }
            (Write::Remove, Some(Stored { record, revision })) => {
                let (before, after) = effects.iter().cloned().partition(Effect::precedes_the_end);
                steps.extend(tell(before));
                self.frame().ends = Some(record.sid);
                if config.mutant != Some(Mutant::EndIsNotMarked) {
                    steps.push(Do::Mark(record.sid, *revision, Box::new(record.ended())));
                }
                steps.extend(tell(after));
                steps.push(Do::Remove(record.sid, *revision));
            }
            (Write::Keep, _) | (_, None) => steps.extend(tell(effects.clone())),
        }
        if let (Write::Replace(next), false) = (write, config.mutant == Some(Mutant::ShownOnly)) {
            let shown = shown_only(effects).map(|connection| (connection.clone(), Some(next.sid)));
            let shown: Told = shown.collect();
            steps.extend(Some(Do::Note(shown)).filter(|step| !matches!(step, Do::Note(none) if none.is_empty())));
        }
        let made = if let Write::Create(record) = write { Some(record.sid) } else { None };
        let told = told_of(effects);
        if !told.is_empty() && config.mutant != Some(Mutant::NoSecondLook) {
            steps.extend([Do::LookAgain(told), Do::Settle(effects.clone(), made)]);
        }
        match next {
            Next::Reply(reply) => {
                steps.extend(made.filter(|_| config.cap.is_some()).map(Do::Cap));
                steps.push(Do::End(reply.clone()));
            }
            Next::DecideAgain => {
                self.frame().has_left |= *outcome == Outcome::Detached;
                steps.push(Do::Decide);
            }
        }
        steps
    }
}

/// What connections were told of their sessions, the last of each.
fn told_of(effects: &[Effect]) -> Told {
    told_last(effects).map(|(connection, session)| (connection.clone(), session)).collect()
}
