//! Several instances of the service on one store, small enough to be seen whole. Beside the worlds
//! of [`crate::world`]: they have no browsers, only what the service alone has to get right.
//!
//! **Real**: the rules of sessions ([`relogin_session::decide`], keys and records), and what is
//! checked after the events of a decision ([`relogin_session::machine::several`]). **Modelled**:
//! the steps that an instance takes around a decision, one at a time, in `work` (in
//! `service/src/sessions/serve.rs`, and `several.rs` beside it, they are one future, which cannot
//! be stopped between two steps, copied and compared); the bucket and each instance's replica of
//! it, in `store`; connections at a gateway; clients that follow a script, in `scripts`, and send a
//! request again if it gets no answer.
//!
//! A replica has what the watch has shown, which may be nothing since the last read barrier. A
//! write may be done without an answer, not be done, or be done later. Events of one instance come
//! in their order, those of two in any. A request may be taken by either instance, or by both. An
//! instance may be killed between any two steps, and each has a clock of its own.
//!
//! **What a state leaves out, and why that is right or in which direction it is not:**
//! - *An instance does one thing at a time.* What concerns one session is done one after the other
//!   anyway, under locks of its connections; here everything concerns one or two sessions. What an
//!   instance does to itself between giving a lock back and taking it again is not seen.
//! - *There is one NATS server:* a read barrier comes behind the events that its instance has sent.
//! - *Ten seconds are longer than anything takes.* Whoever has marked a session as ended is waited
//!   for until it has nothing more to do with it.
//! - *Lost acknowledged writes*, probes, and users that change are left out.

pub mod properties;
pub mod scripts;
pub mod store;
pub mod work;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
};

use relogin_session::{ConnectionId, Effect, Keyring, Policy, Record, Reply, Rules, SessionId, Timestamp};
use stateright::{Model, Property};

use self::{
    scripts::{Ask, Client, Request},
    store::{Floating, Truth, View},
    work::{Frame, WriteOutcome},
};
use crate::canon;

/// A world to be checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the clients send. The first one begins with the session that there is, on `a`.
    pub scripts: &'static [&'static [Ask]],
    /// How many requests are taken by both instances.
    pub doubled: u8,
    /// How many writes get no answer.
    pub unknown: u8,
    /// How many instances are killed.
    pub kills: u8,
    /// Whether the second instance starts only now.
    pub starts: bool,
    /// Whether deadlines pass.
    pub ends: bool,
    /// Whether the secret is rotated.
    pub rotates: bool,
    /// How many sessions a user may have.
    pub cap: Option<usize>,
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// No faults: messages may only cross.
    pub const CALM: Self = Self {
        scripts: &[],
        doubled: 0,
        unknown: 0,
        kills: 0,
        starts: false,
        ends: false,
        rotates: false,
        cap: None,
        mutant: None,
    };
}

/// One thing that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A decision that no write proves is made without a read barrier.
    StaleVerdict,
    /// A get is answered without a read barrier.
    StaleAnswer,
    /// The answer to a get is not checked afterwards.
    NoCheckAfterAnswer,
    /// An instance is ready before it has read all of the bucket.
    ReadyTooEarly,
    /// What connections were sent is not checked.
    NoCheck,
    /// It is checked without a read barrier.
    StaleCheck,
    /// A connection on two sessions stays on both.
    NoSettling,
    /// A session that ends is not marked before its connections get their events.
    EndIsNotMarked,
    /// An instance that loses the race to dispose of an overdue session publishes the end as well.
    LoserPublishesToo,
    /// Writes name no revision.
    NoCompare,
    /// An unanswered write is taken for done.
    UnansweredIsDone,
    /// When an instance is killed, the other one does not send its connections their events again.
    NoResend,
    /// Connections that a refresh has shown a user are not checked.
    NoCheckAfterRefresh,
    /// A check that has failed is not repeated.
    FailedCheckIsForgotten,
    /// Each instance counts only the sessions that it has made.
    CapOfOwn,
    /// Each of two logins at once ends the session of the other.
    CapOfAll,
    /// A new secret signs before all know it.
    SignsTooEarly,
}

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
}

/// What an instance has sent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// An event.
    Event(Effect),
    /// Who a connection is; and what its token named when that was asked.
    Answer(ConnectionId, Option<SessionId>, Option<SessionId>),
}

