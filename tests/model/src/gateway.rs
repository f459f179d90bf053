//! A gateway: tokens and subscriptions of connections, and what is on its way to them. What it does
//! here at once, the shipped one does as it should: its own tests show that.

use std::collections::{BTreeMap, VecDeque};

use relogin_res::client::{encode_error, encode_payload, encode_result};
use relogin_session::{ConnectionId, Denied, Effect, LoggedIn, Token, User, UserModel};
use serde_json::{json, value::to_raw_value};

/// What a gateway knows.
#[derive(Clone, Debug, Default)]
pub struct Gateway(pub BTreeMap<ConnectionId, Connection>);

/// One connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The tab at its other end; none: a thief.
    pub tab: Option<usize>,
    /// Its token, as services get it.
    pub token: Option<Token>,
    /// The user model, if it is subscribed to.
    pub model: Option<Option<User>>,
    /// What is on its way: answers, and events of the user model. Each in its order, but not among
    /// each other.
    pub lanes: [VecDeque<String>; 2],
}

/// The lane of answers to login, relogin and logout.
pub const ANSWERS: usize = 0;
/// The lane of the user model.
pub const USER: usize = 1;

impl Gateway {
    /// An event of the service.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::SetToken(cid, token) => {
                if let Some(connection) = self.0.get_mut(cid) {
                    connection.token.clone_from(token);
                }
            }
            Effect::SetUser(cid, user) => self.show(cid, user.clone()),
            Effect::Rotated(cid, generation) => {
                if let Some(connection) = self.0.get_mut(cid).filter(|connection| connection.model.is_some()) {
                    let frame = json!({"event": "session.user.{cid}.rotated", "data": {"generation": generation}});
                    connection.lanes[USER].push_back(frame.to_string());
                }
            }
        }
    }

    /// The user model of a connection has this user now: subscribers are notified if that is a
    /// change.
    pub fn show(&mut self, cid: &ConnectionId, user: Option<User>) {
        if let Some(connection) = self.0.get_mut(cid)
            && let Some(model) = &mut connection.model
            && *model != user
        {
            model.clone_from(&user);
            let frame = json!({"event": "session.user.{cid}.change", "data": {"values": UserModel::from(user)}});
            connection.lanes[USER].push_back(frame.to_string());
        }
    }

    /// The answer to a subscription of the user model.
    pub fn subscribed(&mut self, cid: &ConnectionId, id: u64, user: Option<User>) {
        if let Some(connection) = self.0.get_mut(cid) {
            let frame =
                encode_result(id, Some(&json!({"models": {"session.user.{cid}": UserModel::from(user.clone())}})));
            connection.model = Some(user);
            connection.lanes[USER].push_back(frame);
        }
    }

    /// The answer to a request.
    pub fn reply(&mut self, cid: &ConnectionId, id: u64, reply: &Result<Option<LoggedIn>, Denied>) {
        if let Some(connection) = self.0.get_mut(cid).filter(|connection| connection.tab.is_some()) {
            connection.lanes[ANSWERS].push_back(match reply {
                Ok(payload) => encode_payload(id, &to_raw_value(payload).expect("answers are JSON")),
                Err(denied) => encode_error(id, &relogin_res::Error::new(denied.code(), denied.to_string())),
            });
        }
    }

    /// Whether nothing is on its way to a client.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.0.values().all(|connection| connection.lanes.iter().all(VecDeque::is_empty))
    }
}
