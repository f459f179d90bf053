//! One WebSocket: frames from its client to the driver, frames from the driver to its client, and an end to it when either
//! side is done. Knows no RES.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use relogin_gateway::ConnectionKey;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::CapacityError,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use super::{Limits, credit::Credits, driver::Event, stopped};

/// What a WebSocket comes with.
pub(super) struct Opening {
    pub(super) closed: Closed,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) limits: Arc<Limits>,
}

/// Tells the driver, when it is dropped, that the connection is no more: however the task ends that has it, also before there is
/// a WebSocket.
pub(super) struct Closed {
    pub(super) key: ConnectionKey,
    pub(super) driver: mpsc::UnboundedSender<Event>,
}

/// The driver's end of a connection. Dropped, it ends the connection.
pub(super) struct Line {
    outbound: mpsc::UnboundedSender<Outbound>,
    cut: oneshot::Sender<Farewell>,
    flow: Arc<Flow>,
}

/// Why a connection is closed, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

/// More waits for the client than may.
#[derive(Debug)]
pub(super) struct Behind;

enum Outbound {
    Frame(Bytes),
    Close(Farewell),
}

struct Flow {
    credits: Credits,
    /// Bytes that wait to be sent.
    backlog: AtomicUsize,
    max_backlog: usize,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The client closed it.
    Left,
    /// The wire broke, or nothing was heard of the client for too long.
    Gone,
    /// We close it.
    Close(Farewell),
    /// We close it because what comes from the client can be read no further.
    Unreadable(Farewell),
}

/// How many frames are written before they are flushed.
const BATCH: usize = 128;

/// How much of what a client still sends is read after a frame that cannot be: so that our closing reaches a client that does
/// nothing else before it has sent all.
const LEFTOVERS: u64 = 64 << 20;

impl Farewell {
    pub(super) const STOPPED: Self = Self { code: 1001, reason: "the server is being stopped" };
    pub(super) const BEHIND: Self = Self { code: 1008, reason: "too much waits to be read" };
    pub(super) const RESTART: Self = Self { code: 1012, reason: "the message bus was lost" };
    const TOO_LARGE: Self = Self { code: 1009, reason: "frame too large" };
    const NO_TEXT: Self = Self { code: 1007, reason: "text that is no UTF-8" };
    const NO_WEBSOCKET: Self = Self { code: 1002, reason: "not as the WebSocket protocol has it" };
}

impl Line {
    /// Sends a frame, behind those that wait. Never waits itself.
    pub(super) fn send(&self, frame: Bytes) -> Result<(), Behind> {
        let size = frame.len();
        if self.flow.backlog.fetch_add(size, Ordering::AcqRel) + size > self.flow.max_backlog {
            return Err(Behind);
        }
        // If the connection has ended, its last event is on its way.
        self.outbound.send(Outbound::Frame(frame)).ok();
        Ok(())
    }

    /// A frame of the client is dealt with.
    pub(super) fn give_back(&self) {
        self.flow.credits.give_back();
    }

    /// Closes the connection behind the frames that wait.
    pub(super) fn hang_up(self, farewell: Farewell) {
        self.outbound.send(Outbound::Close(farewell)).ok();
    }

    /// Closes the connection now. Frames that wait are dropped.
    pub(super) fn cut(self, farewell: Farewell) {
        self.cut.send(farewell).ok();
    }
}

