//! The rules of sessions under any sequence of commands: what is written follows from what was
//! there, only genuine keys are given out, and whoever has no proof gets nothing of a bound
//! session.

use relogin_session::{
    Attempt, Command, ConnectionId, Device, DeviceKey, Effect, Keyring, Login, Next, OtherSession, Outcome, Policy,
    Proof, Record, Relogin, ReloginKey, Rules, SessionId, Timestamp, Token, User, UserId, Write, api::PublicKey,
    challenge, decide,
};

use crate::supply::Supply;

struct World {
    rules: Rules,
    now: Timestamp,
    record: Option<Record>,
    keys: Vec<ReloginKey>,
    sessions: u8,
}

pub(crate) fn commands(input: &[u8]) {
    let mut supply = Supply::new(input);
    let policy = Policy { key_lifetime: 100, session_lifetime: 500, refresh: 50, revoke_within: None };
    let rules = Rules { policy, keyring: Keyring::new(vec![vec![3; 32]]).unwrap() };
    let mut world = World { rules, now: Timestamp(1000), record: None, keys: Vec::new(), sessions: 0 };
    while !supply.is_empty() {
        world.step(&mut supply);
    }
}

impl World {
    fn step(&mut self, supply: &mut Supply<'_>) {
        let connection = ConnectionId::parse(&format!("c{}", supply.below(5))).unwrap();
        let attempt = Some(supply.below(4)).filter(|attempt| *attempt > 0).map(|attempt| Attempt([attempt; 16]));
        let token = self.record.as_ref().filter(|record| record.is_on(&connection)).map(|record| record.sid);
        let command = match supply.below(12) {
            0 | 1 if self.record.as_ref().is_none_or(|record| record.is_on(&connection)) => {
                self.sessions = self.sessions.wrapping_add(1);
                let public_key = (supply.below(2) == 0).then_some(DeviceKey::Ed25519([1; 32]));
                let device = Device { public_key, ..Device::default() };
                let (sid, salt) = (SessionId([self.sessions; 16]), [self.sessions; 16]);
                let login = Login { attempt, device, token, ..Login::new(connection, user()) };
                Command::Login { login, sid, salt, began: Timestamp(u64::from(supply.byte()) * 8) }
            }
            2 => Command::Logout { connection, sid: None, held: token, token },
            3 => Command::Detach { connection },
            4 => Command::Abandon { connection },
            5 => {
                let last = self.record.as_ref().and_then(|record| record.connections.last()).cloned();
                let asked_by = last.unwrap_or_else(|| connection.clone());
                Command::Prune { unresponsive: vec![connection], asked_by }
            }
            6 => Command::Expire,
            7 => {
                self.now = self.now.plus(u64::from(supply.byte()));
                return;
            }
            _ => {
                let Some(key) = self.key(supply) else { return };
                let proof = if supply.below(2) == 0 { Proof::Valid } else { Proof::None };
                let user = (supply.below(16) > 0).then(user);
                let token = token.map(|sid| Token { sid, user_id: UserId::Number(1), role: "user".to_owned() });
                let other = OtherSession::None;
                Command::Relogin(Relogin {
                    connection,
                    key,
                    attempt,
                    proof,
                    cookie: None,
                    remote_addr: None,
                    user,
                    token,
                    other,
                })
            }
        };
        self.apply(command);
    }

    /// Any key that was given out, of any session.
    fn key(&self, supply: &mut Supply<'_>) -> Option<relogin_session::PresentedKey> {
        let age = usize::from(supply.byte()) % self.keys.len().max(1);
        self.keys.iter().rev().nth(age)?.parse()
    }

    fn apply(&mut self, command: Command) {
        let unproven = matches!(&command, Command::Relogin(used) if used.proof == Proof::None);
        let is_relogin = matches!(&command, Command::Relogin(_));
        let before = self.record.clone();
        let decision = decide(before.as_ref(), command.clone(), &self.rules, self.now);
        let again = decide(before.as_ref(), command, &self.rules, self.now);
        assert_eq!((&decision.write, &decision.effects, &decision.next), (&again.write, &again.effects, &again.next));
        if unproven && before.as_ref().is_some_and(Record::is_bound) {
            let is_refused = matches!(decision.next, Next::Reply(Err(_)));
            assert!(is_refused && decision.write == Write::Keep && decision.effects.is_empty());
        }
        match (&decision.write, &before) {
            (Write::Keep, _) => {}
            (Write::Create(record), _) => {
                assert_eq!(record.generation, 1);
                self.record = Some(record.clone());
            }
            (Write::Replace(next), Some(before)) => {
                let step = u64::from(decision.outcome == Outcome::Rotated);
                assert_eq!((next.sid, next.salt, next.generation), (before.sid, before.salt, before.generation + step));
                assert!(next.deadline() <= next.session_deadline && next.session_deadline == before.session_deadline);
                assert_eq!(Record::decode(&next.encode().unwrap()).unwrap(), *next);
                self.record = Some(next.clone());
            }
            (Write::Remove, Some(before)) => {
                let is_told = |cid| decision.effects.contains(&Effect::SetToken(cid, None));
                let in_silence = matches!(decision.outcome, Outcome::Abandoned);
                assert!(
                    in_silence || before.connections.iter().cloned().all(is_told),
                    "a connection that is not told keeps its token"
                );
                self.record = None;
            }
            (write, None) => panic!("{write:?} of nothing"),
        }
        if let Next::Reply(Ok(Some(granted))) = decision.next {
            let record = self.record.as_ref().unwrap();
            let key = granted.relogin_key.parse().unwrap();
            assert!(self.rules.keyring.verify(&key, &record.salt) && key.generation == record.generation);
            assert!(!is_relogin || granted.expires_in > 0);
            self.keys.push(granted.relogin_key);
        }
    }
}

fn user() -> User {
    User { id: UserId::Number(1), name: "Jane".to_owned(), role: "user".to_owned() }
}

/// Device keys of any form, and challenges that nobody gave out.
pub(crate) fn device(input: &[u8]) {
    if let Ok(key) = serde_json::from_slice::<PublicKey>(input)
        && let Some(read) = DeviceKey::read(&key)
    {
        // One key, one text.
        assert_eq!(DeviceKey::read(&PublicKey { y: key.y.clone(), ..key.clone() }), Some(read));
        let mut other = key.clone();
        other.x.push('A');
        assert_eq!(DeviceKey::read(&other), None);
    }
    let keyring = Keyring::new(vec![vec![7; 32]]).unwrap();
    let (cid, other) = (ConnectionId::parse("c1").unwrap(), ConnectionId::parse("c2").unwrap());
    let now = Timestamp(1_000_000);
    let text = String::from_utf8_lossy(input);
    let given = challenge::mint(&keyring, &cid, now);
    assert_eq!(
        challenge::verify(&keyring, &text, &cid, now),
        text == given.challenge,
        "accepts a challenge that nobody gave out"
    );
    assert!(!challenge::verify(&keyring, &given.challenge, &other, now));
    assert!(!challenge::verify(&keyring, &given.challenge, &cid, now.plus(given.expires_in + 1)));
    let mut forged = given.challenge.clone().into_bytes();
    let mut supply = Supply::new(input);
    let at = usize::from(supply.byte()) % forged.len();
    forged[at] = supply.byte();
    if forged != given.challenge.as_bytes()
        && let Ok(forged) = String::from_utf8(forged)
    {
        assert!(!challenge::verify(&keyring, &forged, &cid, now));
    }
}
