//! What comes out of the [`Client`](crate::Client): what its driver has to do, and what the page is told.

use std::time::Duration;

use relogin_res::{Change, Error, List, Model, ResourceId, Value, code, delta::Step};
use relogin_session::User;
use serde_json::Value as Json;
use thiserror::Error;

use crate::{Diagnostic, EndReason, LockId, Secret, SocketId, Token};

/// Something to be done, in the order in which it was polled.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a socket to the gateway. Answered by `SocketOpened` or `SocketClosed`.
    OpenSocket(SocketId),
    /// Send a text frame.
    SendFrame(SocketId, Secret),
    /// Close the socket, or stop opening it. Whether a `SocketClosed` follows does not matter.
    CloseSocket(SocketId),
    /// Read the storage record; hand it in as [`StorageRead`](crate::Input::StorageRead) before any other input. It may be
    /// stale: what another tab has written a moment ago need not show yet.
    ReadStorage,
    /// If storage has exactly `from`, put `to` there, in one step that no other tab can come between. Then hand in what
    /// storage has, whoever wrote it, as [`StorageRead`](crate::Input::StorageRead), before any other input. That is never
    /// stale. Where storage is refused: keep the record in memory.
    SwapStorage {
        /// What has to be there; `None`: nothing.
        from: Option<Secret>,
        /// What is to be there; `None`: nothing.
        to: Option<Secret>,
    },
    /// Find the browser's key pair for this session's name, or make one that nobody can read; hand the public half in as
    /// [`Device`](crate::Input::Device) before any other input. Tabs that ask at the same time get the same pair.
    MakeDevice,
    /// Sign the text's bytes with that key pair; hand the signature in as [`Signed`](crate::Input::Signed) before any other
    /// input. Never makes a pair.
    Sign(Secret),
    /// Ask for the storage lock. Answered by `LockGranted` or `LockRefused`.
    RequestLock(LockId),
    /// Take the storage lock from whoever has it. Answered likewise.
    StealLock(LockId),
    /// Give the lock back; if it was not granted yet, stop asking.
    ReleaseLock(LockId),
    /// A command came to its end.
    Settle(Token, Result<Answer, RequestError>),
    /// Tell the page.
    Emit(Event),
    /// Log what the session manager saw or did.
    Diagnose(Diagnostic),
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done.
    Done,
    /// What a method answered.
    Payload(Json),
    /// A resource that is subscribed to now: the one asked for, or the one that a method answered with, which the caller has
    /// to unsubscribe from when done with it. Its values: [`Client::resource`](crate::Client::resource).
    Resource(ResourceId),
    /// A resource that was read once.
    Got(Resource),
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RequestError {
    /// The gateway or a service said no.
    #[error("refused: {0}")]
    Refused(#[source] Error),
    /// No answer in time, or no connection. The request may have been carried out.
    #[error("no answer in time")]
    TimedOut,
    /// The connection went after the request was sent. The request may have been carried out.
    #[error("the connection was lost")]
    ConnectionLost,
    /// The answer is none that RES knows.
    #[error("the answer makes no sense")]
    Garbled,
    /// A later command made it pointless: unsubscribed before the resource was there, logged out before logged in.
    #[error("a later command took its place")]
    Superseded,
    /// There is nothing to unsubscribe from.
    #[error("not subscribed")]
    NotSubscribed,
}

impl RequestError {
    /// The RES error code that says it: the gateway's or service's own, or the one that RES clients use.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(error) => &error.code,
            Self::TimedOut => code::TIMEOUT,
            Self::ConnectionLost => "system.connectionError",
            Self::Garbled => code::INTERNAL_ERROR,
            Self::Superseded => "client.superseded",
            Self::NotSubscribed => code::NO_SUBSCRIPTION,
        }
    }
}

/// The values of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Named values.
    Model(Model),
    /// Values in order.
    Collection(List<Value>),
}

/// What the page is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The connection's state is another one.
    Connection(ConnectionState),
    /// The session's state is another one. The first one comes right after the start.
    Session(SessionState),
    /// What the session's key needs beside it is another thing, or there is no session any more.
    Binding(Option<Binding>),
    /// The time of the next refresh is another one ([`Client::refresh_due`](crate::Client::refresh_due)).
    Refresh(Option<Duration>),
    /// A subscribed resource changed, was loaded, or was brought up to date after a reconnect.
    Changed(ResourceId, ResourceChange),
    /// How far a subscribed resource's values can be trusted changed.
    Freshness(ResourceId, Freshness),
    /// A resource that nobody wants any more, nor anything that is wanted refers to: its values are not kept any longer.
    Forgotten(ResourceId),
    /// A custom event on a subscribed resource.
    Custom {
        /// The resource.
        rid: ResourceId,
        /// The event's name.
        name: String,
        /// What it carries; null if nothing.
        data: Json,
    },
}

/// A step from a resource's former values to its new ones.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceChange {
    /// The resource is there, for the first time or as another kind than before.
    Loaded,
    /// These members of a model have another value now, or are gone: their names, in order, and what became of them. Never empty.
    Model(Vec<(String, Change)>),
    /// A collection got or lost one value.
    Collection(Step),
    /// The service deleted the resource. Its last values stay readable.
    Deleted,
}

/// How far a resource's values can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub enum Freshness {
    /// Asked for; no answer yet.
    Loading,
    /// What the gateway has.
    Live,
    /// What the gateway had when the connection was lost or the subscription was taken from us.
    Stale,
    /// It cannot be had now; it will be tried again.
    Failed(RequestError),
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not yet connected, for the first time.
    Connecting,
    /// Connected to a gateway.
    Connected,
    /// The connection was lost; the next try is at this time, or under way if that has passed.
    Reconnecting {
        /// When, on the clock of [`Moment::now`](crate::Moment).
        next_try: Duration,
    },
    /// Stopped, or not started.
    Stopped,
}

/// What the page can say of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Nobody is logged in, and nobody was.
    Anonymous,
    /// A key is stored; whether it still opens the session is not known yet.
    Resuming,
    /// This user is logged in.
    LoggedIn(User),
    /// This user was logged in when the connection was lost, and is believed to be still.
    Reconnecting(User),
    /// The session is over.
    Ended(EndReason),
}

/// What somebody needs beside the relogin key to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The device that logged in: a key that was copied opens nothing.
    Bound,
    /// Nothing: the browser could keep no device key. A key that was copied and used ends the session.
    Bearer,
}

impl From<&RequestError> for Diagnostic {
    fn from(error: &RequestError) -> Self {
        Self::Failed(error.code().to_owned())
    }
}
