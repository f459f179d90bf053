//! The other end of the control socket: asks a running service. Must not know what is asked, nor
//! how answers are shown.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{
    protocol::{ControlAnswer, ControlRequest, text},
    socket,
};

/// Where a service answers operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlace {
    /// At this socket.
    Socket(PathBuf),
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
    /// It listens, and does not answer.
    #[error("the service does not answer")]
    NoAnswer(#[source] io::Error),
    /// Its answer makes no sense to this program.
    #[error("the answer of the service cannot be read; is it of another version than this program?")]
    Unreadable(#[source] serde_json::Error),
}

/// Longer than the service may take.
const DEADLINE: Duration = socket::ANSWER_DEADLINE.saturating_add(Duration::from_secs(15));

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

impl ControlPlace {
    /// The answer of the service.
    ///
    /// # Errors
    /// [`ControlError`] if there is none.
    pub async fn ask(&self, request: &ControlRequest) -> Result<ControlAnswer, ControlError> {
        let Self::Socket(path) = self;
        let mut stream = timeout(DEADLINE, UnixStream::connect(path))
            .await
            .map_err(|late| ControlError::NoAnswer(late.into()))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(path.clone()),
                io::ErrorKind::PermissionDenied => ControlError::NotPermitted(path.clone()),
                _ => ControlError::NoAnswer(error),
            })?;
        let mut request = text(request);
        request.push(b'\n');
        let mut answer = Vec::new();
        let asking = async {
            // It may have answered before it has read all.
            let sent = stream.write_all(&request).await;
            BufReader::new((&mut stream).take(MAX_ANSWER)).read_until(b'\n', &mut answer).await?;
            if answer.ends_with(b"\n") { Ok(()) } else { sent.and(Err(io::ErrorKind::UnexpectedEof.into())) }
        };
        match timeout(DEADLINE, asking).await {
            Ok(asked) => asked.map_err(ControlError::NoAnswer)?,
            Err(late) => return Err(ControlError::NoAnswer(late.into())),
        }
        serde_json::from_slice(&answer).map_err(ControlError::Unreadable)
    }
}
