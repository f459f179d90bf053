//! The client machine, fed with whatever a gateway, a browser and a caller may send, in any order:
//! it never panics, settles a command twice, or sends on a socket that is not open.

use std::{collections::BTreeSet, time::Duration};

use relogin_client_proto::{
    Action, Client, Closing, Command, Config, Input, LockId, Moment, PlatformAction, PlatformEvent, Secret,
    SessionCommand, Signature, SocketId, Token,
};
use relogin_res::ResourceId;

use crate::supply::Supply;

/// A driver that does what it is told.
pub(crate) struct Driver {
    pub(crate) client: Client,
    storage: Option<String>,
    now: Duration,
    draws: u64,
    socket: Option<(SocketId, bool)>,
    /// The ids of requests that wait for an answer, and what they are.
    requests: Vec<(u64, String)>,
    open: BTreeSet<u64>,
    next_token: u64,
}

pub(crate) fn machine(input: &[u8]) {
    let mut supply = Supply::new(input);
    let storage = match supply.below(3) {
        0 => None,
        1 => Some(supply.text()),
        _ => Some(format!(r#"{{"key":"k","generation":{}}}"#, supply.byte())),
    };
    let client = Client::new(Config::new(ResourceId::parse("session").unwrap()));
    let mut driver = Driver::new(client, storage);
    driver.input(Input::Start);
    while !supply.is_empty() {
        driver.step(&mut supply);
    }
    driver.input(Input::Stop);
    driver.assert_sound();
    // What waits for the network, the lock or the user model has let go of the callers by then.
    driver.now += Duration::from_secs(120);
    driver.input(PlatformEvent::Timer);
    assert!(driver.open.is_empty(), "commands that never settle: {:?}", driver.open);
}

impl Driver {
    pub(crate) fn new(client: Client, storage: Option<String>) -> Self {
        Self {
            client,
            storage,
            now: Duration::from_secs(1000),
            draws: 0,
            socket: None,
            requests: Vec::new(),
            open: BTreeSet::new(),
            next_token: 0,
        }
    }

    /// Hands in an input and does all that follows from it.
    pub(crate) fn input(&mut self, input: impl Into<Input>) {
        self.draws += 1;
        let mut random = [0; 24];
        random[..8].copy_from_slice(&self.draws.to_le_bytes());
        random[16..].copy_from_slice(&self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        self.client.handle(input.into(), Moment { now: self.now, random });
        while let Some(action) = self.client.poll_action() {
            self.carry_out(action);
        }
    }

    /// A socket opens, and the gateway speaks our version.
    pub(crate) fn connect(&mut self) {
        if let Some((socket, false)) = self.socket {
            self.socket = Some((socket, true));
            self.input(Input::SocketOpened(socket));
            self.answer("version", r#"{"protocol":"1.2.3"}"#);
        }
    }

    /// What holds at every moment.
    pub(crate) fn assert_sound(&self) {
        let due = self.client.poll_timeout();
        assert!(
            due.is_none_or(|due| due > self.now),
            "a timer that is due at once would spin: {due:?} at {:?}",
            self.now
        );
    }

    fn answer(&mut self, method: &str, result: &str) {
        if let Some(found) = self.requests.iter().position(|(_, sent)| sent == method) {
            let (id, _) = self.requests.remove(found);
            self.frame(format!(r#"{{"id":{id},"result":{result}}}"#));
        }
    }

    fn frame(&mut self, text: String) {
        let socket = self.socket.map_or(SocketId(0), |(socket, _)| socket);
        self.input(Input::Frame(socket, Secret::new(text)));
    }

    fn step(&mut self, supply: &mut Supply<'_>) {
        let socket = self.socket.map_or(SocketId(0), |(socket, _)| socket);
        match supply.below(20) {
            0 => self.connect(),
            1 => {
                self.socket = None;
                self.requests.clear();
                self.input(Input::SocketClosed(socket, Closing::default()));
            }
            2 => {
                let text = supply.text();
                self.frame(text);
            }
            3 => self.respond(supply, "result"),
            4 => self.respond(supply, "error"),
            5 => {
                let rid = ["session.user.{cid}", "a.b", ""][usize::from(supply.below(3))];
                let name =
                    ["change", "rotated", "unsubscribe", "add", "remove", "delete"][usize::from(supply.below(6))];
                let data = supply.text();
                self.frame(format!(r#"{{"event":"{rid}.{name}","data":{data}}}"#));
            }
            6 => {
                self.now += Duration::from_millis(u64::from(supply.byte()) * 300);
                self.input(PlatformEvent::Timer);
                self.assert_sound();
            }
            7 => {
                if let Some(due) = self.client.poll_timeout() {
                    self.now = self.now.max(due);
                    self.input(PlatformEvent::Timer);
                    self.assert_sound();
                }
            }
            8 => {
                let text = supply.text();
                self.storage = Some(text).filter(|text| !text.is_empty());
                self.input(PlatformEvent::StorageChanged);
            }
            9 => self.input(PlatformEvent::LockGranted(LockId(u32::from(supply.below(8))))),
            10 => self.input(PlatformEvent::LockRefused(LockId(u32::from(supply.below(8))))),
            11 => self.input(PlatformEvent::Wake),
            12 => self.input(if supply.below(2) == 0 { PlatformEvent::Online } else { PlatformEvent::Offline }),
            13 => self.input(if supply.below(2) == 0 { Input::Start } else { Input::Stop }),
            14 => {
                // The answer to a relogin or a login, near to what the service says.
                let generation = supply.below(6);
                let key = format!(
                    r#"{{"payload":{{"reloginKey":"k{generation}","generation":{generation},"expiresIn":9000,"refreshIn":{}}}}}"#,
                    u32::from(supply.byte()) * 100
                );
                let method = if supply.below(2) == 0 { "auth.session.login" } else { "auth.session.relogin" };
                self.answer(method, &key);
            }
            15 => {
                let id = ["null", "1", "\"x\""][usize::from(supply.below(3))];
                self.answer(
                    "subscribe.session.user.{cid}",
                    &format!(r#"{{"models":{{"session.user.{{cid}}":{{"id":{id}}}}}}}"#),
                );
            }
            _ => self.command(supply),
        }
    }

    /// The answer to any request that waits for one.
    fn respond(&mut self, supply: &mut Supply<'_>, member: &str) {
        let which = usize::from(supply.byte());
        let text = supply.text();
        if !self.requests.is_empty() {
            let (id, _) = self.requests.remove(which % self.requests.len());
            self.frame(format!(r#"{{"id":{id},"{member}":{text}}}"#));
        }
    }

    fn command(&mut self, supply: &mut Supply<'_>) {
        let rid = || ResourceId::parse("a.b").unwrap();
        let command = match supply.below(6) {
            0 => Command::Session(SessionCommand::Login {
                username: "u".to_owned(),
                password: Secret::new("p".to_owned()),
            }),
            1 => Command::Session(SessionCommand::Logout),
            2 => Command::Subscribe(rid()),
            3 => Command::Unsubscribe(rid()),
            4 => Command::Get(rid()),
            _ => Command::Call { rid: rid(), method: supply.text(), params: None },
        };
        let token = self.next_token;
        self.next_token += 1;
        self.open.insert(token);
        self.input(Input::Command(Token(token), command));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id, _) => {
                assert!(self.socket.is_none(), "two sockets at once");
                self.socket = Some((id, false));
            }
            Action::SendFrame(id, frame) => {
                assert_eq!(self.socket, Some((id, true)), "a frame for no open socket");
                let request = relogin_res::client::Request::parse(frame.expose()).unwrap();
                self.requests.push((request.id, request.method.to_string()));
            }
            Action::CloseSocket(_) => {
                self.socket = None;
                self.requests.clear();
            }
            Action::Platform(action) => self.carry_out_platform(action),
            Action::Settle(Token(token), _) => {
                assert!(self.open.remove(&token), "settles a command twice, or an unknown one");
            }
            Action::Emit(_) | Action::Diagnose(_) => {}
        }
    }

    fn carry_out_platform(&mut self, action: PlatformAction) {
        match action {
            PlatformAction::ReadStorage => {
                self.input(PlatformEvent::StorageRead(self.storage.clone().map(Secret::new)));
            }
            PlatformAction::SwapStorage { from, to } => {
                if self.storage.as_deref() == from.as_ref().map(Secret::expose) {
                    self.storage = to.map(|to| to.expose().to_owned());
                }
                self.input(PlatformEvent::StorageRead(self.storage.clone().map(Secret::new)));
            }
            PlatformAction::MakeDevice => self.input(PlatformEvent::Device(None)),
            PlatformAction::Sign(_) => self.input(PlatformEvent::Signed(Signature::NoKey)),
            PlatformAction::RequestLock(_) | PlatformAction::StealLock(_) | PlatformAction::ReleaseLock(_) => {}
        }
    }
}
