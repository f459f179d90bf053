//! A WebSocket in a task of its own: opened, read and written there, closed when it is dropped. Knows nothing of what it
//! carries.

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, Utf8Bytes},
};

/// How many frames may wait to be taken in before the gateway is not read from any further.
const MOST_FRAMES: usize = 256;

/// One that is open, or being opened.
#[derive(Debug)]
pub(crate) struct Socket {
    frames: mpsc::UnboundedSender<String>,
    events: mpsc::Receiver<SocketEvent>,
}

/// What happens to a socket.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    Opened,
    Frame(Utf8Bytes),
    /// Or could not be opened. The last one.
    Closed,
}

impl Socket {
    /// Opens one.
    pub(crate) fn open(url: String) -> Self {
        let (frames, to_send) = mpsc::unbounded_channel();
        let (happens, events) = mpsc::channel(MOST_FRAMES);
        tokio::spawn(run(url, to_send, happens));
        Self { frames, events }
    }

    /// Sends a frame. If the socket is closed, that is about to be heard.
    pub(crate) fn send(&self, frame: &str) {
        let _ = self.frames.send(frame.to_owned());
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        self.events.recv().await.unwrap_or(SocketEvent::Closed)
    }
}

/// Ends when the socket does, or when the [`Socket`] is dropped; that is "closed" to whoever still listens.
async fn run(url: String, mut to_send: mpsc::UnboundedReceiver<String>, happens: mpsc::Sender<SocketEvent>) {
    let opened = tokio::select! {
        opened = connect_async(url) => opened,
        () = happens.closed() => return,
    };
    let Ok((stream, _)) = opened else { return };
    let (mut sink, mut source) = stream.split();
    if happens.send(SocketEvent::Opened).await.is_err() {
        return;
    }
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            let sent = match message {
                Message::Text(text) => happens.send(SocketEvent::Frame(text)).await,
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some(frame) = to_send.recv().await {
            if sink.feed(Message::text(frame)).await.is_err() {
                return;
            }
            // What is there already goes out together.
            while let Ok(frame) = to_send.try_recv() {
                if sink.feed(Message::text(frame)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        // Nobody wants it any more. That the other side may not hear of it does no harm.
        let _ = sink.close().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
