//! A model of the session service, with the real session rules.

use std::collections::BTreeMap;

use relogin_session::{
    Attempt, Command, ConnectionId, Denied, Device, DeviceKey, Effect, Keyring, LoggedIn, Login, Next, OtherSession,
    Outcome, Policy, Proof, Record, Relogin, ReloginKey, Rules, SessionId, Timestamp, Token, User, Write, api,
    challenge, decide, machine::ended_by_logout,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Legacy, Reply, Rng, admin, device, guest};

/// Sessions on a store that loses nothing.
#[derive(Debug)]
pub(crate) struct Service {
    rules: Rules,
    pub(crate) records: BTreeMap<SessionId, Record>,
    /// What became of each request, in order.
    pub(crate) outcomes: Vec<Outcome>,
    /// The end of a session that was written and may not have been announced: announced again by
    /// the next process.
    pub(crate) unannounced: Vec<Effect>,
    /// When this process began.
    pub(crate) began: Timestamp,
    /// A legacy service in its place.
    pub(crate) legacy: Option<Legacy>,
    rng: Rng,
}

/// As `Reply`, before it is written as JSON.
type Decided = (Vec<Effect>, Result<Option<LoggedIn>, Denied>);

impl Service {
    /// A service with the demo's life times.
    pub(crate) fn new(seed: u64) -> Self {
        let policy =
            Policy { key_lifetime: 120_000, session_lifetime: 3_600_000, refresh: 60_000, revoke_within: None };
        let keyring = Keyring::new(vec![vec![9; 32]]).expect("a secret that is long enough");
        Self {
            rules: Rules { policy, keyring },
            records: BTreeMap::new(),
            outcomes: Vec::new(),
            unannounced: Vec::new(),
            began: Timestamp(0),
            legacy: None,
            rng: Rng::new(seed),
        }
    }

    /// From now on, keys live for longer than any story takes.
    pub(crate) fn keep_keys(&mut self) {
        self.rules.policy.key_lifetime = 3_600_000;
    }

    /// An auth request.
    pub(crate) fn auth(
        &mut self,
        cid: &ConnectionId,
        method: &str,
        params: &Json,
        token: Option<&Token>,
        now: u64,
    ) -> Reply {
        if let Some(legacy) = &mut self.legacy {
            return legacy.auth(cid, method, params, token);
        }
        let now = Timestamp(now);
        self.unannounced.clear();
        let decided = match method {
            "login" => self.login(cid, &read(params), token, now),
            "relogin" => self.relogin(cid, &read(params), token, now),
            "logout" => self.logout(cid, read::<Option<api::LogoutParams>>(params), token, now),
            "challenge" => return (Vec::new(), Ok(json(challenge::mint(&self.rules.keyring, cid, now)))),
            _ => (Vec::new(), Err(Denied::MethodNotFound)),
        };
        (decided.0, decided.1.map(json))
    }

    /// Who is logged in on a connection.
    pub(crate) fn user(&self, cid: &ConnectionId) -> Option<User> {
        if let Some(legacy) = &self.legacy {
            return legacy.user(cid);
        }
        let record = self.records.values().find(|record| record.is_on(cid))?;
        users().into_iter().find(|user| user.id == record.user_id)
    }

    /// The session that a connection holds.
    pub(crate) fn session(&self, cid: &ConnectionId) -> Option<SessionId> {
        self.records.values().find(|record| record.is_on(cid)).map(|record| record.sid)
    }

