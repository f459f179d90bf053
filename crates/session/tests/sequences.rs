//! Random sequences of events in a session, and what must hold after each step.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use proptest::prelude::*;
use relogin_session::{
    Attempt, Command, ConnectionId, Decision, Denied, Device, DeviceKey, Effect, Keyring, Login, Next, OtherSession,
    Outcome, Policy, Proof, Record, Relogin, ReloginKey, Revoker, Rules, SessionId, Timestamp, Token, User, UserId,
    Write, decide, machine::MAX_CONNECTIONS,
};

const SALT: [u8; 16] = [4; 16];

#[derive(Clone, Copy, Debug)]
enum Step {
    Login { on: u8, attempt: Option<u8>, bound: bool },
    Relogin { on: u8, age: usize, attempt: Option<u8>, proven: bool, user_known: bool },
    Forge { on: u8, age: usize, flip: usize, cut: usize },
    Logout { on: u8, named: Option<u8> },
    Detach { on: u8 },
    Abandon { on: u8 },
    Prune { from: u8, to: u8 },
    Revoke { by_user: bool, is_live: bool },
    Expire,
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let on = 0..40_u8;
    let attempt = proptest::option::of(0..3_u8);
    // The newest keys are the ones that clients use.
    let age = prop_oneof![4 => Just(0_usize), 3 => Just(1), 1 => 2..9_usize];
    prop_oneof![
        2 => (on.clone(), attempt.clone(), any::<bool>()).prop_map(|(on, attempt, bound)| Step::Login { on, attempt, bound }),
        8 => (on.clone(), age.clone(), attempt, prop::bool::weighted(0.7), prop::bool::weighted(0.97))
            .prop_map(|(on, age, attempt, proven, user_known)| Step::Relogin { on, age, attempt, proven, user_known }),
        2 => (on.clone(), age, 0..448_usize, 0..75_usize)
            .prop_map(|(on, age, flip, cut)| Step::Forge { on, age, flip, cut }),
        1 => (on.clone(), proptest::option::of(0..3_u8)).prop_map(|(on, named)| Step::Logout { on, named }),
        1 => on.clone().prop_map(|on| Step::Detach { on }),
        1 => on.clone().prop_map(|on| Step::Abandon { on }),
        1 => (on.clone(), on).prop_map(|(from, to)| Step::Prune { from, to }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(by_user, is_live)| Step::Revoke { by_user, is_live }),
        1 => Just(Step::Expire),
        2 => (0..70_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// One session at a time, the keys it gave out, and what gateways were told of each connection.
struct World {
    rules: Rules,
    now: Timestamp,
    record: Option<Record>,
    keys: Vec<ReloginKey>,
    shown: HashMap<ConnectionId, (Option<Token>, Option<User>)>,
    sessions: u8,
    /// The connections that have had the newest key as the answer to the request that made it.
    had: Vec<ConnectionId>,
}

fn cid(on: u8) -> ConnectionId {
    ConnectionId::parse(&format!("c{on}")).unwrap()
}

fn user() -> User {
    User { id: UserId::Number(1), name: "Jane".to_owned(), role: "user".to_owned() }
}

impl World {
    fn new() -> Self {
        Self {
            rules: Rules {
                policy: Policy { key_lifetime: 100, session_lifetime: 500, refresh: 50, revoke_within: None },
                keyring: Keyring::new(vec![vec![3; 32]]).unwrap(),
            },
            now: Timestamp(1_000),
            record: None,
            keys: Vec::new(),
            shown: HashMap::new(),
            sessions: 0,
            had: Vec::new(),
        }
    }

    fn key(&self, age: usize) -> Option<&ReloginKey> {
        self.keys.iter().rev().nth(age)
    }

    fn token(&self, on: &ConnectionId) -> Option<Token> {
        self.shown.get(on).and_then(|(token, _)| token.clone())
    }

    fn relogin(
        &self,
        on: u8,
        key: &ReloginKey,
        attempt: Option<u8>,
        proven: bool,
        user_known: bool,
    ) -> Option<Command> {
        Some(Command::Relogin(Relogin {
            connection: cid(on),
            key: key.parse()?,
            attempt: attempt.map(|n| Attempt([n; 16])),
            proof: if proven { Proof::Valid } else { Proof::None },
            cookie: None,
            remote_addr: None,
            user: user_known.then(user),
            token: self.token(&cid(on)),
            other: OtherSession::None,
        }))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait { ms } => self.now = self.now.plus(ms),
            Step::Login { on, attempt, bound } => {
                // The store has one session; a login on a connection that is not on it would make a
                // second one.
                if self.record.as_ref().is_some_and(|record| !record.is_on(&cid(on))) {
                    return;
                }
                self.sessions += 1;
                let public_key = bound.then_some(DeviceKey::Ed25519([1; 32]));
                let login = Login {
                    attempt: attempt.map(|n| Attempt([n; 16])),
                    device: Device { public_key, ..Device::default() },
                    ..Login::new(cid(on), user())
                };
                let (sid, began) = (SessionId([self.sessions; 16]), Timestamp(0));
                let command = Command::Login { login, sid, salt: SALT, began };
                if self.apply(command.clone()).next == Next::DecideAgain {
                    let decision = self.apply(command);
                    assert_eq!(decision.outcome, Outcome::LoggedIn, "nothing is in its way any more");
                }
            }
            Step::Relogin { on, age, attempt, proven, user_known } => {
                let Some(key) = self.key(age).cloned() else { return };
                let Some(command) = self.relogin(on, &key, attempt, proven, user_known) else { return };
                let before = self.record.clone();
                let decision = self.apply(command);
                let live = before.as_ref().is_some_and(|record| !record.is_expired(self.now));
                assert_eq!(live, decision.outcome != Outcome::Refused, "every key of a live session is recognised");
                if decision.outcome == Outcome::Rotated && (attempt.is_some() || proven) {
                    self.retried(on, &key, attempt, proven, &decision);
                }
            }
            Step::Forge { on, age, flip, cut } => {
                let Some(key) = self.key(age).cloned() else { return };
                for text in [flipped(&key, flip), key.expose()[..cut].to_owned()] {
                    let Some(command) = self.relogin(on, &ReloginKey::new(text), None, true, true) else { continue };
                    let before = self.record.clone();
                    let decision = self.apply(command);
                    assert_eq!((decision.outcome, &self.record), (Outcome::Refused, &before));
                }
            }
            Step::Logout { on, named } => {
                let record = self.record.as_ref();
                let held = record.filter(|record| record.is_on(&cid(on))).map(|record| record.sid);
                // This session's, an earlier one's, or the next one's.
                let sid = named.map(|age| SessionId([(self.sessions + 1).saturating_sub(age); 16]));
                let token = self.token(&cid(on)).map(|token| token.sid);
                let before = self.record.clone();
                let decision = self.apply(Command::Logout { connection: cid(on), sid, held, token });
                if self.record != before {
                    let ended = before.map(|before| before.sid);
                    assert!(sid.is_none_or(|sid| Some(sid) == ended), "a logout that names its session ends no other");
                    assert!(ended == held || ended == token, "who logs out was logged in");
                }
                if sid.is_some_and(|_| sid != held && sid != token) {
                    assert_eq!(decision.next, Next::Reply(Err(Denied::NotLoggedIn)));
                } else {
                    assert_eq!(decision.next, Next::Reply(Ok(None)));
                    let left = self.record.as_ref().map(|record| record.sid);
                    assert!(sid.is_none() || left != sid, "what was logged out of is over");
                }
            }
            Step::Detach { on } => {
                if self.record.as_ref().is_some_and(|record| record.is_on(&cid(on))) {
                    // What another session tells it takes the place of all that this one did.
                    self.shown.remove(&cid(on));
                    self.apply(Command::Detach { connection: cid(on) });
                }
            }
            Step::Abandon { on } => {
                if self.record.as_ref().is_some_and(|record| record.is_on(&cid(on))) {
                    self.shown.remove(&cid(on));
                    self.apply(Command::Abandon { connection: cid(on) });
                }
            }
            Step::Prune { from, to } => {
                let unresponsive = (from..to).map(cid).collect();
                self.apply(Command::Prune { unresponsive, asked_by: cid(to) });
            }
            Step::Revoke { by_user, is_live } => {
                // From another session: the user's, or a stranger's.
                let user_id = UserId::Number(if by_user { 1 } else { 2 });
                let by = Revoker { sid: SessionId([u8::MAX; 16]), user_id, logged_in: Timestamp(0) };
                let before = self.record.clone();
                let decision = self.apply(Command::RevokeForUser { by: is_live.then_some(by) });
                let is_theirs = before.as_ref().is_some_and(|record| by_user && !record.is_expired(self.now));
                if is_live && is_theirs {
                    assert_eq!((decision.next, &self.record), (Next::Reply(Ok(None)), &None));
                } else {
                    let denied = if is_live { Denied::NoSuchSession } else { Denied::NotLoggedIn };
                    assert_eq!((decision.next, &self.record), (Next::Reply(Err(denied)), &before));
                }
            }
            Step::Expire => {
                self.apply(Command::Expire);
            }
        }
    }

    /// The reply was lost: the same use on another connection gets the same key, and the record
    /// stays as it is.
    fn retried(&mut self, on: u8, key: &ReloginKey, attempt: Option<u8>, proven: bool, first: &Decision) {
        let bound = self.record.as_ref().is_some_and(Record::is_bound);
        if !bound && attempt.is_none() {
            return;
        }
        let Some(again) = self.relogin(on ^ 1, key, attempt, proven, true) else { return };
        let generation = self.record.as_ref().map(|record| record.generation);
        assert_eq!(self.apply(again).next, first.next, "a retry gets the same successor");
        assert_eq!(self.record.as_ref().map(|record| record.generation), generation);
    }

    fn apply(&mut self, command: Command) -> Decision {
        let user = match &command {
            Command::Login { login, .. } => Some(login.connection.clone()),
            Command::Relogin(used) => Some(used.connection.clone()),
            _ => None,
        };
        let decision = decide(self.record.as_ref(), command, &self.rules, self.now);
        for effect in &decision.effects {
            match effect.clone() {
                Effect::SetToken(on, token) => self.shown.entry(on).or_default().0 = token,
                Effect::SetUser(on, user) => self.shown.entry(on).or_default().1 = user,
                Effect::Rotated(on, generation) => {
                    // A retry tells of the newest again.
                    assert!(Some(generation) >= self.record.as_ref().map(|record| record.generation), "{on}");
                }
            }
        }
        let before = self.record.take();
        self.record = match decision.write.clone() {
            Write::Keep => before,
            Write::Create(next) => {
                assert!(before.is_none());
                self.keys.clear();
                Some(next)
            }
            Write::Replace(next) => {
                follows(&before.expect("replaces a record"), &next, decision.outcome);
                Some(next)
            }
            Write::Remove => {
                self.keys.clear();
                None
            }
        };
        if let Some(user) = user {
            self.used(user, decision.outcome);
        }
        match &decision.next {
            Next::Reply(Ok(Some(reply))) => {
                let known = self.keys.contains(&reply.relogin_key);
                assert_eq!(known, !matches!(decision.outcome, Outcome::Rotated | Outcome::LoggedIn));
                self.keys.extend((!known).then(|| reply.relogin_key.clone()));
                assert!(reply.refresh_in <= reply.expires_in);
            }
            Next::Reply(Ok(None)) | Next::DecideAgain => {}
            Next::Reply(Err(_)) if decision.write == Write::Keep => {
                assert!(decision.effects.is_empty(), "a refusal changes nothing");
            }
            Next::Reply(Err(_)) => {
                assert_eq!(decision.write, Write::Remove, "a refused relogin writes nothing but an end");
            }
        }
        self.holds();
        decision
    }

    /// Of all who have had the newest key by the same request, one at most keeps the session: the
    /// last who used it.
    fn used(&mut self, user: ConnectionId, outcome: Outcome) {
        let is_on = |on: &ConnectionId| self.record.as_ref().is_some_and(|record| record.is_on(on));
        match outcome {
            Outcome::LoggedIn => self.had = vec![user],
            Outcome::Rotated => {
                if self.had.len() > 1 {
                    assert!(self.had.iter().all(|had| *had == user || !is_on(had)), "{:?} by {user}", self.had);
                }
                self.had = vec![user];
            }
            Outcome::Retried => {
                assert!(self.had.iter().all(|had| *had == user || !is_on(had)), "{:?} by {user}", self.had);
                if !self.had.contains(&user) {
                    self.had.push(user);
                }
            }
            _ => {}
        }
    }

    /// What must hold at any time.
    fn holds(&self) {
        let Some(record) = &self.record else {
            for (on, shown) in &self.shown {
                assert_eq!(*shown, (None, None), "{on} holds a session that is gone");
            }
            return;
        };
        assert!(record.deadline() <= record.session_deadline && record.key_deadline <= record.session_deadline);
        assert!(record.connections.len() <= MAX_CONNECTIONS);
        let token = Token { sid: record.sid, user_id: UserId::Number(1), role: "user".to_owned() };
        for on in &record.connections {
            assert_eq!(record.connections.iter().filter(|other| *other == on).count(), 1);
            assert_eq!(self.shown.get(on), Some(&(Some(token.clone()), Some(user()))), "{on} was not shown");
        }
        for (on, shown) in self.shown.iter().filter(|(on, _)| !record.is_on(on)) {
            assert_eq!(*shown, (None, None), "{on} left and was not shown");
        }
    }
}

fn follows(before: &Record, next: &Record, outcome: Outcome) {
    let grown = u64::from(outcome == Outcome::Rotated);
    assert_eq!(next.generation, before.generation + grown, "grows by one, by rotation alone");
    if grown == 0 {
        assert_eq!((next.made_by.attempt, &next.past), (before.made_by.attempt, &before.past));
        if next.made_by != before.made_by {
            assert_eq!((outcome, next.made_by.retried), (Outcome::Retried, true));
            assert!(!next.is_on(&before.made_by.connection), "the use moves");
        }
    }
    assert!(next.past.len() <= Record::PAST_ATTEMPTS);
    assert!(next.past.first() != Some(&[0; 4]), "the list does not begin with a use without an attempt");
    assert_eq!(next.session_deadline, before.session_deadline);
    assert_eq!(
        (next.sid, &next.user_id, next.created, next.salt, &next.device, next.cookie),
        (before.sid, &before.user_id, before.created, before.salt, &before.device, before.cookie),
    );
}

/// The key with one bit of its bytes flipped.
fn flipped(key: &ReloginKey, bit: usize) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = URL_SAFE_NO_PAD.decode(key.expose()).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    URL_SAFE_NO_PAD.encode(bytes)
}

proptest! {
    #[test]
    fn sessions_keep_their_promises(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
    }

    /// The other way round: with an honest client, whatever is lost, doubled or delayed, no session
    /// ends before its deadline.
    #[test]
    fn an_honest_client_is_never_logged_out(
        uses in proptest::collection::vec((0..40_u8, 0..4_u8, 0..20_u64, proptest::option::of(0..60_usize)), 1..60)
    ) {
        let mut world = World::new();
        world.take(Step::Login { on: 0, attempt: Some(0), bound: false });
        let mut held = world.key(0).unwrap().clone();
        let mut sent_before = Vec::new();
        for (attempt, (on, lost, pause, delayed)) in uses.into_iter().enumerate() {
            let attempt = Some(u8::try_from(attempt).unwrap() + 100);
            // Sent until a reply arrives, each time on another connection.
            for sent in 0..=lost {
                let message = ((on + sent) % 40, held.clone(), attempt);
                let decision = world.apply(world.relogin(message.0, &message.1, attempt, false, true).unwrap());
                if world.record.as_ref().unwrap().is_expired(world.now) {
                    return Ok(());
                }
                sent_before.push((world.record.as_ref().unwrap().generation, message));
                let reply = decision.reply().unwrap().clone().unwrap().unwrap();
                if sent == lost {
                    held = reply.relogin_key;
                }
            }
            // One of the last messages arrives once more.
            let newest = world.record.as_ref().unwrap().generation;
            let remembered = |made: u64| newest - made <= u64::try_from(Record::PAST_ATTEMPTS).unwrap();
            if let Some((_, (on, key, attempt))) = delayed
                .and_then(|age| sent_before.iter().rev().nth(age))
                .filter(|(made, _)| remembered(*made))
                .cloned()
            {
                let decision = world.apply(world.relogin(on, &key, attempt, false, true).unwrap());
                assert!(matches!(decision.outcome, Outcome::StaleRetry | Outcome::Retried), "{:?}", decision.outcome);
            }
            world.take(Step::Wait { ms: pause });
            if world.record.as_ref().unwrap().is_expired(world.now) {
                return Ok(());
            }
        }
    }
}