/// How frames are read and written.
pub(super) fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        // Allocated for each connection, however idle.
        .read_buffer_size(4 << 10)
        .write_buffer_size(32 << 10)
        .max_frame_size(Some(limits.frame))
        .max_message_size(Some(limits.frame))
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(stream: WebSocketStream<S>, opening: Opening)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Opening { closed, stopping, limits } = opening;
    let Closed { key, driver } = &closed;
    let flow = Arc::new(Flow {
        credits: Credits::new(limits.frames, limits.frame_bytes),
        backlog: AtomicUsize::new(0),
        max_backlog: limits.backlog,
    });
    let (outbound, queue) = mpsc::unbounded_channel();
    let (cut, being_cut) = oneshot::channel();
    let line = Line { outbound, cut, flow: Arc::clone(&flow) };
    let (mut sink, mut source) = stream.split();

    let ending = if driver.send(Event::Opened { key: *key, line }).is_err() {
        Ending::Close(Farewell::STOPPED)
    } else {
        tokio::select! {
            ending = read(&mut source, *key, driver, &flow.credits, stopping.clone(), limits.silence) => ending,
            ending = write(&mut sink, queue, &flow, &limits) => ending,
            Ok(farewell) = being_cut => Ending::Close(farewell),
        }
        // Here the queue is dropped, and with it what nobody will read.
    };
    tracing::debug!(connection = key.0, ?ending, "a WebSocket ends");
    drop(closed);
    if let Ok(stream) = sink.reunite(source) {
        timeout(limits.close, part(stream, ending)).await.ok();
    }
    // Held to the last: who stops the gateway waits for it.
    drop(stopping);
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.driver.send(Event::Closed { key: self.key }).ok();
    }
}

async fn read(
    source: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    key: ConnectionKey,
    driver: &mpsc::UnboundedSender<Event>,
    credits: &Credits,
    mut stopping: watch::Receiver<bool>,
    silence: Duration,
) -> Ending {
    loop {
        // Without credit nothing is read, so that the client's writes block; and its silence counts for nothing.
        credits.take_frame().await;
        let text = loop {
            let message = tokio::select! {
                message = timeout(silence, source.next()) => message,
                // Reads no more; the driver will say when it is over.
                () = stopped(&mut stopping) => std::future::pending().await,
            };
            match message {
                Ok(Some(Ok(Message::Text(text)))) => break text,
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    // As text; what is none is no frame, like any other that is malformed.
                    if let Ok(text) = Utf8Bytes::try_from(bytes) {
                        break text;
                    }
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Ok(Some(Ok(Message::Close(_))) | None) => return Ending::Left,
                Ok(Some(Err(error))) => return unreadable(&error),
                Err(_) => return Ending::Gone,
            }
        };
        credits.take_bytes(text.len()).await;
        if driver.send(Event::Frame { key, text }).is_err() {
            return Ending::Close(Farewell::STOPPED);
        }
    }
}

fn unreadable(error: &Error) -> Ending {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Ending::Unreadable(Farewell::TOO_LARGE),
        Error::Utf8(_) => Ending::Unreadable(Farewell::NO_TEXT),
        Error::Protocol(ResetWithoutClosingHandshake) => Ending::Gone,
        Error::Protocol(_) => Ending::Unreadable(Farewell::NO_WEBSOCKET),
        _ => Ending::Gone,
    }
}

async fn write(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    mut queue: mpsc::UnboundedReceiver<Outbound>,
    flow: &Flow,
    limits: &Limits,
) -> Ending {
    let mut ping = interval(limits.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut batch = Vec::new();
    let mut farewell = None;
    loop {
        tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => if count == 0 {
                return Ending::Close(Farewell::STOPPED);
            },
            _ = ping.tick() => {
                if !in_time(limits.write, sink.feed(Message::Ping(Bytes::new()))).await {
                    return Ending::Gone;
                }
            }
        }
        for outbound in batch.drain(..) {
            let frame = match outbound {
                Outbound::Frame(frame) => frame,
                Outbound::Close(last) => {
                    farewell = Some(last);
                    break;
                }
            };
            let size = frame.len();
            let Ok(text) = Utf8Bytes::try_from(frame) else { continue };
            if !in_time(limits.write, sink.feed(Message::Text(text))).await {
                return Ending::Gone;
            }
            flow.backlog.fetch_sub(size, Ordering::AcqRel);
        }
        if !in_time(limits.write, sink.flush()).await {
            return Ending::Gone;
        }
        if let Some(farewell) = farewell {
            return Ending::Close(farewell);
        }
    }
}

async fn in_time(limit: Duration, writing: impl Future<Output = Result<(), Error>>) -> bool {
    matches!(timeout(limit, writing).await, Ok(Ok(())))
}

