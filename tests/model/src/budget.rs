//! The configuration of a world: which faults may happen how often.

use crate::mutant::Mutant;

/// How often each thing may happen, over the whole of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A tab's timer fires: refreshes, retries, steals of the lock, time-outs while an answer is
    /// still on its way.
    pub timers: u8,
    /// A connection is lost, with all that was on its way over it.
    pub drops: u8,
    /// A tab is reloaded.
    pub reloads: u8,
    /// A request is lost on its way to the service.
    pub lost: u8,
    /// A request reaches the service twice.
    pub doubled: u8,
    /// A reply of the service is lost, and nothing else.
    pub mute: u8,
    /// The service crashes in the middle of a request.
    pub crashes: u8,
    /// A thief copies storage.
    pub copies: u8,
    /// The thief uses what it has.
    pub uses: u8,
    /// The user logs out.
    pub logouts: u8,
    /// The user logs in again.
    pub logins: u8,
    /// localStorage is cleared.
    pub local_losses: u8,
    /// The database is deleted.
    pub log_losses: u8,
    /// localStorage goes back to what it was before it was last written.
    pub reverts: u8,
    /// The database stops answering; it may answer again at any time.
    pub silences: u8,
}

impl Budget {
    /// Nothing goes wrong.
    pub const NOTHING: Self = Self {
        timers: 0,
        drops: 0,
        reloads: 0,
        lost: 0,
        doubled: 0,
        mute: 0,
        crashes: 0,
        copies: 0,
        uses: 0,
        logouts: 0,
        logins: 0,
        local_losses: 0,
        log_losses: 0,
        reverts: 0,
        silences: 0,
    };
}

/// One world to be checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many tabs the browser has.
    pub tabs: usize,
    /// Whether the browser can keep a device key, so that sessions are bound.
    pub bound: bool,
    /// Whether the browser has a storage lock.
    pub locks: bool,
    /// Whether storage is in two places, with the shipped code between them; else it is one text.
    pub places: bool,
    /// What may go wrong.
    pub budget: Budget,
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// Two tabs, a bearer session, no lock, and nothing that goes wrong.
    pub const CALM: Self =
        Self { tabs: 2, bound: false, locks: false, places: false, budget: Budget::NOTHING, mutant: None };
}
