//! One WebSocket: frames from its client to the driver, frames from the driver to its client, and
//! its end when either side is done. Must not depend on RES.

use std::{collections::VecDeque, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use relogin_gateway_proto::ConnectionKey;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::CapacityError,
        protocol::{Role, WebSocketConfig, frame::Frame},
    },
};

use crate::{
    apart::Apart,
    counts::{Counts, End},
    deflate::Deflate,
    event::Event,
    flow::Flow,
    inbound::{Inbound, Pace},
    limits::Limits,
    line::{CloseReason, Line, Outbound},
    memory::Memory,
    messages::{CHUNK, Messages, parts},
    outbox,
    stop::stopped,
};

/// What a WebSocket is served with.
pub(crate) struct Opening {
    pub(crate) closed: Closed,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) counts: Arc<Counts>,
    /// If the client may compress messages, and reads compressed ones.
    pub(crate) deflate: Option<Arc<Deflate>>,
}

/// Tells the driver, when it is dropped, that the connection has ended: however the task that holds
/// it ends, also before there is a WebSocket.
pub(crate) struct Closed {
    pub(crate) key: ConnectionKey,
    pub(crate) driver: mpsc::UnboundedSender<Event>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The client closed it.
    Left,
    /// It cannot be reached any more.
    Gone(Gone),
    /// The gateway closes it.
    Close(CloseReason),
    /// The gateway closes it because what comes from the client can no longer be read.
    Unreadable(CloseReason),
    /// The gateway closes it, and drops everything that is held for it at once.
    Dropped(CloseReason),
}

/// Why a client cannot be reached.
#[derive(Clone, Copy, Debug)]
enum Gone {
    /// The transport failed.
    Lost,
    /// It was silent for too long.
    Silent,
    /// It took too long to read something.
    Unread,
    /// The gateway has waited for it long enough.
    Stopped,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Left => Self::Client,
            Ending::Gone(Gone::Lost) => Self::Lost,
            Ending::Gone(Gone::Silent) => Self::Silent,
            Ending::Gone(Gone::Unread) => Self::Unread,
            Ending::Gone(Gone::Stopped) => Self::Stopped,
            Ending::Close(reason) | Ending::Unreadable(reason) | Ending::Dropped(reason) => Self::because(reason),
        }
    }
}

/// How many frames are written before they are flushed.
const BATCH: usize = 128;

/// How many bytes of answers to pings may wait to be sent.
const PONGS: usize = 16 << 10;

/// How many bytes the WebSocket library may hold without being able to send them, answers to pings
/// included. It fills its buffer up to a chunk, and takes one more.
const UNSENT: usize = 2 * CHUNK + PONGS;

/// How much of what a client still sends is read after an unreadable frame: so that the close frame
/// reaches a client that does nothing else before it has sent everything.
const LEFTOVERS: u64 = 64 << 20;

/// How frames are read and written.
fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        // Allocated for each connection, however idle. Enough for most messages.
        .read_buffer_size(256)
        .write_buffer_size(CHUNK)
        .max_write_buffer_size(UNSENT + CHUNK)
        .max_frame_size(Some(limits.frame))
        .max_message_size(Some(limits.frame))
}