/// The closing handshake.
async fn part<S>(mut stream: WebSocketStream<S>, ending: Ending)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close =
        |Farewell { code, reason }| Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    match ending {
        Ending::Gone => {}
        // Reading on sends the answer to the client's closing.
        Ending::Left => while let Some(Ok(_)) = stream.next().await {},
        Ending::Close(farewell) => {
            if stream.send(close(farewell)).await.is_ok() {
                while let Some(Ok(_)) = stream.next().await {}
            }
        }
        Ending::Unreadable(farewell) => {
            if stream.send(close(farewell)).await.is_ok() {
                let mut leftovers = stream.get_mut().take(LEFTOVERS);
                tokio::io::copy(&mut leftovers, &mut tokio::io::sink()).await.ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::DuplexStream, task::JoinHandle, time::Instant};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    const LONG: Duration = Duration::from_secs(1_000_000);

    /// A socket under test, its client, and what its driver would hold. Time is virtual: it goes on when nobody has
    /// anything to do.
    struct Stage {
        client: WebSocketStream<DuplexStream>,
        line: Line,
        events: mpsc::UnboundedReceiver<Event>,
        server: JoinHandle<()>,
        _stopping: watch::Sender<bool>,
    }

    async fn stage(limits: Limits) -> Stage {
        // So small that a large frame does not go into it.
        let (near, far) = tokio::io::duplex(1 << 10);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let socket = WebSocketStream::from_raw_socket(far, Role::Server, Some(config(&limits))).await;
        let (driver, mut events) = mpsc::unbounded_channel();
        let stopping = watch::Sender::new(false);
        let opening = Opening {
            closed: Closed { key: ConnectionKey(1), driver },
            stopping: stopping.subscribe(),
            limits: Arc::new(limits),
        };
        let server = tokio::spawn(serve(socket, opening));
        let Some(Event::Opened { line, .. }) = events.recv().await else { panic!("not opened") };
        Stage { client, line, events, server, _stopping: stopping }
    }

    fn limits() -> Limits {
        Limits { ping: Duration::from_secs(30), silence: Duration::from_secs(75), write: LONG, ..Limits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_a_sign_of_life_is_dropped() {
        let mut stage = stage(limits()).await;
        let start = Instant::now();
        assert!(matches!(stage.events.recv().await, Some(Event::Closed { .. })));
        assert_eq!(start.elapsed().as_secs(), 75);
        stage.server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_pings_stays() {
        let mut stage = stage(limits()).await;
        // Reading is what answers them.
        let reading =
            tokio::time::timeout(Duration::from_secs(3600), async { while stage.client.next().await.is_some() {} });
        assert!(reading.await.is_err());
        assert!(!stage.server.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_answers_need_say_nothing() {
        let mut stage = stage(Limits { frames: 1, ..limits() }).await;
        stage.client.send("first".into()).await.unwrap();
        stage.client.send("second".into()).await.unwrap();
        assert!(matches!(stage.events.recv().await, Some(Event::Frame { text, .. }) if text == "first"));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(stage.events.try_recv().is_err());
        stage.line.give_back();
        assert!(matches!(stage.events.recv().await, Some(Event::Frame { text, .. }) if text == "second"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_dropped() {
        let limits = Limits { ping: LONG, silence: LONG, write: Duration::from_secs(30), ..Limits::default() };
        let mut stage = stage(limits).await;
        let start = Instant::now();
        for _ in 0..2 {
            stage.line.send(Bytes::from("x".repeat(64 << 10))).unwrap();
        }
        assert!(matches!(stage.events.recv().await, Some(Event::Closed { .. })));
        assert_eq!(start.elapsed().as_secs(), 30);
        stage.server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_written_before_the_connection_is_closed() {
        let mut stage = stage(limits()).await;
        for _ in 0..1000 {
            stage.line.send(Bytes::from_static(b"{}")).unwrap();
        }
        stage.line.hang_up(Farewell::STOPPED);
        for _ in 0..1000 {
            assert_eq!(stage.client.next().await.unwrap().unwrap(), "{}".into());
        }
        let close = stage.client.next().await.unwrap().unwrap();
        assert!(matches!(close, Message::Close(Some(close)) if u16::from(close.code) == 1001));
        assert!(stage.client.next().await.is_none());
        stage.server.await.unwrap();
    }
}
