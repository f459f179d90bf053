//! What can happen in a state, and what comes of it.

use relogin_session::SessionId;

use super::{
    Config, DOUBLED, Instance, KILLS, LATE, LOSSES, Mutant, State, UNKNOWN,
    store::{Floating, View},
    work::{Frame, WriteOutcome},
};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// An instance takes a request.
    Take(usize, usize),
    /// So do both.
    TakeCopy(usize, usize),
    /// An instance does its next step.
    Go(usize),
    /// Its next write gets no answer, and is done.
    GoUnanswered(usize),
    /// Its next write gets no answer, and is done later or not at all.
    GoDelayed(usize),
    /// A delayed write reaches the store.
    Land,
    /// It is lost.
    Sink,
    /// The gateway gets the next message of an instance.
    Deliver(usize),
    /// The watch shows an instance all that is stored.
    Watch(usize),
    /// An instance is killed.
    Kill(usize),
    /// The other one notices that.
    Miss(usize),
    /// By an instance's clock the session is over.
    Late(usize),
    /// An instance disposes of an overdue session.
    Sweep(usize, SessionId),
    /// An instance checks what it has sent and not checked.
    Confirm(usize),
    /// An instance learns the new secret, or signs with it.
    Secret(usize),
    /// The second instance has read the bucket.
    Start,
    /// The bucket goes back to one of its earlier states.
    Lose(usize),
    /// An instance sees what has changed about the user, and lets them in or not by that.
    See(usize),
    /// It notifies the user's sessions.
    Notify(usize),
    /// A connection answers the probe of the first instance; the second one takes the answer.
    Respond(usize, usize, usize),
    /// The time for that is over.
    Judge(usize),
    /// The bucket removes a session whose time to live is over.
    Outlive(SessionId),
}

impl State {
    pub(super) fn possible(&self, config: &Config, steps: &mut Vec<Step>) {
        if config.lands_at_once && self.floating.is_some() {
            return steps.extend([Step::Land, Step::Sink]);
        }
        for (number, instance) in self.instances.iter().enumerate() {
            if !instance.lane.is_empty() {
                steps.push(Step::Deliver(number));
            }
            if !instance.is_up {
                continue;
            }
            if !instance.view.is_current(&self.truth) {
                steps.push(Step::Watch(number));
            }
            if config.edit.is_some() && instance.edit.is_none() {
                steps.push(Step::See(number));
            }
            if config.ends && !instance.is_late {
                steps.push(Step::Late(number));
            }
            let (mine, other) = (instance.secret, self.instances[1 - number].secret);
            let may_sign = other > 0 || config.mutant == Some(Mutant::SignsTooEarly);
            if config.rotates && (mine == 0 || mine == 1 && may_sign) {
                steps.push(Step::Secret(number));
            }
            if self.left[KILLS] > 0 && (self.instances[1 - number].is_up || config.has_ttl) {
                steps.push(Step::Kill(number));
            }
            if instance.has_news && instance.may_notify(config) {
                steps.push(Step::Notify(number));
            }
            self.possible_responses(number, config, steps);
            if instance.work.is_empty() {
                self.possible_next(number, config, steps);
                continue;
            }
            steps.push(Step::Go(number));
            if self.left[UNKNOWN] > 0 && instance.is_about_to_write() {
                steps.push(Step::GoUnanswered(number));
                if self.floating.is_none() {
                    steps.push(Step::GoDelayed(number));
                }
            }
        }
        if self.floating.is_some() {
            steps.extend([Step::Land, Step::Sink]);
        }
        if self.left[LOSSES] > 0 {
            steps.extend((0..self.truth.earlier()).map(Step::Lose));
        }
        steps.extend(self.outlived(config).map(Step::Outlive));
        if config.starts && !self.instances[1].is_up && self.left[KILLS] == config.kills {
            steps.push(Step::Start);
        }
    }

