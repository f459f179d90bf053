//! A reverse proxy between a browser and the parts: one address that outlives them. It serves the
//! page of one server, says in its `res-gateway` tag which gateway the page is to use, and passes
//! WebSocket messages on to a gateway that tests can exchange, cut off and make lose messages. It
//! keeps a record of all that passed.
//!
//! Knows messages only as texts with a direction.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow, bail};
use axum::{Router, body::Body};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};

use crate::{DEADLINE, browser::PLAIN_HOST};

mod relay;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the page to the gateway.
    Up,
    /// From the gateway to the page.
    Down,
}

/// A WebSocket message that passed (or was to pass).
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which of the front's connections it was on, counted from 0.
    pub connection: usize,
    /// Which way it went.
    pub direction: Direction,
    /// The message.
    pub json: Value,
}

impl Frame {
    /// True for a request of this RES method, for example `auth.session.login`.
    #[must_use]
    pub fn is_request(&self, method: &str) -> bool {
        self.direction == Direction::Up && self.json["method"] == method
    }

    /// True for the answer to `request`.
    #[must_use]
    pub fn answers(&self, request: &Self) -> bool {
        self.direction == Direction::Down
            && self.connection == request.connection
            && self.json["id"].is_number()
            && self.json["id"] == request.json["id"]
    }

    /// The code of the RES error that an answer is; none for a result.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.json["error"]["code"].as_str()
    }

    /// True for an event of this name, for example `change`, on the resource.
    #[must_use]
    pub fn is_event(&self, resource: &str, event: &str) -> bool {
        self.direction == Direction::Down && self.json["event"] == format!("{resource}.{event}")
    }
}

/// What happened at the front, in order.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A page got a connection.
    Opened(usize),
    /// A page was turned away: there was no gateway.
    TurnedAway,
    /// A message came; what became of it.
    Frame(Frame, Fate),
    /// A connection ended.
    Closed(usize),
    /// A page asked for [`HOLD`], and will wait for an answer forever.
    Held,
    /// A page has sent this text to [`REPORT`].
    Reported(String),
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on.
    Pass,
    /// It is lost.
    Lose,
    /// It is passed on twice.
    Double,
    /// It is lost, and its connection breaks.
    Break,
}

/// The path that is never answered: a page that asks for it and waits stops in the middle of what
/// it does.
pub const HOLD: &str = "/hold";

/// The path to which a page sends what a test is to know, by POST: where nobody drives the browser,
/// that is the only way.
pub const REPORT: &str = "/report";

type Rule = Box<dyn FnMut(&Frame) -> Fate + Send>;

/// Which gateway the page is told to use.
#[derive(Clone, Debug)]
pub enum PageGateway {
    /// None: it uses the server that it came from, which is the front.
    Nothing,
    /// The front, by its address in the tag.
    Front,
    /// This one, past the front.
    Url(String),
}

/// The reverse proxy. Ends when dropped.
#[derive(Debug)]
pub struct Front {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    page: SocketAddr,
    tag: Option<String>,
    http: Client<HttpConnector, Body>,
    state: Mutex<Current>,
    /// Raised to break all connections.
    cut: watch::Sender<u64>,
    record: watch::Sender<Vec<Happening>>,
}

struct Current {
    gateway: Option<SocketAddr>,
    connections: usize,
    rule: Rule,
    /// The address that it names as that of all clients; `None`: it passes requests on unchanged.
    client: Option<String>,
}

