//! From a decision to the steps that carry it out, and what its writes and checks come to.

use relogin_session::{
    Decision, Effect, Next, Outcome, Record, SessionId, Write, decide,
    machine::several::{apart, cleared_early, last_tokens, shown_only},
};

use super::{
    Config, Instance, Mutant, State,
    store::{Floating, Stored},
    work::{LastSent, Task, TaskStep, WriteOutcome},
};

impl State {
    pub(super) fn decide(&mut self, number: usize, config: &Config) {
        let others_end = |sid| self.instances[1 - number].is_ending(sid);
        let is_left_to_another = {
            let instance = &self.instances[number];
            let is_marked = |sid| instance.view.load(sid).is_some_and(|stored| stored.record.is_ending());
            match instance.work.last().expect("it has a task").task {
                Task::Expire(sid)
                | Task::Detach(sid, _)
                | Task::Evict(sid)
                | Task::Revoke(sid)
                | Task::UserChanged(sid)
                | Task::Prune(sid, ..) => is_marked(sid) && others_end(sid),
                _ => false,
            }
        };
        let instance = &mut self.instances[number];
        if is_left_to_another {
            return instance.prepend([TaskStep::End(Ok(None))]);
        }
        instance.view.be_certain(&self.truth);
        let setbacks = instance.view.setbacks;
        instance.frame().setbacks = setbacks;
        let (mut session, held) = instance.find();
        if let (Task::Prune(_, _, asked_by), Some(Stored { record, .. })) = (&instance.frame().task, &mut session)
            && config.mutant == Some(Mutant::SilenceCounts)
            && record.is_on(asked_by)
        {
            // As if nobody had used the key since.
            record.connections.retain(|connection| connection != asked_by);
            record.connections.push(asked_by.clone());
        }
        let record = session.as_ref().map(|stored| &stored.record);
        let command = instance.command(held.as_ref().map(|held| &held.record), config);
        let mut decision = decide(record, command, &instance.rules(), instance.now());
        if config.mutant == Some(Mutant::LossLooksLikeTheft) && decision.outcome == Outcome::StoreRolledBack {
            decision.outcome = Outcome::ReuseDetected;
        }
        let needs_barrier = !decision.is_proven_by_its_write() && config.mutant != Some(Mutant::StaleVerdict);
        if !instance.frame().is_fresh && needs_barrier {
            instance.frame().is_fresh = true;
            return instance.prepend([TaskStep::Barrier, TaskStep::Decide]);
        }
        let steps = instance.carry_out(&decision, session.as_ref(), held.as_ref(), config);
        instance.frame().todo.extend(steps);
    }

