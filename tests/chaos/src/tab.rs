//! A tab: the shipped client on a WebSocket, in a task of its own. Writes down what it sends, gets
//! and shows. Decides nothing.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, rngs::StdRng};
use relogin_client::{Client, Engine};
use relogin_client_proto::{
    Action, Closing, Config, Event as Told, Input, Moment, PlatformAction, PlatformEvent, Secret, SessionState,
    SocketId,
};
use relogin_res::ResourceId;
use relogin_session::SessionId;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    browser::{self, Browser},
    history::{Event, Request, Sender},
    record::{Recorder, answer, key},
};

/// An open tab. Dropped, it is closed without a word, whatever it was doing.
#[derive(Debug)]
pub struct Tab {
    /// The client.
    pub client: Client,
    disturb: mpsc::UnboundedSender<Disturbance>,
    driver: JoinHandle<()>,
    browser: Arc<Browser>,
    number: u64,
}

/// What the world does to a tab.
#[derive(Clone, Copy, Debug)]
pub enum Disturbance {
    /// Its connection breaks.
    Cut,
    /// It stands still for this long.
    Freeze(Duration),
}

/// What tabs are opened with.
#[derive(Clone, Debug)]
pub struct Place {
    /// The gateways, as WebSocket addresses; each connection goes to any of them.
    pub gateways: Arc<Vec<String>>,
    /// Where everything is written down.
    pub recorder: Arc<Recorder>,
}

impl Tab {
    /// Opens a tab, which connects and resumes.
    #[must_use]
    pub fn open(browser: &Arc<Browser>, place: &Place, rng: StdRng) -> Self {
        let number = place.recorder.number();
        let start = Instant::now();
        let (client, mut engine) = Engine::new(config(), move || start.elapsed());
        engine.emit_all();
        let (disturb, disturbed) = mpsc::unbounded_channel();
        let driver = Driver {
            number,
            browser: Arc::clone(browser),
            place: place.clone(),
            rng,
            engine,
            start,
            heard: browser.open(number),
            disturbed,
            socket: None,
            asked: HashMap::new(),
            session: None,
        };
        let driver = tokio::spawn(driver.run());
        Self { client, disturb, driver, browser: Arc::clone(browser), number }
    }

    /// Disturbs it.
    pub fn disturb(&self, disturbance: Disturbance) {
        let _ = self.disturb.send(disturbance);
    }

    /// Who is logged in, as it shows.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self.client.session() {
            SessionState::LoggedIn(user) => Some(user.name),
            _ => None,
        }
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.driver.abort();
        self.browser.close(self.number);
    }
}

/// Short times, so that much happens in a minute.
fn config() -> Config {
    let mut config = Config::new(ResourceId::parse("session").expect("a name of one part is a resource id"));
    config.request_timeout = Duration::from_secs(8);
    config.connect_timeout = Duration::from_secs(4);
    config.session.login_timeout = Duration::from_secs(8);
    config.session.relogin_timeout = Duration::from_secs(4);
    config.idle_timeout = Duration::from_secs(6);
    config.probe_timeout = Duration::from_secs(3);
    config
}

#[derive(Debug)]
struct Driver {
    number: u64,
    browser: Arc<Browser>,
    place: Place,
    rng: StdRng,
    engine: Engine,
    start: Instant,
    heard: mpsc::UnboundedReceiver<PlatformEvent>,
    disturbed: mpsc::UnboundedReceiver<Disturbance>,
    socket: Option<Open>,
    /// The requests that are written down and not answered: their numbers there, and the key that
    /// was used.
    asked: HashMap<u64, (u64, Option<String>)>,
    /// The session that this tab has seen last in storage.
    session: Option<SessionId>,
}

/// A WebSocket that is open, or being opened.
#[derive(Debug)]
struct Open {
    id: SocketId,
    /// Its number in the history.
    connection: u64,
    frames: mpsc::UnboundedSender<String>,
    events: mpsc::Receiver<SocketEvent>,
}

#[derive(Debug)]
enum SocketEvent {
    Opened,
    Frame(String),
    Closed,
}

#[derive(Debug)]
enum Wake {
    Input(Option<Input>),
    Socket(SocketEvent),
    Disturbed(Disturbance),
}

