//! A RES client of a few lines, for what a well-behaved client would never send.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{ClientRequestBuilder, Error as WsError, Message, protocol::CloseFrame},
};
use url::Url;

use crate::{DEADLINE, in_time};

/// A RES connection.
#[derive(Debug)]
pub struct Res {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    answers: HashMap<u64, Answer>,
    events: VecDeque<Value>,
}

/// What a request got: its result (null if it has none), or a RES error.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The `result` member.
    Result(Value),
    /// The `error` member.
    Error(Value),
}

impl Answer {
    /// The result.
    ///
    /// # Errors
    /// If it is an error.
    pub fn ok(self) -> Result<Value> {
        match self {
            Self::Result(result) => Ok(result),
            Self::Error(error) => bail!("got the RES error {error}"),
        }
    }

    /// The payload of a call or auth result.
    ///
    /// # Errors
    /// If it is an error.
    pub fn payload(self) -> Result<Value> {
        self.ok().map(|mut result| result["payload"].take())
    }

    /// The error's code; none for a result.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Error(error) => error["code"].as_str(),
            Self::Result(_) => None,
        }
    }
}

impl Res {
    /// Opens a connection and shakes hands as a client of RES protocol 1.2.3.
    ///
    /// # Errors
    /// If the gateway does not take it.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::bringing(url, &[]).await.map(|(res, _)| res)
    }

    /// As [`Res::connect`], with these headers in the request; answers the cookies that the
    /// response sets, too.
    ///
    /// # Errors
    /// As [`Res::connect`].
    pub async fn bringing(url: &str, headers: &[(&str, &str)]) -> Result<(Self, Vec<String>)> {
        Self::open(url, headers, Ipv4Addr::LOCALHOST).await
    }

    /// As [`Res::connect`], from this address of this machine (any that begins with 127 will do).
    ///
    /// # Errors
    /// As [`Res::connect`].
    pub async fn connect_from(url: &str, from: Ipv4Addr) -> Result<Self> {
        Self::open(url, &[], from).await.map(|(res, _)| res)
    }

    async fn open(url: &str, headers: &[(&str, &str)], from: Ipv4Addr) -> Result<(Self, Vec<String>)> {
        let address = Url::parse(url)?.socket_addrs(|| None)?.pop().context("no address")?;
        let mut request = ClientRequestBuilder::new(url.parse()?);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let connected = in_time("the connection", async {
            let stream = if from == Ipv4Addr::LOCALHOST {
                TcpStream::connect(address).await?
            } else {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(address).await?
            };
            stream.set_nodelay(true)?;
            Ok(client_async(request, MaybeTlsStream::Plain(stream)).await?)
        });
        let (socket, response) = connected.await.with_context(|| format!("connecting to {url}"))?;
        let cookies = response.headers().get_all("set-cookie").iter();
        let cookies = cookies.filter_map(|cookie| cookie.to_str().ok().map(str::to_owned)).collect();
        let mut res = Self { socket, next_id: 1, answers: HashMap::new(), events: VecDeque::new() };
        res.request("version", Some(json!({ "protocol": "1.2.3" }))).await?.ok()?;
        Ok((res, cookies))
    }

    /// Sends a request and does not wait. Returns its id, for [`Res::answer`].
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, method: &str, params: Option<Value>) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = json!({ "id": id, "method": method });
        if let Some(params) = params {
            request["params"] = params;
        }
        self.send_text(request.to_string()).await?;
        Ok(id)
    }

    /// Sends any text.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send_text(&mut self, text: String) -> Result<()> {
        self.socket.send(Message::text(text)).await.context("sending")
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// If the connection ends first, or the deadline passes.
    pub async fn answer(&mut self, id: u64) -> Result<Answer> {
        let what = format!("the answer to request {id}");
        let search = async {
            loop {
                if let Some(answer) = self.answers.remove(&id) {
                    return Ok(answer);
                }
                self.read().await.with_context(|| format!("waiting for {what}"))?;
            }
        };
        in_time(&what, search).await
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Res::send`] and [`Res::answer`].
    pub async fn request(&mut self, method: &str, params: Option<Value>) -> Result<Answer> {
        let id = self.send(method, params).await?;
        self.answer(id).await
    }

    /// Sends `count` requests of a method as fast as the gateway takes them, reads at the same
    /// time, and counts how many were answered by a result.
    ///
    /// # Errors
    /// If one stays without an answer.
    pub async fn pipeline(&mut self, method: &str, count: u64) -> Result<usize> {
        let answers = self.pipeline_all((0..count).map(|_| method.to_owned())).await?;
        Ok(answers.iter().filter(|answer| answer.code().is_none()).count())
    }

    /// Sends requests of these methods as fast as the gateway takes them, and reads at the same
    /// time; the answers in the order in which they came.
    ///
    /// # Errors
    /// If one stays without an answer.
    pub async fn pipeline_all(&mut self, methods: impl IntoIterator<Item = String>) -> Result<Vec<Answer>> {
        let first = self.next_id;
        let numbered = methods.into_iter().zip(first..);
        let texts: Vec<_> = numbered.map(|(method, id)| json!({ "id": id, "method": method }).to_string()).collect();
        let count = texts.len();
        self.next_id += count as u64;
        let ids = first..self.next_id;
        let (mut sink, mut stream) = (&mut self.socket).split();
        let send = async {
            for text in texts {
                sink.send(Message::text(text)).await.context("sending")?;
            }
            Ok(())
        };
        let (answers, events) = (&mut self.answers, &mut self.events);
        let receive = async {
            let mut results = Vec::new();
            while results.len() < count {
                take_in(stream.next(), answers, events).await?;
                let id = answers.keys().find(|id| ids.contains(id)).copied();
                results.extend(id.and_then(|id| answers.remove(&id)));
            }
            Ok(results)
        };
        tokio::try_join!(send, receive).map(|((), results)| results)
    }

    /// Waits for an event of this full name (`session.user.{cid}.change`), taking it and all that
    /// came before it off the queue; answers its data.
    ///
    /// # Errors
    /// If the connection ends first, or the deadline passes.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        self.event_where(name, |_| true).await
    }

    /// As [`Res::event`], for the first whose data `is_it`.
    ///
    /// # Errors
    /// As [`Res::event`].
    pub async fn event_where(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let what = format!("the event {name}");
        let search = async {
            loop {
                while let Some(mut event) = self.events.pop_front() {
                    if event["event"] == name && is_it(&event["data"]) {
                        return Ok(event["data"].take());
                    }
                }
                self.read().await.with_context(|| format!("waiting for {what}"))?;
            }
        };
        in_time(&what, search).await
    }

    /// Waits for the next event, whatever it is: `{event, data}`.
    ///
    /// # Errors
    /// As [`Res::event`].
    pub async fn next_event(&mut self) -> Result<Value> {
        let search = async {
            loop {
                if let Some(event) = self.events.pop_front() {
                    return Ok(event);
                }
                self.read().await.context("waiting for an event")?;
            }
        };
        in_time("an event", search).await
    }

    /// The events that have come and were not asked for; those the connection still holds are not
    /// among them.
    #[must_use]
    pub fn events(&self) -> &VecDeque<Value> {
        &self.events
    }

    /// Logs in.
    ///
    /// # Errors
    /// If that fails.
    pub async fn log_in(&mut self, username: &str, password: &str) -> Result<Value> {
        let params = json!({ "username": username, "password": password });
        self.request("auth.session.login", Some(params)).await?.payload()
    }

    /// Uses a relogin key, as a legacy client does, or with an attempt.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn relogin(&mut self, key: &Value, attempt: Option<&str>) -> Result<Answer> {
        let mut params = json!({ "reloginKey": key });
        if let Some(attempt) = attempt {
            params["attempt"] = attempt.into();
        }
        self.request("auth.session.relogin", Some(params)).await
    }

    /// Subscribes to the model of who is logged in on this connection, and answers it.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn user(&mut self) -> Result<Value> {
        const RESOURCE: &str = "session.user.{cid}";
        let mut result = self.request(&format!("subscribe.{RESOURCE}"), None).await?.ok()?;
        Ok(result["models"][RESOURCE].take())
    }

    /// Waits for the next frame, whatever it is; none that another way of waiting has taken in.
    ///
    /// # Errors
    /// If the connection ends first, or the deadline passes.
    pub async fn frame(&mut self) -> Result<Value> {
        serde_json::from_str(&self.frame_text().await?).context("reading a frame")
    }

    /// As [`Res::frame`], the frame as it came.
    ///
    /// # Errors
    /// As [`Res::frame`].
    pub async fn frame_text(&mut self) -> Result<String> {
        loop {
            let message = timeout(DEADLINE, self.socket.next()).await.map_err(|_| anyhow!("no frame in time"))?;
            if let Message::Text(text) = message.context("the connection has ended")?? {
                return Ok(text.to_string());
            }
        }
    }

    /// Reads what comes for this long, and forgets the events.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn idle(&mut self, length: Duration) -> Result<()> {
        let reading = async {
            loop {
                take_in(self.socket.next(), &mut self.answers, &mut self.events).await?;
                self.events.clear();
            }
        };
        timeout(length, reading).await.unwrap_or(Ok(()))
    }

    /// Ends the connection, as a page does that is closed. Returns once the gateway has agreed.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn close(mut self) -> Result<()> {
        self.socket.close(None).await.context("closing")?;
        self.closed().await.map(drop)
    }

    /// Reads until the gateway ends the connection; answers its close frame, if it sent one.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn closed(mut self) -> Result<Option<CloseFrame>> {
        let end = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return Ok(frame),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ok(None),
                }
            }
        };
        in_time("the connection's end", end).await
    }

    async fn read(&mut self) -> Result<()> {
        take_in(self.socket.next(), &mut self.answers, &mut self.events).await
    }
}

/// Takes one message in.
async fn take_in(
    message: impl Future<Output = Option<Result<Message, WsError>>>,
    answers: &mut HashMap<u64, Answer>,
    events: &mut VecDeque<Value>,
) -> Result<()> {
    let message = timeout(DEADLINE, message).await.map_err(|_| anyhow!("no message in time"))?;
    let text = match message.context("the connection has ended")?? {
        Message::Text(text) => text,
        Message::Close(frame) => bail!("the gateway closed the connection: {frame:?}"),
        _ => return Ok(()),
    };
    let mut message: Value = serde_json::from_str(&text).context("reading a message")?;
    match message["id"].as_u64() {
        Some(id) => {
            let answer = match message.get_mut("error") {
                Some(error) => Answer::Error(error.take()),
                None => Answer::Result(message["result"].take()),
            };
            answers.insert(id, answer);
        }
        None => events.push_back(message),
    }
    Ok(())
}