    /// Ends what is overdue.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<Effect> {
        let now = Timestamp(now);
        let overdue: Vec<_> = self.records.values().filter(|r| r.is_expired(now)).map(|record| record.sid).collect();
        overdue.into_iter().flat_map(|sid| self.run(Some(sid), Command::Expire, now).0).collect()
    }

    /// An administrator ends all sessions.
    pub(crate) fn revoke_all(&mut self, now: u64) -> Vec<Effect> {
        let sids: Vec<_> = self.records.keys().copied().collect();
        sids.into_iter().flat_map(|sid| self.run(Some(sid), Command::Revoke, Timestamp(now)).0).collect()
    }

    /// How often a request came to `outcome`.
    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|found| **found == outcome).count()
    }

    fn login(
        &mut self,
        cid: &ConnectionId,
        params: &api::LoginParams,
        token: Option<&Token>,
        now: Timestamp,
    ) -> Decided {
        let user = match (params.username.as_str(), params.password.expose()) {
            ("admin", "admin") => admin(),
            ("guest", "guest") => guest(),
            _ => return (Vec::new(), Err(Denied::WrongUsernamePassword)),
        };
        let public_key = params.device.as_ref().map(|device| DeviceKey::read(&device.public_key).expect("a good key"));
        let (sid, salt) = (SessionId(self.rng.bytes()), self.rng.bytes());
        let (device, attempt) = (Device { public_key, ..Device::default() }, params.attempt);
        let token = token.map(|token| token.sid);
        let login = Login { attempt, device, token, ..Login::new(cid.clone(), user) };
        let command = Command::Login { login, sid, salt, began: self.began };
        self.run(None, command, now)
    }

    fn relogin(
        &mut self,
        cid: &ConnectionId,
        params: &api::ReloginParams,
        token: Option<&Token>,
        now: Timestamp,
    ) -> Decided {
        let is_good = |proof: &api::SignedChallenge| challenge::verify(&self.rules.keyring, &proof.challenge, cid, now);
        if params.proof.as_ref().is_some_and(|proof| !is_good(proof)) {
            return (Vec::new(), Err(Denied::InvalidChallenge));
        }
        let Some(key) = params.relogin_key.parse() else {
            self.outcomes.push(Outcome::Refused);
            return (Vec::new(), Err(Denied::InvalidReloginKey));
        };
        let sid = key.sid;
        let record = self.records.get(&sid);
        let user = users().into_iter().find(|user| record.is_some_and(|record| record.user_id == user.id));
        let device = record.and_then(|record| record.device.public_key.as_ref());
        let proof = match (device, &params.proof) {
            (Some(device), Some(proof)) if device::verifies(device, proof, &params.relogin_key) => Proof::Valid,
            _ => Proof::None,
        };
        let other = match self.records.values().find(|record| record.is_on(cid)) {
            Some(held) if held.sid != sid => OtherSession::Held(Box::new(held.clone())),
            _ => OtherSession::None,
        };
        let (connection, attempt, token) = (cid.clone(), params.attempt, token.cloned());
        let used = Relogin { connection, key, attempt, proof, cookie: None, remote_addr: None, user, token, other };
        self.run(Some(sid), Command::Relogin(used), now)
    }

    fn logout(
        &mut self,
        cid: &ConnectionId,
        params: Option<api::LogoutParams>,
        token: Option<&Token>,
        now: Timestamp,
    ) -> Decided {
        let sid = params.and_then(|params| params.sid);
        let (held, token) = (self.session(cid), token.map(|token| token.sid));
        let command = Command::Logout { connection: cid.clone(), sid, held, token };
        self.run(ended_by_logout(sid, held, token), command, now)
    }

    fn run(&mut self, sid: Option<SessionId>, mut command: Command, now: Timestamp) -> Decided {
        let mut effects = Vec::new();
        loop {
            let sid = match &command {
                Command::Login { login, .. } => self.session(&login.connection),
                _ => sid,
            };
            let record = sid.and_then(|sid| self.records.get(&sid));
            let decision = decide(record, command.clone(), &self.rules, now);
            match (decision.write, sid) {
                (Write::Create(record) | Write::Replace(record), _) => drop(self.records.insert(record.sid, record)),
                (Write::Remove, Some(sid)) => {
                    drop(self.records.remove(&sid));
                    self.unannounced.clone_from(&decision.effects);
                }
                _ => {}
            }
            self.outcomes.push(decision.outcome);
            effects.extend(decision.effects);
            match (decision.next, &mut command) {
                (Next::Reply(reply), _) => return (effects, reply),
                (Next::DecideAgain, Command::Relogin(used)) => used.other = OtherSession::Left,
                (Next::DecideAgain, _) => {}
            }
        }
    }
}

/// Somebody who can read a browser's storage, but is not its device.
#[derive(Debug)]
pub(crate) struct Thief {
    pub(crate) cid: ConnectionId,
    key: ReloginKey,
    /// Whether the key's use had begun when it was copied.
    begun: Option<Attempt>,
}

impl Thief {
    /// Takes what is in `storage`.
    pub(crate) fn copy(storage: &str) -> Self {
        let record: Json = serde_json::from_str(storage).expect("storage has JSON");
        let key = ReloginKey::new(record["key"].as_str().expect("a key").to_owned());
        let begun = record["attempt"].as_str().and_then(Attempt::parse);
        Self { cid: ConnectionId::parse("thief").expect("a cid"), key, begun }
    }

    /// Uses the newest key there is, by an attempt of the thief's own or, if it was copied in
    /// mid-use, maybe by that one.
    pub(crate) fn strike(&mut self, service: &mut Service, rng: &mut Rng, now: u64) -> Reply {
        let begun = self.begun.take().filter(|_| rng.chance(70));
        let attempt = Some(begun.unwrap_or_else(|| Attempt(rng.bytes())));
        let forged = api::SignedChallenge {
            challenge: challenge::mint(&service.rules.keyring, &self.cid, Timestamp(now)).challenge,
            signature: "forged".to_owned(),
        };
        let proof = rng.chance(50).then_some(forged);
        let params = api::ReloginParams { relogin_key: self.key.clone(), attempt, proof };
        let (effects, reply) = service.relogin(&self.cid.clone(), &params, None, Timestamp(now));
        if let Ok(Some(answer)) = &reply {
            self.key = answer.relogin_key.clone();
        }
        (effects, reply.map(json))
    }
}

fn users() -> [User; 2] {
    [admin(), guest()]
}

fn read<T: for<'a> Deserialize<'a>>(params: &Json) -> T {
    serde_json::from_value(params.clone()).expect("params of the method")
}

fn json(result: impl Serialize) -> Json {
    serde_json::to_value(result).expect("results have a JSON form")
}
