//! The browser's ends of a machine: what happens there as its inputs, and what it wants done there.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use relogin_client::{Action, Input, LockId, Moment, Secret, SocketId};
use relogin_session::{api::PublicKey, exchange::MARK};

use crate::{
    browser::{self, Exception, Tell},
    tasks,
};

/// What a machine is connected to. Dropped, it lets go of it all.
#[derive(Debug)]
pub(crate) struct Ends {
    browser: browser::Ends,
    gateway: String,
    happened: Rc<RefCell<Happened>>,
    /// The machine has asked storage or the device, and is to do nothing else until it has the answer.
    asking: bool,
    /// When the timer rings, if it is set.
    rings: Option<Duration>,
    /// The browser calls it.
    _tell: Tell,
}

/// What has happened, and was not taken yet.
#[derive(Debug, Default)]
struct Happened {
    /// What storage or the device have answered.
    answer: Option<Input>,
    inputs: VecDeque<Input>,
    waker: Option<Waker>,
}

/// How a session's key is kept.
#[derive(Clone, Debug)]
pub(crate) enum Keeping {
    /// In the browser's storage, with a device key beside it.
    Bound,
    /// There, in a place of its own, and without a device key.
    Bearer,
    /// In this page's memory, which begins with what the storage called so has, and without a device key.
    Copy(String),
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

impl Ends {
    /// The ends of a machine whose sockets go to `gateway`, a good address or, if it opens none, empty.
    ///
    /// # Errors
    /// If the browser has no generator of random values.
    pub(crate) fn new(gateway: String) -> Result<Self, Exception> {
        browser::random(&mut [0])?;
        let happened = Rc::<RefCell<Happened>>::default();
        let happens = Rc::clone(&happened);
        let tell = Tell::new(move |what, id, text| tasks::now(|| happens.borrow_mut().tell(what, id, text)));
        let browser = browser::Ends::new(&tell);
        Ok(Self { browser, gateway, happened, asking: false, rings: None, _tell: tell })
    }

    /// Keeps the session called `session`.
    pub(crate) fn keep(&self, session: &str, keeping: &Keeping) {
        let calls = browser::calls(&self.gateway, session);
        let (calls, copies) = match keeping {
            // The browser's cookie does not follow it.
            Keeping::Copy(original) => (None, Some(original.as_str())),
            Keeping::Bound | Keeping::Bearer => (Some(calls.as_str()), None),
        };
        self.browser.keep(&keeping.name(session), matches!(keeping, Keeping::Bound), calls, copies);
    }

    /// Whether the machine waits for an answer of storage or the device: until [`Ends::poll_happened`] has given it, no further action is
    /// to be carried out.
    pub(crate) fn is_asking(&self) -> bool {
        self.asking
    }

