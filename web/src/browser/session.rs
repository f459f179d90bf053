//! The browser I/O of a session: storage, device key, lock and cookie. Must not depend on sockets.

use relogin_client_proto::{LockId, PlatformAction, PlatformEvent, Secret, Signature};

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

/// Where a session's key is kept, and whether with a device key.
#[derive(Clone, Debug)]
pub(crate) enum StorageMode {
    /// In the browser's storage, with a device key beside it.
    Bound,
    /// In the browser's storage under a name of its own, without a device key.
    Bearer,
    /// In this page's memory, which begins with a copy of the storage of this name, without a
    /// device key.
    Copy(String),
}

impl StorageMode {
    /// The storage name of the session resource `session`.
    pub(crate) fn name(&self, session: &str) -> String {
        let place = match self {
            Self::Bound => "",
            Self::Bearer => ":bearer",
            Self::Copy(_) => ":copy",
        };
        format!("relogin:{session}{place}")
    }
}

/// The I/O of one session. Dropping it ends all of it; the session stays in storage.
#[derive(Debug)]
pub(super) struct SessionIo {
    /// The name of storage, database and lock.
    name: String,
    storage: Storage,
    /// Present until the first swap.
    adoption: Option<Adoption>,
    device_key: Option<DeviceKey>,
    cookie: Option<CookieRefresher>,
    /// Where the gateways take HTTP requests.
    methods: Vec<String>,
    /// Which of them the socket goes to.
    gateway: usize,
    lock: Option<(LockId, Lock)>,
    events: EventQueue,
}

impl SessionIo {
    /// The I/O of the session resource `session`, whose gateways are at `gateways`: valid
    /// addresses, or an empty one, which is the origin that served the page. `adopt`: the name of a
    /// legacy client's key that is to be taken over.
    ///
    /// # Errors
    /// If one of `gateways` is not a URL.
    pub(super) fn open(
        session: &str,
        gateways: &[String],
        mode: &StorageMode,
        adopt: Option<&str>,
        events: &EventQueue,
    ) -> Result<Self, Exception> {
        let name = mode.name(session);
        let is_shared = !matches!(mode, StorageMode::Copy(_));
        let adoption = adopt.filter(|_| is_shared).and_then(|key| Adoption::begin(key, &name));
        let database = Database::new(&name);
        let methods = gateways.iter().map(|gateway| http_methods(gateway, session)).collect::<Result<_, _>>()?;
        let heard = {
            let events = events.clone();
            move || events.push(PlatformEvent::StorageChanged)
        };
        let (storage, cookie) = match mode {
            // The browser's cookie is not this copy's.
            StorageMode::Copy(original) => (Storage::copy(original), None),
            StorageMode::Bound | StorageMode::Bearer => {
                (Storage::open(&name, &database, heard), Some(CookieRefresher::new()))
            }
        };
        let device_key = matches!(mode, StorageMode::Bound).then(|| DeviceKey::new(&database));
        Ok(Self {
            name,
            storage,
            adoption,
            device_key,
            cookie,
            methods,
            gateway: 0,
            lock: None,
            events: events.clone(),
        })
    }

    /// The socket goes to this one of the gateways, and so do requests by HTTP.
    pub(super) fn goes_to(&mut self, gateway: usize) {
        self.gateway = gateway;
    }

    /// Carries out an action, like [`BrowserIo::carry_out`](super::BrowserIo::carry_out).
    pub(super) async fn carry_out(&mut self, action: &PlatformAction) -> Option<PlatformEvent> {
        match action {
            // Only the log says whether to take a key over: localStorage does not show a logout.
            PlatformAction::ReadStorage if self.adoption.is_some() => Some(self.swap(None, None).await),
            PlatformAction::ReadStorage => Some(PlatformEvent::StorageRead(self.storage.read().await)),
            PlatformAction::SwapStorage { from, to } => Some(self.swap(from.as_ref(), to.as_ref()).await),
            PlatformAction::MakeDevice => Some(self.make_device().await),
            PlatformAction::Sign(message) => Some(self.sign(message).await),
            PlatformAction::RequestLock(id) => self.lock(*id, false),
            PlatformAction::StealLock(id) => self.lock(*id, true),
            PlatformAction::ReleaseLock(id) => {
                self.lock.take_if(|(held, _)| held == id);
                None
            }
        }
    }

    /// Swaps the storage record. If that succeeds, the cookie follows.
    async fn swap(&mut self, from: Option<&Secret>, to: Option<&Secret>) -> PlatformEvent {
        let there = self.storage.swap(from, to).await;
        if let Some(adoption) = self.adoption.take() {
            adoption.end(there.as_ref());
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| there.as_ref() == to)
            && let Some(change) = CookieChange::of(from.map(Secret::expose), to.map(Secret::expose))
        {
            // The machine names no gateway that it was not given.
            cookie.ask(self.methods.get(self.gateway).cloned().unwrap_or_default(), change);
        }
        PlatformEvent::StorageRead(there)
    }

    async fn make_device(&self) -> PlatformEvent {
        PlatformEvent::Device(match &self.device_key {
            Some(key) => key.make().await,
            None => None,
        })
    }

    async fn sign(&self, message: &Secret) -> PlatformEvent {
        PlatformEvent::Signed(match &self.device_key {
            Some(key) => key.sign(message.expose()).await,
            None => Signature::NoKey,
        })
    }

    /// Asks for the lock, in place of the one before.
    fn lock(&mut self, id: LockId, steal: bool) -> Option<PlatformEvent> {
        // Given back first: who asks stands in line behind it.
        self.lock = None;
        self.lock = Some((id, Lock::request(id, &self.name, steal, &self.events)));
        None
    }
}
