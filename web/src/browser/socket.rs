//! The WebSocket to the gateway. Must not depend on what the frames say.

use gloo_events::EventListener;
use relogin_client_proto::{Closing, Input, Secret, SocketId};
use wasm_bindgen::JsCast as _;
use web_sys::{CloseEvent, Event, MessageEvent, WebSocket};

use super::{EventQueue, Exception, burst::Burst};

/// A socket that is being opened, is open, or has closed. Dropping it closes it and ends its
/// events.
#[derive(Debug)]
pub(super) struct Socket {
    socket: WebSocket,
    listeners: Vec<EventListener>,
}

impl Socket {
    /// Begins to open a socket; later failures are events.
    ///
    /// # Errors
    /// If the browser refuses the address.
    pub(super) fn open(id: SocketId, url: &str, events: &EventQueue) -> Result<Self, Exception> {
        let frames = Burst::new(events)?;
        let socket = WebSocket::new(url)?;
        let on = |name: &'static str, input: fn(SocketId, &Event) -> Input| {
            let events = events.clone();
            EventListener::new(&socket, name, move |event| events.push(input(id, event)))
        };
        // The event "error" says nothing more, and "close" always follows it.
        let mut listeners = vec![on("open", |id, _| Input::SocketOpened(id)), on("close", closed)];
        listeners.push(EventListener::new(&socket, "message", move |event| {
            // RES uses text frames; others are ignored.
            if let Some(frame) = event.unchecked_ref::<MessageEvent>().data().as_string() {
                frames.push(Input::Frame(id, Secret::new(frame)));
            }
        }));
        Ok(Self { socket, listeners })
    }

    /// Sends a text frame.
    pub(super) fn send(&self, frame: &str) {
        // It fails if the socket is not open. Then the event "close" follows.
        let _ = self.socket.send_with_str(frame);
    }
}

fn closed(id: SocketId, event: &Event) -> Input {
    let event: &CloseEvent = event.unchecked_ref();
    Input::SocketClosed(id, Closing::read(event.code(), &event.reason()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.listeners.clear();
        // It fails only for invalid codes and reasons.
        let _ = self.socket.close();
    }
}
