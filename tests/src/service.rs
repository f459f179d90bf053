//! A RES service of a few lines, straight on NATS's protocol: what a gateway asks of it, and what
//! it answers, is up to the test.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::in_time;

/// A connection to a NATS server that gets all requests for the resources below one name.
#[derive(Debug)]
pub struct Service {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Requests that nobody has waited for yet.
    asked: VecDeque<Request>,
}

/// What a gateway asks.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it was sent to.
    pub subject: String,
    /// Where the answer goes.
    reply: String,
    /// The JSON it carries; null if it is more than that holds.
    pub payload: Value,
    /// The same as it came.
    pub text: String,
}

impl Request {
    /// Where the answer goes.
    #[must_use]
    pub fn reply(&self) -> &str {
        &self.reply
    }
}

impl Service {
    /// Connects to `url` (`nats://host:port`) as the service that has all resources `name.…`.
    ///
    /// # Errors
    /// If the server does not take it.
    pub async fn connect(url: &str, name: &str) -> Result<Self> {
        let addr = url.strip_prefix("nats://").context("not a NATS address")?;
        let (reader, writer) = TcpStream::connect(addr).await.context("connecting to NATS")?.into_split();
        let mut service = Self { reader: BufReader::new(reader), writer, asked: VecDeque::new() };
        service.write("CONNECT {\"verbose\":false,\"pedantic\":true}\r\n").await?;
        for (number, kind) in ["access", "get", "call", "auth"].iter().enumerate() {
            service.write(&format!("SUB {kind}.{name}.> {number}\r\n")).await?;
        }
        service.settle().await?;
        Ok(service)
    }

    /// Waits for the next request to `subject`, passing over those to others, which can still be
    /// waited for.
    ///
    /// # Errors
    /// If none comes in time.
    pub async fn asked(&mut self, subject: &str) -> Result<Request> {
        let what = format!("a request to {subject}");
        let search = async {
            loop {
                if let Some(at) = self.asked.iter().position(|request| request.subject == subject) {
                    return self.asked.remove(at).context("it is there");
                }
                self.read().await.with_context(|| format!("waiting for {what}"))?;
            }
        };
        in_time(&what, search).await
    }

    /// Answers a request.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn answer(&mut self, request: &Request, answer: &str) -> Result<()> {
        self.publish(&request.reply, answer).await
    }

    /// From now on lets everybody get everything, which is this model.
    pub fn grants_all(mut self, model: &str) {
        let model = format!(r#"{{"result":{{"model":{model}}}}}"#);
        tokio::spawn(async move {
            while self.read().await.is_ok() {
                for request in std::mem::take(&mut self.asked) {
                    let is_access = request.subject.starts_with("access.");
                    let answer = if is_access { r#"{"result":{"get":true}}"# } else { &model };
                    if self.answer(&request, answer).await.is_err() {
                        return;
                    }
                }
            }
        });
    }

    /// Publishes an event.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn publish(&mut self, subject: &str, payload: &str) -> Result<()> {
        self.write(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())).await
    }

    /// The requests that have come so far and were not waited for.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn unexpected(&mut self) -> Result<Vec<String>> {
        self.settle().await?;
        Ok(self.asked.iter().map(|request| format!("{} {}", request.subject, request.text)).collect())
    }

    /// The same, to be answered.
    pub fn take(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.asked).into()
    }

    /// Waits until the server has dealt with all that was written.
    async fn settle(&mut self) -> Result<()> {
        self.write("PING\r\n").await?;
        in_time("the server's answer to a ping", async {
            while self.read().await? != Line::Pong {}
            Ok(())
        })
        .await
    }

    async fn write(&mut self, text: &str) -> Result<()> {
        self.writer.write_all(text.as_bytes()).await.context("writing to NATS")
    }

    async fn read(&mut self) -> Result<Line> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.context("reading from NATS")?;
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["MSG", subject, _, reply, length] => {
                let mut payload = vec![0; length.parse::<usize>()? + "\r\n".len()];
                self.reader.read_exact(&mut payload).await?;
                let text = String::from_utf8(payload.trim_ascii().to_vec())?;
                let payload = serde_json::from_str(&text).unwrap_or_default();
                self.asked.push_back(Request { subject: (*subject).into(), reply: (*reply).into(), payload, text });
                Ok(Line::Other)
            }
            ["PING"] => self.write("PONG\r\n").await.map(|()| Line::Other),
            ["PONG"] => Ok(Line::Pong),
            ["INFO", ..] => Ok(Line::Other),
            _ => bail!("NATS says {line:?}"),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Line {
    Pong,
    Other,
}
