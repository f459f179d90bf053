//! A WebSocket: text frames in, text frames out.

use wasm_bindgen::JsCast;
use web_sys::{MessageEvent, WebSocket};

use super::{Exception, listener::Listener};

/// What a socket has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// It is open: frames can be sent.
    Opened,
    /// A text frame came.
    Frame(String),
    /// It is closed, or could not be opened. The last event of a socket.
    Closed,
}

/// A WebSocket. Dropped, it closes and calls back no more.
#[derive(Debug)]
pub struct Socket {
    socket: WebSocket,
    _listeners: [Listener; 3],
}

impl Socket {
    /// Starts opening a socket to `url`; `call_back` is told what becomes of it.
    ///
    /// # Errors
    /// If the browser refuses the address: no WebSocket URL, or a `ws:` one on an `https:` page.
    pub fn open(url: &str, call_back: impl Fn(SocketEvent) + Clone + 'static) -> Result<Self, Exception> {
        let socket = WebSocket::new(url)?;
        let (opened, frame, closed) = (call_back.clone(), call_back.clone(), call_back);
        let listeners = [
            Listener::new(&socket, "open", move |_| opened(SocketEvent::Opened)),
            Listener::new(&socket, "message", move |event| {
                // RES is text: a binary frame is none of ours.
                if let Some(text) = event.unchecked_ref::<MessageEvent>().data().as_string() {
                    frame(SocketEvent::Frame(text));
                }
            }),
            // An "error" event tells nothing and is always followed by "close".
            Listener::new(&socket, "close", move |_| closed(SocketEvent::Closed)),
        ];
        Ok(Self { socket, _listeners: listeners })
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// If the socket is not open yet. On one that is closing the frame is dropped, and [`SocketEvent::Closed`] follows.
    pub fn send(&self, frame: &str) -> Result<(), Exception> {
        Ok(self.socket.send_with_str(frame)?)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Fails for a bad close code only, and there is none.
        let _ = self.socket.close();
    }
}
