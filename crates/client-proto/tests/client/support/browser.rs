//! One browser profile, which its tabs share: storage, the lock, and the device's key pair.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use relogin_client_proto::{LockId, PlatformEvent, PublicKey, Signature};
use serde_json::Value as Json;

use super::{Rng, device};

/// Shared by the tabs of a profile.
pub(crate) type Profile = Rc<RefCell<Browser>>;

/// Storage and lock of one profile, and what its tabs have not been notified of yet.
#[derive(Debug, Default)]
pub(crate) struct Browser {
    pub(crate) storage: Option<String>,
    /// Each write and removal, in order.
    pub(crate) history: Vec<Option<String>>,
    /// Locks are refused: a page on plain http has none.
    pub(crate) no_locks: bool,
    /// What the next read shows, whatever storage has.
    pub(crate) shown: Option<Option<String>>,
    /// What another tab puts into storage right before the next swap.
    pub(crate) intruder: Option<Option<String>>,
    /// Nothing can be written.
    pub(crate) is_broken: bool,
    /// How many of a hundred reads show what storage had a moment ago.
    pub(crate) stale_reads: u64,
    /// A key pair can be kept: sessions are bound ones.
    pub(crate) can_keep_keys: bool,
    /// How many of a hundred times the place where the key pair lies does not answer.
    pub(crate) silent_keys: u64,
    /// The key pair, once it is made.
    pub(crate) device: Option<device::KeyPair>,
    rng: Option<Rng>,
    holder: Option<(usize, LockId)>,
    waiting: VecDeque<(usize, LockId)>,
    inbox: BTreeMap<usize, VecDeque<PlatformEvent>>,
}

impl Browser {
    pub(crate) fn profile() -> Profile {
        Profile::default()
    }

    pub(crate) fn join(&mut self, tab: usize) {
        self.inbox.entry(tab).or_default();
    }

    /// The tab is closed: the browser gives its lock to the next.
    pub(crate) fn leave(&mut self, tab: usize) {
        self.inbox.remove(&tab);
        self.waiting.retain(|(waiter, _)| *waiter != tab);
        if self.holder.is_some_and(|(holder, _)| holder == tab) {
            self.hand_on();
        }
    }

    /// A browser whose faults a seed decides.
    pub(crate) fn seeded(seed: u64) -> Profile {
        let profile = Self::profile();
        profile.borrow_mut().rng = Some(Rng::new(seed));
        profile
    }

    /// The storage record, if it has a key.
    pub(crate) fn record(&self) -> Option<Json> {
        let mut record: Json = serde_json::from_str(self.storage.as_deref()?).expect("storage has JSON");
        record.as_object_mut()?.remove("pendingLogouts");
        record.get("key").is_some().then_some(record)
    }

    /// The keys of the pending logouts in storage.
    pub(crate) fn pending(&self) -> Vec<String> {
        let record = self.storage.as_deref().map_or(Json::Null, |text| serde_json::from_str(text).expect("JSON"));
        let pending = record["pendingLogouts"].as_array().cloned().unwrap_or_default();
        pending.iter().map(|pending| pending["key"].as_str().expect("a key").to_owned()).collect()
    }

    /// What a read shows.
    pub(crate) fn read(&mut self) -> Option<String> {
        if let Some(shown) = self.shown.take() {
            return shown;
        }
        let Some(rng) = &mut self.rng else { return self.storage.clone() };
        if !rng.chance(self.stale_reads) {
            return self.storage.clone();
        }
        let back = usize::try_from(rng.range(2, 5)).unwrap();
        self.history.iter().rev().nth(back - 1).cloned().unwrap_or_default()
    }

    /// Puts `to` in the place of `from`, if that is there. What is there then.
    pub(crate) fn swap(&mut self, tab: usize, from: Option<&str>, to: Option<&str>) -> Option<String> {
        if let Some(text) = self.intruder.take() {
            self.write(usize::MAX, text.as_deref());
        }
        if self.storage.as_deref() == from && !self.is_broken {
            self.write(tab, to);
        }
        self.storage.clone()
    }

    /// The public half of the device's key pair, which is made if there is none.
    pub(crate) fn make_device(&mut self) -> Option<PublicKey> {
        if !self.can_keep_keys {
            return None;
        }
        let rng = self.rng.get_or_insert_with(|| Rng::new(0));
        Some(self.device.get_or_insert_with(|| device::KeyPair::new(rng)).public())
    }

    /// The device's signature.
    pub(crate) fn sign(&mut self, message: &str) -> Signature {
        let is_silent = match &mut self.rng {
            Some(rng) => rng.chance(self.silent_keys),
            None => self.silent_keys == 100,
        };
        match &self.device {
            _ if is_silent => Signature::Unavailable,
            Some(device) => Signature::Made(device.sign(message.as_bytes())),
            None => Signature::NoKey,
        }
    }

    pub(crate) fn write(&mut self, tab: usize, text: Option<&str>) {
        let text = text.map(str::to_owned);
        if self.storage == text {
            return;
        }
        self.storage.clone_from(&text);
        for (_, inbox) in self.inbox.iter_mut().filter(|(other, _)| **other != tab) {
            inbox.push_back(PlatformEvent::StorageChanged);
        }
        self.history.push(text);
    }

    pub(crate) fn request(&mut self, tab: usize, id: LockId, steal: bool) {
        if self.no_locks {
            self.notify(tab, PlatformEvent::LockRefused(id));
        } else if steal {
            if let Some((holder, id)) = self.holder.take() {
                self.notify(holder, PlatformEvent::LockRefused(id));
            }
            self.grant(tab, id);
        } else if self.holder.is_none() {
            self.grant(tab, id);
        } else {
            self.waiting.push_back((tab, id));
        }
    }

    pub(crate) fn release(&mut self, tab: usize, id: LockId) {
        self.waiting.retain(|waiter| *waiter != (tab, id));
        // What was granted and released before the tab was notified is not reported any more.
        if let Some(inbox) = self.inbox.get_mut(&tab) {
            inbox.retain(|event| !matches!(event, PlatformEvent::LockGranted(granted) if *granted == id));
        }
        if self.holder == Some((tab, id)) {
            self.hand_on();
        }
    }

    pub(crate) fn is_held_by(&self, tab: usize) -> bool {
        self.holder.is_some_and(|(holder, _)| holder == tab)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holder.is_some()
    }

    pub(crate) fn has_news(&self, tab: usize) -> bool {
        self.inbox.get(&tab).is_some_and(|inbox| !inbox.is_empty())
    }

    pub(crate) fn news(&mut self, tab: usize) -> Option<PlatformEvent> {
        self.inbox.get_mut(&tab)?.pop_front()
    }

    fn hand_on(&mut self) {
        self.holder = None;
        if let Some((tab, id)) = self.waiting.pop_front() {
            self.grant(tab, id);
        }
    }

    fn grant(&mut self, tab: usize, id: LockId) {
        self.holder = Some((tab, id));
        self.notify(tab, PlatformEvent::LockGranted(id));
    }

    fn notify(&mut self, tab: usize, event: PlatformEvent) {
        if let Some(inbox) = self.inbox.get_mut(&tab) {
            inbox.push_back(event);
        }
    }
}
