//! The task that owns the gateway's state machine. Knows sockets only as lines (`line.rs`).

mod actions;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use relogin_bus::{Bus, Deliveries, Delivery, Link, Mailbox};
use relogin_gateway_proto::{Config, ConnectionKey, Decoded, Gateway, Input, Tag};
use relogin_res::service::PreResponse;
use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::{
    bus_commands,
    connection::{self, Connection, Way},
    counts::{Frames, Stats},
    drain::{self, Drain},
    event::Event,
    flow::Debt,
    id_map::IdMap,
    line::CloseReason,
    memory::{LastShared, Memory},
    requests::{CloseOnDrop, Requests},
    stop::stopped,
    trace,
};

/// What a driver needs.
pub(crate) struct Outside {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    /// True once the driver is to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) memory: Arc<Memory>,
}

/// Everything that wakes the driver.
enum Wake {
    Event(Event),
    /// A connection's frames have their turn.
    Frames,
    Delivery(Delivery),
    Refused(relogin_bus::Tag),
    Decoded(Decoded),
    Link(Link),
    Timeout,
    /// More is held for all clients than allowed.
    Excess,
    LeaveInTurn,
    Stop,
    /// The time to wait for answers is over.
    Drained,
}

struct Driver {
    machine: Gateway,
    started: Instant,
    connections: IdMap<ConnectionKey, Connection>,
    requests: Arc<Requests>,
    /// How many frames are unanswered, over all connections.
    unanswered: usize,
    /// Connections with frames that are not taken yet. They take turns, one frame each.
    turns: VecDeque<ConnectionKey>,
    /// How much was done since other tasks had a turn.
    work: usize,
    memory: Arc<Memory>,
    last_shared: LastShared,
    /// Connections that were closed because of what they held, and may still hold it.
    ended: Vec<Debt>,
    drain: Option<Drain>,
    /// How many connections there were when their end began: so many clients come back.
    crowd: usize,
    frames: Frames,
    /// Where large answers come back when they are decoded.
    decoded: mpsc::UnboundedSender<Decoded>,
}

/// How much of one kind is processed before the others have a turn.
const BATCH: usize = 128;

/// Inputs and actions processed before other tasks have a turn: about half a millisecond.
const WORK: usize = 512;

/// How many slices of the machine's work are done before what the bus has brought has a turn.
const SLICES: usize = 4;