    /// What happens next.
    pub(crate) fn poll_happened(&mut self, context: &Context<'_>) -> Poll<Input> {
        let mut happened = self.happened.borrow_mut();
        let next = if self.asking { happened.answer.take() } else { happened.inputs.pop_front() };
        match next {
            Some(input) => {
                self.asking = false;
                if matches!(input, Input::Timer) {
                    self.rings = None;
                }
                Poll::Ready(input)
            }
            None => {
                happened.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sends [`Input::Timer`] at this time, in place of what was asked for before; or sooner, where a timer is set: most inputs only put off
    /// what is due, and to set a timer anew for each costs more than all else.
    pub(crate) fn wake_at(&mut self, due: Option<Duration>) {
        if due.is_some() && self.rings.is_some_and(|rings| due >= Some(rings)) {
            return;
        }
        self.rings = due;
        let wait = due.map_or(f64::INFINITY, |due| due.saturating_sub(browser::now()).as_secs_f64() * 1000.0);
        self.browser.wake_in(wait);
    }

    /// Does it.
    pub(crate) fn carry_out(&mut self, action: &Action) {
        let browser = &self.browser;
        match action {
            Action::OpenSocket(SocketId(id)) => browser.open(*id, &self.gateway),
            Action::SendFrame(SocketId(id), frame) => browser.send(*id, frame.expose()),
            Action::CloseSocket(SocketId(id)) => browser.hang_up(*id),
            Action::RequestLock(LockId(id)) => browser.lock(*id, false),
            Action::StealLock(LockId(id)) => browser.lock(*id, true),
            Action::ReleaseLock(LockId(id)) => browser.unlock(*id),
            _ => self.ask(action),
        }
    }

    fn ask(&mut self, action: &Action) {
        let browser = &self.browser;
        match action {
            Action::ReadStorage => browser.read(),
            Action::SwapStorage { from, to } => {
                let [from, to] = [from, to].map(|text| text.as_ref().map(Secret::expose));
                let cookie = cookie(from, to);
                browser.swap(from, to, cookie.is_some(), cookie.flatten());
            }
            Action::MakeDevice => browser.make_device(),
            Action::Sign(message) => browser.sign(message.expose()),
            // For the machine's callers.
            _ => return,
        }
        self.asking = true;
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.browser.close();
    }
}

impl Happened {
    /// Takes in what happens, as `browser/ends.js` tells it.
    fn tell(&mut self, what: u32, id: u32, text: Option<String>) {
        let secret = |text: Option<String>| text.map(Secret::new);
        let input = match what {
            0 => Input::StorageRead(secret(text)),
            1 => Input::Device(text.as_deref().and_then(public_key)),
            2 => Input::Signed(text),
            3 => Input::StorageChanged,
            4 => Input::SocketOpened(SocketId(id)),
            5 => Input::Frame(SocketId(id), Secret::new(text.unwrap_or_default())),
            6 => Input::SocketClosed(SocketId(id)),
            7 => Input::LockGranted(LockId(id)),
            8 => Input::LockRefused(LockId(id)),
            9 => Input::Wake,
            10 => Input::Online,
            11 => Input::Offline,
            12 => Input::Timer,
            _ => {
                let frames = Secret::new(text.unwrap_or_default());
                for frame in frames.expose().split('\0') {
                    self.inputs.push_back(Input::Frame(SocketId(id), Secret::new(frame.to_owned())));
                }
                return self.wake();
            }
        };
        match what {
            0..=2 => self.answer = Some(input),
            _ => self.inputs.push_back(input),
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The members of a public key, with spaces between.
fn public_key(text: &str) -> Option<PublicKey> {
    let mut members = text.split(' ').map(str::to_owned);
    Some(PublicKey { kty: members.next()?, crv: members.next()?, x: members.next()?, y: members.next() })
}

/// What is to become of the browser's cookie if a swap succeeds: where a session's key travels in it, storage has a text in the key's place
/// that only names it, and the cookie follows storage. It is to have the key that this text names, or, if none, to go.
#[expect(clippy::option_option, reason = "told apart: it stays as it is, and it goes")]
fn cookie<'a>(from: Option<&str>, to: Option<&'a str>) -> Option<Option<&'a str>> {
    match (from.and_then(name_in), to.and_then(name_in)) {
        // Swapped, and not just claimed.
        (before, Some(name)) if before != Some(name) => Some(Some(name)),
        (Some(_), None) if to.is_none() => Some(None),
        _ => None,
    }
}

/// What the storage record `text` has in the place of a key, if the key is in a cookie.
fn name_in(text: &str) -> Option<&str> {
    // (Not by a search for a text: that is code which nothing else on the page needs.)
    let mut parts = text.split('"').skip_while(|part| *part != "key");
    parts.nth(2).filter(|key| key.ends_with(MARK))
}

/// So many are drawn at once, for the browser takes as long for one.
const DRAWN: usize = 80;

thread_local! {
    /// Random values for moments to come, and how many of them there are.
    static RANDOM: RefCell<([[u8; 24]; DRAWN], usize)> = const { RefCell::new(([[0; 24]; DRAWN], 0)) };
}

/// Now, and random values for it.
pub(crate) fn moment() -> Moment {
    moment_at(browser::now())
}

/// A moment of time, and random values for it.
pub(crate) fn moment_at(now: Duration) -> Moment {
    let random = RANDOM.with_borrow_mut(|(drawn, left)| {
        if *left == 0 {
            // It answered when we started, and a browser does not lose its generator.
            browser::random(drawn.as_flattened_mut()).expect("the generator answered when the driver started");
            *left = DRAWN;
        }
        *left -= 1;
        // What is used stays nowhere.
        std::mem::take(&mut drawn[*left])
    });
    Moment { now, random }
}
