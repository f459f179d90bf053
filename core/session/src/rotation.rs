//! The table of docs/protocol.md, section 2, as a function.

use crate::{Attempt, ConnectionId, Record};

/// What a genuine key of a live session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The newest key: make the next generation.
    Rotate,
    /// The request that made the newest generation, again: same answer.
    Replay,
    /// A proven device with an old key (bound sessions): hand it the newest.
    Converge,
    /// A used key in a second pair of hands: nobody keeps the session.
    Stolen,
    /// A key from the future: the store went back in time.
    FromTheFuture,
    /// A bound session's key without its device: refused, nothing changes.
    ProofMissing,
}

/// What the request shows beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No signature, or one that does not verify.
    None,
    /// The session's device key signed this key and a fresh challenge.
    Valid,
}

/// Looks a genuine key of generation `presented` up in the table.
#[must_use]
pub fn rotation(
    record: &Record,
    presented: u64,
    connection: &ConnectionId,
    attempt: Option<Attempt>,
    proof: Proof,
) -> Verdict {
    todo!()
}
