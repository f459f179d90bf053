//! The socket: opened, greeted with a handshake, probed when it is silent, and opened again with
//! back-off. Must not depend on what goes over it.

use std::time::Duration;

use relogin_res::{
    Version,
    client::{Method, VersionParams, VersionResult},
    code,
};

use crate::{
    Action, Backoff, Closing, Config, ConnectionState, RequestError, SocketId, Turn,
    addresses::Addresses,
    answers::Outcome,
    outbox::{Outbox, Purpose},
};

/// A connection that lasted this long was a good one: the next try begins with the shortest wait
/// again.
const STEADY: Duration = Duration::from_secs(10);

/// The way to a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    phase: Phase,
    next_socket: u32,
    addresses: Addresses,
    backoff: Backoff,
    /// The longest wait before the first try.
    first: Duration,
    /// Whether there has been a connection, or a try at one.
    tried: bool,
    /// Whether the browser says that there is no network. A hint: a frame that comes proves it
    /// wrong.
    offline: bool,
    last_heard: Duration,
    /// When the answer to a probe is overdue.
    probe: Option<Duration>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    probe_timeout: Duration,
    spread: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    /// Until the next try.
    Waiting {
        until: Duration,
    },
    /// The socket is being opened, or the handshake has no answer yet.
    Opening {
        socket: SocketId,
        deadline: Duration,
    },
    Open {
        socket: SocketId,
        since: Duration,
    },
}

/// A gateway that does not answer is taken for one that says that it is leaving.
const GONE: Closing = Closing { is_leaving: true, retry_after: None };

/// How long a try to connect may still take after the page or the network came back.
const GRACE: Duration = Duration::from_secs(2);

/// What came of an input, for the parts that live on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Link {
    /// As before.
    Same,
    /// The handshake is done: requests may be sent.
    Up,
    /// What was sent on the last socket will have no answer.
    Lost,
}

impl Connection {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            phase: Phase::Stopped,
            next_socket: 0,
            addresses: Addresses::new(config.gateways),
            backoff: Backoff::default(),
            first: Duration::ZERO,
            tried: false,
            offline: false,
            last_heard: Duration::ZERO,
            probe: None,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            probe_timeout: config.probe_timeout,
            spread: config.spread,
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        match self.phase {
            Phase::Stopped => ConnectionState::Stopped,
            Phase::Open { .. } => ConnectionState::Connected,
            _ if !self.tried => ConnectionState::Connecting,
            Phase::Waiting { until } => ConnectionState::Reconnecting { next_try: until },
            Phase::Opening { deadline, .. } => {
                ConnectionState::Reconnecting { next_try: deadline.saturating_sub(self.connect_timeout) }
            }
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// The first try, without delay: pages are not loaded all at the same moment.
    pub(crate) fn start(&mut self, turn: &mut Turn, out: &mut Outbox) {
        if self.is_stopped() {
            self.tried = false;
            self.addresses.shuffle(&mut turn.dice);
            self.open(turn, out);
        }
    }

    pub(crate) fn stop(&mut self, out: &mut Outbox) -> Link {
        let link = self.hang_up(out);
        self.phase = Phase::Stopped;
        link
    }

    /// True if the handshake begins now.
    pub(crate) fn opened(&mut self, socket: SocketId, out: &mut Outbox) -> bool {
        let new = self.socket() == Some(socket) && out.socket.is_none();
        if new {
            out.socket = Some(socket);
            out.send(Purpose::Handshake, &Method::Version, Some(&VersionParams::encode_current()), None);
        }
        new
    }

    /// The connection works, but another one is wanted in its place.
    pub(crate) fn replace(&mut self, turn: &mut Turn, out: &mut Outbox) -> Link {
        self.fail(None, turn, out)
    }

    pub(crate) fn closed(&mut self, socket: SocketId, closing: Closing, turn: &mut Turn, out: &mut Outbox) -> Link {
        if self.socket() == Some(socket) { self.fail(Some(closing), turn, out) } else { Link::Same }
    }

    /// Whether the browser says that there is no network, and nothing came since.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Whether a frame of `socket` is to be read: it is from the current socket.
    pub(crate) fn accepts(&mut self, socket: SocketId, turn: &Turn) -> bool {
        let current = self.socket() == Some(socket);
        if current {
            (self.last_heard, self.probe, self.offline) = (turn.now, None, false);
        }
        current
    }

    /// The handshake was answered. A gateway that speaks another protocol may be replaced one day:
    /// it is tried again, but without haste.
    pub(crate) fn handshake_answered(&mut self, result: Outcome, turn: &mut Turn, out: &mut Outbox) -> Link {
        let Phase::Opening { socket, .. } = self.phase else { return Link::Same };
        let version = match result {
            Ok(result) => {
                let result = result.and_then(|result| VersionResult::read(&result));
                result.and_then(|result| Version::parse(&result.protocol))
            }
            // A gateway from before there were version requests.
            Err(RequestError::Refused(error)) if error.is(code::INVALID_REQUEST) => Some(Version::UNSTATED),
            Err(_) => None,
        };
        if let Some(version) = version.filter(|version| version.is_supported()) {
            out.protocol = version;
            self.phase = Phase::Open { socket, since: turn.now };
            self.tried = true;
            self.addresses.works();
            return Link::Up;
        }
        let link = self.hang_up(out);
        if self.addresses.fail() {
            self.open(turn, out);
        } else {
            self.wait(unhurried(turn), turn);
        }
        link
    }

    /// The page came back: is the connection still there? If there is none, waiting makes no sense
    /// any more.
    pub(crate) fn wake(&mut self, turn: &mut Turn, out: &mut Outbox) {
        self.probe(turn, out);
        self.hurry(turn);
    }

    /// There are signs that a try to connect would succeed.
    pub(crate) fn hurry(&mut self, turn: &mut Turn) {
        match self.phase {
            Phase::Waiting { until } if !self.offline => {
                self.start_over(Duration::ZERO);
                let sooner = turn.now + self.backoff.next_within(self.first, &mut turn.dice);
                self.phase = Phase::Waiting { until: until.min(sooner) };
            }
            // Maybe begun without a network, or before the machine slept: then another try gets
            // there sooner.
            Phase::Opening { socket, deadline } => {
                self.start_over(Duration::ZERO);
                self.phase = Phase::Opening { socket, deadline: deadline.min(turn.now + GRACE) };
            }
            _ => {}
        }
    }

    /// A person waits for the connection: neither the back-off counts nor what the browser says of
    /// the network.
    pub(crate) fn connect_now(&mut self, turn: &mut Turn, out: &mut Outbox) {
        match self.phase {
            Phase::Waiting { .. } => {
                self.start_over(Duration::ZERO);
                self.open(turn, out);
            }
            // The very first try has as long as it takes: nothing speaks against it yet.
            Phase::Opening { .. } if self.tried => self.hurry(turn),
            _ => {}
        }
    }

    pub(crate) fn online(&mut self, turn: &mut Turn, out: &mut Outbox) {
        self.offline = false;
        self.wake(turn, out);
    }

    /// The probe distinguishes a lost network from a gateway on this very machine.
    pub(crate) fn offline(&mut self, turn: &Turn, out: &mut Outbox) {
        self.offline = true;
        self.probe(turn, out);
    }

    /// Asks for a sign of life.
    pub(crate) fn probe(&mut self, turn: &Turn, out: &mut Outbox) {
        if self.probe.is_none() && self.is_open() {
            let deadline = turn.after(self.probe_timeout);
            self.probe = Some(deadline);
            out.send(Purpose::Probe, &Method::Version, Some(&VersionParams::encode_current()), None);
        }
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn, out: &mut Outbox) -> Link {
        match self.phase {
            Phase::Waiting { until } if until <= turn.now => self.open(turn, out),
            Phase::Opening { deadline, .. } if deadline <= turn.now => return self.fail(Some(GONE), turn, out),
            Phase::Open { .. } if self.probe.is_some_and(|deadline| deadline <= turn.now) => {
                return self.fail(Some(GONE), turn, out);
            }
            Phase::Open { .. } if self.last_heard.saturating_add(self.idle_timeout) <= turn.now => {
                self.probe(turn, out);
            }
            _ => {}
        }
        Link::Same
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Stopped => None,
            Phase::Waiting { until } => Some(until),
            Phase::Opening { deadline, .. } => Some(deadline),
            Phase::Open { .. } => Some(self.probe.unwrap_or(self.last_heard.saturating_add(self.idle_timeout))),
        }
    }

