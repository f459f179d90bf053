//! What the tabs of one browser share: the storage record, the lock, the device key. In memory, and
//! never stale.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngExt;
use relogin_client_proto::{LockId, PlatformEvent, PublicKey, Secret, Signature, stored_key};
use relogin_session::SessionId;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::mpsc;

/// A browser.
pub struct Browser {
    /// Which one.
    pub number: usize,
    /// Who logs in here.
    pub user: String,
    device: Option<Ed25519KeyPair>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    text: Option<String>,
    /// The keys of the session in storage that were answered by another.
    used: Vec<String>,
    holder: Option<(u64, LockId)>,
    waiting: VecDeque<(u64, LockId)>,
    tabs: BTreeMap<u64, mpsc::UnboundedSender<PlatformEvent>>,
}

impl Browser {
    /// A browser without a session; a bound one has a device key.
    #[must_use]
    pub fn new(number: usize, user: String, bound: bool) -> Self {
        let seed: [u8; 32] = rand::rng().random();
        let device = bound.then(|| Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed"));
        Self { number, user, device, shared: Mutex::default() }
    }

    /// A tab is opened: where it is notified of others.
    pub fn open(&self, tab: u64) -> mpsc::UnboundedReceiver<PlatformEvent> {
        let (hears, heard) = mpsc::unbounded_channel();
        self.shared().tabs.insert(tab, hears);
        heard
    }

    /// A tab is closed.
    pub fn close(&self, tab: u64) {
        let mut shared = self.shared();
        shared.tabs.remove(&tab);
        shared.waiting.retain(|(waits, _)| *waits != tab);
        if shared.holder.is_some_and(|(holds, _)| holds == tab) {
            shared.pass_on();
        }
    }

    /// The storage record.
    pub fn read(&self) -> Option<String> {
        self.shared().text.clone()
    }

    /// Replaces the record by `to` if it is `from`; what is there then.
    pub fn swap(&self, tab: u64, from: Option<&str>, to: Option<&str>) -> Option<String> {
        let mut shared = self.shared();
        if shared.text.as_deref() == from && from != to {
            if session(from) != session(to) {
                shared.used.clear();
            }
            shared.text = to.map(str::to_owned);
            let others = shared.tabs.iter().filter(|(other, _)| **other != tab);
            others.for_each(|(_, hears)| drop(hears.send(PlatformEvent::StorageChanged)));
        }
        shared.text.clone()
    }

    /// Remembers a key that is worth nothing any more.
    pub fn is_used(&self, key: &str) {
        let mut shared = self.shared();
        if session(shared.text.as_deref())
            .is_some_and(|session| crate::record::key(key).is_some_and(|key| key.session == session))
        {
            shared.used.push(key.to_owned());
        }
    }

    /// A used key of the session in storage; `back` says which, from the last one on.
    pub fn used(&self, back: usize) -> Option<String> {
        self.shared().used.iter().rev().nth(back).cloned()
    }

    /// Asks for the lock.
    pub fn lock(&self, tab: u64, id: LockId) {
        let mut shared = self.shared();
        shared.waiting.push_back((tab, id));
        if shared.holder.is_none() {
            shared.pass_on();
        }
    }

    /// Takes the lock from the tab that has it.
    pub fn steal(&self, tab: u64, id: LockId) {
        let mut shared = self.shared();
        if let Some((robbed, of)) = shared.holder.take() {
            shared.notify(robbed, PlatformEvent::LockRefused(of));
        }
        shared.waiting.push_front((tab, id));
        shared.pass_on();
    }

    /// Gives the lock back, or stops to wait for it.
    pub fn unlock(&self, tab: u64, id: LockId) {
        let mut shared = self.shared();
        shared.waiting.retain(|waits| *waits != (tab, id));
        if shared.holder == Some((tab, id)) {
            shared.pass_on();
        }
    }

    /// The public half of the device key.
    pub fn device(&self) -> Option<PublicKey> {
        let x = URL_SAFE_NO_PAD.encode(self.device.as_ref()?.public_key());
        Some(PublicKey { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), x, y: None })
    }

    /// Signs with the device key.
    pub fn sign(&self, text: &Secret) -> Signature {
        self.device.as_ref().map_or(Signature::NoKey, |device| {
            Signature::Made(URL_SAFE_NO_PAD.encode(device.sign(text.expose().as_bytes())))
        })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Browser({})", self.number)
    }
}

impl Shared {
    /// The lock goes to the tab that has waited longest.
    fn pass_on(&mut self) {
        self.holder = self.waiting.pop_front();
        if let Some((tab, id)) = self.holder {
            self.notify(tab, PlatformEvent::LockGranted(id));
        }
    }

    fn notify(&self, tab: u64, event: PlatformEvent) {
        if let Some(hears) = self.tabs.get(&tab) {
            let _ = hears.send(event);
        }
    }
}

/// The session in a storage record.
#[must_use]
pub fn session(record: Option<&str>) -> Option<SessionId> {
    stored_key(record?)?.session()
}
