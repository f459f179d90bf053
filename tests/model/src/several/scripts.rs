//! What clients send, in which order. Must not know of instances.

use relogin_session::{
    Attempt, Command, ConnectionId, Device, DeviceKey, LoggedIn, Login, Next, Record, ReloginKey, Reply, Rules,
    SessionId, Write, decide,
};

use super::{FIRST, NOW};
use crate::service::jane;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Use its newest key on a connection, by an attempt.
    Relogin {
        /// Where.
        on: &'static str,
        /// The attempt.
        attempt: u8,
    },
    /// Log in on a connection.
    Login {
        /// Where.
        on: &'static str,
        /// The attempt; none of a legacy client.
        attempt: Option<u8>,
    },
    /// Log out on a connection.
    Logout {
        /// Where.
        on: &'static str,
    },
    /// Who is logged in on a connection?
    Get {
        /// Where.
        on: &'static str,
    },
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's number.
    pub client: usize,
    /// The client's number for it.
    pub number: usize,
    /// What is asked.
    pub ask: Ask,
    /// On this connection.
    pub connection: ConnectionId,
    /// The key that comes along.
    pub key: Option<String>,
    /// The session that the connection's token names.
    pub token: Option<SessionId>,
    /// Whether it was sent before.
    pub is_copy: bool,
}

/// A client: it sends what its script says, and the next when it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    number: usize,
    script: &'static [Ask],
    at: usize,
    key: Option<String>,
    /// The session that it was logged in to last.
    pub session: Option<SessionId>,
    /// What it was refused.
    pub refused: Option<&'static Ask>,
    /// How often it was given a key.
    pub given: u8,
    /// How many sessions were ended by it.
    pub logouts: u8,
}

/// A connection by its name.
#[must_use]
pub fn cid(name: &str) -> ConnectionId {
    ConnectionId::parse(name).expect("a connection id")
}

/// An attempt by its number.
#[must_use]
pub fn attempt(number: u8) -> Attempt {
    Attempt([number; 16])
}

/// What a login says of its device, which has a key pair or not.
pub(super) fn device(is_bound: bool) -> Device {
    Device { public_key: is_bound.then_some(DeviceKey::Ed25519([1; 32])), ..Device::default() }
}

/// The session that there is, and what its login was answered.
pub(super) fn first_session(rules: &Rules, is_bound: bool) -> (Record, LoggedIn) {
    let login = Login { attempt: Some(attempt(1)), device: device(is_bound), ..Login::new(cid("a"), jane()) };
    let decision = decide(None, Command::Login { login, sid: FIRST, salt: [0; 16], began: NOW }, rules, NOW);
    match (decision.write, decision.next) {
        (Write::Create(record), Next::Reply(Ok(Some(logged_in)))) => (record, logged_in),
        (write, next) => panic!("a login makes a session: {write:?}, {next:?}"),
    }
}

impl Client {
    /// One that has the key of the first session, as has whoever copied it.
    #[must_use]
    pub fn new(number: usize, script: &'static [Ask], first: &LoggedIn) -> Self {
        let key = Some(first.relogin_key.expose().to_owned());
        let session = (number == 0).then_some(FIRST);
        Self { number, script, at: 0, key, session, refused: None, given: 0, logouts: 0 }
    }

    /// What it sends next.
    #[must_use]
    pub fn next(&self) -> Option<Request> {
        let ask = *self.script.get(self.at)?;
        let (Ask::Relogin { on, .. } | Ask::Login { on, .. } | Ask::Logout { on } | Ask::Get { on }) = ask;
        let key = matches!(ask, Ask::Relogin { .. }).then(|| self.key.clone()).flatten();
        let (client, number, connection) = (self.number, self.at, cid(on));
        Some(Request { client, number, ask, connection, key, token: None, is_copy: false })
    }

    /// Whether it has no answer to this yet.
    #[must_use]
    pub fn waits_for(&self, number: usize) -> bool {
        self.at == number && !self.is_done()
    }

    /// Whether it sends nothing more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at >= self.script.len()
    }

    /// What it was answered last.
    #[must_use]
    pub fn last(&self) -> Option<Ask> {
        self.script.get(self.at.checked_sub(1)?).copied()
    }

    /// Takes an answer; true if the next request follows.
    pub fn take_answer(&mut self, number: usize, reply: Reply) -> bool {
        if !self.waits_for(number) {
            return false;
        }
        match reply {
            Ok(Some(LoggedIn { relogin_key, .. })) => {
                self.session = ReloginKey::session(&relogin_key);
                self.key = Some(relogin_key.expose().to_owned());
                self.given += 1;
            }
            Ok(None) => {
                if let Ask::Logout { .. } = self.script[self.at] {
                    (self.session, self.logouts) = (None, self.logouts + 1);
                }
            }
            Err(_) => {
                self.refused = Some(&self.script[self.at]);
                self.at = self.script.len();
                return false;
            }
        }
        self.at += 1;
        true
    }
}
