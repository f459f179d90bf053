//! A model of the session service, with the real session rules.

use std::collections::BTreeMap;

use relogin_session::{
    Attempt, Command, ConnectionId, Denied, Device, Effect, Keyring, LoggedIn, Outcome, Policy, Proof, Record,
    ReloginKey, Rules, SessionId, Timestamp, Token, User, Write, api, decide, machine::ended_by_logout,
};
use serde_json::Value as Json;

use super::{Rng, admin, guest};

/// Sessions on a store that loses nothing.
#[derive(Debug)]
pub(crate) struct Service {
    rules: Rules,
    pub(crate) records: BTreeMap<SessionId, Record>,
    /// What became of each request, in order.
    pub(crate) outcomes: Vec<Outcome>,
    rng: Rng,
}

/// What a request came to: what gateways are told, then the reply.
pub(crate) type Reply = (Vec<Effect>, Result<Option<LoggedIn>, Denied>);

impl Service {
    /// A service with the demo's life times.
    pub(crate) fn new(seed: u64) -> Self {
        let policy = Policy { key_lifetime: 120_000, session_lifetime: 3_600_000, refresh: 60_000 };
        let keyring = Keyring::new(vec![vec![9; 32]]).expect("a secret that is long enough");
        let rng = Rng::new(seed);
        Self { rules: Rules { policy, keyring }, records: BTreeMap::new(), outcomes: Vec::new(), rng }
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
        match method {
            "login" => self.login(cid, params, now),
            "relogin" => self.relogin(cid, params, token, now),
            "logout" => self.logout(cid, params, token, now),
            _ => (Vec::new(), Err(Denied::MethodNotFound)),
        }
    }

    /// Who is logged in on a connection.
    pub(crate) fn user(&self, cid: &ConnectionId) -> Option<User> {
        let record = self.records.values().find(|record| record.is_on(cid))?;
        users().into_iter().find(|user| user.id == record.user_id)
    }

    /// Ends what is overdue.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<Effect> {
        let overdue: Vec<_> =
            self.records.values().filter(|r| r.is_expired(Timestamp(now))).map(|record| record.sid).collect();
        overdue.into_iter().flat_map(|sid| self.run(Some(sid), Command::Expire, now).0).collect()
    }

    /// How often a request came to `outcome`.
    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|found| **found == outcome).count()
    }

    fn login(&mut self, cid: &ConnectionId, params: &Json, now: u64) -> Reply {
        let params: api::LoginParams = serde_json::from_value(params.clone()).expect("login params");
        let user = match (params.username.as_str(), params.password.expose()) {
            ("admin", "admin") => admin(),
            ("guest", "guest") => guest(),
            _ => return (Vec::new(), Err(Denied::WrongUsernamePassword)),
        };
        let (sid, salt) = (SessionId(self.rng.bytes()), self.rng.bytes());
        let (device, attempt) = (Device::default(), params.attempt);
        let command = Command::Login { connection: cid.clone(), user, sid, salt, attempt, device, cookie: None };
        let held = self.records.values().find(|record| record.is_on(cid)).map(|record| record.sid);
        self.run(held, command, now)
    }

    fn relogin(&mut self, cid: &ConnectionId, params: &Json, token: Option<&Token>, now: u64) -> Reply {
        let params: api::ReloginParams = serde_json::from_value(params.clone()).expect("relogin params");
        let Some(key) = params.relogin_key.parse() else {
            self.outcomes.push(Outcome::Refused);
            return (Vec::new(), Err(Denied::InvalidReloginKey));
        };
        let sid = key.sid;
        let user = self.records.get(&sid).map(|record| record.user_id.clone());
        let user = users().into_iter().find(|known| Some(&known.id) == user.as_ref());
        let command = Command::Relogin {
            connection: cid.clone(),
            key,
            attempt: params.attempt,
            proof: Proof::None,
            cookie: None,
            user,
            token: token.cloned(),
        };
        let reply = self.run(Some(sid), command, now);
        if reply.1.is_ok() {
            let others = self.records.values_mut().filter(|record| record.sid != sid);
            others.for_each(|record| record.connections.retain(|other| other != cid));
        }
        reply
    }

    fn logout(&mut self, cid: &ConnectionId, params: &Json, token: Option<&Token>, now: u64) -> Reply {
        let params: Option<api::LogoutParams> = serde_json::from_value(params.clone()).expect("logout params");
        let sid = params.and_then(|params| params.sid);
        let held = self.records.values().find(|record| record.is_on(cid)).map(|record| record.sid);
        let token = token.map(|token| token.sid);
        let command = Command::Logout { connection: cid.clone(), sid, held, token };
        self.run(ended_by_logout(sid, held, token), command, now)
    }

    fn run(&mut self, sid: Option<SessionId>, command: Command, now: u64) -> Reply {
        let record = sid.and_then(|sid| self.records.get(&sid));
        let decision = decide(record, command, &self.rules, Timestamp(now));
        match (decision.write, sid) {
            (Write::Create(record) | Write::Replace(record), _) => drop(self.records.insert(record.sid, record)),
            (Write::Remove, Some(sid)) => drop(self.records.remove(&sid)),
            _ => {}
        }
        self.outcomes.push(decision.outcome);
        (decision.effects, decision.reply)
    }

    /// What a thief who read `storage` gets by it, on a connection of their own.
    pub(crate) fn steal(&mut self, storage: &str, cid: &str, now: u64) -> Reply {
        let record: Json = serde_json::from_str(storage).expect("storage has JSON");
        let key = ReloginKey::new(record["key"].as_str().expect("a key").to_owned());
        let attempt = Some(Attempt(self.rng.bytes()));
        let params = serde_json::to_value(api::ReloginParams { relogin_key: key, attempt, proof: None }).unwrap();
        let cid = ConnectionId::parse(cid).expect("a cid");
        self.relogin(&cid, &params, None, now)
    }
}

fn users() -> [User; 2] {
    [admin(), guest()]
}
