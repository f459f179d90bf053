//! What happens to a session: one pure function, [`decide`].

use crate::{
    Attempt, ConnectionId, Denied, Device, Keyring, LoggedIn, Policy, Record, SessionId, Timestamp, Token, User,
    key::PresentedKey, rotation::Proof,
};

/// What does not change from request to request.
#[derive(Debug)]
pub struct Rules {
    /// How long things live.
    pub policy: Policy,
    /// The server's secrets.
    pub keyring: Keyring,
}

/// What is asked of a session.
#[derive(Clone, Debug)]
pub enum Command {
    /// A user whose password was right logs in. The record, if any, is the session that `connection` holds now.
    Login {
        /// The connection that logs in.
        connection: ConnectionId,
        /// Who logs in.
        user: User,
        /// Name of the session to be made: fresh random bits.
        sid: SessionId,
        /// Salt of the session to be made: fresh random bits.
        salt: [u8; 16],
        /// The client's mark for this login.
        attempt: Option<Attempt>,
        /// Where the login came from.
        device: Device,
    },
    /// A client uses its relogin key. The record is the session that the key names.
    Relogin {
        /// The connection that relogins.
        connection: ConnectionId,
        /// The key, taken apart.
        key: PresentedKey,
        /// The client's mark for this use of the key.
        attempt: Option<Attempt>,
        /// Whether the device key signed.
        proof: Proof,
        /// The session's user as the directory has it now; none if removed.
        user: Option<User>,
        /// The token that the gateway holds for the connection.
        token: Option<Token>,
    },
    /// The user logs out on `connection`. The record is the session it holds by the store, or by its token's sid.
    Logout {
        /// The connection that logs out.
        connection: ConnectionId,
    },
    /// `connection` is about to hold another session: let go of this one.
    Detach {
        /// The connection that leaves.
        connection: ConnectionId,
    },
    /// A deadline may have passed.
    Expire,
}

/// What is to be done: first the write, then the effects in their order, then the reply.
#[derive(Debug)]
pub struct Decision {
    /// What the store is to do, under the revision that the record was loaded with.
    pub write: Write,
    /// What gateways are to be told, in this order, once the write is on disk.
    pub effects: Vec<Effect>,
    /// The answer to the client; `Ok(None)` is a null result.
    pub reply: Result<Option<LoggedIn>, Denied>,
    /// What happened, for logs and counters.
    pub outcome: Outcome,
}

/// A change of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing changes.
    Keep,
    /// A new session.
    Create(Record),
    /// The record's next revision.
    Replace(Record),
    /// The session is over.
    Remove,
}

/// Something that gateways are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Token event: the connection's access token from now on (`None`: none), with the sid as token id.
    SetToken(ConnectionId, Option<Token>),
    /// Change event on the connection's user model (`None`: all members null).
    SetUser(ConnectionId, Option<User>),
    /// Custom event `rotated` on the connection's user model.
    Rotated(ConnectionId, u64),
}

/// What a decision came to: one word for logs, counters and the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A session was made.
    LoggedIn,
    /// The connection holds a live session already.
    AlreadyLoggedIn,
    /// A new generation was made.
    Rotated,
    /// The same answer was given again.
    Replayed,
    /// A proven device was given the newest key.
    Converged,
    /// A used key came from a second pair of hands; the session was disposed of.
    Stolen,
    /// A key was newer than the record; the session was disposed of.
    FromTheFuture,
    /// A bound session's key came without a proof.
    ProofMissing,
    /// The key is not genuine, or its session is gone or over.
    Refused,
    /// The session's user is no more; the session was disposed of.
    UserRemoved,
    /// The user logged out.
    LoggedOut,
    /// There was nothing to log out of.
    NotLoggedIn,
    /// The deadline passed; the session was disposed of.
    Expired,
    /// The deadline has not passed.
    StillAlive,
    /// The connection was taken off the session.
    Detached,
}

/// Decides what `command` does to the session `record`. Safe to run again on a newer record after a conflict.
#[must_use]
pub fn decide(record: Option<&Record>, command: Command, rules: &Rules, now: Timestamp) -> Decision {
    todo!()
}
