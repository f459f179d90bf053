//! What a session needs of its platform, which is a browser or a native program: storage, a device
//! key, a lock, a timer, and signs of what goes on there. Whoever drives a client hands these on to
//! it, and it to the session manager. Must not depend on what they are for.

use relogin_session::api::PublicKey;

use crate::{LockId, Secret};

/// Something that the platform has to do, in the order in which it was polled.
#[derive(Clone, Debug, PartialEq)]
pub enum PlatformAction {
    /// Read the storage record; hand it in as [`StorageRead`](PlatformEvent::StorageRead) before
    /// any other input. It may be stale: what another tab has written a moment ago need not show
    /// yet.
    ReadStorage,
    /// If storage has exactly `from`, put `to` there, in one step that no other tab can come
    /// between. Then hand in what storage has, whoever wrote it, as
    /// [`StorageRead`](PlatformEvent::StorageRead), before any other input. That is never stale.
    /// Where storage is refused: keep the record in memory.
    SwapStorage {
        /// What has to be there; `None`: nothing.
        from: Option<Secret>,
        /// What is to be there; `None`: nothing.
        to: Option<Secret>,
    },
    /// Find the browser's key pair for this session's name, or make one that nobody can read; hand
    /// the public half in as [`Device`](PlatformEvent::Device) before any other input. Tabs that
    /// ask at the same time get the same pair.
    MakeDevice,
    /// Sign the text's bytes with that key pair; hand the signature in as
    /// [`Signed`](PlatformEvent::Signed) before any other input. Never makes a pair.
    Sign(Secret),
    /// Ask for the storage lock. Answered by [`LockGranted`](PlatformEvent::LockGranted) or
    /// [`LockRefused`](PlatformEvent::LockRefused).
    RequestLock(LockId),
    /// Take the storage lock from whoever has it. Answered likewise.
    StealLock(LockId),
    /// Give the lock back; if it was not granted yet, stop asking.
    ReleaseLock(LockId),
}

/// Something that happened on the platform.
#[derive(Clone, Debug, PartialEq)]
pub enum PlatformEvent {
    /// The answer to [`ReadStorage`](PlatformAction::ReadStorage) or
    /// [`SwapStorage`](PlatformAction::SwapStorage), given before any other input.
    StorageRead(Option<Secret>),
    /// The answer to [`MakeDevice`](PlatformAction::MakeDevice), given before any other input;
    /// `None` where the browser can keep no key pair, or cannot now: a login does not wait for
    /// that.
    Device(Option<PublicKey>),
    /// The answer to [`Sign`](PlatformAction::Sign), given before any other input.
    Signed(Signature),
    /// Another tab may have changed the storage record. A hint: the session manager looks for
    /// itself.
    StorageChanged,
    /// The lock is ours, until released or stolen from us.
    LockGranted(LockId),
    /// There is no lock to be had: the browser has none, or another tab stole it from us while we
    /// waited or held it.
    LockRefused(LockId),
    /// The page came back: it was hidden, frozen, or out of the history, and timers may have been
    /// late.
    Wake,
    /// Whether the user looks at this page: of several tabs, that one takes back a session that can
    /// be on one connection only. True until said otherwise.
    Attention(bool),
    /// The network is there, says the browser.
    Online,
    /// It is not. A hint: what comes over the connection proves it wrong.
    Offline,
    /// The time of the machine's `poll_timeout` has come. Too early or too late does no harm.
    Timer,
}

/// What came of [`PlatformAction::Sign`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The signature: base64url, as [`SignedChallenge`](relogin_session::api::SignedChallenge) has
    /// it.
    Made(String),
    /// There is no key pair (any more), and none that could come back.
    NoKey,
    /// The place where the key pair lies does not answer now. Whatever needs the signature is put
    /// off.
    Unavailable,
}