impl Driver {
    async fn run(mut self) {
        self.take_in(Input::Start);
        loop {
            match self.wake().await {
                Wake::Input(Some(input)) => self.take_in(input),
                Wake::Input(None) => return,
                Wake::Socket(event) => self.socket_event(event),
                Wake::Disturbed(Disturbance::Cut) => self.socket_event(SocketEvent::Closed),
                Wake::Disturbed(Disturbance::Freeze(length)) => {
                    sleep(length).await;
                    self.take_in(PlatformEvent::Wake);
                }
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let due = self.engine.poll_timeout().map(|due| self.start + due);
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        let socket = async {
            match &mut self.socket {
                Some(open) => open.events.recv().await.unwrap_or(SocketEvent::Closed),
                None => pending().await,
            }
        };
        tokio::select! {
            input = self.engine.next_input() => Wake::Input(input),
            event = socket => Wake::Socket(event),
            () = timer => Wake::Input(Some(PlatformEvent::Timer.into())),
            Some(event) = self.heard.recv() => Wake::Input(Some(event.into())),
            Some(disturbance) = self.disturbed.recv() => Wake::Disturbed(disturbance),
        }
    }

    fn socket_event(&mut self, event: SocketEvent) {
        let Some(id) = self.socket.as_ref().map(|open| open.id) else { return };
        match event {
            SocketEvent::Opened => self.take_in(Input::SocketOpened(id)),
            SocketEvent::Frame(text) => {
                self.note_answer(&text);
                self.take_in(Input::Frame(id, Secret::new(text)));
            }
            SocketEvent::Closed => {
                self.leave();
                self.take_in(Input::SocketClosed(id, Closing::default()));
            }
        }
    }

    fn take_in(&mut self, input: impl Into<Input>) {
        self.engine.handle(input.into(), self.moment());
        while let Some(action) = self.engine.poll_action() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id, _) => {
                let gateways = &self.place.gateways;
                let url = gateways[self.rng.random_range(0..gateways.len())].clone();
                self.socket = Some(Open::new(id, self.place.recorder.number(), url));
            }
            Action::SendFrame(id, frame) => self.send(id, frame.expose()),
            Action::CloseSocket(id) if self.socket.as_ref().is_some_and(|open| open.id == id) => self.leave(),
            Action::Platform(action) => self.carry_out_platform(action),
            Action::Emit(Told::Session(state)) => self.shows(state),
            // Told by the engine, or of no interest.
            Action::CloseSocket(_) | Action::Settle(..) | Action::Emit(_) | Action::Diagnose(_) => {}
        }
    }

    fn carry_out_platform(&mut self, action: PlatformAction) {
        let tab = self.number;
        match action {
            PlatformAction::ReadStorage => self.stored(self.browser.read()),
            PlatformAction::SwapStorage { from, to } => {
                let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
                self.stored(self.browser.swap(tab, text(&from).as_deref(), text(&to).as_deref()));
            }
            PlatformAction::MakeDevice => self.answer(PlatformEvent::Device(self.browser.device())),
            PlatformAction::Sign(text) => self.answer(PlatformEvent::Signed(self.browser.sign(&text))),
            PlatformAction::RequestLock(id) => self.browser.lock(tab, id),
            PlatformAction::StealLock(id) => self.browser.steal(tab, id),
            PlatformAction::ReleaseLock(id) => self.browser.unlock(tab, id),
        }
    }

    fn stored(&mut self, text: Option<String>) {
        self.session = browser::session(text.as_deref()).or(self.session);
        self.answer(PlatformEvent::StorageRead(text.map(Secret::new)));
    }

    fn answer(&mut self, event: PlatformEvent) {
        self.engine.handle(event.into(), self.moment());
    }

    fn shows(&self, state: SessionState) {
        let browser = self.browser.number;
        match state {
            SessionState::LoggedIn(user) | SessionState::Reconnecting(user) => {
                self.place.recorder.event(Event::Shows { browser, user: user.name });
            }
            SessionState::Ended(reason) => {
                if let Some(session) = self.session {
                    self.place.recorder.event(Event::Ended { browser, session, reason });
                }
            }
            SessionState::Anonymous | SessionState::Resuming => {}
        }
    }

    /// Without a word.
    fn leave(&mut self) {
        self.socket = None;
        self.asked.clear();
    }

    fn send(&mut self, id: SocketId, frame: &str) {
        let Some(open) = self.socket.as_ref().filter(|open| open.id == id) else { return };
        let json: Value = serde_json::from_str(frame).unwrap_or_default();
        let params = &json["params"];
        let request = match json["method"].as_str() {
            Some("auth.session.login") => Some(Request::Login),
            Some("auth.session.relogin") => params["reloginKey"].as_str().and_then(key).map(|key| {
                let attempt = params["attempt"].as_str().unwrap_or_default().to_owned();
                Request::Use { key, attempt }
            }),
            Some("auth.session.logout") => params["sid"].as_str().and_then(SessionId::parse).map(Request::Logout),
            _ => None,
        };
        if let (Some(request), Some(id)) = (request, json["id"].as_u64()) {
            let used = if let Request::Use { key, .. } = &request { Some(key.text.clone()) } else { None };
            let number = self.place.recorder.sent(Sender::Owner(self.browser.number), open.connection, request);
            self.asked.insert(id, (number, used));
        }
        let _ = open.frames.send(frame.to_owned());
    }

    fn note_answer(&mut self, text: &str) {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let Some((number, used)) = json["id"].as_u64().and_then(|id| self.asked.remove(&id)) else { return };
        let answer = answer(&json);
        if let (crate::history::Answer::Key(_), Some(used)) = (&answer, used) {
            self.browser.is_used(&used);
        }
        self.place.recorder.answered(number, answer);
    }

    fn moment(&self) -> Moment {
        Moment { now: self.start.elapsed(), random: rand::random() }
    }
}

impl Open {
    fn new(id: SocketId, connection: u64, url: String) -> Self {
        let (frames, to_send) = mpsc::unbounded_channel();
        let (happens, events) = mpsc::channel(256);
        tokio::spawn(run(url, to_send, happens));
        Self { id, connection, frames, events }
    }
}

/// Runs a socket until it closes or its [`Open`] is dropped.
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
            if let Message::Text(text) = message
                && happens.send(SocketEvent::Frame(text.to_string())).await.is_err()
            {
                return;
            }
        }
    };
    let write = async {
        while let Some(frame) = to_send.recv().await {
            if sink.send(Message::text(frame)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
