//! The browser's part: what its tabs do with what reaches them, and what they share.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use relogin_client_proto::{Input, LockId, PlatformEvent, Secret, Signature, storage::StorageInput};
use relogin_res::client::{Method, Request as Frame, encode_result};
use relogin_session::{
    Attempt,
    api::{Challenge, LoginParams, LogoutParams, PublicKey, ReloginParams, proof_message},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    budget::Config,
    gateway::Connection,
    mutant::Mutant,
    places::{Operation, Places},
    service::{Ask, Request},
    tab::{Deed, News, StorageAction, Tab},
    thief::Thief,
};

use super::{State, Step};

impl State {
    pub(super) fn frame(&mut self, tab: usize, frame: String, config: &Config) {
        if let Some((socket, _)) = self.tabs[tab].socket {
            if config.mutant == Some(Mutant::NoSecondLook) && frame.contains("invalidReloginKey") {
                self.storage = None;
                self.hint_others(tab);
            }
            self.input(tab, Input::Frame(socket, Secret::new(frame)), config);
        }
    }

    /// Hands an input to a tab, and does what it does.
    pub(super) fn input(&mut self, tab: usize, input: impl Into<Input>, config: &Config) {
        self.tab(tab).take(input);
        self.work(tab, true, config);
    }

    /// Does what a tab does, until it waits at storage. Where it would wait before it has looked
    /// there (`is_fresh`), it need not: that is as if its last event had come later. Nor where it
    /// only looks: the others can come in between before it writes.
    pub(super) fn work(&mut self, tab: usize, mut is_fresh: bool, config: &Config) {
        while let Some(deed) = self.tab(tab).deed() {
            match deed {
                Deed::Storage(action) if self.places.is_some() => {
                    self.begin_operation(tab, action);
                    if !self.operate(tab, config) {
                        return;
                    }
                }
                Deed::Storage(StorageAction::Swap(from, to)) if from != to && !is_fresh => {
                    self.tab(tab).waiting = Some(StorageAction::Swap(from, to));
                    return;
                }
                Deed::Storage(action) => {
                    self.storage_answers(tab, action, config);
                    is_fresh = false;
                }
                Deed::Send(frame) => self.send(tab, &frame, config),
                Deed::Close => {
                    self.hang_up(tab);
                    self.tab(tab).socket = None;
                }
                Deed::Lock(id, steal) => self.lock(tab, id, steal, config),
                Deed::Unlock(id) => self.unlock(tab, Some(id)),
                Deed::MakeDevice => {
                    let public_key = || PublicKey {
                        kty: "OKP".to_owned(),
                        crv: "Ed25519".to_owned(),
                        x: "device".to_owned(),
                        y: None,
                    };
                    self.tab(tab).take(PlatformEvent::Device(config.bound.then(public_key)));
                }
                Deed::Sign(message) => {
                    let made = || Signature::Made(signature(message.as_bytes()));
                    let signature = if config.bound { made() } else { Signature::NoKey };
                    self.tab(tab).take(PlatformEvent::Signed(signature));
                }
            }
        }
    }

    /// Lets everything happen that takes no time.
    pub(super) fn settle(&mut self, config: &Config) {
        loop {
            let ready = |tab: &&Arc<Tab>| !tab.is_waiting() && (tab.wanted.is_some() || !tab.news.is_empty());
            let Some(tab) = self.tabs.iter().find(ready).map(|tab| tab.number) else { break };
            if let Some(news) = self.tab(tab).news.pop_front() {
                match news {
                    News::Granted(id) => self.input(tab, PlatformEvent::LockGranted(id), config),
                    News::Refused(id) => self.input(tab, PlatformEvent::LockRefused(id), config),
                    News::Frame(frame) => self.frame(tab, frame, config),
                }
            } else {
                let Some(socket) = self.tabs[tab].wanted else { continue };
                self.tab(tab).open();
                if let Some(cid) = self.cid(tab) {
                    self.gateway.0.insert(cid, Connection { tab: Some(tab), ..Connection::default() });
                }
                self.input(tab, Input::SocketOpened(socket), config);
            }
        }
        self.up.sort_by(|a, b| (a.cid.as_str(), a.id).cmp(&(b.cid.as_str(), b.id)));
    }

