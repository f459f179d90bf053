//! A WebSocket in a task of its own, which opens, reads and writes it. Dropping the handle closes
//! it. Must not depend on what the frames say.

use futures_util::{SinkExt, StreamExt};
use relogin_client_proto::Closing;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Error, Message, Utf8Bytes, protocol::CloseFrame},
};

/// How many frames may wait for the driver before no more are read from the gateway.
const MAX_FRAMES: usize = 256;

/// A WebSocket that is open, or being opened.
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
    /// It has closed, or could not be opened. The last event.
    Closed(Closing),
}

impl Socket {
    /// Begins to open a socket.
    pub(crate) fn open(gateway: Gateway) -> Self {
        let (frames, to_send) = mpsc::unbounded_channel();
        let (happens, events) = mpsc::channel(MAX_FRAMES);
        tokio::spawn(run(gateway, to_send, happens));
        Self { frames, events }
    }

    /// Sends a frame. If the socket is closed, [`SocketEvent::Closed`] says so.
    pub(crate) fn send(&self, frame: &str) {
        let _ = self.frames.send(frame.to_owned());
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        self.events.recv().await.unwrap_or(SocketEvent::Closed(Closing::default()))
    }
}

/// A gateway's address, and which certificates are trusted there.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    #[cfg(feature = "tls")]
    pub(crate) trust: crate::tls::Trust,
}

impl Gateway {
    async fn connect(self) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
        #[cfg(feature = "tls")]
        let connector = self.trust.connector(&self.url).await;
        #[cfg(not(feature = "tls"))]
        let connector = None;
        Ok(connect_async_tls_with_config(self.url, None, false, connector).await?.0)
    }
}

/// Runs the socket until it closes or the [`Socket`] is dropped.
async fn run(gateway: Gateway, mut to_send: mpsc::UnboundedReceiver<String>, happens: mpsc::Sender<SocketEvent>) {
    let opened = tokio::select! {
        opened = gateway.connect() => opened,
        () = happens.closed() => return,
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => return log::debug!(target: "relogin", "cannot connect: {error}"),
    };
    let (mut sink, mut source) = stream.split();
    if happens.send(SocketEvent::Opened).await.is_err() {
        return;
    }
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            let sent = match message {
                Message::Text(text) => happens.send(SocketEvent::Frame(text)).await,
                Message::Close(Some(CloseFrame { code, reason })) => {
                    let closing = Closing::read(code.into(), reason.as_str());
                    happens.send(SocketEvent::Closed(closing)).await
                }
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
            // Frames that wait already go out together.
            while let Ok(frame) = to_send.try_recv() {
                if sink.feed(Message::text(frame)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        // The socket was dropped. It does no harm if the gateway is not notified.
        let _ = sink.close().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
