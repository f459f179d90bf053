//! What goes into the [`Client`](crate::Client): everything that can happen to it, and when.

use std::time::Duration;

use relogin_res::ResourceId;
use serde_json::Value as Json;

use crate::{Closing, PlatformEvent, Secret, SessionCommand, SessionConfig, Token};

/// Names a socket that the client asked for; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// What does not change from input to input.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the session resource, as the service's `--name`.
    pub name: ResourceId,
    /// Whether a session is kept. Without: a plain RES client, whose logins are refused.
    pub keep_session: bool,
    /// The session's lengths of time.
    pub session: SessionConfig,
    /// How long a command may wait for a connection, and then for its answer, before it settles as
    /// timed out. Logins have their own time ([`SessionConfig::login_timeout`]).
    pub request_timeout: Duration,
    /// How long a socket may take to open and to answer the handshake.
    pub connect_timeout: Duration,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub idle_timeout: Duration,
    /// How long that sign of life may take before the connection is given up.
    pub probe_timeout: Duration,
    /// How long a resource that nobody wants any more is kept up to date, as somebody may want it
    /// again; and then how long it is remembered, as the gateway may still count on us to know it.
    pub linger: Duration,
    /// How many gateway addresses the driver has. They are tried in turn.
    pub gateways: usize,
    /// Within which time the first try to reconnect is made, at random, when a connection that
    /// lasted is lost and the gateway has not said how long that should be. Up to 250 ms it is the
    /// usual back-off. To be set where so many clients share a gateway that they must not come back
    /// at once after a crash.
    pub spread: Duration,
    /// Whether the caller has something to do on each new connection before resources are
    /// subscribed again, such as to authenticate itself: it begins when the connection's state is
    /// `Connected`, and says [`Input::Greeted`] when it is done.
    pub greet: bool,
}

impl Config {
    /// The lengths of time that suit a page, for the session resource `name`.
    #[must_use]
    pub fn new(name: ResourceId) -> Self {
        Self {
            name,
            keep_session: true,
            session: SessionConfig::default(),
            request_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(5),
            gateways: 1,
            spread: Duration::ZERO,
            greet: false,
        }
    }

    /// The same for a plain RES client, without a session, that has so many gateway addresses.
    #[must_use]
    pub fn plain(gateways: usize) -> Self {
        let name = ResourceId::parse("session").expect("a name of one part is a resource id");
        Self { keep_session: false, gateways, ..Self::new(name) }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// Begin: look at the storage, connect. Does nothing after the first time, unless stopped in
    /// between.
    Start,
    /// End: close the socket, settle what is open as lost. The session stays in storage.
    Stop,
    /// The socket is open.
    SocketOpened(SocketId),
    /// A text frame came.
    Frame(SocketId, Secret),
    /// The socket closed, failed, or could not be opened. No more events of it follow.
    SocketClosed(SocketId, Closing),
    /// Something happened on the platform.
    Platform(PlatformEvent),
    /// The user waits for a connection: it is tried at once if it is not there, whatever the
    /// back-off. A [`SessionCommand::Login`] implies it.
    ConnectNow,
    /// The caller wants something.
    Command(Token, Command),
    /// The caller no longer waits for this command, and it will not be settled. What was not sent
    /// yet is not sent; a subscription that it brings, or would have brought, is taken back. A
    /// login takes its course.
    Forget(Token),
    /// See [`Config::greet`].
    Greeted,
}

impl From<PlatformEvent> for Input {
    fn from(event: PlatformEvent) -> Self {
        Self::Platform(event)
    }
}

/// What a caller can want.
#[derive(Clone, Debug)]
pub enum Command {
    /// Log in or out. Settles with [`Answer::Done`](crate::Answer::Done).
    Session(SessionCommand),
    /// Call a method of a resource. The method `new` goes to gateways before 1.2.0 as the request
    /// that they have for it.
    Call {
        /// The resource.
        rid: ResourceId,
        /// Its method.
        method: String,
        /// What the method takes.
        params: Option<Json>,
    },
    /// Call an auth method. Logins and logouts are the session manager's: they have commands of
    /// their own.
    Auth {
        /// The resource.
        rid: ResourceId,
        /// Its method.
        method: String,
        /// What the method takes.
        params: Option<Json>,
    },
    /// Subscribe to a resource, once more for each time. Settles when the resource is there
    /// ([`Answer::Resource`](crate::Answer::Resource)), or with the first refusal; the subscription
    /// stays either way, is kept over reconnects, and is tried again with back-off and after each
    /// login, until unsubscribed.
    Subscribe(ResourceId),
    /// Take one subscription back. The gateway is notified after [`Config::linger`], unless
    /// somebody subscribes by then.
    Unsubscribe(ResourceId),
    /// Read a resource once. Settles with [`Answer::Got`](crate::Answer::Got).
    Get(ResourceId),
}