    fn send(&mut self, tab: usize, frame: &Frame, config: &Config) {
        let (Some(cid), id) = (self.cid(tab), frame.id) else { return };
        let at_once = |result: &serde_json::Value| News::Frame(encode_result(id, Some(result)));
        let ask = match &frame.method {
            Method::Version => {
                let news = at_once(&json!({"protocol": "1.2.3"}));
                return self.tab(tab).news.push_back(news);
            }
            Method::Subscribe(_) => {
                let user = self.service.user_on(&cid);
                return self.gateway.subscribed(&cid, id, user);
            }
            Method::Auth(_, method) => match method.as_str() {
                "challenge" => {
                    let challenge = Challenge { challenge: format!("for {}", cid.as_str()), expires_in: 60_000 };
                    let news = at_once(&json!({ "payload": challenge }));
                    return self.tab(tab).news.push_back(news);
                }
                "relogin" => {
                    let params: ReloginParams = params(frame);
                    let proven = params.proof.as_ref().is_some_and(|proof| {
                        let message = proof_message(&proof.challenge, &params.relogin_key);
                        proof.challenge == format!("for {}", cid.as_str()) && proof.signature == signature(&message)
                    });
                    let mut attempt = params.attempt;
                    if config.mutant == Some(Mutant::AttemptDrawnAgain) {
                        let mut bits = [0xee; 16];
                        bits[..8].copy_from_slice(&id.to_be_bytes());
                        attempt = Some(Attempt(bits));
                    }
                    Ask::Relogin { key: params.relogin_key, attempt, proven }
                }
                "login" => {
                    let params: LoginParams = params(frame);
                    Ask::Login { attempt: params.attempt, bound: params.device.is_some() }
                }
                "logout" => Ask::Logout { sid: params::<LogoutParams>(frame).sid },
                method => panic!("{method} is not modelled"),
            },
            method => panic!("{method} is not modelled"),
        };
        let token = self.gateway.0.get(&cid).and_then(|connection| connection.token.clone());
        self.up.push(Request { cid, id, token, ask });
    }

    pub(super) fn storage_answers(&mut self, tab: usize, action: StorageAction, config: &Config) {
        let answer = match action {
            StorageAction::Read => self.storage.clone(),
            StorageAction::Swap(from, to) => self.swap(tab, from.as_ref(), to.as_ref(), config),
        };
        self.tab(tab).take(PlatformEvent::StorageRead(answer.map(Secret::new)));
    }

    /// What storage has for a page that looks at it.
    pub(crate) fn stored(&self) -> Option<String> {
        self.places.as_ref().map_or_else(|| self.storage.clone(), Places::text)
    }

    fn begin_operation(&mut self, tab: usize, action: StorageAction) {
        let input = match action {
            StorageAction::Read => StorageInput::Read,
            StorageAction::Swap(from, to) => {
                StorageInput::Swap { from: from.map(Secret::new), to: to.map(Secret::new) }
            }
        };
        let tab = self.tab(tab);
        tab.operation = Some(Operation::begin(&mut tab.storage, input));
    }

    /// Goes on with what a tab does in the two places, until it is about to write and has not
    /// waited for that. True if it is done.
    pub(super) fn operate(&mut self, tab: usize, config: &Config) -> bool {
        let (Some(mut operation), Some(mut places)) = (self.tab(tab).operation.take(), self.places.take()) else {
            return false;
        };
        let mut written = None;
        loop {
            written = operation.step(&mut self.tab(tab).storage, &mut places, config.mutant).or(written);
            if operation.is_about_to_write() || operation.done().is_some() {
                break;
            }
        }
        self.places = Some(places);
        if let Some(entry) = written {
            for other in (0..self.tabs.len()).filter(|other| *other != tab) {
                self.tab(other).hint |= self.tabs[other].storage.is_news(entry.clone());
            }
        }
        let Some((text, is_changed)) = operation.done() else {
            self.tab(tab).operation = Some(operation);
            return false;
        };
        if is_changed {
            self.hint_others(tab);
        }
        self.tab(tab).take(PlatformEvent::StorageRead(text));
        true
    }

