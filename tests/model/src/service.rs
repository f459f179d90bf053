//! The service: the shipped rules, and around them the steps of `service/src/sessions.rs` in its
//! order: what clears a connection that leaves, the write, the other events, the reply; a session
//! that ends is first stored as over. A crash may come between any two of them: then the record is
//! what was written, and after the restart sessions that are over are brought to their end, and
//! gateways ask for everything again.

use std::collections::BTreeMap;

use relogin_session::{
    Attempt, Command, ConnectionId, Decision, Denied, Device, DeviceKey, Effect, Keyring, LoggedIn, Login, Next,
    OtherSession, Outcome, Policy, Proof, Record, Relogin, ReloginKey, Rules, SessionId, Timestamp, Token, User,
    UserId, Write, decide, machine::ended_by_logout,
};

use crate::{gateway::Gateway, mutant::Mutant};

/// What the service has on disk.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The sessions.
    pub records: BTreeMap<SessionId, Record>,
    /// Sessions made.
    pub made: u8,
}

/// A request on its way to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The connection that it came on, which may be gone by now.
    pub cid: ConnectionId,
    /// The client's number for it.
    pub id: u64,
    /// The token that the connection had when it was sent.
    pub token: Option<Token>,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Use a key.
    Relogin {
        /// The key.
        key: ReloginKey,
        /// The attempt.
        attempt: Option<Attempt>,
        /// Whether the device has signed for it.
        proven: bool,
    },
    /// Log in.
    Login {
        /// The attempt.
        attempt: Option<Attempt>,
        /// Whether a device key comes with it.
        bound: bool,
    },
    /// Log out.
    Logout {
        /// Of this session.
        sid: Option<SessionId>,
    },
}

/// How far a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// To its end.
    Whole,
    /// To its end, and a copy is still on its way.
    Doubled,
    /// To its end, but the reply is lost.
    Mute,
    /// The service crashes after this many steps.
    Crash(u8),
}

/// What carrying out a decision consists of.
#[derive(Clone, Debug)]
enum Step {
    Write(SessionId, Option<Box<Record>>),
    Publish(Effect),
    Reply(Result<Option<LoggedIn>, Denied>),
}

/// What a request came to, for the properties.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was decided.
    pub outcome: Outcome,
    /// The answer, if it was given.
    pub reply: Option<Result<Option<LoggedIn>, Denied>>,
    /// Whether the request was cut off before its end.
    pub crashed: bool,
}

const NOW: Timestamp = Timestamp(1_000_000);

/// The only user.
#[must_use]
pub fn jane() -> User {
    User { id: UserId::Number(3), name: "Jane".to_owned(), role: "user".to_owned() }
}

fn rules() -> Rules {
    Rules {
        policy: Policy { key_lifetime: 1_000_000, session_lifetime: 100_000_000, refresh: 60_000, revoke_within: None },
        keyring: Keyring::new(vec![vec![7; 32]]).expect("a keyring"),
    }
}

impl Service {
    /// How many steps carrying out the request takes; a crash can come before each of them, but for
    /// the first.
    #[must_use]
    pub fn steps(&self, request: &Request, mutant: Option<Mutant>) -> u8 {
        u8::try_from(self.clone().plan(request, mutant).1.len()).expect("few steps")
    }

    /// Carries out a request as far as it gets.
    pub fn serve(&mut self, request: &Request, fate: Fate, gateway: &mut Gateway, mutant: Option<Mutant>) -> Report {
        let (outcome, steps) = self.plan(request, mutant);
        let upto = if let Fate::Crash(upto) = fate { usize::from(upto) } else { steps.len() };
        let crashed = matches!(fate, Fate::Crash(_));
        let mut given = None;
        for step in steps.into_iter().take(upto) {
            match step {
                Step::Write(sid, record) => match record {
                    Some(record) => drop(self.records.insert(sid, *record)),
                    None => drop(self.records.remove(&sid)),
                },
                Step::Publish(effect) => gateway.apply(&effect),
                Step::Reply(_) if fate == Fate::Mute => {}
                Step::Reply(reply) => {
                    gateway.reply(&request.cid, request.id, &reply);
                    given = Some(reply);
                }
            }
        }
        if crashed {
            self.restart(gateway);
        }
        Report { outcome, reply: given, crashed }
    }

