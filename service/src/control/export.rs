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
