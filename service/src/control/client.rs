//! The other end of the control socket, and of the bus: asks a running service. Must not know what
//! is asked, nor how answers are shown.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use relogin_bus::{Bus, BusError, Delivery, Mailbox, Tag};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{
    ANSWER_DEADLINE,
    bus::subject,
    protocol::{ControlAnswer, ControlRequest, text},
};

/// Where a service answers operators.
#[derive(Clone)]
pub enum ControlPlace {
    /// At this socket.
    Socket(PathBuf),
    /// On a message bus, under this name.
    Bus(Arc<dyn Bus>, String),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error(
        "no service listens on the control socket {}; name its data folder with --data, or its socket with --control-socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// Its owner is somebody else.
    #[error("only the user who runs the service may use its control socket {}", .0.display())]
    NotPermitted(PathBuf),
    /// Nobody listens on the bus.
    #[error("no service named {0:?} answers operators on this NATS; it needs --control-nats")]
    NobodyOnBus(String),
    /// The bus failed.
    #[error("the service cannot be asked")]
    Bus(#[from] BusError),
    /// It listens, and does not answer.
    #[error("the service does not answer")]
    NoAnswer(#[source] io::Error),
    /// Its answer makes no sense to this program.
    #[error("the answer of the service cannot be read; is it of another version than this program?")]
    Unreadable(#[source] serde_json::Error),
}

/// Longer than the service may take.
const DEADLINE: Duration = ANSWER_DEADLINE.saturating_add(Duration::from_secs(15));

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

impl ControlPlace {
    /// The answer of the service.
    ///
    /// # Errors
    /// [`ControlError`] if there is none.
    pub async fn ask(&self, request: &ControlRequest) -> Result<ControlAnswer, ControlError> {
        let asking = async {
            match self {
                Self::Socket(path) => ask_socket(path, request).await,
                Self::Bus(bus, name) => ask_bus(bus.as_ref(), name, request).await,
            }
        };
        let answer = timeout(DEADLINE, asking).await.map_err(|late| ControlError::NoAnswer(late.into()))??;
        serde_json::from_slice(&answer).map_err(ControlError::Unreadable)
    }
}

impl fmt::Debug for ControlPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => f.debug_tuple("Socket").field(path).finish(),
            Self::Bus(_, name) => f.debug_tuple("Bus").field(name).finish_non_exhaustive(),
        }
    }
}

async fn ask_socket(path: &Path, request: &ControlRequest) -> Result<Vec<u8>, ControlError> {
    let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(path.to_owned()),
        io::ErrorKind::PermissionDenied => ControlError::NotPermitted(path.to_owned()),
        _ => ControlError::NoAnswer(error),
    })?;
    let mut request = text(request);
    request.push(b'\n');
    // It may have answered before it has read all.
    let sent = stream.write_all(&request).await;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(stream.take(MAX_ANSWER));
    reader.read_until(b'\n', &mut answer).await.map_err(ControlError::NoAnswer)?;
    if answer.ends_with(b"\n") {
        return Ok(answer);
    }
    Err(ControlError::NoAnswer(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())))
}

async fn ask_bus(bus: &dyn Bus, name: &str, request: &ControlRequest) -> Result<Vec<u8>, ControlError> {
    let (mailbox, mut answers) = Mailbox::new();
    let _asking = bus.ask(&subject(name), text(request).into(), &mailbox, Tag(0)).await?;
    loop {
        match answers.next().await {
            Some(Delivery::Reply { payload, .. }) => return Ok(payload.into()),
            Some(Delivery::NoResponders { .. }) => return Err(ControlError::NobodyOnBus(name.to_owned())),
            Some(Delivery::Message { .. } | Delivery::Lost) => {}
            None => return Err(BusError::Closed.into()),
        }
    }
}