/// Serves a connection to its end. `io` is the stream of a WebSocket after the handshake.
pub(crate) async fn serve<S>(io: S, opening: Opening)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Opening { closed, stopping, limits, memory, counts, deflate } = opening;
    counts.open();
    let Closed { key, driver } = &closed;
    let flow = Arc::new(Flow::new(&limits, memory));
    let pace = Pace { first: limits.message, rate: limits.message_rate };
    let io = Inbound::new(io, Arc::clone(&flow), pace, limits.frame, deflate.is_some());
    // Boxed, because every open connection would have room for it.
    let stream = Box::pin(WebSocketStream::from_raw_socket(io, Role::Server, Some(config(&limits)))).await;
    let (line, queue, being_cut) = Line::new(Arc::clone(&flow));
    let (mut sink, mut source) = stream.split();

    let messages = Messages { deflate: deflate.as_deref(), max: limits.frame, flow: &flow, counts: &counts };
    let ending = if driver.send(Event::Opened { key: *key, line }).is_err() {
        Ending::Close(CloseReason::STOPPED)
    } else {
        let reading = pin!(read(&mut source, *key, driver, messages, stopping.clone(), limits.silence));
        tokio::select! {
            // Whatever is sent wakes this task, and to look whether something has come costs as
            // much as to send it, but for the system's part.
            ending = Apart::new(reading) => ending,
            ending = write(&mut sink, queue, messages, &limits) => ending,
            Ok(close_reason) = being_cut => match close_reason {
                CloseReason::CROWDED => Ending::Dropped(close_reason),
                close_reason => Ending::Close(close_reason),
            },
            // What the client does not read by then delays nobody.
            () = overdue(stopping.clone(), limits.drain + limits.close) => Ending::Gone(Gone::Stopped),
        }
        // The queue is dropped here, and with it what nobody will read.
    };
    tracing::debug!(connection = key.0, ?ending, "a WebSocket ends");
    counts.end(ending.into());
    let is_idle = flow.unsent() == 0;
    drop(flow);
    drop(closed);
    if let Ok(stream) = sink.reunite(source) {
        // Boxed, because every open connection would have room for it.
        Box::pin(end(stream, ending, is_idle, limits.close)).await;
    }
    // Held to the last, because whoever stops the gateway waits for it.
    drop(stopping);
}

/// Ends a connection, within so much time for each side to do its part.
async fn end<S>(stream: WebSocketStream<Inbound<S>>, ending: Ending, is_idle: bool, within: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Ending::Dropped(close_reason) = ending {
        // Without the library, and what it holds.
        let io = stream.into_inner().into_inner();
        if is_idle {
            timeout(within, part_without_handshake(io, close_reason)).await.ok();
        }
    } else {
        timeout(within, part(stream, ending)).await.ok();
    }
}

/// Returns this long after the gateway was told to stop.
async fn overdue(mut stopping: watch::Receiver<bool>, after: Duration) {
    stopped(&mut stopping).await;
    sleep(after).await;
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
    messages: Messages<'_>,
    mut stopping: watch::Receiver<bool>,
    silence: Duration,
) -> Ending {
    let flow = messages.flow;
    loop {
        // Without credit nothing is read, so that the client's writes block; and its silence does
        // not count.
        if flow.backpressure.take_frame().await {
            flow.resume();
        }
        let text = loop {
            let message = tokio::select! {
                message = timeout(silence, source.next()) => message,
                // Reads no more; the driver will say when it is over.
                () = stopped(&mut stopping) => std::future::pending().await,
            };
            match message {
                Ok(Some(Ok(Message::Text(text)))) => break text,
                Ok(Some(Ok(Message::Binary(bytes)))) => match messages.read(bytes).await {
                    Ok(Some(text)) => break text,
                    Ok(None) => {}
                    Err(close_reason) => return Ending::Close(close_reason),
                },
                // Each ping leaves an answer in the library's buffer.
                Ok(Some(Ok(Message::Ping(_)))) if flow.unsent() > UNSENT => return Ending::Close(CloseReason::BEHIND),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Ok(Some(Ok(Message::Close(_))) | None) => return Ending::Left,
                Ok(Some(Err(error))) => return unreadable(&error),
                Err(_) => return Ending::Gone(Gone::Silent),
            }
        };
        if flow.backpressure.take_bytes(text.len()).await {
            flow.resume();
        }
        flow.hold_inflated(0);
        if flow.put(text) && driver.send(Event::Frames { key }).is_err() {
            return Ending::Close(CloseReason::STOPPED);
        }
    }
}

fn unreadable(error: &Error) -> Ending {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Ending::Unreadable(CloseReason::TOO_LARGE),
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Ending::Unreadable(CloseReason::UNFINISHED),
        Error::Utf8(_) => Ending::Unreadable(CloseReason::NO_TEXT),
        Error::Protocol(ResetWithoutClosingHandshake) => Ending::Gone(Gone::Lost),
        Error::Protocol(_) => Ending::Unreadable(CloseReason::NO_WEBSOCKET),
        _ => Ending::Gone(Gone::Lost),
    }
}