    fn socket(&self) -> Option<SocketId> {
        match self.phase {
            Phase::Stopped | Phase::Waiting { .. } => None,
            Phase::Opening { socket, .. } | Phase::Open { socket, .. } => Some(socket),
        }
    }

    fn open(&mut self, turn: &Turn, out: &mut Outbox) {
        let socket = SocketId(self.next_socket);
        self.next_socket = self.next_socket.wrapping_add(1);
        self.phase = Phase::Opening { socket, deadline: turn.after(self.connect_timeout) };
        (self.last_heard, self.probe) = (turn.now, None);
        out.push(Action::OpenSocket(socket, self.addresses.current()));
    }

    /// The socket is of no use any more: the next one, after a while; or at once, while there are
    /// addresses that were not tried in this round. `closing`: what the gateway says; none if it is
    /// we who end it.
    fn fail(&mut self, closing: Option<Closing>, turn: &mut Turn, out: &mut Outbox) -> Link {
        let since = if let Phase::Open { since, .. } = self.phase { Some(since) } else { None };
        let link = self.hang_up(out);
        if let Some(since) = since {
            let lasted = since + STEADY <= turn.now;
            if lasted {
                self.start_over(self.spread);
            }
            if closing.is_some_and(|closing| closing.is_leaving || !lasted) {
                self.addresses.leave();
            }
        } else if self.addresses.fail() && !self.offline {
            self.open(turn, out);
            return link;
        }
        if let Some(time) = closing.and_then(|closing| closing.retry_after) {
            self.first = time;
        }
        let wait = if self.offline { unhurried(turn) } else { self.backoff.next_within(self.first, &mut turn.dice) };
        self.wait(wait, turn);
        link
    }

    /// Earlier failures no longer count, and the first wait is at most this long.
    fn start_over(&mut self, first: Duration) {
        self.backoff.reset();
        self.first = first;
    }

    fn wait(&mut self, time: Duration, turn: &Turn) {
        self.tried = true;
        self.phase = Phase::Waiting { until: turn.after(time) };
    }

    fn hang_up(&mut self, out: &mut Outbox) -> Link {
        let Some(socket) = self.socket() else { return Link::Same };
        out.socket = None;
        self.probe = None;
        out.push(Action::CloseSocket(socket));
        Link::Lost
    }
}

/// The wait while there is no network, or no gateway that speaks our protocol: trying costs little,
/// but brings little.
fn unhurried(turn: &mut Turn) -> Duration {
    Backoff::default().longest(&mut turn.dice)
}