    /// The session that the connection is on, by the store.
    #[must_use]
    pub fn on(&self, cid: &ConnectionId) -> Option<&Record> {
        self.records.values().find(|record| record.is_on(cid))
    }

    /// The user who is logged in on the connection.
    #[must_use]
    pub fn user_on(&self, cid: &ConnectionId) -> Option<User> {
        self.on(cid).filter(|record| !record.is_expired(NOW)).map(|_| jane())
    }

    /// Whether the session can still be used.
    #[must_use]
    pub fn is_live(&self, sid: &SessionId) -> bool {
        self.records.get(sid).is_some_and(|record| !record.is_expired(NOW))
    }

    fn restart(&mut self, gateway: &mut Gateway) {
        let over: Vec<_> = self.records.values().filter(|record| record.is_expired(NOW)).cloned().collect();
        for record in over {
            for effect in decide(Some(&record), Command::Expire, &rules(), NOW).effects {
                gateway.apply(&effect);
            }
            self.records.remove(&record.sid);
        }
        // system.reset
        let subscribed: Vec<_> =
            gateway.0.iter().filter(|(_, connection)| connection.model.is_some()).map(|(cid, _)| cid.clone()).collect();
        for cid in subscribed {
            gateway.show(&cid, self.user_on(&cid));
        }
    }

    /// What is decided, and the steps that it takes to carry it out.
    fn plan(&mut self, request: &Request, mutant: Option<Mutant>) -> (Outcome, Vec<Step>) {
        let cid = &request.cid;
        let mut steps = Vec::new();
        let (record, mut command) = match &request.ask {
            Ask::Relogin { key, attempt, proven } => {
                let Some(key) = key.parse() else { panic!("a key of no form") };
                let record = self.records.get(&key.sid).cloned();
                let proof = if *proven || mutant == Some(Mutant::AnyProofWill) { Proof::Valid } else { Proof::None };
                let other = OtherSession::than(key.sid, self.on(cid), false);
                let used = Relogin {
                    connection: cid.clone(),
                    key,
                    attempt: *attempt,
                    proof,
                    cookie: None,
                    remote_addr: None,
                    user: Some(jane()),
                    token: request.token.clone(),
                    other,
                };
                (record, Command::Relogin(used))
            }
            Ask::Login { attempt, bound } => {
                self.made += 1;
                let (sid, salt) = (SessionId([self.made; 16]), [self.made; 16]);
                let public_key = bound.then_some(DeviceKey::Ed25519([1; 32]));
                let device = Device { public_key, ..Device::default() };
                let login = Login { attempt: *attempt, device, ..Login::new(cid.clone(), jane()) };
                (self.on(cid).cloned(), Command::Login { login, sid, salt, began: NOW })
            }
            Ask::Logout { sid } => {
                let sid = sid.filter(|_| mutant != Some(Mutant::LogoutNamesNothing));
                let held = self.on(cid).map(|record| record.sid);
                let token = request.token.as_ref().map(|token| token.sid);
                let record = ended_by_logout(sid, held, token).and_then(|sid| self.records.get(&sid)).cloned();
                (record, Command::Logout { connection: cid.clone(), sid, held, token })
            }
        };
        let mut decision = judge(record.as_ref(), &command, mutant);
        // The connection leaves the session that it was on.
        if let (Command::Relogin(used), Next::DecideAgain) = (&mut command, &decision.next) {
            carry_out(self.on(cid), decision, &mut steps);
            used.other = OtherSession::Left;
            decision = judge(record.as_ref(), &command, mutant);
        }
        let outcome = decision.outcome;
        carry_out(record.as_ref(), decision, &mut steps);
        if mutant == Some(Mutant::ReplyBeforeWrite) {
            steps.sort_by_key(|step| matches!(step, Step::Write(..)));
        }
        (outcome, steps)
    }
}