    /// Writes, and returns the new revision; otherwise the work goes on or ends as it has to.
    pub(super) fn write(
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
            if let (Task::Login(connection, ..), 0) = (&instance.frame().task, expected)
                && config.mutant != Some(Mutant::CreationIsForgotten)
            {
                let connection = connection.clone();
                instance.unconfirmed.insert(connection, Some(sid));
            }
            self.answered(number, None);
            return None;
        }
        let written = self.truth.swap(sid, expected, next.clone(), compares);
        if let Some(revision) = written {
            if instance.view.is_behind_us(revision, &self.truth) && config.mutant != Some(Mutant::HistoryGoesOn) {
                // It was compared in another history.
                instance.view.catch_up(&self.truth);
                self.answered(number, None);
                return None;
            }
            instance.view.apply(sid, revision, next);
            return written;
        }
        instance.view.refresh(sid, &self.truth);
        instance.lose_race(config);
        None
    }

    /// Removes an ended session. Its connections have their events, so the outcome does not matter.
    pub(super) fn remove(
        &mut self,
        number: usize,
        outcome: WriteOutcome,
        config: &Config,
        sid: SessionId,
        expected: u64,
    ) {
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
    pub(super) fn correct(&mut self, number: usize, mut sent: LastSent) {
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
            instance.frame().shown = sent;
        } else {
            instance.prepend([TaskStep::Check(sent)]);
        }
    }

    pub(super) fn settle(&mut self, number: usize, sent: &LastSent, made: Option<SessionId>, config: &Config) {
        if config.mutant == Some(Mutant::NoSettling) {
            return;
        }
        let instance = &mut self.instances[number];
        let shown = std::mem::take(&mut instance.frame().shown);
        let (mut steps, mut is_elsewhere) = (Vec::new(), false);
        for (connection, last_token) in sent {
            let mut sessions: Vec<_> =
                instance.view.all_on(connection).into_iter().map(|stored| stored.record.clone()).collect();
            if config.mutant == Some(Mutant::LaterLoginStays) {
                sessions.iter_mut().for_each(|record| record.generation = 2);
            }
            let Some((kept, others)) = apart(*last_token, &sessions, instance.now()) else { continue };
            let is_login = matches!(instance.work.last().expect("it has a task").task, Task::Login(..));
            let is_left_out = made.is_none() && config.mutant == Some(Mutant::WithdrawnIsRepeated);
            is_elsewhere |= is_login && !is_left_out && last_token.is_some_and(|sid| sid != kept);
            steps.extend(made.filter(|sid| *sid != kept).map(TaskStep::Withdraw));
            steps.extend(others.into_iter().map(|sid| TaskStep::Run(Task::Detach(sid, connection.clone()))));
            let last = shown.get(connection).copied().unwrap_or(*last_token);
            let last = if config.mutant == Some(Mutant::SentIsForgotten) { Some(kept) } else { last };
            if config.mutant != Some(Mutant::ApartUnchecked) {
                instance.unconfirmed.insert(connection.clone(), last);
            }
            steps.push(TaskStep::Check([(connection.clone(), last)].into()));
        }
        if is_elsewhere {
            instance.frame().todo = [TaskStep::Decide].into();
        }
        instance.prepend(steps);
    }
}

impl Instance {
    /// Whether its replica has gone back since it decided what it is at. Then its revision is not
    /// one of now, and nothing is sent to the bucket.
    pub(super) fn has_gone_back(&mut self, config: &Config) -> bool {
        self.frame().setbacks != self.view.setbacks && config.mutant != Some(Mutant::RevisionsOutliveHistories)
    }

    /// What it was to write is not to be written any more.
    pub(super) fn lose_race(&mut self, config: &Config) {
        let is_sweep = matches!(self.frame().task, Task::Expire(_));
        if !is_sweep {
            self.frame().todo = [TaskStep::Decide].into();
            self.frame().ends = None;
        } else if config.mutant != Some(Mutant::LoserPublishesToo) {
            self.frame().todo = [TaskStep::End(Ok(None))].into();
        }
    }

    /// Whether another session has one of the connections.
    pub(super) fn is_taken(&self, sid: SessionId, next: Option<&Record>) -> bool {
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
                let left: LastSent = cleared_early(effects).map(|connection| (connection.clone(), None)).collect();
                if !left.is_empty() && config.mutant != Some(Mutant::LeftUnchecked) {
                    steps.push(TaskStep::CheckLater(left.clone()));
                }
                steps.extend(publish(leaving));
                steps.push(TaskStep::Write(
                    next.sid,
                    changed.expect("it is one of them").revision,
                    Some(Box::new(next.clone())),
                ));
                steps.extend(publish(staying));
                if !left.is_empty() && config.mutant != Some(Mutant::ClearedOnce) {
                    steps.push(TaskStep::Resend(left));
                }
            }
            (Write::Remove, Some(Stored { record, revision })) => {
                let (before, after) = effects.iter().cloned().partition(Effect::precedes_the_end);
                steps.extend(publish(before));
                self.frame().ends = Some(record.sid);
                self.frame().is_theft = *outcome == Outcome::ReuseDetected;
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
                let is_login = config.edit.is_some() && matches!(self.frame().task, Task::Login(..));
                steps
                    .extend((is_login && config.mutant != Some(Mutant::NoSecondCheck)).then_some(TaskStep::CheckAgain));
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