async fn write(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    mut queue: outbox::Receiver<Outbound>,
    messages: Messages<'_>,
    limits: &Limits,
) -> Ending {
    let mut ping = interval(limits.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut close_reason = None;
    loop {
        let batch = tokio::select! {
            batch = queue.take(BATCH) => {
                if batch.is_empty() {
                    return Ending::Close(CloseReason::STOPPED);
                }
                batch
            }
            _ = ping.tick() => {
                if let Err(gone) = in_time(limits.write, sink.feed(Message::Ping(Bytes::new()))).await {
                    return Ending::Gone(gone);
                }
                VecDeque::new()
            }
        };
        for outbound in batch {
            let (frame, is_deflated, shared) = match outbound {
                Outbound::Frame(frame, shared) => {
                    let (frame, is_deflated) = messages.deflate(frame, shared.as_deref()).await;
                    (frame, is_deflated, shared)
                }
                Outbound::Secret(frame) => (frame, false, None),
                Outbound::Close(last) => {
                    close_reason = Some(last);
                    break;
                }
            };
            for part in parts(frame, is_deflated) {
                let (size, is_last) = (part.payload().len(), part.header().is_final);
                if let Err(gone) = in_time(limits.write, sink.feed(Message::Frame(part))).await {
                    return Ending::Gone(gone);
                }
                messages.flow.unqueue(size, shared.is_some(), is_last);
            }
        }
        if let Err(gone) = in_time(limits.write, sink.flush()).await {
            return Ending::Gone(gone);
        }
        if let Some(close_reason) = close_reason {
            return Ending::Close(close_reason);
        }
    }
}

async fn in_time(limit: Duration, writing: impl Future<Output = Result<(), Error>>) -> Result<(), Gone> {
    timeout(limit, writing).await.map_err(|_| Gone::Unread)?.map_err(|error| match error {
        // So does the stream below, and may be first.
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Gone::Unread,
        _ => Gone::Lost,
    })
}

/// The closing handshake.
async fn part<S>(mut stream: WebSocketStream<S>, ending: Ending)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = |close_reason: CloseReason| Message::Close(Some(close_reason.frame()));
    match ending {
        Ending::Gone(_) | Ending::Dropped(_) => {}
        // Reading on sends the answer to the client's close frame.
        Ending::Left => while let Some(Ok(_)) = stream.next().await {},
        Ending::Close(close_reason) => {
            if stream.send(close(close_reason)).await.is_ok() {
                while let Some(Ok(_)) = stream.next().await {}
            }
        }
        Ending::Unreadable(close_reason) => {
            if stream.send(close(close_reason)).await.is_ok() {
                let mut leftovers = stream.get_mut().take(LEFTOVERS);
                tokio::io::copy(&mut leftovers, &mut tokio::io::sink()).await.ok();
            }
        }
    }
}

