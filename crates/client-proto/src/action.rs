//! What comes out of the [`Client`](crate::Client): what its driver has to do, and what the page is
//! told.

use std::time::Duration;

use relogin_res::{Change, List, Model, ResourceId, Value, delta::Step};
use relogin_session_manager as manager;
use serde_json::Value as Json;

use crate::{Binding, Diagnostic, PlatformAction, RequestError, Secret, SessionState, SocketId, Token};

/// Something to be done, in the order in which it was polled.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a socket to the gateway at this of the addresses, which are counted from zero. Answered
    /// by `SocketOpened` or `SocketClosed`.
    OpenSocket(SocketId, usize),
    /// Send a text frame.
    SendFrame(SocketId, Secret),
    /// Close the socket, or stop opening it. Whether a `SocketClosed` follows does not matter.
    CloseSocket(SocketId),
    /// The platform has something to do.
    Platform(PlatformAction),
    /// A command came to its end.
    Settle(Token, Result<Answer, RequestError>),
    /// Tell the page.
    Emit(Event),
    /// Log what the session manager saw or did.
    Diagnose(Diagnostic),
}

impl Action {
    /// How the session manager's event is reported.
    pub(crate) fn of_event(event: manager::Event) -> Self {
        match event {
            manager::Event::Diagnostic(diagnostic) => Self::Diagnose(diagnostic),
            manager::Event::State(state) => Self::Emit(Event::Session(state)),
            manager::Event::Binding(binding) => Self::Emit(Event::Binding(binding)),
            manager::Event::Refresh(due) => Self::Emit(Event::Refresh(due)),
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done.
    Done,
    /// What a method answered.
    Payload(Json),
    /// A resource that is subscribed to now: the one asked for, or the one that a method answered
    /// with, which the caller has to unsubscribe from when done with it. Its values:
    /// [`Client::resource`](crate::Client::resource).
    Resource(ResourceId),
    /// A resource that was read once.
    Got(Resource),
}

/// The values of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Named values.
    Model(Model),
    /// Values in order.
    Collection(List<Value>),
}

/// What is reported to the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The connection's state is another one.
    Connection(ConnectionState),
    /// The session's state is another one. The first one comes right after the start.
    Session(SessionState),
    /// What the session's key needs beside it is another thing, or there is no session any more.
    Binding(Option<Binding>),
    /// The time of the next refresh is another one
    /// ([`Client::refresh_due`](crate::Client::refresh_due)).
    Refresh(Option<Duration>),
    /// A subscribed resource changed, was loaded, or was brought up to date after a reconnect.
    Changed(ResourceId, ResourceChange),
    /// How far a subscribed resource's values can be trusted changed.
    Freshness(ResourceId, Freshness),
    /// A resource that nobody wants any more, nor anything that is wanted refers to: its values are
    /// not kept any longer.
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
    /// These members of a model have another value now, or are gone: their names, in order, and
    /// what became of them. Never empty.
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
