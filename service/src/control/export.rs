//! Sends all sessions of a store on a connection, for a backup, and receives them at its other end.
//! Must not know what becomes of them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use relogin_host::errors::Chain;
use relogin_session::{Record, SessionId};
use relogin_store::{Export, Revision, SessionStore, Stored};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
    time::timeout,
};

use super::protocol::{ControlAnswer, ControlRefusal, ControlRequest, ExportLine, RefusalCode, text};

/// How many portions of sessions may wait to be sent.
const WAITING: usize = 4;

/// How long the other end may take for a portion.
pub(super) const PORTION_DEADLINE: Duration = Duration::from_secs(30);

/// Sends the sessions, and the line that says that these are all.
pub(super) async fn send(store: &dyn SessionStore, write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (to, mut portions) = mpsc::channel(WAITING);
    let writing = &mut *write;
    // Its end drops the receiver, and an export that nobody receives ends.
    let sending = async move {
        while let Some(portion) = portions.recv().await {
            let mut lines = Vec::new();
            for part in &portion {
                push(&line(part)?, &mut lines);
            }
            timeout(PORTION_DEADLINE, writing.write_all(&lines)).await??;
        }
        Ok::<_, io::Error>(())
    };
    let (exported, sent) = tokio::join!(store.export(to), sending);
    sent?;
    let last = match exported {
        Ok(exported) => ExportLine::End { unreadable: exported.unreadable.iter().map(SessionId::to_string).collect() },
        Err(error) => {
            ExportLine::Error(ControlRefusal { code: RefusalCode::Failed, message: Chain(&error).to_string() })
        }
    };
    let mut lines = Vec::new();
    push(&last, &mut lines);
    timeout(PORTION_DEADLINE, write.write_all(&lines)).await?
}

fn line(part: &Export) -> io::Result<ExportLine> {
    Ok(match part {
        Export::Session(stored) => {
            ExportLine::Session(STANDARD.encode(stored.record.encode().map_err(io::Error::other)?))
        }
        Export::Ended(sid) => ExportLine::Ended(sid.to_string()),
    })
}

fn push(line: &ExportLine, lines: &mut Vec<u8>) {
    lines.extend(text(line));
    lines.push(b'\n');
}

/// Why a service has not sent all its sessions.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Nobody listens.
    #[error("no service listens on the control socket {}", .0.display())]
    NotRunning(PathBuf),
    /// It does not do it.
    #[error("the service refused: {0}")]
    Refused(String),
    /// The connection failed.
    #[error("cannot ask the service for its sessions")]
    Connection(#[source] io::Error),
    /// It ended before all sessions were sent.
    #[error("the service has stopped before it had sent all sessions")]
    CutShort,
    /// What it sends makes no sense to this program.
    #[error("the answer of the service cannot be read; is it of another version than this program?")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What it has sent could not be passed on.
    #[error("cannot write what the service has sent")]
    Receiver(#[source] io::Error),
}

/// How long the service may take for the next line.
const LINE_DEADLINE: Duration = PORTION_DEADLINE.saturating_add(Duration::from_secs(15));

/// Asks the service at this socket for its sessions, as they are at one moment, and calls `each`
/// with them. Returns those that are stored and cannot be read.
///
/// # Errors
/// [`ExportError`] if it does not send all of them.
pub async fn receive(
    socket: &Path,
    mut each: impl FnMut(Export) -> io::Result<()>,
) -> Result<Vec<SessionId>, ExportError> {
    let mut stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ExportError::NotRunning(socket.to_owned()),
        _ => ExportError::Connection(error),
    })?;
    let mut request = text(&ControlRequest::Export);
    request.push(b'\n');
    stream.write_all(&request).await.map_err(ExportError::Connection)?;
    let mut reader = BufReader::new(stream);
    match read(&line_of(&mut reader).await?)? {
        ControlAnswer::Export {} => {}
        ControlAnswer::Error(refusal) => return Err(ExportError::Refused(refusal.message)),
        _ => return Err(ExportError::Unreadable("it answers something else".into())),
    }
    let sid = |text: &str| SessionId::parse(text).ok_or_else(|| ExportError::Unreadable("no session id".into()));
    loop {
        let part = match read(&line_of(&mut reader).await?)? {
            ExportLine::Session(encoded) => {
                let bytes = STANDARD.decode(encoded).map_err(|error| ExportError::Unreadable(error.into()))?;
                let record = Record::decode(&bytes).map_err(|error| ExportError::Unreadable(error.into()))?;
                Export::Session(Arc::new(Stored { record, revision: Revision::default() }))
            }
            ExportLine::Ended(ended) => Export::Ended(sid(&ended)?),
            ExportLine::End { unreadable } => return unreadable.iter().map(|text| sid(text)).collect(),
            ExportLine::Error(refusal) => return Err(ExportError::Refused(refusal.message)),
        };
        each(part).map_err(ExportError::Receiver)?;
    }
}

