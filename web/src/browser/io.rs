//! The browser I/O of one machine: carries out its actions, and queues what happens. Must not
//! decide anything.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use relogin_client_proto::{Action, Closing, Input, PlatformAction, PlatformEvent, SocketId};

use super::{
    EventQueue, Exception, StorageMode, random, session::SessionIo, socket::Socket, timer::Timer, wake_ups::WakeUps,
};

/// The I/O of a machine. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct BrowserIo {
    gateways: Vec<String>,
    events: EventQueue,
    timer: Timer,
    socket: Option<(SocketId, Socket)>,
    session: Option<SessionIo>,
    _wake_ups: WakeUps,
}

impl BrowserIo {
    /// The I/O of a machine whose sockets go to `gateways`: valid addresses, or an empty one if the
    /// machine opens no sockets.
    ///
    /// # Errors
    /// If the browser has no generator of random values.
    pub(crate) fn new(gateways: Vec<String>) -> Result<Self, Exception> {
        random::check()?;
        let events = EventQueue::default();
        let (timer, wake_ups) = (Timer::new(&events), WakeUps::new(&events));
        Ok(Self { gateways, events, timer, socket: None, session: None, _wake_ups: wake_ups })
    }

    /// Keeps the session of the session resource `session`. For `adopt` see
    /// [`Options::adopt`](crate::Options::adopt).
    ///
    /// # Errors
    /// If a gateway's address is not a URL.
    pub(crate) fn keep_session(
        &mut self,
        session: &str,
        mode: &StorageMode,
        adopt: Option<&str>,
    ) -> Result<(), Exception> {
        self.session = Some(SessionIo::open(session, &self.gateways, mode, adopt, &self.events)?);
        Ok(())
    }

    /// The next event, once there is one.
    pub(crate) fn poll_event(&mut self, context: &Context<'_>) -> Poll<Input> {
        self.events.poll_next(context).map(|event| self.taken(event))
    }

    /// The next event, if there is one already.
    pub(crate) fn next_queued(&mut self) -> Option<Input> {
        let event = self.events.pop()?;
        Some(self.taken(event))
    }

    fn taken(&mut self, event: Input) -> Input {
        if matches!(event, Input::Platform(PlatformEvent::Timer)) {
            self.timer.fired();
        }
        event
    }

    /// Queues [`PlatformEvent::Timer`] at the time `due`, or sooner; replaces the time set before.
    pub(crate) fn wake_at(&mut self, due: Option<Duration>) {
        self.timer.set(due);
    }

    /// Carries out an action. Returns the answer, if there is one. The driver must hand it to the
    /// machine before any other input, and before it carries out another action.
    pub(crate) async fn carry_out(&mut self, action: &Action) -> Option<Input> {
        match action {
            Action::OpenSocket(id, gateway) => self.open_socket(*id, *gateway),
            Action::SendFrame(id, frame) => {
                if let Some((_, socket)) = self.socket.as_ref().filter(|(open, _)| open == id) {
                    socket.send(frame.expose());
                }
            }
            Action::CloseSocket(id) => drop(self.socket.take_if(|(open, _)| open == id)),
            Action::Platform(action) => return self.carry_out_platform(action).await.map(Input::Platform),
            // The driver handles these.
            Action::Settle(..) | Action::Emit(_) | Action::Diagnose(_) => {}
        }
        None
    }

    /// Carries out an action of the session that is kept, if one is, like
    /// [`carry_out`](Self::carry_out).
    pub(crate) async fn carry_out_platform(&mut self, action: &PlatformAction) -> Option<PlatformEvent> {
        self.session.as_mut()?.carry_out(action).await
    }

    /// Opens a socket; closes the one before.
    fn open_socket(&mut self, id: SocketId, gateway: usize) {
        self.socket = None;
        if let Some(session) = &mut self.session {
            session.goes_to(gateway);
        }
        let url = self.gateways.get(gateway).map_or("", String::as_str);
        match Socket::open(id, url, &self.events) {
            Ok(socket) => self.socket = Some((id, socket)),
            // The machine treats a refusal by the browser as a gateway that cannot be reached.
            Err(_) => self.events.push(Input::SocketClosed(id, Closing::default())),
        }
    }
}
