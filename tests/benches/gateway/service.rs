//! A RES service straight on NATS's protocol, in a thread of its own, that answers from what it
//! has made before: it shares the processors with what is measured.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::side::Side;

/// A service with all resources `bench.…`: models `bench.model.…`, collections `bench.list.…` of
/// [`ITEMS`] items, and collections `bench.references.…` of [`MODELS`] models. Everybody may do
/// everything.
#[derive(Debug)]
pub(crate) struct Service {
    stream: Arc<Mutex<TcpStream>>,
}

/// How many items a collection has.
pub(crate) const ITEMS: usize = 10_000;
/// How many models a collection refers to.
pub(crate) const MODELS: usize = 1_000;

const ACCESS: &str = r#"{"result":{"get":true,"call":"*"}}"#;
const MODEL: &str = r#"{"result":{"model":{"id":42,"name":"A model of some size","done":false,"count":0}}}"#;
const CALLED: &str = r#"{"result":{"done":true}}"#;

impl Service {
    /// Connects to the nats-server of a side.
    pub(crate) fn behind(side: &Side) -> Result<Self> {
        let nats = side.nats.context("there is no nats-server")?;
        let mut stream = TcpStream::connect(nats).context("connecting to NATS")?;
        stream.set_nodelay(true)?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
        for (number, kind) in ["access", "get", "call"].iter().enumerate() {
            stream.write_all(format!("SUB {kind}.bench.> {number}\r\n").as_bytes())?;
        }
        stream.write_all(b"PING\r\n")?;
        let reading = stream.try_clone()?;
        let stream = Arc::new(Mutex::new(stream));
        let (ready, is_ready) = mpsc::channel();
        let mut answering = Answering { stream: Arc::clone(&stream), answers: Answers::new(), ready: Some(ready) };
        // It ends with the connection.
        thread::spawn(move || answering.run(reading));
        is_ready.recv().context("the NATS server takes no subscriptions")?;
        Ok(Self { stream })
    }

    /// Publishes an event of a model.
    pub(crate) fn change(&self, model: &str, count: usize) -> Result<()> {
        let payload = format!(r#"{{"values":{{"count":{count}}}}}"#);
        let text = format!("PUB event.bench.model.{model}.change {}\r\n{payload}\r\n", payload.len());
        write(&self.stream, text.as_bytes())
    }
}

fn write(stream: &Mutex<TcpStream>, bytes: &[u8]) -> Result<()> {
    // A write that panicked halfway has broken the connection, which the next one reports.
    Ok(stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)?)
}

struct Answering {
    stream: Arc<Mutex<TcpStream>>,
    answers: Answers,
    /// Notified once the server has the subscriptions.
    ready: Option<mpsc::Sender<()>>,
}

impl Answering {
    fn run(&mut self, mut stream: TcpStream) -> Result<()> {
        let (mut read, mut out) = (Vec::new(), Vec::new());
        let mut chunk = vec![0; 64 << 10];
        loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            read.extend_from_slice(&chunk[..count]);
            let mut taken = 0;
            while let Some(size) = self.take(&read[taken..], &mut out)? {
                taken += size;
            }
            read.drain(..taken);
            if !out.is_empty() {
                write(&self.stream, &out)?;
                out.clear();
            }
        }
    }

    /// Answers the first command, if all of it has come. How long it is.
    fn take(&mut self, read: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some(end) = read.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&read[..end])?;
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next(), words.next(), words.next()) {
            (Some("MSG"), Some(subject), Some(_), Some(reply), Some(length)) => {
                let size = end + 2 + length.parse::<usize>()? + 2;
                if read.len() < size {
                    return Ok(None);
                }
                let answer = self.answers.to(subject);
                write!(out, "PUB {reply} {}\r\n", answer.len())?;
                out.extend_from_slice(answer.as_bytes());
                out.extend_from_slice(b"\r\n");
                return Ok(Some(size));
            }
            (Some("PING"), ..) => out.extend_from_slice(b"PONG\r\n"),
            (Some("PONG"), ..) => drop(self.ready.take().map(|ready| ready.send(()))),
            (Some("INFO" | "+OK"), ..) => {}
            _ => bail!("NATS says {line:?}"),
        }
        Ok(Some(end + 2))
    }
}

struct Answers {
    list: String,
    references: String,
}

impl Answers {
    fn new() -> Self {
        let collection = |items: Vec<String>| format!(r#"{{"result":{{"collection":[{}]}}}}"#, items.join(","));
        Self {
            list: collection((0..ITEMS).map(|n| format!(r#""the item number {n}""#)).collect()),
            references: collection((0..MODELS).map(|n| format!(r#"{{"rid":"bench.model.{n}"}}"#)).collect()),
        }
    }

    fn to(&self, subject: &str) -> &str {
        match subject.split('.').next() {
            Some("access") => ACCESS,
            Some("call") => CALLED,
            _ if subject.starts_with("get.bench.list.") => &self.list,
            _ if subject.starts_with("get.bench.references.") => &self.references,
            _ => MODEL,
        }
    }
}