/// Says why, and reads nothing more.
async fn part_without_handshake<S>(mut io: S, close_reason: CloseReason) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = Frame::close(Some(close_reason.frame()));
    let mut bytes = Vec::new();
    close.format(&mut bytes).map_err(io::Error::other)?;
    io.write_all(&bytes).await?;
    io.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::{io::DuplexStream, task::JoinHandle, time::Instant};
    use tokio_tungstenite::tungstenite::{
        Utf8Bytes,
        protocol::frame::coding::{Data, OpCode},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(1_000_000);

    /// A socket under test, its client, and what its driver would hold. Time is virtual: it goes on
    /// when nobody has anything to do.
    struct Stage {
        client: WebSocketStream<DuplexStream>,
        line: Line,
        events: mpsc::UnboundedReceiver<Event>,
        server: JoinHandle<()>,
        stopping: watch::Sender<bool>,
    }

    impl Stage {
        /// The next frame that the driver gets.
        async fn frame(&mut self) -> Utf8Bytes {
            loop {
                if let Some(frame) = self.line.take() {
                    return frame;
                }
                assert!(matches!(self.events.recv().await, Some(Event::Frames { .. })));
            }
        }
    }

    async fn stage(limits: Limits) -> Stage {
        let memory = Arc::new(Memory::new(limits.memory));
        stage_in(limits, memory).await
    }

    async fn stage_in(limits: Limits, memory: Arc<Memory>) -> Stage {
        // Too small for a large frame.
        let (near, far) = tokio::io::duplex(1 << 10);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let (driver, mut events) = mpsc::unbounded_channel();
        let stopping = watch::Sender::new(false);
        let opening = Opening {
            closed: Closed { key: ConnectionKey(1), driver },
            stopping: stopping.subscribe(),
            memory,
            counts: Arc::default(),
            deflate: None,
            limits: Arc::new(limits),
        };
        let server = tokio::spawn(serve(far, opening));
        let Some(Event::Opened { line, .. }) = events.recv().await else { panic!("not opened") };
        Stage { client, line, events, server, stopping }
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
        // Reading answers the pings.
        let reading =
            tokio::time::timeout(Duration::from_secs(3600), async { while stage.client.next().await.is_some() {} });
        assert!(reading.await.is_err());
        assert!(!stage.server.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_answers_may_be_silent() {
        let mut stage = stage(Limits { frames: 1, ..limits() }).await;
        stage.client.send("first".into()).await.unwrap();
        stage.client.send("second".into()).await.unwrap();
        assert_eq!(stage.frame().await, "first");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(stage.events.try_recv().is_err());
        stage.line.give_back();
        assert_eq!(stage.frame().await, "second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_dropped() {
        let limits = Limits { ping: LONG, silence: LONG, write: Duration::from_secs(30), ..Limits::default() };
        let mut stage = stage(limits).await;
        let start = Instant::now();
        for _ in 0..2 {
            stage.line.send(Bytes::from("x".repeat(64 << 10)), None).unwrap();
        }
        assert!(matches!(stage.events.recv().await, Some(Event::Closed { .. })));
        assert_eq!(start.elapsed().as_secs(), 30);
        stage.server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn queued_messages_are_written_before_the_connection_is_closed() {
        let mut stage = stage(limits()).await;
        for _ in 0..1000 {
            stage.line.send(Bytes::from_static(b"{}"), None).unwrap();
        }
        stage.line.hang_up(CloseReason::STOPPED);
        for _ in 0..1000 {
            assert_eq!(stage.client.next().await.unwrap().unwrap(), "{}".into());
        }
        let close = stage.client.next().await.unwrap().unwrap();
        assert!(matches!(close, Message::Close(Some(close)) if u16::from(close.code) == 1001));
        assert!(stage.client.next().await.is_none());
        stage.server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pings_and_never_reads_is_ended() {
        let limits = Limits { ping: LONG, silence: LONG, ..limits() };
        let Stage { mut client, line, mut events, server, stopping: _open } = stage(limits).await;
        let mut sent = 0_usize;
        let ended = loop {
            tokio::select! {
                ended = events.recv() => break ended,
                // Not flushed, because flushing would read the answers.
                fed = client.feed(Message::Ping(Bytes::from_static(&[7; 125]))) => {
                    sent += 125;
                    if fed.is_err() { break events.recv().await }
                }
            }
            assert!(sent < 1 << 20, "{} bytes of answers wait", line.flow.unsent());
        };
        assert!(matches!(ended, Some(Event::Closed { .. })));
        assert!(line.flow.unsent() <= UNSENT + CHUNK);
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pings_and_reads_stays() {
        let mut stage = stage(limits()).await;
        for _ in 0..10_000 {
            stage.client.send(Message::Ping(Bytes::from_static(&[7; 125]))).await.unwrap();
            assert!(matches!(stage.client.next().await, Some(Ok(Message::Pong(_)))));
        }
        assert!(!stage.server.is_finished());
    }

    /// Pings keep the connection alive, but do not give the message more time.
    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_not_finished_in_time_ends_its_connection() {
        for first_part in [100, 200_000] {
            let mut stage = stage(limits()).await;
            let start = Instant::now();
            let part = Frame::message(vec![b'x'; first_part], OpCode::Data(Data::Text), false);
            stage.client.send(Message::Frame(part)).await.unwrap();
            let close = loop {
                tokio::select! {
                    message = stage.client.next() => {
                        if let Message::Close(close) = message.unwrap().unwrap() { break close.unwrap() }
                    }
                    () = sleep(Duration::from_secs(1)) => {
                        stage.client.send(Message::Ping(Bytes::new())).await.unwrap();
                    }
                }
                assert!(start.elapsed() < Duration::from_secs(100), "the unfinished message is still waited for");
            };
            assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "message not finished in time"));
            // Ten seconds, and one for each 16 KiB. (Time is virtual.)
            assert_eq!(start.elapsed().as_secs(), 10 + (first_part >> 14) as u64);
            assert!(matches!(stage.events.recv().await, Some(Event::Closed { .. })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_sends_on_finishes_its_message() {
        let mut stage = stage(limits()).await;
        let mut next = Data::Text;
        for n in 0..60 {
            sleep(Duration::from_millis(900)).await;
            let part = Frame::message(vec![b'x'; 16 << 10], OpCode::Data(next), n == 59);
            stage.client.send(Message::Frame(part)).await.unwrap();
            next = Data::Continue;
        }
        assert_eq!(stage.frame().await.len(), 960 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_whose_rest_is_not_read_for_lack_of_credit_is_not_overdue() {
        let limits = Limits { frames: 1, ..limits() };
        let Stage { mut client, line, mut events, stopping: _open, .. } = stage(limits).await;
        let large = "x".repeat(100 << 10);
        let sending = tokio::spawn({
            let large = large.clone();
            async move {
                client.feed("first".into()).await.unwrap();
                client.send(large.into()).await.unwrap();
                client
            }
        });
        assert!(matches!(events.recv().await, Some(Event::Frames { .. })));
        assert_eq!((line.take().unwrap().as_str(), line.take()), ("first", None));
        sleep(Duration::from_secs(3600)).await;
        line.give_back();
        assert!(matches!(events.recv().await, Some(Event::Frames { .. })));
        assert_eq!(line.take().unwrap(), large.as_str());
        let _client = sending.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_are_sent_in_small_frames_and_come_whole() {
        let mut stage = stage(limits()).await;
        // The cuts fall inside characters.
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK, 999_999] {
            let text: String = "\u{20ac}".chars().cycle().take(size / 3).collect();
            stage.line.send(Bytes::from(text.clone()), None).unwrap();
            assert_eq!(stage.client.next().await.unwrap().unwrap(), text.into());
        }
        assert!(stage.line.flow.unsent() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_held_for_a_client_is_counted_and_released() {
        let memory = Arc::new(Memory::new(usize::MAX));
        let mut stage = stage_in(limits(), Arc::clone(&memory)).await;
        let part = Frame::message(vec![b'x'; 100 << 10], OpCode::Data(Data::Text), false);
        stage.client.send(Message::Frame(part)).await.unwrap();
        for _ in 0..4 {
            stage.line.send(Bytes::from("x".repeat(64 << 10)), None).unwrap();
        }
        tokio::task::yield_now().await;
        sleep(Duration::from_millis(1)).await;
        let debt = stage.line.debt().bytes();
        assert_eq!(debt, memory.held());
        // The part, its buffer, and what does not fit into the library's buffer.
        assert!((400 << 10..=456 << 10).contains(&debt), "{debt}");
        drop(stage.line);
        drop(stage.client);
        assert!(matches!(stage.events.recv().await, Some(Event::Closed { .. })));
        stage.server.await.unwrap();
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
        let limits = Limits { write: LONG, ping: LONG, silence: LONG, ..Limits::default() };
        let longest = limits.drain + 2 * limits.close;
        let stage = stage(limits).await;
        for _ in 0..4 {
            stage.line.send(Bytes::from("x".repeat(64 << 10)), None).unwrap();
        }
        let start = Instant::now();
        stage.stopping.send_replace(true);
        stage.line.hang_up(CloseReason::STOPPED);
        stage.server.await.unwrap();
        assert!(start.elapsed() <= longest, "{:?}", start.elapsed());
        drop(stage.client);
    }
}