impl Front {
    /// Starts a front for the page of `page`, with `gateway` as its gateway.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(page: SocketAddr, gateway: SocketAddr, told: PageGateway) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("binding the front")?;
        let addr = listener.local_addr()?;
        let tag = match told {
            PageGateway::Nothing => None,
            PageGateway::Front => Some(format!("ws://{addr}/")),
            PageGateway::Url(url) => Some(url),
        };
        let current = Current { gateway: Some(gateway), connections: 0, rule: Box::new(|_| Fate::Pass), client: None };
        let shared = Arc::new(Shared {
            page,
            tag,
            http: Client::builder(TokioExecutor::new()).build_http(),
            state: Mutex::new(current),
            cut: watch::channel(0).0,
            record: watch::channel(Vec::new()).0,
        });
        let app = Router::new().fallback(relay::serve).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // Ends with its task; an error of the listener shows as a page that does not load.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { addr, shared, server })
    }

    /// Where to open the page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// Where to open a page that gets no WebCrypto and no Web Locks: its sessions are bearer ones.
    #[must_use]
    pub fn plain_url(&self) -> String {
        format!("http://{PLAIN_HOST}:{}/", self.addr.port())
    }

    /// Sends connections to another gateway from now on; those there are stay where they are until
    /// [`Front::cut`].
    pub fn lead_to(&self, gateway: SocketAddr) {
        self.shared.state().gateway = Some(gateway);
    }

    /// From now on it asks for the parts by their addresses, whatever the browser has asked for,
    /// and says in `X-Forwarded-For` that all come from `client`: what a reverse proxy does.
    pub fn stand_for(&self, client: &str) {
        self.shared.state().client = Some(client.to_owned());
    }

    /// Breaks all connections, as a network does: without a word.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts, and turns every new connection away until [`Front::lead_to`].
    pub fn shut(&self) {
        self.shared.state().gateway = None;
        self.cut();
    }

    /// Lets `rule` decide over each message from now on.
    pub fn rule(&self, rule: impl FnMut(&Frame) -> Fate + Send + 'static) {
        self.shared.state().rule = Box::new(rule);
    }

    /// All that has happened so far and will.
    #[must_use]
    pub fn record(&self) -> watch::Receiver<Vec<Happening>> {
        self.shared.record.subscribe()
    }

    /// How many connections there have been: the number of the next one.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How much has happened so far: a point to look from, for the other methods.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.shared.record.borrow().len()
    }

    /// The messages since `mark`.
    #[must_use]
    pub fn frames(&self, mark: usize) -> Vec<Frame> {
        self.shared.record.borrow()[mark..].iter().filter_map(Happening::frame).cloned().collect()
    }

    /// The requests of a RES method since `mark`.
    #[must_use]
    pub fn requests(&self, mark: usize, method: &str) -> Vec<Frame> {
        self.frames(mark).into_iter().filter(|frame| frame.is_request(method)).collect()
    }

    /// Waits for a happening since `mark`.
    ///
    /// # Errors
    /// If it does not happen in time.
    pub async fn happens(
        &self,
        mark: usize,
        what: &str,
        mut is_it: impl FnMut(&Happening) -> bool,
    ) -> Result<Happening> {
        let mut record = self.shared.record.subscribe();
        let mut seen = mark;
        let search = async {
            loop {
                let found = {
                    let record = record.borrow_and_update();
                    let found = record[seen..].iter().find(|happening| is_it(happening)).cloned();
                    seen = record.len();
                    found
                };
                match found {
                    Some(found) => return Ok(found),
                    None => record.changed().await.context("the front has ended")?,
                }
            }
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| Err(anyhow!("the front did not see {what} in time")))
    }

    /// Waits for a message since `mark`.
    ///
    /// # Errors
    /// If it does not come in time.
    pub async fn frame(&self, mark: usize, what: &str, mut is_it: impl FnMut(&Frame) -> bool) -> Result<Frame> {
        let happening = self.happens(mark, what, |happening| happening.frame().is_some_and(&mut is_it)).await?;
        happening.frame().cloned().context("a frame was asked for")
    }

    /// Waits until a page has sent a text with these words to [`REPORT`] since `mark`.
    ///
    /// # Errors
    /// If none does in time.
    pub async fn reported(&self, mark: usize, words: &str) -> Result<()> {
        let is_it = |happening: &Happening| matches!(happening, Happening::Reported(text) if text.contains(words));
        self.happens(mark, &format!("a report of `{words}`"), is_it).await.map(drop)
    }

    /// Waits for a request of a RES method since `mark`, and for its answer.
    ///
    /// # Errors
    /// If they do not come in time.
    pub async fn exchange(&self, mark: usize, method: &str) -> Result<(Frame, Frame)> {
        let request = self.frame(mark, method, |frame| frame.is_request(method)).await?;
        let answer = self.frame(mark, &format!("an answer to {method}"), |frame| frame.answers(&request)).await?;
        Ok((request, answer))
    }

    /// As [`Front::exchange`], and answers the payload.
    ///
    /// # Errors
    /// Also if the answer is an error.
    pub async fn payload(&self, mark: usize, method: &str) -> Result<Value> {
        let (_, mut answer) = self.exchange(mark, method).await?;
        match answer.json.get("error") {
            Some(error) => bail!("{method} got the RES error {error}"),
            None => Ok(answer.json["result"]["payload"].take()),
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
        self.cut();
    }
}

impl Happening {
    fn frame(&self) -> Option<&Frame> {
        match self {
            Self::Frame(frame, _) => Some(frame),
            _ => None,
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(connection) => write!(f, "{connection} opened"),
            Self::TurnedAway => f.write_str("- turned away"),
            Self::Held => f.write_str("- held"),
            Self::Reported(text) => write!(f, "- reported: {text}"),
            Self::Closed(connection) => write!(f, "{connection} closed"),
            Self::Frame(Frame { connection, direction, json }, fate) => {
                write!(f, "{connection} {direction:?} {json}")?;
                if *fate == Fate::Pass { Ok(()) } else { write!(f, " ({fate:?})") }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Current> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, happening: Happening) {
        self.record.send_modify(|record| record.push(happening));
    }

    /// Notes a message and says what becomes of it.
    fn judge(&self, connection: usize, direction: Direction, text: &str) -> Fate {
        let json = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let frame = Frame { connection, direction, json };
        let fate = (self.state().rule)(&frame);
        self.note(Happening::Frame(frame, fate));
        fate
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("page", &self.page).field("tag", &self.tag).finish_non_exhaustive()
    }
}
