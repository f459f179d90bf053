//! A minimal gateway on NATS: sends requests to the service and receives events as Resgate does.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// The deadline of every wait; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How long one request may take before it is sent again: as long as gateways wait. NATS goes on
/// routing some to the instances behind a server that stands still, and those are never answered.
const ANSWER: Duration = Duration::from_secs(3);

pub(crate) struct Gateway {
    pub(crate) client: Client,
    events: Subscriber,
}

/// Calls an auth method as clients do: again, until it is answered. Returns also how often it was
/// sent.
pub(crate) async fn insist(client: &Client, method: &str, cid: &str, params: Value) -> (Value, u32) {
    let payload = json!({"cid": cid, "token": null, "params": params}).to_string();
    let subject = format!("auth.session.{method}");
    let mut sent = 0;
    let insisting = async {
        loop {
            sent += 1;
            if let Some(answer) = answer_of(client, &subject, &payload).await
                && answer["error"]["code"] != "system.internalError"
            {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = timeout(DEADLINE, insisting).await;
    (answer.unwrap_or_else(|_| panic!("no answer to {subject} of {cid}, however often it was sent")), sent)
}

/// The answer, if there is one in time. A pre-response asks for more time.
async fn answer_of(client: &Client, subject: &str, payload: &str) -> Option<Value> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.ok()?;
    client.publish_with_reply(subject.to_owned(), inbox, payload.to_owned().into()).await.ok()?;
    loop {
        let message = timeout(ANSWER, answers.next()).await.ok()??;
        if !is_pre_response(&message.payload) {
            return serde_json::from_slice(&message.payload).ok();
        }
    }
}

/// True of `timeout:"15000"`.
fn is_pre_response(payload: &[u8]) -> bool {
    payload.first().is_some_and(u8::is_ascii_alphabetic)
}

/// A request that waits for its answer.
pub(crate) struct Asked(Subscriber);

impl Gateway {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::connect_with(ConnectOptions::new(), url).await
    }

    pub(crate) async fn connect_with(options: ConnectOptions, url: &str) -> Self {
        Self::receiving(">", options, url).await
    }

    /// A gateway that gets only what matches `pattern`, as real ones do. While somebody listens to
    /// everything and answers nothing, each start of the service takes 750 ms: that may be another
    /// instance.
    pub(crate) async fn receiving(pattern: &'static str, options: ConnectOptions, url: &str) -> Self {
        let client = options.connect(url).await.unwrap();
        let events = client.subscribe(pattern).await.unwrap();
        client.flush().await.unwrap();
        Self { client, events }
    }

    /// Sends a request and does not wait.
    pub(crate) async fn send(&self, subject: &str, payload: Value) -> Asked {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.unwrap();
        self.client.publish_with_reply(subject.to_owned(), inbox, payload.to_string().into()).await.unwrap();
        Asked(answers)
    }

    pub(crate) async fn ask(&self, subject: &str, payload: Value) -> Value {
        self.send(subject, payload).await.answer().await
    }

    /// Calls an auth method on the connection `cid`, which has no token.
    pub(crate) async fn auth(&self, method: &str, cid: &str, params: Value) -> Value {
        self.ask(&format!("auth.session.{method}"), json!({"cid": cid, "token": null, "params": params})).await
    }

    /// The same, on a connection with a token.
    pub(crate) async fn auth_with(&self, method: &str, cid: &str, token: &Value, params: Value) -> Value {
        self.ask(&format!("auth.session.{method}"), json!({"cid": cid, "token": token, "params": params})).await
    }

    /// Publishes an empty message on `subject`, behind all that was published before.
    pub(crate) async fn ends_with(&self, subject: &'static str) {
        self.client.publish(subject, "".into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// The payload of the next message on `subject`; what comes before it is dropped.
    pub(crate) async fn receives(&mut self, subject: &str) -> Value {
        loop {
            let (on, payload) = self.receives_next().await;
            if on == subject {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// The next message, whatever it is: its subject and payload.
    pub(crate) async fn receives_next(&mut self) -> (String, Vec<u8>) {
        let message = timeout(DEADLINE, self.events.next()).await.expect("a message comes in time");
        let message = message.unwrap();
        (message.subject.to_string(), message.payload.to_vec())
    }
}

impl Asked {
    /// The next message, pre-responses included.
    pub(crate) async fn next(&mut self) -> String {
        let message = timeout(DEADLINE, self.0.next()).await.expect("an answer comes in time").unwrap();
        String::from_utf8(message.payload.to_vec()).unwrap()
    }

    pub(crate) async fn answer(mut self) -> Value {
        loop {
            let text = self.next().await;
            if !is_pre_response(text.as_bytes()) {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}