/// An instance.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    /// False before it is ready, and once it is killed.
    pub is_up: bool,
    /// Its replica.
    pub view: View,
    /// Its tasks, innermost last.
    pub work: Vec<Frame>,
    /// The request that it serves.
    pub request: Option<Request>,
    /// What is on its way to the gateway.
    pub lane: VecDeque<Sent>,
    /// The connections that it has sent a token event.
    pub notified: BTreeSet<ConnectionId>,
    /// The connections that it has sent something and not checked, and what that was.
    pub unconfirmed: BTreeMap<ConnectionId, Option<SessionId>>,
    /// The sessions that it has made.
    pub made: BTreeSet<SessionId>,
    /// Whether by its clock deadlines have passed.
    pub is_late: bool,
    /// The new secret: 0 is unknown to it, 1 it accepts it, 2 it signs with it.
    pub secret: u8,
    /// Whether the other instance was killed, and it has not sent connections their events again.
    pub misses: bool,
}

/// A connection at the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The session that its token names.
    pub token: Option<SessionId>,
    /// Whether it shows a user; none: nobody asks.
    pub user: Option<bool>,
    /// How often its token was taken away.
    pub cleared: u8,
}

/// The state of a world.
#[derive(Clone, Debug)]
pub struct State {
    /// The bucket.
    pub truth: Truth,
    /// Both instances.
    pub instances: [Instance; 2],
    /// A write without an answer that may still be done.
    pub floating: Option<Floating>,
    /// Connections.
    pub gateway: BTreeMap<ConnectionId, Connection>,
    /// Clients.
    pub clients: Vec<Client>,
    /// Requests on their way.
    pub requests: Vec<Request>,
    /// Sessions made.
    pub sessions: u8,
    /// What is left of the faults.
    pub left: [u8; 3],
    /// An answer has said less than an event that came before its request.
    pub has_said_less: bool,
}

const DOUBLED: usize = 0;
const UNKNOWN: usize = 1;
const KILLS: usize = 2;

const NOW: Timestamp = Timestamp(1_000_000);
const LATE: Timestamp = Timestamp(2_000_000_000);

/// The session that there is.
pub const FIRST: SessionId = SessionId([0; 16]);

impl Instance {
    /// What it decides by.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let (old, new) = (vec![7; 32], vec![8; 32]);
        let secrets = match self.secret {
            0 => vec![old],
            1 => vec![old, new],
            _ => vec![new, old],
        };
        Rules {
            policy: Policy {
                key_lifetime: 1_000_000_000,
                session_lifetime: 1_000_000_000,
                refresh: 60_000,
                revoke_within: None,
            },
            keyring: Keyring::new(secrets).expect("a keyring"),
        }
    }

    /// Its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if self.is_late { LATE } else { NOW }
    }

    /// The overdue sessions that it knows.
    pub fn overdue(&self) -> impl Iterator<Item = SessionId> {
        let now = self.now();
        self.view.records().filter(move |stored| stored.record.is_expired(now)).map(|stored| stored.record.sid)
    }

    /// Whether one of its tasks ends this session.
    #[must_use]
    pub fn is_ending(&self, sid: SessionId) -> bool {
        self.work.iter().any(|frame| frame.ends == Some(sid))
    }
}