async fn line_of(reader: &mut BufReader<UnixStream>) -> Result<Vec<u8>, ExportError> {
    let mut line = Vec::new();
    let reading = timeout(LINE_DEADLINE, reader.read_until(b'\n', &mut line));
    reading.await.map_err(io::Error::from).flatten().map_err(ExportError::Connection)?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(ExportError::CutShort) }
}

fn read<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ExportError> {
    serde_json::from_slice(line).map_err(|error| ExportError::Unreadable(error.into()))
}

#[cfg(test)]
mod tests {
    use relogin_session::{ConnectionId, Timestamp, UserId};
    use relogin_store::memory::MemoryStore;
    use tokio::{
        io::{AsyncReadExt, duplex},
        time::{Instant, sleep},
    };

    use super::*;

    /// As many as 12 portions have.
    const SESSIONS: u16 = 3_000;

    async fn store() -> MemoryStore {
        let store = MemoryStore::default();
        for n in 0..SESSIONS {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let connection = ConnectionId::parse(&format!("c{n}")).unwrap();
            store.create(Record::new(SessionId(id), id, UserId::Number(1), connection, Timestamp(1))).await.unwrap();
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_no_portion_in_time_gets_no_more() {
        let (store, (mut ours, mut theirs)) = (store().await, duplex(1024));
        let began = Instant::now();
        // Some is taken at once, and nothing after it.
        let (sent, ()) = tokio::join!(send(&store, &mut ours), async {
            theirs.read_exact(&mut [0; 4096]).await.unwrap();
        });
        assert_eq!((sent.unwrap_err().kind(), began.elapsed()), (io::ErrorKind::TimedOut, PORTION_DEADLINE));
        // The store is there for others, and the next export.
        let (mut ours, mut theirs) = duplex(1024);
        let mut all = String::new();
        let (sent, ()) = tokio::join!(
            async {
                let sent = send(&store, &mut ours).await;
                drop(ours);
                sent
            },
            async {
                theirs.read_to_string(&mut all).await.unwrap();
            }
        );
        sent.unwrap();
        assert_eq!(all.lines().count(), usize::from(SESSIONS) + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_each_portion_in_time_gets_all_however_long_that_takes() {
        let (store, (mut ours, mut theirs)) = (store().await, duplex(1024));
        let (began, mut all) = (Instant::now(), Vec::new());
        let sending = async {
            let sent = send(&store, &mut ours).await;
            drop(ours);
            sent
        };
        // A portion is 256 sessions of some 150 bytes, and takes two or three times as long.
        let reading = async {
            let mut some = vec![0; 20 << 10];
            loop {
                let mut read = 0;
                while read < some.len() {
                    match theirs.read(&mut some[read..]).await.unwrap() {
                        0 => {
                            all.extend_from_slice(&some[..read]);
                            return;
                        }
                        more => read += more,
                    }
                }
                all.extend_from_slice(&some);
                sleep(PORTION_DEADLINE / 3).await;
            }
        };
        let (sent, ()) = tokio::join!(sending, reading);
        sent.unwrap();
        assert!(began.elapsed() > PORTION_DEADLINE * 2, "{:?}", began.elapsed());
        let lines: Vec<ExportLine> = all
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.len(), usize::from(SESSIONS) + 1);
        assert_eq!(lines.last(), Some(&ExportLine::End { unreadable: Vec::new() }));
    }
}
