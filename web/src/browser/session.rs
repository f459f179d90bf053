//! What keeps a session in the browser: storage, device key, lock and cookie.

use relogin_client_proto::{Action, Input, LockId, Secret, Signature};

use super::{
    EventQueue, Exception,
    address::http_methods,
    adoption::Adoption,
    cookie_refresh::{CookieChange, CookieRefresher},
    database::Database,
    device_key::DeviceKey,
    lock::Lock,
    storage::Storage,
};

/// How a session's key is kept.
#[derive(Clone, Debug)]
pub(crate) enum StorageMode {
    /// In the browser's storage, with a device key beside it.
    Bound,
    /// There, in a place of its own, and without a device key.
    Bearer,
    /// In this page's memory, which begins with a copy of what the storage called so has, and
    /// without a device key.
    Copy(String),
}

impl StorageMode {
    /// What the storage of the session resource `session` is called.
    pub(crate) fn name(&self, session: &str) -> String {
        let place = match self {
            Self::Bound => "",
            Self::Bearer => ":bearer",
            Self::Copy(_) => ":copy",
        };
        format!("relogin:{session}{place}")
    }
}

/// The part of the browser that keeps one session. Dropped, it lets go of it.
#[derive(Debug)]
pub(super) struct SessionIo {
    /// Of storage, database and lock.
    name: String,
    storage: Storage,
    /// Until storage has said what it has.
    adoption: Option<Adoption>,
    device_key: Option<DeviceKey>,
    cookie: Option<CookieRefresher>,
    lock: Option<(LockId, Lock)>,
    events: EventQueue,
}

impl SessionIo {
    /// Opens what keeps the session resource `session`, whose gateway is at `gateway`: a good
    /// address, or empty. `adopt`: what a legacy client's key is called that is to be taken over.
    ///
    /// # Errors
    /// If `gateway` is none.
    pub(super) fn open(
        session: &str,
        gateway: &str,
        mode: &StorageMode,
        adopt: Option<&str>,
        events: &EventQueue,
    ) -> Result<Self, Exception> {
        let name = mode.name(session);
        let is_shared = !matches!(mode, StorageMode::Copy(_));
        let adoption = adopt.filter(|_| is_shared).and_then(|key| Adoption::begin(key, &name));
        let database = Database::new(&name);
        let methods = http_methods(gateway, session)?;
        let heard = {
            let events = events.clone();
            move || events.push(Input::StorageChanged)
        };
        let (storage, cookie) = match mode {
            // The browser's cookie does not follow it.
            StorageMode::Copy(original) => (Storage::copy(original), None),
            StorageMode::Bound | StorageMode::Bearer => {
                (Storage::open(&name, &database, heard), Some(CookieRefresher::new(methods)))
            }
        };
        let device_key = matches!(mode, StorageMode::Bound).then(|| DeviceKey::new(&database));
        Ok(Self { name, storage, adoption, device_key, cookie, lock: None, events: events.clone() })
    }

    /// Does it; as [`BrowserIo::carry_out`](super::BrowserIo::carry_out).
    pub(super) async fn carry_out(&mut self, action: &Action) -> Option<Input> {
        match action {
            // Whether a key is to be taken over, the log says: localStorage does not know of a logout.
            Action::ReadStorage if self.adoption.is_some() => Some(self.swap(None, None).await),
            Action::ReadStorage => Some(Input::StorageRead(self.storage.read().await)),
            Action::SwapStorage { from, to } => Some(self.swap(from.as_ref(), to.as_ref()).await),
            Action::MakeDevice => Some(self.make_device().await),
            Action::Sign(message) => Some(self.sign(message).await),
            _ => {
                self.take_turns(action);
                None
            }
        }
    }

    fn take_turns(&mut self, action: &Action) {
        match action {
            Action::RequestLock(id) => self.lock(*id, false),
            Action::StealLock(id) => self.lock(*id, true),
            Action::ReleaseLock(id) => drop(self.lock.take_if(|(held, _)| held == id)),
            // Sockets are not a session's, and the rest is for the machine's callers.
            _ => {}
        }
    }

    /// Swaps storage; if that succeeds, the cookie follows.
    async fn swap(&mut self, from: Option<&Secret>, to: Option<&Secret>) -> Input {
        let there = self.storage.swap(from, to).await;
        if let Some(adoption) = self.adoption.take() {
            adoption.end(there.as_ref());
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| there.as_ref() == to)
            && let Some(change) = CookieChange::of(from.map(Secret::expose), to.map(Secret::expose))
        {
            cookie.ask(change);
        }
        Input::StorageRead(there)
    }

    async fn make_device(&self) -> Input {
        Input::Device(match &self.device_key {
            Some(key) => key.make().await,
            None => None,
        })
    }

    async fn sign(&self, message: &Secret) -> Input {
        Input::Signed(match &self.device_key {
            Some(key) => key.sign(message.expose()).await,
            None => Signature::NoKey,
        })
    }

    /// Asks for the lock, in place of the one before.
    fn lock(&mut self, id: LockId, steal: bool) {
        // Given back first: who asks stands in line behind it.
        self.lock = None;
        self.lock = Some((id, Lock::request(id, &self.name, steal, &self.events)));
    }
}