    pub(super) fn happen_to_places(&mut self, step: Step) {
        let Some(places) = &mut self.places else { return };
        match step {
            Step::LoseLocal => {
                self.budget.local_losses -= 1;
                places.local = None;
            }
            Step::LoseLog => {
                self.budget.log_losses -= 1;
                places.lose_log();
            }
            Step::Revert => {
                self.budget.reverts -= 1;
                places.local = places.older.clone();
            }
            Step::Silence(is_silent) => {
                self.budget.silences -= u8::from(is_silent);
                places.is_silent = is_silent;
            }
            _ => {}
        }
    }

    /// A swap, and what the tab is told that storage has.
    fn swap(&mut self, tab: usize, from: Option<&String>, to: Option<&String>, config: &Config) -> Option<String> {
        let has_attempt = |text: Option<&String>| text.is_some_and(|text| text.contains("\"attempt\""));
        let is_claim = from != to && has_attempt(to);
        let is_successor = has_attempt(from) && to.is_some() && !has_attempt(to);
        let has_key =
            |text: Option<&String>| text.and_then(|text| Thief::copies(text)).is_some_and(|loot| !loot.is_pending);
        match config.mutant {
            Some(Mutant::LogoutLeavesNothing) if self.storage.as_ref() == from && has_key(from) && !has_key(to) => {
                self.write(tab, None);
            }
            // The tab believes that it did.
            Some(Mutant::AttemptNotWritten) if is_claim => return to.cloned(),
            Some(Mutant::SuccessorNotWritten) if is_successor => return to.cloned(),
            // Whatever is there.
            Some(Mutant::SuccessorOverAnything) if is_successor => self.write(tab, to.cloned()),
            _ if self.storage.as_ref() == from && from != to => self.write(tab, to.cloned()),
            _ => {}
        }
        self.storage.clone()
    }

    fn write(&mut self, tab: usize, to: Option<String>) {
        self.storage = to;
        self.hint_others(tab);
    }

    fn hint_others(&mut self, tab: usize) {
        for other in (0..self.tabs.len()).filter(|other| *other != tab) {
            self.tab(other).hint = true;
        }
    }

    fn lock(&mut self, tab: usize, id: LockId, steal: bool, config: &Config) {
        if !config.locks {
            self.tab(tab).news.push_back(News::Refused(id));
        } else if steal {
            if let Some((robbed, id)) = self.locks.holder.take() {
                self.tab(robbed).news.push_back(News::Refused(id));
            }
            self.grant(tab, id);
        } else {
            self.locks.queue.push((tab, id));
            self.grant_next();
        }
    }

    pub(super) fn unlock(&mut self, tab: usize, id: Option<LockId>) {
        let is_it = |(holder, held): (usize, LockId)| holder == tab && id.is_none_or(|id| id == held);
        self.locks.queue.retain(|waiting| !is_it(*waiting));
        self.locks.holder = self.locks.holder.filter(|holder| !is_it(*holder));
        self.grant_next();
    }

    fn grant_next(&mut self) {
        if self.locks.holder.is_none() && !self.locks.queue.is_empty() {
            let (tab, id) = self.locks.queue.remove(0);
            self.grant(tab, id);
        }
    }

    fn grant(&mut self, tab: usize, id: LockId) {
        self.locks.holder = Some((tab, id));
        self.tab(tab).news.push_back(News::Granted(id));
    }
}

fn params<T: DeserializeOwned>(frame: &Frame) -> T {
    let text = frame.params.as_ref().map_or("{}", |params| params.get());
    serde_json::from_str(text).expect("the client writes what the service reads")
}

/// What stands for a signature.
fn signature(message: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(message);
    format!("signed {:016x}", hasher.finish())
}
