//! The browser's ends of a machine, but for its socket: timer and wake-ups, and what keeps a session: storage, device key, lock.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_channel::mpsc::UnboundedSender;
use relogin_client::{Action, Input, LockId, Moment, Secret};
use relogin_session::exchange::MARK;

use crate::browser::{
    clock,
    device_key::DeviceKey,
    entropy,
    exchange::{Exchange, Wish},
    indexed_db::Database,
    lock::{Lock, LockEvent},
    storage::{Storage, Watch},
    timer::Timer,
    wake::{WakeUp, WakeUps},
};

/// What a machine is connected to. Dropped, it lets go of it all.
#[derive(Debug)]
pub(crate) struct Ends {
    timer: Timer,
    /// When it rings, if it is set.
    rings: Rc<Cell<Option<Duration>>>,
    _wake_ups: WakeUps,
    happens: UnboundedSender<Input>,
    session: Option<Session>,
}

/// How a session's key is kept.
#[derive(Clone, Debug)]
pub(crate) enum Keeping {
    /// In the browser's storage, with a device key beside it.
    Bound,
    /// There, in a place of its own, and without a device key.
    Bearer,
    /// In this page's memory, which begins with this text, and without a device key.
    Copy(Option<Secret>),
}

impl Keeping {
    /// What the storage of the session resource `session` is called.
    pub(crate) fn name(&self, session: &str) -> String {
        let place = match self {
            Self::Bound => "",
            Self::Bearer => ":bearer",
            Self::Copy(_) => ":copy",
        };
        ["relogin:", session, place].concat()
    }
}

/// What keeps a session.
#[derive(Debug)]
struct Session {
    storage: Storage,
    /// None: its sessions are bearer ones.
    device_key: Option<DeviceKey>,
    lock_name: String,
    lock: Option<(LockId, Lock)>,
    /// None: the browser's cookie does not follow this storage.
    calls: Option<String>,
    /// Made for the first cookie.
    exchange: Option<Exchange>,
    _watch: Watch,
}

impl Ends {
    /// `session`: the name of the session that is kept, if one is, where HTTP requests for it go, and how it is kept. What happens is
    /// sent to `happens`.
    pub(crate) async fn new(session: Option<(String, String, Keeping)>, happens: &UnboundedSender<Input>) -> Self {
        let session = match session {
            Some((name, calls, keeping)) => Some(Session::new(keeping.name(&name), calls, keeping, happens).await),
            None => None,
        };
        let wake_ups = WakeUps::listen(sender(happens, |wake_up| match wake_up {
            WakeUp::Visible | WakeUp::Shown => Input::Wake,
            WakeUp::Online => Input::Online,
            WakeUp::Offline => Input::Offline,
        }));
        Self { timer: Timer::default(), rings: Rc::default(), _wake_ups: wake_ups, happens: happens.clone(), session }
    }

    /// Sends [`Input::Timer`] at this time, in place of what was asked for before; or sooner, where a timer is set: most inputs only put
    /// off what is due, and setting a timer anew for each costs more than all else.
    pub(crate) fn wake_at(&mut self, due: Option<Duration>) {
        if due.is_some() && self.rings.get().is_some_and(|rings| due >= Some(rings)) {
            return;
        }
        let delay = due.map(|due| due.saturating_sub(clock::now()));
        let (ring, rings) = (sender(&self.happens, |()| Input::Timer), Rc::clone(&self.rings));
        self.rings.set(due);
        self.timer.set(delay, move || {
            rings.set(None);
            ring(());
        });
    }

