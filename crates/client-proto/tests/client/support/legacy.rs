//! A model of a legacy service: it answers with a relogin key of any form and nothing else, knows
//! no attempts, refuses params that it does not know, and has one connection a session.

use relogin_session::{ConnectionId, Denied, Effect, SessionId, Token, User};
use serde_json::{Value as Json, json};

use super::{Reply, Rng, admin, guest};

/// Its sessions.
#[derive(Debug)]
pub(crate) struct Legacy {
    sessions: Vec<Session>,
    /// Whether the user model of a connection is cleared when its session moves to another one.
    pub(crate) clears_old_user: bool,
    /// How many sessions have ended because a key was used twice.
    pub(crate) used_twice: usize,
    rng: Rng,
}

#[derive(Debug)]
struct Session {
    sid: SessionId,
    user: User,
    cid: ConnectionId,
    /// The last one counts.
    keys: Vec<String>,
}

impl Legacy {
    pub(crate) fn new(seed: u64) -> Self {
        Self { sessions: Vec::new(), clears_old_user: true, used_twice: 0, rng: Rng::new(seed) }
    }

    pub(crate) fn auth(&mut self, cid: &ConnectionId, method: &str, params: &Json, token: Option<&Token>) -> Reply {
        match method {
            "login" if token.is_some() => (Vec::new(), Err(Denied::AlreadyLoggedIn)),
            "login" => self.login(cid, params),
            "relogin" => self.relogin(cid, params),
            "logout" => (self.end(|session| session.cid == *cid), Ok(Json::Null)),
            _ => (Vec::new(), Err(Denied::MethodNotFound)),
        }
    }

    pub(crate) fn user(&self, cid: &ConnectionId) -> Option<User> {
        Some(self.sessions.iter().find(|session| session.cid == *cid)?.user.clone())
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.sessions.len()
    }

    fn login(&mut self, cid: &ConnectionId, params: &Json) -> Reply {
        let user = match (params["username"].as_str(), params["password"].as_str()) {
            (Some("admin"), Some("admin")) => admin(),
            (Some("guest"), Some("guest")) => guest(),
            _ => return (Vec::new(), Err(Denied::WrongUsernamePassword)),
        };
        let effects = self.end(|session| session.cid == *cid);
        let session = Session { sid: SessionId(self.rng.bytes()), user, cid: cid.clone(), keys: Vec::new() };
        self.sessions.push(session);
        let at = self.sessions.len() - 1;
        (effects.into_iter().chain(self.events_at(at)).collect(), Ok(self.next_key(at)))
    }

    fn relogin(&mut self, cid: &ConnectionId, params: &Json) -> Reply {
        let params = params.as_object().expect("params");
        let (Some(key), 1) = (params.get("reloginKey").and_then(Json::as_str), params.len()) else {
            return (Vec::new(), Err(Denied::InvalidParams));
        };
        let Some(at) = self.sessions.iter().position(|session| session.keys.iter().any(|issued| issued == key)) else {
            return (Vec::new(), Err(Denied::InvalidReloginKey));
        };
        let session = &mut self.sessions[at];
        if session.keys.last().is_some_and(|last| last != key) {
            self.used_twice += 1;
            let sid = session.sid;
            return (self.end(|session| session.sid == sid), Err(Denied::InvalidReloginKey));
        }
        let mut effects = Vec::new();
        if session.cid != *cid {
            let old = std::mem::replace(&mut session.cid, cid.clone());
            if self.clears_old_user {
                effects.push(Effect::SetUser(old.clone(), None));
            }
            effects.push(Effect::SetToken(old, None));
            effects.extend(self.events_at(at));
        }
        (effects, Ok(self.next_key(at)))
    }

    fn end(&mut self, is_it: impl Fn(&Session) -> bool) -> Vec<Effect> {
        let ended = self.sessions.extract_if(.., |session| is_it(session));
        ended.flat_map(|ended| [Effect::SetUser(ended.cid.clone(), None), Effect::SetToken(ended.cid, None)]).collect()
    }

    fn events_at(&self, at: usize) -> [Effect; 2] {
        let Session { sid, user, cid, .. } = &self.sessions[at];
        let token = Token { sid: *sid, user_id: user.id.clone(), role: user.role.clone() };
        [Effect::SetToken(cid.clone(), Some(token)), Effect::SetUser(cid.clone(), Some(user.clone()))]
    }

    fn next_key(&mut self, at: usize) -> Json {
        let key = format!("any text/{}==", self.rng.next());
        self.sessions[at].keys.push(key.clone());
        json!({"reloginKey": key})
    }
}