impl State {
    /// One session, on `a`, that both instances know.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut truth = Truth::default();
        let first = Instance { is_up: true, ..Instance::default() };
        let (record, logged_in) = scripts::first_session(&first.rules());
        truth.swap(FIRST, 0, Some(record), true);
        let mut instances = [first.clone(), first];
        instances.iter_mut().for_each(|instance| instance.view.catch_up(&truth));
        if config.starts {
            instances[1] = Instance::default();
        }
        let a = Connection { token: Some(FIRST), user: Some(true), cleared: 0 };
        let clients = config.scripts.iter().enumerate().map(|(number, script)| Client::new(number, script, &logged_in));
        let mut state = Self {
            truth,
            instances,
            floating: None,
            gateway: [(scripts::cid("a"), a)].into(),
            clients: clients.collect(),
            requests: Vec::new(),
            sessions: 0,
            left: [config.doubled, config.unknown, config.kills],
            has_said_less: false,
        };
        (0..state.clients.len()).for_each(|client| state.send(client));
        state
    }

    /// The client sends the next request of its script.
    pub fn send(&mut self, client: usize) {
        let Some(request) = self.clients[client].next() else { return };
        let connection = self.gateway.entry(request.connection.clone()).or_default();
        if matches!(request.ask, Ask::Get { .. }) {
            // Events that come before the answer are dropped.
            connection.user = None;
        }
        let token = connection.token;
        self.requests.push(Request { token, ..request });
    }

    fn possible(&self, config: &Config, steps: &mut Vec<Step>) {
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
            if config.ends && !instance.is_late {
                steps.push(Step::Late(number));
            }
            let (mine, other) = (instance.secret, self.instances[1 - number].secret);
            let may_sign = other > 0 || config.mutant == Some(Mutant::SignsTooEarly);
            if config.rotates && (mine == 0 || mine == 1 && may_sign) {
                steps.push(Step::Secret(number));
            }
            if self.left[KILLS] > 0 && self.instances[1 - number].is_up {
                steps.push(Step::Kill(number));
            }
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

    fn happen(&mut self, step: Step, config: &Config) {
        match step {
            Step::Take(number, index) => {
                let request = self.requests.remove(index);
                self.begin(number, request);
            }
            Step::TakeCopy(number, index) => {
                self.left[DOUBLED] -= 1;
                self.requests[index].is_copy = true;
                let request = self.requests[index].clone();
                self.begin(number, request);
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
            Step::Watch(number) => self.instances[number].view.catch_up(&self.truth),
            Step::Kill(number) => self.kill(number),
            Step::Miss(number) => {
                self.instances[number].misses = false;
                self.instances[number].work.push(Frame::resending());
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
                self.instances[1] = Instance { is_up: true, view, secret, ..Instance::default() };
            }
        }
    }

    fn begin(&mut self, number: usize, request: Request) {
        self.sessions += u8::from(matches!(request.ask, Ask::Login { .. }));
        let instance = &mut self.instances[number];
        instance.work.push(Frame::of(&request, self.sessions));
        instance.request = Some(request);
    }

    fn kill(&mut self, number: usize) {
        self.left[KILLS] -= 1;
        let Instance { lane, request, .. } = std::mem::take(&mut self.instances[number]);
        // What it has sent still arrives.
        self.instances[number].lane = lane;
        self.instances[1 - number].misses = true;
        if let Some(request) = request {
            self.again(request);
        }
    }

    /// The client gets no answer, and sends the request again unless a copy is on its way.
    pub fn again(&mut self, request: Request) {
        let is_same = |other: &Request| (other.client, other.number) == (request.client, request.number);
        let is_at_it = self.instances.iter().any(|instance| instance.request.as_ref().is_some_and(is_same));
        if self.clients[request.client].waits_for(request.number) && !is_at_it && !self.requests.iter().any(is_same) {
            self.requests.push(Request { is_copy: true, ..request });
        }
    }

    /// An instance has answered its request, or has failed.
    pub fn answered(&mut self, number: usize, reply: Option<Reply>) {
        self.instances[number].work.clear();
        let Some(request) = self.instances[number].request.take() else { return };
        let Some(reply) = reply else { return self.again(request) };
        if self.clients[request.client].take_answer(request.number, reply) {
            self.send(request.client);
        }
    }

    /// The gateway gets what comes next from an instance.
    pub fn deliver(&mut self, number: usize) {
        let Some(sent) = self.instances[number].lane.pop_front() else { return };
        match sent {
            Sent::Event(Effect::SetToken(cid, token)) => {
                let connection = self.gateway.entry(cid).or_default();
                connection.cleared += u8::from(token.is_none());
                connection.token = token.map(|token| token.sid);
            }
            Sent::Event(Effect::SetUser(cid, user)) => {
                let shown = &mut self.gateway.entry(cid).or_default().user;
                *shown = shown.map(|_| user.is_some());
            }
            Sent::Event(Effect::Rotated(..)) => {}
            Sent::Answer(cid, session, known) => {
                let is_on = |record: &Record| record.is_on(&cid) && !record.is_ending();
                let is_still = |sid: &SessionId| self.truth.records.get(sid).is_some_and(|it| is_on(&it.record));
                self.has_said_less |= session.is_none() && known.filter(is_still).is_some();
                self.gateway.entry(cid).or_default().user = Some(session.is_some());
            }
        }
    }
}

/// States are equal if their debug texts are.
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        struct Into<'a, H>(&'a mut H);
        impl<H: Hasher> fmt::Write for Into<'_, H> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        write!(Into(state), "{self:?}").expect("a hasher takes everything");
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        canon::is_same(self, other)
    }
}

/// The world as `stateright` goes through it.
impl Model for Config {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        state.possible(self, steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        next.happen(step, self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }

    fn format_action(&self, step: &Step) -> String {
        format!("{step:?}")
    }
}
