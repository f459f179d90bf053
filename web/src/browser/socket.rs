//! The WebSocket to the gateway.

use gloo_events::EventListener;
use relogin_client_proto::{Input, Secret, SocketId};
use wasm_bindgen::JsCast as _;
use web_sys::{MessageEvent, WebSocket};

use super::{EventQueue, Exception, burst::Burst};

/// A socket that is being opened, is open, or has closed. Dropped, it is closed, and nothing more is
/// heard of it.
#[derive(Debug)]
pub(super) struct Socket {
    socket: WebSocket,
    listeners: Vec<EventListener>,
}

impl Socket {
    /// Opens a socket.
    ///
    /// # Errors
    /// If the browser refuses to: of what becomes of it later, the events tell.
    pub(super) fn open(id: SocketId, url: &str, events: &EventQueue) -> Result<Self, Exception> {
        let frames = Burst::new(events)?;
        let socket = WebSocket::new(url)?;
        let on = |name: &'static str, event: fn(SocketId) -> Input| {
            let events = events.clone();
            EventListener::new(&socket, name, move |_| events.push(event(id)))
        };
        // An "error" event tells nothing, and "close" always follows.
        let mut listeners = vec![on("open", Input::SocketOpened), on("close", Input::SocketClosed)];
        listeners.push(EventListener::new(&socket, "message", move |event| {
            // RES is text: a binary frame is none of ours.
            if let Some(frame) = event.unchecked_ref::<MessageEvent>().data().as_string() {
                frames.push(Input::Frame(id, Secret::new(frame)));
            }
        }));
        Ok(Self { socket, listeners })
    }

    /// Sends a text frame.
    pub(super) fn send(&self, frame: &str) {
        // It fails if the socket is not open; then "close" follows, and the machine acts on that.
        let _ = self.socket.send_with_str(frame);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.listeners.clear();
        // Fails for codes and reasons only, and there are none.
        let _ = self.socket.close();
    }
}
