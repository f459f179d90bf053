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
//! - *A bucket that goes back* takes with it the write that is on its way, and no event. (One that
//!   the client of NATS has kept, and sends on the next connection, is not seen: ADR 0090.)
//!   Instances lose their connections then: what they are at fails, or in some worlds *waits*, and
//!   they read all of it before they do anything else. In worlds that are *quiet* they keep their
//!   connections, and notice at the next read barrier, or at a write; how a connection looks in the
//!   end is not claimed of these.
//! - *Only what happened since is certain.* What a connection was sent because of a lost write
//!   stays until its client uses its key, and what a lost logout has ended is there again (ADR
//!   0090): neither is looked at. Of thefts and losses together nothing is claimed.
//! - *A user's sessions are notified while their login is checked*, or by an idle instance; where
//!   one is killed, by an idle one. What is killed between a login and the second look at its
//!   password leaves a connection, and no key, to whoever had the former password.
//! - *That an instance has notified the sessions of a change* is known to the other one when it is
//!   killed, as by its digest (ADR 0102). Files that differ for long, and those that are missing,
//!   are in `crates/users/src/follow/tests.rs`.
//! - *A login that both take lands at once*, if its write gets no answer, *and nobody logs out*
//!   before it does: what it leaves behind otherwise is in ADR 0085.
//! - *A probe is about one session*, and two connections are enough for it.
//! - *Nobody is notified of what the bucket's time to live removes*: that nobody was there is why
//!   it was removed. A connection that is still there finds out when its client uses its key.
//!
//! **Not here, because there is nothing to order:** failed logins are counted in messages
//! (`failed_logins_count_at_all_instances`). An announced change of users (`relogin user changed`)
//! is one instance's, and a login that another one is checking may pass (ADR 0085).

mod carry_out;
pub mod config;
mod history;
pub mod probe;
pub mod properties;
pub mod scripts;
pub mod steps;
pub mod store;
mod users;
pub mod work;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
};

use relogin_session::{ConnectionId, Effect, Keyring, Policy, Record, Reply, Rules, SessionId, Timestamp};
use stateright::{Model, Property};

pub use self::config::{Absence, Config, Edit, Mutant};
use self::{
    probe::Round,
    scripts::{Ask, Client, Request},
    steps::Step,
    store::{Floating, Truth, View},
    work::Frame,
};
use crate::canon;

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
    /// Whether by its clock all sessions were used before it began.
    pub began_later: bool,
    /// The new secret: 0 is unknown to it, 1 it accepts it, 2 it signs with it.
    pub secret: u8,
    /// Whether the other instance was killed, and it has not sent connections their events again.
    pub misses: bool,
    /// How much of the lane was sent before the bucket went back.
    pub old: usize,
    /// What it has seen of the user's change.
    pub edit: Option<Edit>,
    /// Whether it has not notified the user's sessions of it.
    pub has_news: bool,
    /// How often it has begun to.
    pub changes: u8,
    /// The probe that it waits for.
    pub round: Option<Round>,
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
    /// Whether its token names the user's new role.
    pub has_new_role: bool,
    /// Whether the bucket has gone back since it was sent its token.
    pub is_token_unsure: bool,
    /// Whether it has since it was sent its user.
    pub is_user_unsure: bool,
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
    pub left: [u8; 4],
    /// An answer has said less than an event that came before its request.
    pub has_said_less: bool,
    /// The sessions that may have ended because the bucket has lost something of them.
    pub damaged: BTreeSet<SessionId>,
    /// Whether a session was ended because a used key came.
    pub has_cried_theft: bool,
    /// Whether an instance was killed that had not notified the user's sessions of the change.
    pub has_unnotified: bool,
}

const DOUBLED: usize = 0;
const UNKNOWN: usize = 1;
const KILLS: usize = 2;
const LOSSES: usize = 3;

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
        let (record, logged_in) = scripts::first_session(&first.rules(), config.is_bound);
        truth.swap(FIRST, 0, Some(record), true);
        truth.remember_if(config.losses > 0);
        let mut instances = [first.clone(), first];
        instances.iter_mut().for_each(|instance| instance.view.catch_up(&truth));
        if config.starts {
            instances[1] = Instance::default();
        }
        let a = Connection { token: Some(FIRST), user: Some(true), ..Connection::default() };
        let clients = config.scripts.iter().enumerate().map(|(number, script)| Client::new(number, script, &logged_in));
        let mut state = Self {
            truth,
            instances,
            floating: None,
            gateway: [(scripts::cid("a"), a)].into(),
            clients: clients.collect(),
            requests: Vec::new(),
            sessions: 0,
            left: [config.doubled, config.unknown, config.kills, config.losses],
            has_said_less: false,
            damaged: BTreeSet::new(),
            has_cried_theft: false,
            has_unnotified: false,
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

    fn begin(&mut self, number: usize, request: Request, config: &Config) {
        self.sessions += u8::from(matches!(request.ask, Ask::Login { .. }));
        let instance = &mut self.instances[number];
        instance.work.push(Frame::of(&request, self.sessions, config));
        instance.request = Some(request);
    }

    fn kill(&mut self, number: usize, config: &Config) {
        self.left[KILLS] -= 1;
        self.has_unnotified |= config.edit.is_some() && !self.instances[number].has_notified();
        let Instance { lane, request, old, .. } = std::mem::take(&mut self.instances[number]);
        // What it has sent still arrives.
        (self.instances[number].lane, self.instances[number].old) = (lane, old);
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
        let instance = &mut self.instances[number];
        let Some(sent) = instance.lane.pop_front() else { return };
        let is_old = instance.old > 0;
        instance.old = instance.old.saturating_sub(1);
        match sent {
            Sent::Event(Effect::SetToken(cid, token)) => {
                let connection = self.gateway.entry(cid).or_default();
                connection.cleared += u8::from(token.is_none());
                connection.is_token_unsure = is_old;
                connection.has_new_role = token.as_ref().is_some_and(users::is_new_role);
                connection.token = token.map(|token| token.sid);
            }
            Sent::Event(Effect::SetUser(cid, user)) => {
                let connection = self.gateway.entry(cid).or_default();
                connection.is_user_unsure = is_old;
                connection.user = connection.user.map(|_| user.is_some());
            }
            Sent::Event(Effect::Rotated(..)) => {}
            Sent::Answer(cid, session, known) => {
                let is_on = |record: &Record| record.is_on(&cid) && !record.is_ending();
                let is_still = |sid: &SessionId| self.truth.records.get(sid).is_some_and(|it| is_on(&it.record));
                self.has_said_less |= session.is_none() && known.filter(is_still).is_some();
                let connection = self.gateway.entry(cid).or_default();
                connection.is_user_unsure = is_old;
                connection.user = Some(session.is_some());
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
