//! The keeper by itself, over a RES client that is somebody else's: [`KeeperAlone`]. Knows no sockets and no resources; that
//! client has them.

use std::time::Duration;

use relogin_res::Error;
use serde_json::Value as Json;

use crate::{
    Action, Binding, Command, Config, Input, Moment, RequestError, Secret, SessionState, SocketId, Token,
    input::{Clockwork, Turn},
    keeper::{Keeper, Login, Seen},
    outbox::{Outbox, Purpose},
    told::Told,
};

/// Where the outbox sends while the other client is connected.
const THE_CLIENT: SocketId = SocketId(0);

/// Keeps a session on the connection of another RES client.
///
/// The contract with its driver is that of [`Client`](crate::Client), with [`AloneInput`] and [`AloneAction`] in place of sockets.
/// Beyond that, the other client should hold back what its callers want from [`AloneInput::Connected`] on until
/// [`AloneAction::Ready`], so that it goes out with the session resumed.
#[derive(Clone, Debug)]
pub struct KeeperAlone {
    request_timeout: Duration,
    out: Outbox,
    keeper: Keeper,
    connected: bool,
    /// Whether the browser says that there is no network. A hint: an answer that comes proves it wrong.
    offline: bool,
    /// Whether the driver was told that the connection is ready.
    ready: bool,
    seen: Seen,
    clockwork: Clockwork,
    told: Told,
}

/// What can happen to a [`KeeperAlone`].
#[derive(Debug)]
pub enum AloneInput {
    /// What happens to every client, but for sockets and frames, which are none of its affair; `Start` once. Of the commands, it
    /// takes login and logout.
    Own(Input),
    /// The other client has a new connection, on which requests can be answered. If there was one before, it is lost.
    Connected,
    /// Its connection is lost.
    Disconnected,
    /// The answer to the request of this id: what the method gave back.
    Answered(u64, Result<Json, RequestError>),
    /// The user model, `NAME.user.{cid}`, of this connection: it was loaded, or has changed, or (none) cannot be trusted any
    /// more.
    User(Option<Json>),
    /// The custom event `rotated` of the user model, with its generation.
    Rotated(u64),
}

/// What a [`KeeperAlone`] wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum AloneAction {
    /// An action of the session's: storage, device, lock, what was settled, what to tell. Never one about sockets.
    Own(Action),
    /// Have the other client send this request, at once: the frame of an `auth` request as RES has it, with its id, under which
    /// it is answered.
    Request(Secret),
    /// Requests of others may go out on this connection.
    Ready,
    /// The connection is of no use: end it, and open another one. Nothing that was sent on it is answered any more.
    Replace,
}