/// Drives a gateway until it is told to stop, then until all frames are answered or `drain` ends.
pub(crate) async fn run(outside: Outside, config: Config, drain: Duration) {
    let Outside { bus, mut events, mut stopping, memory } = outside;
    let (mailbox, mut deliveries) = Mailbox::new();
    let requests = Arc::new(Requests::default());
    let _closes = CloseOnDrop(Arc::clone(&requests));
    let (refuse, mut refused) = mpsc::unbounded_channel();
    let (decoded, mut decoding) = mpsc::unbounded_channel();
    let mut link = bus.link();
    tokio::spawn(bus_commands::run(bus, mailbox, Arc::clone(&requests), refuse));

    let max_subject = relogin_bus::MAX_SUBJECT.min(Config::default().max_subject);
    let config = Config { max_subject, ..config };
    let mut driver = Driver {
        machine: Gateway::new(config),
        started: Instant::now(),
        connections: IdMap::default(),
        requests,
        unanswered: 0,
        turns: VecDeque::new(),
        work: 0,
        memory: Arc::clone(&memory),
        last_shared: LastShared::default(),
        ended: Vec::new(),
        drain: None,
        crowd: 0,
        frames: Frames::default(),
        decoded,
    };
    driver.act();
    if *link.borrow_and_update() == Link::Down {
        driver.feed(Input::LinkDown);
    }

    let clock = sleep_until(driver.started);
    tokio::pin!(clock);
    let mut deadline = None;
    loop {
        let timeout = driver.timeout();
        // The machine has work left, or is late: others go first, but not indefinitely.
        let is_due = timeout.is_some_and(|timeout| timeout <= Instant::now());
        if let Some(timeout) = timeout.filter(|timeout| !is_due && *timeout != clock.deadline()) {
            clock.as_mut().reset(timeout);
        }
        let wake = tokio::select! {
            Some(event) = events.recv() => Wake::Event(event),
            () = std::future::ready(()), if !driver.turns.is_empty() => Wake::Frames,
            Some(delivery) = deliveries.next(), if !driver.machine.is_behind() => Wake::Delivery(delivery),
            Some(tag) = refused.recv() => Wake::Refused(tag),
            Some(decoded) = decoding.recv() => Wake::Decoded(decoded),
            Ok(()) = link.changed() => Wake::Link(*link.borrow_and_update()),
            // A clock would be late by up to a millisecond.
            () = yield_now(), if is_due => Wake::Timeout,
            () = &mut clock, if timeout.is_some() && !is_due => Wake::Timeout,
            () = memory.exceeded() => Wake::Excess,
            () = drain::next(driver.drain.as_ref()), if driver.drain.is_some() => Wake::LeaveInTurn,
            // Also if nobody is left to say so.
            () = stopped(&mut stopping), if deadline.is_none() => Wake::Stop,
            () = sleep_until(deadline.unwrap_or(driver.started)), if deadline.is_some() => Wake::Drained,
        };
        let is_overtaken = is_due && !matches!(wake, Wake::Timeout);
        match wake {
            Wake::Event(event) => driver.take_events(event, &mut events),
            Wake::Frames => driver.take_frames(),
            Wake::Delivery(delivery) => driver.take_deliveries(&delivery, &mut deliveries),
            Wake::Refused(relogin_bus::Tag(tag)) => driver.feed(Input::Refused { tag: Tag(tag) }),
            Wake::Decoded(decoded) => driver.feed(Input::Decoded(decoded)),
            Wake::Link(Link::Down) => driver.feed(Input::LinkDown),
            // A loss may have been over before this task looked.
            Wake::Link(Link::Up) => driver.resume(),
            Wake::Timeout => driver.go_on(&events),
            Wake::Excess => driver.cut_largest(),
            Wake::LeaveInTurn => driver.go_on_leaving(),
            Wake::Stop => deadline = Some(Instant::now() + drain),
            Wake::Drained => break,
        }
        if is_overtaken {
            driver.feed(Input::Timeout);
        }
        if deadline.is_some() && driver.unanswered == 0 && driver.turns.is_empty() && events.is_empty() {
            break;
        }
        if driver.work >= WORK {
            driver.work = 0;
            yield_now().await;
        }
    }
    let stopped = CloseReason::STOPPED.to_a_crowd_of(driver.crowd.max(driver.connections.len()));
    for (_, connection) in driver.connections {
        connection.hang_up(stopped);
    }
    // Those that open only now.
    events.close();
    while let Some(event) = events.recv().await {
        if let Event::Opened { line, .. } = event {
            line.hang_up(stopped);
        }
    }
}

impl Driver {
    /// Does what the machine has left to be done: some more of it at once if nobody has come
    /// meanwhile, because to let others have a turn costs a call of the system.
    fn go_on(&mut self, events: &mpsc::UnboundedReceiver<Event>) {
        for _ in 0..SLICES {
            self.feed(Input::Timeout);
            let is_due = self.timeout().is_some_and(|timeout| timeout <= Instant::now());
            if !is_due || self.work >= WORK || !events.is_empty() || !self.turns.is_empty() {
                return;
            }
        }
    }

    fn take_events(&mut self, first: Event, more: &mut mpsc::UnboundedReceiver<Event>) {
        self.take_event(first);
        for _ in 1..BATCH {
            if self.work >= WORK {
                break;
            }
            let Ok(event) = more.try_recv() else { break };
            self.take_event(event);
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Request { key, cid, origin, operation, answer } => {
                self.connections.insert(key, Connection { unanswered: 1, ..Connection::new(Way::Answer(answer)) });
                self.unanswered += 1;
                self.feed(Input::Request { connection: key, cid, origin, operation });
            }
            Event::Opening { key, cid, origin, verdict } => {
                self.connections.insert(key, Connection::new(Way::Verdict(verdict)));
                self.feed(Input::Opening { connection: key, cid, origin });
            }
            Event::Opened { key, line } => match self.connections.get_mut(&key) {
                Some(connection) => connection.way = Way::Line(line),
                // The state machine has closed it while its WebSocket was being created.
                None => line.hang_up(CloseReason::RESTART.to_a_crowd_of(self.crowd)),
            },
            Event::Frames { key } => {
                if let Some(connection) = self.connections.get_mut(&key) {
                    connection.has_turn = true;
                    self.turns.push_back(key);
                }
            }
            Event::Closed { key } => match self.connections.get_mut(&key) {
                // What it sent before counts.
                Some(connection) if connection.has_turn => connection.is_closing = true,
                _ => self.close(key),
            },
            // If nobody waits for it any more, it is not needed.
            Event::Stats { answer } => drop(answer.send(self.stats())),
            Event::Drain { within, done } => {
                self.crowd = self.connections.len();
                self.drain = Some(Drain::new(self.connections.keys().copied(), within, Instant::now(), done));
            }
        }
    }

