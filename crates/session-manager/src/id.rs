//! Names of what is under way: commands, requests, and requests for the lock.

/// Names a command of the caller, who chooses it and gets it back in
/// [`Action::Settle`](crate::Action::Settle), once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a request for the storage lock; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub u32);

/// Names a request of the session manager's; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);