impl KeeperAlone {
    /// One that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            request_timeout: config.request_timeout,
            out: Outbox::new(),
            keeper: Keeper::new(config),
            connected: false,
            offline: false,
            ready: false,
            seen: Seen::Unknown,
            clockwork: Clockwork::default(),
            told: Told::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: AloneInput, moment: Moment) {
        let due = self.poll_timeout();
        let turn = &mut self.clockwork.turn(moment, due);
        self.take_in(input, turn);
        self.tick(turn);
        self.keeper.diagnose(&mut self.out);
        self.told.tell_session(&self.keeper, &mut self.out);
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<AloneAction> {
        let action = match self.out.actions.pop_front() {
            Some(Action::SendFrame(_, frame)) => AloneAction::Request(frame),
            Some(Action::CloseSocket(_)) => AloneAction::Replace,
            Some(action) => AloneAction::Own(action),
            // Behind what comes first on the connection.
            None if self.connected && self.keeper.is_settled() && !self.ready => {
                self.ready = true;
                AloneAction::Ready
            }
            None => return None,
        };
        Some(action)
    }

    /// When [`Input::Timer`] is wanted, on the clock of [`Moment::now`]; `None`: never, as things are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let deadlines = [self.keeper.next_deadline(self.is_promising()), self.out.requests.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The session's state.
    #[must_use]
    pub fn session(&self) -> SessionState {
        self.keeper.state()
    }

    /// What somebody needs beside the session's relogin key to use it; `None` if there is no session, as far as is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.keeper.binding()
    }

    fn is_promising(&self) -> bool {
        self.connected && !self.offline
    }

    fn take_in(&mut self, input: AloneInput, turn: &mut Turn) {
        let out = &mut self.out;
        match input {
            AloneInput::Own(input) => self.own(input, turn),
            AloneInput::Connected => {
                self.lost();
                (self.connected, self.offline) = (true, false);
                self.out.socket = Some(THE_CLIENT);
                self.keeper.opened(&mut self.out);
                self.keeper.linked(&mut self.out);
            }
            AloneInput::Disconnected => self.lost(),
            AloneInput::Answered(id, result) => {
                self.offline = false;
                match out.requests.answered(id) {
                    Some(Purpose::Session) => self.keeper.answered(result, turn, out),
                    Some(Purpose::Challenge) => self.keeper.challenged(result, turn, out),
                    _ => {}
                }
            }
            AloneInput::User(user) => {
                self.seen = user.map_or(Seen::Unknown, |user| Seen::read(|name| user.get(name)));
            }
            AloneInput::Rotated(generation) => self.keeper.rotated(generation, turn, out),
        }
    }

    fn own(&mut self, input: Input, turn: &mut Turn) {
        let (keeper, out) = (&mut self.keeper, &mut self.out);
        match input {
            Input::Start => keeper.start(out),
            Input::Stop => {
                self.lost();
                self.keeper.stop(&mut self.out);
            }
            Input::StorageRead(text) => keeper.storage_read(text, turn, out),
            Input::Device(device) => keeper.device(device, turn, out),
            Input::Signed(signature) => keeper.signed(signature, turn, out),
            Input::StorageChanged => keeper.storage_changed(turn, out),
            Input::LockGranted(id) => keeper.lock_granted(id, out),
            Input::LockRefused(id) => keeper.lock_refused(id, turn, out),
            Input::Wake => keeper.wake(out),
            Input::Attention(attended) => keeper.attention(attended, turn, out),
            Input::Online => {
                self.offline = false;
                keeper.wake(out);
            }
            Input::Offline => self.offline = true,
            Input::Command(token, command) => self.command(token, command, turn),
            // A login takes its course; and what is left is for clients with sockets.
            _ => {}
        }
    }

    fn command(&mut self, token: Token, command: Command, turn: &mut Turn) {
        match command {
            Command::Login { username, password } => {
                let timeout = self.request_timeout;
                let login = Login::new(token, username, password, turn.after(timeout), timeout);
                self.keeper.login(login, turn, &mut self.out);
            }
            Command::Logout => self.keeper.logout(token, &mut self.out),
            _ => self.out.settle(token, Err(RequestError::Refused(Error::method_not_found()))),
        }
    }

    /// What was sent will not be answered.
    fn lost(&mut self) {
        (self.connected, self.ready, self.seen) = (false, false, Seen::Unknown);
        self.out.socket = None;
        self.keeper.unlinked(&mut self.out);
        self.out.requests.lost().for_each(drop);
    }

    fn tick(&mut self, turn: &mut Turn) {
        let out = &mut self.out;
        while let Some(purpose) = out.requests.timed_out(turn.now, Purpose::Abandoned) {
            match purpose {
                Purpose::Session => self.keeper.answered(Err(RequestError::TimedOut), turn, out),
                Purpose::Challenge => self.keeper.challenged(Err(RequestError::TimedOut), turn, out),
                _ => {}
            }
        }
        self.keeper.user(self.seen.clone(), turn, &mut self.out);
        self.keeper.tick(self.is_promising(), turn, &mut self.out);
        // What it has got, the other client finds out by itself.
        let _ = self.keeper.take_gained();
        if self.keeper.take_hang_up() {
            self.lost();
            self.out.push(Action::CloseSocket(THE_CLIENT));
        }
    }
}