    /// Takes a frame of each connection whose turn it is.
    fn take_frames(&mut self) {
        for _ in 0..BATCH {
            let Some(key) = self.turns.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            let frame = if let Way::Line(line) = &connection.way { line.take() } else { None };
            let Some(text) = frame else {
                connection.has_turn = false;
                if connection.is_closing {
                    self.close(key);
                }
                continue;
            };
            self.turns.push_back(key);
            connection.unanswered += 1;
            self.unanswered += 1;
            trace::received(key.0, &text);
            self.frames.received += 1;
            self.frames.bytes_received += text.len() as u64;
            self.feed(Input::Frame { connection: key, text: &text });
            if self.work >= WORK {
                return;
            }
        }
    }

    fn stats(&self) -> Stats {
        Stats {
            frames_received: self.frames.received,
            bytes_received: self.frames.bytes_received,
            frames_sent: self.frames.sent,
            bytes_sent: self.frames.bytes_sent,
            unanswered: self.unanswered,
            queued_requests: self.requests.queued(),
            machine: self.machine.stats(),
            ..Stats::default()
        }
    }

    fn close(&mut self, key: ConnectionKey) {
        if self.remove(key).is_some() {
            self.feed(Input::Closed { connection: key });
        }
    }

    fn take_deliveries(&mut self, first: &Delivery, more: &mut Deliveries) {
        self.take_delivery(first);
        for _ in 1..BATCH {
            if self.work >= WORK || self.machine.is_behind() {
                break;
            }
            let Some(delivery) = more.try_next() else { break };
            self.take_delivery(&delivery);
        }
    }

    fn take_delivery(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Message { tag, message } => {
                let (subject, payload) = (&message.subject, &message.payload);
                trace::published(subject, payload);
                self.feed(Input::Message { tag: Tag(tag.0), subject, payload });
            }
            Delivery::Reply { tag, payload } => {
                trace::answered(tag.0, payload);
                if PreResponse::parse(payload).is_some() {
                    self.requests.extended(*tag);
                }
                self.feed(Input::Reply { tag: Tag(tag.0), payload });
            }
            Delivery::NoResponders { tag } => self.feed(Input::NoResponders { tag: Tag(tag.0) }),
            Delivery::Lost => {
                tracing::warn!("the bus is faster than the gateway; closing all connections");
                self.resume();
            }
        }
    }

    /// Messages were lost, and now they arrive again.
    fn resume(&mut self) {
        self.feed(Input::LinkDown);
        self.feed(Input::LinkUp);
    }

    /// Closes the connections whose turn it is. Those with unanswered requests stay.
    fn go_on_leaving(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        for key in drain.due(Instant::now(), BATCH) {
            if self.connections.get(&key).is_some_and(Connection::is_idle)
                && let Some(connection) = self.remove(key)
            {
                connection.hang_up(CloseReason::STOPPED.to_a_crowd_of(self.crowd));
                self.feed(Input::Closed { connection: key });
            }
        }
        self.drain.take_if(|drain| drain.is_over());
    }

    fn feed(&mut self, input: Input<'_>) {
        if matches!(input, Input::LinkDown) {
            self.crowd = self.connections.len();
        }
        self.work += 1;
        self.machine.handle(input, self.started.elapsed());
        self.act();
    }

    /// Closes the connections that hold the most, until the rest fits. Small ones are never closed.
    fn cut_largest(&mut self) {
        self.ended.retain(|debt| debt.bytes() > 0);
        let excess = self.memory.excess().saturating_sub(self.ended.iter().map(Debt::bytes).sum());
        if excess == 0 {
            return;
        }
        let largest = connection::largest(&self.connections, excess);
        let ended = largest.len();
        largest.into_iter().for_each(|key| self.cut(key, CloseReason::CROWDED));
        tracing::warn!(ended, "closed connections: clients hold too much memory, and these hold the most");
        self.act();
    }

    /// Closes a connection now, and notifies the state machine.
    fn cut(&mut self, key: ConnectionKey, close_reason: CloseReason) {
        if let Some(Connection { way: Way::Line(line), .. }) = self.remove(key) {
            self.ended.retain(|debt| debt.bytes() > 0);
            self.ended.push(line.cut(close_reason));
            self.machine.handle(Input::Closed { connection: key }, self.started.elapsed());
        }
    }

    fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        let connection = self.connections.remove(&key)?;
        self.unanswered -= connection.unanswered;
        Some(connection)
    }

    fn timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout().map(|timeout| self.started + timeout)
    }
}