    /// Does what is none of a socket's. What this answers is to be handed to the machine before anything else.
    pub(crate) async fn carry_out(&mut self, action: Action) -> Option<Input> {
        let session = self.session.as_mut()?;
        match action {
            Action::ReadStorage => Some(Input::StorageRead(session.storage.read().await)),
            Action::SwapStorage { from, to } => {
                let there = session.storage.swap(from.as_ref(), to.as_ref()).await;
                if let Some(calls) = &session.calls
                    && let Some(wish) = wish(from.as_ref(), to.as_ref(), there.as_ref())
                {
                    session.exchange.get_or_insert_with(|| Exchange::new(calls.clone())).wish(wish);
                }
                Some(Input::StorageRead(there))
            }
            Action::MakeDevice => Some(Input::Device(match &mut session.device_key {
                Some(device_key) => device_key.make().await,
                None => None,
            })),
            Action::Sign(message) => Some(Input::Signed(match &mut session.device_key {
                Some(device_key) => device_key.sign(message.expose().as_bytes()).await,
                None => None,
            })),
            Action::RequestLock(id) => session.request_lock(id, false, &self.happens),
            Action::StealLock(id) => session.request_lock(id, true, &self.happens),
            Action::ReleaseLock(id) => {
                drop(session.lock.take_if(|(held, _)| *held == id));
                None
            }
            _ => None,
        }
    }
}

impl Session {
    /// `name` names the storage record, the database that it lies in, and the lock.
    async fn new(name: String, calls: String, keeping: Keeping, happens: &UnboundedSender<Input>) -> Self {
        let database = Rc::new(Database::new(name.clone()));
        let has_device_key = matches!(keeping, Keeping::Bound);
        let calls = Some(calls).filter(|_| !matches!(keeping, Keeping::Copy(_)));
        let storage = match keeping {
            Keeping::Copy(text) => Storage::in_memory(name.clone(), text),
            Keeping::Bound | Keeping::Bearer => Storage::open(name.clone(), Rc::clone(&database)).await,
        };
        let changed = sender(happens, |()| Input::StorageChanged);
        Self {
            device_key: has_device_key.then(|| DeviceKey::new(database)),
            lock_name: name,
            lock: None,
            calls,
            exchange: None,
            _watch: storage.watch(move || changed(())),
            storage,
        }
    }

    fn request_lock(&mut self, id: LockId, steal: bool, happens: &UnboundedSender<Input>) -> Option<Input> {
        let call_back = sender(happens, move |event| match event {
            LockEvent::Granted => Input::LockGranted(id),
            LockEvent::Refused => Input::LockRefused(id),
        });
        self.lock = Some((id, Lock::request(&self.lock_name, steal, call_back)));
        None
    }
}

/// What is to become of the browser's cookie after a swap: where a session's key travels in it, storage has a text in the key's place
/// that only names it, and the cookie follows storage.
fn wish(from: Option<&Secret>, to: Option<&Secret>, there: Option<&Secret>) -> Option<Wish> {
    let [before, after] = [from, to].map(|text| text.and_then(|text| name_in(text.expose())));
    match (before, after) {
        // Swapped, and not just claimed.
        (before, Some(name)) if there == to && before != Some(name) => Some(Wish::Key(name.to_owned())),
        (Some(_), None) if to.is_none() && there.is_none() => Some(Wish::Nothing),
        _ => None,
    }
}

/// What the storage record `text` has in the place of a key, if the key is in a cookie.
fn name_in(text: &str) -> Option<&str> {
    let (key, _) = text.split_once("\"key\":\"")?.1.split_once('"')?;
    key.ends_with(MARK).then_some(key)
}

/// Random values for so many moments are drawn at once: the browser takes as long for one.
const DRAWN: usize = 64;

thread_local! {
    static RANDOM: RefCell<Vec<[u8; 24]>> = const { RefCell::new(Vec::new()) };
}

/// Now, and random values for it.
pub(crate) fn moment() -> Moment {
    let random = RANDOM.with_borrow_mut(|drawn| {
        if drawn.is_empty() {
            // The generator answered when we started, and a browser does not lose it.
            let bytes = entropy::random::<{ 24 * DRAWN }>().expect("the generator answered when the driver started");
            *drawn = bytes.as_chunks().0.to_vec();
        }
        // What was used stays nowhere.
        let random = drawn.last_mut().map(std::mem::take).unwrap_or_default();
        drawn.pop();
        random
    });
    Moment { now: clock::now(), random }
}

/// A call-back that sends an input.
pub(crate) fn sender<T>(
    happens: &UnboundedSender<Input>,
    input: impl Fn(T) -> Input + Clone + 'static,
) -> impl Fn(T) + Clone + 'static {
    let happens = happens.clone();
    // Fails if the loop has ended, and then nobody wants to know.
    move |event| drop(happens.unbounded_send(input(event)))
}
