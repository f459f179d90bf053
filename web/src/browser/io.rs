//! Browser I/O of one machine: carries out its actions, and queues what happens.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use relogin_client_proto::{Action, Input, SocketId};

use super::{
    EventQueue, Exception, StorageMode, random, session::SessionIo, socket::Socket, timer::Timer, wake_ups::WakeUps,
};

/// What a machine is connected to. Dropped, it lets go of it all.
#[derive(Debug)]
pub(crate) struct BrowserIo {
    gateway: String,
    events: EventQueue,
    timer: Timer,
    socket: Option<(SocketId, Socket)>,
    session: Option<SessionIo>,
    _wake_ups: WakeUps,
}

impl BrowserIo {
    /// The I/O of a machine whose sockets go to `gateway`: a good address, or empty if it opens none.
    ///
    /// # Errors
    /// If the browser has no generator of random values.
    pub(crate) fn new(gateway: String) -> Result<Self, Exception> {
        random::check()?;
        let events = EventQueue::default();
        let (timer, wake_ups) = (Timer::new(&events), WakeUps::new(&events));
        Ok(Self { gateway, events, timer, socket: None, session: None, _wake_ups: wake_ups })
    }

    /// Keeps the session of the session resource `session`; see [`Options::adopt`](crate::Options::adopt).
    ///
    /// # Errors
    /// If the gateway's address is none.
    pub(crate) fn keep_session(
        &mut self,
        session: &str,
        mode: &StorageMode,
        adopt: Option<&str>,
    ) -> Result<(), Exception> {
        self.session = Some(SessionIo::open(session, &self.gateway, mode, adopt, &self.events)?);
        Ok(())
    }

    /// What happens next.
    pub(crate) fn poll_event(&mut self, context: &Context<'_>) -> Poll<Input> {
        self.events.poll_next(context).map(|event| self.taken(event))
    }

    /// What has happened already, if something has.
    pub(crate) fn next_queued(&mut self) -> Option<Input> {
        let event = self.events.pop()?;
        Some(self.taken(event))
    }

    fn taken(&mut self, event: Input) -> Input {
        if matches!(event, Input::Timer) {
            self.timer.fired();
        }
        event
    }

    /// Sends [`Input::Timer`] at this time, or sooner, in place of the time before.
    pub(crate) fn wake_at(&mut self, due: Option<Duration>) {
        self.timer.set(due);
    }

    /// Does it. What is to be handed to the machine before any other input, if something is, comes
    /// back; until then, no further action is to be carried out.
    pub(crate) async fn carry_out(&mut self, action: &Action) -> Option<Input> {
        match action {
            Action::OpenSocket(id) => self.open_socket(*id),
            Action::SendFrame(id, frame) => {
                if let Some((_, socket)) = self.socket.as_ref().filter(|(open, _)| open == id) {
                    socket.send(frame.expose());
                }
            }
            Action::CloseSocket(id) => drop(self.socket.take_if(|(open, _)| open == id)),
            _ => return self.session.as_mut()?.carry_out(action).await,
        }
        None
    }

    /// Opens a socket, in place of the one before.
    fn open_socket(&mut self, id: SocketId) {
        self.socket = None;
        match Socket::open(id, &self.gateway, &self.events) {
            Ok(socket) => self.socket = Some((id, socket)),
            // To the machine a refusal by the browser is a gateway that cannot be reached.
            Err(_) => self.events.push(Input::SocketClosed(id)),
        }
    }
}