    /// The tasks that an idle instance can begin.
    fn possible_next(&self, number: usize, config: &Config, steps: &mut Vec<Step>) {
        let instance = &self.instances[number];
        for (index, request) in self.requests.iter().enumerate() {
            steps.push(Step::Take(number, index));
            if self.left[DOUBLED] > 0 && !request.is_copy {
                steps.push(Step::TakeCopy(number, index));
            }
        }
        if !instance.unconfirmed.is_empty() {
            steps.push(Step::Confirm(number));
        }
        if instance.round.as_ref().is_some_and(|round| round.awaited.is_empty()) {
            steps.push(Step::Judge(number));
        }
        // By then, all that the other one has sent has arrived.
        let others = &self.instances[1 - number];
        if instance.misses && others.lane.is_empty() && config.mutant != Some(Mutant::NoResend) {
            steps.push(Step::Miss(number));
        }
        // The others leave it to whoever has marked it.
        let is_left = |sid: &SessionId| {
            let is_marked = instance.view.load(*sid).is_some_and(|stored| stored.record.is_ending());
            is_marked && self.instances[1 - number].is_ending(*sid)
        };
        steps.extend(instance.overdue().filter(|sid| !is_left(sid)).map(|sid| Step::Sweep(number, sid)));
    }

    /// The overdue sessions that the bucket removes: an hour later, so only if nobody is there who
    /// would dispose of them.
    pub(super) fn outlived(&self, config: &Config) -> impl Iterator<Item = SessionId> {
        let is_too_short = config.mutant == Some(Mutant::TimeToLiveTooShort);
        let is_time = if is_too_short {
            self.instances.iter().any(|instance| instance.is_late)
        } else {
            self.instances.iter().all(|instance| !instance.is_up)
        };
        let has_ttl = config.has_ttl && config.mutant != Some(Mutant::NoTimeToLive);
        let overdue = self.truth.records.values().filter(|stored| stored.record.is_expired(LATE));
        overdue.filter(move |_| has_ttl && is_time).map(|stored| stored.record.sid)
    }

    pub(super) fn happen(&mut self, step: Step, config: &Config) {
        match step {
            Step::Take(number, index) => {
                let request = self.requests.remove(index);
                self.begin(number, request, config);
            }
            Step::TakeCopy(number, index) => {
                self.left[DOUBLED] -= 1;
                self.requests[index].is_copy = true;
                let request = self.requests[index].clone();
                self.begin(number, request, config);
            }
            Step::Go(number) => self.work(number, WriteOutcome::Answered, config),
            Step::GoUnanswered(number) => {
                self.left[UNKNOWN] -= 1;
                self.work(number, WriteOutcome::Unanswered, config);
            }
            Step::GoDelayed(number) => {
                self.left[UNKNOWN] -= 1;
                self.work(number, WriteOutcome::Delayed, config);
            }
            Step::Land => {
                let Floating { sid, expected, next } = self.floating.take().expect("there is one");
                self.truth.swap(sid, expected, next, config.mutant != Some(Mutant::NoCompare));
            }
            Step::Sink => self.floating = None,
            Step::Deliver(number) => self.deliver(number),
            Step::Watch(number) => self.follow(number, config),
            Step::Kill(number) => self.kill(number, config),
            Step::Miss(number) => {
                let is_notified_again = self.has_unnotified && config.mutant != Some(Mutant::NotNotifiedAgain);
                let instance = &mut self.instances[number];
                instance.misses = false;
                instance.work.push(Frame::resending());
                instance.has_news |= is_notified_again && instance.edit.is_some();
                self.has_unnotified = false;
            }
            Step::Confirm(number) => {
                let sent = std::mem::take(&mut self.instances[number].unconfirmed);
                self.instances[number].work.push(Frame::confirming(sent));
            }
            Step::Late(number) => self.instances[number].is_late = true,
            Step::Sweep(number, sid) => self.instances[number].work.push(Frame::expiring(sid)),
            Step::Secret(number) => self.instances[number].secret += 1,
            Step::Start => {
                let view = match config.mutant {
                    Some(Mutant::ReadyTooEarly) => View::from_now_on(&self.truth),
                    _ => View::of(&self.truth),
                };
                // It reads the secrets before it is ready.
                let secret = self.instances[0].secret.min(1);
                self.instances[1] = Instance { is_up: true, began_later: true, view, secret, ..Instance::default() };
            }
            Step::Lose(earlier) => self.lose(earlier, config),
            Step::See(number) => {
                let instance = &mut self.instances[number];
                (instance.edit, instance.has_news) = (config.edit, true);
            }
            Step::Notify(number) => {
                let instance = &mut self.instances[number];
                instance.has_news = false;
                instance.changes += 1;
                instance.work.push(Frame::notifying());
            }
            Step::Respond(number, taker, index) => self.respond(number, taker, index),
            Step::Judge(number) => self.instances[number].judge(),
            Step::Outlive(sid) => {
                let revision = self.truth.records[&sid].revision;
                self.truth.swap(sid, revision, None, true);
            }
        }
    }
}