/// `write_and_publish` of `service/src/sessions/serve.rs`, and the reply.
fn carry_out(record: Option<&Record>, decision: Decision, steps: &mut Vec<Step>) {
    let clears = |effect: &Effect| matches!(effect, Effect::SetToken(_, None) | Effect::SetUser(_, None));
    let Decision { write, effects, next, outcome: _ } = decision;
    let write_of = |record: &Record| Step::Write(record.sid, Some(Box::new(record.clone())));
    match (write, record) {
        (Write::Create(record), _) => {
            steps.push(write_of(&record));
            steps.extend(effects.into_iter().map(Step::Publish));
        }
        (Write::Replace(next), _) => {
            let (first, then): (Vec<_>, Vec<_>) = effects.into_iter().partition(clears);
            steps.extend(first.into_iter().map(Step::Publish));
            steps.push(write_of(&next));
            steps.extend(then.into_iter().map(Step::Publish));
        }
        (Write::Remove, Some(record)) => {
            if !record.is_expired(NOW) {
                steps.push(write_of(&record.ended()));
            }
            steps.extend(effects.into_iter().map(Step::Publish));
            steps.push(Step::Write(record.sid, None));
        }
        (Write::Keep | Write::Remove, _) => steps.extend(effects.into_iter().map(Step::Publish)),
    }
    if let Next::Reply(reply) = next {
        steps.push(Step::Reply(reply));
    }
}

/// The shipped rules, or what a mutant makes of them.
fn judge(record: Option<&Record>, command: &Command, mutant: Option<Mutant>) -> Decision {
    let rules = rules();
    let decision = decide(record, command.clone(), &rules, NOW);
    if (mutant, decision.outcome) == (Some(Mutant::LogoutElsewhereIsDone), Outcome::NotLoggedIn) {
        return Decision { next: Next::Reply(Ok(None)), ..decision };
    }
    let (Some(record), Some(mutant)) = (record, mutant) else { return decision };
    let again = |attempt: Option<Attempt>, generation: u64| {
        let mut again = command.clone();
        if let Command::Relogin(used) = &mut again {
            // The genuine key of that generation.
            if let Some(other) = rules.keyring.mint(record.sid, &record.salt, generation).parse() {
                used.key = other;
            }
            used.attempt = attempt;
        }
        decide(Some(record), again, &rules, NOW)
    };
    match (mutant, decision.outcome) {
        (Mutant::RetryWithoutAttempt, Outcome::ReuseDetected) => match command {
            Command::Relogin(used) if used.key.generation + 1 == record.generation => {
                again(record.made_by.attempt, used.key.generation)
            }
            _ => decision,
        },
        (Mutant::CatchUpForBearer, Outcome::ReuseDetected) => again(record.made_by.attempt, record.generation - 1),
        (Mutant::ReuseIsRefused, Outcome::ReuseDetected) => {
            Decision { write: Write::Keep, effects: Vec::new(), ..decision }
        }
        (Mutant::StaleRetryIsReuse, Outcome::StaleRetry) => {
            let clear = |cid: &ConnectionId| [Effect::SetUser(cid.clone(), None), Effect::SetToken(cid.clone(), None)];
            let effects = record.connections.iter().flat_map(clear).collect();
            Decision { write: Write::Remove, effects, ..decision }
        }
        (Mutant::RetryMovesNothing, Outcome::Retried) => {
            let Write::Replace(mut next) = decision.write else { return decision };
            next.made_by = record.made_by.clone();
            let left = record.connections.iter().filter(|cid| !next.is_on(cid)).cloned().collect::<Vec<_>>();
            next.connections.splice(0..0, left);
            let effects = decision
                .effects
                .into_iter()
                .filter(|effect| matches!(effect, Effect::SetToken(_, Some(_)) | Effect::SetUser(_, Some(_))));
            Decision { effects: effects.collect(), write: Write::Replace(next), ..decision }
        }
        (Mutant::RotationNotAnnounced, _) => {
            let effects = decision.effects.into_iter().filter(|effect| !matches!(effect, Effect::Rotated(..)));
            Decision { effects: effects.collect(), ..decision }
        }
        (Mutant::AnnouncedAfterToken, _) => {
            let mut effects = decision.effects;
            effects.sort_by_key(|effect| matches!(effect, Effect::Rotated(..)));
            Decision { effects, ..decision }
        }
        _ => decision,
    }
}
