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
    time::{Instant, timeout, timeout_at},
};

use super::{
    ANSWER_DEADLINE,
    bus::{subject, subject_of_each},
    protocol::{ControlAnswer, ControlRequest, text},
};

/// Where a service answers operators.
#[derive(Clone)]
pub enum ControlPlace {
    /// At this socket.
    Socket(PathBuf),
    /// On a message bus, under this name: one instance, or all of them.
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

/// How long instances may take to answer, if all of them are asked: their status takes 3 s if the
/// store or the gateway hangs.
const GATHERING: Duration = Duration::from_secs(5);

/// How long to listen for instances that no other one knows of.
const SETTLING: Duration = Duration::from_millis(300);

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

impl ControlPlace {
    /// The answers of all instances that give one in time; of the only one, at a socket. Until
    /// `are_all` says so, more are waited for.
    ///
    /// # Errors
    /// [`ControlError`] if there is none.
    pub async fn ask_each(
        &self,
        request: &ControlRequest,
        are_all: impl Fn(&[ControlAnswer]) -> bool,
    ) -> Result<Vec<ControlAnswer>, ControlError> {
        let Self::Bus(bus, name) = self else { return Ok(vec![self.ask(request).await?]) };
        let (mailbox, mut answers) = Mailbox::new();
        let _asking = bus.ask(&subject_of_each(name), text(request).into(), &mailbox, Tag(0)).await?;
        let (settled, deadline) = (Instant::now() + SETTLING, Instant::now() + GATHERING);
        let (mut found, mut unreadable) = (Vec::new(), None);
        loop {
            let until = if !found.is_empty() && are_all(&found) { settled } else { deadline };
            match timeout_at(until, answers.next()).await {
                Ok(Some(Delivery::Reply { payload, .. })) => match serde_json::from_slice(&payload) {
                    Ok(answer) => found.push(answer),
                    Err(error) => unreadable = Some(ControlError::Unreadable(error)),
                },
                Ok(Some(Delivery::NoResponders { .. })) => return Err(ControlError::NobodyOnBus(name.clone())),
                Ok(Some(Delivery::Message { .. } | Delivery::Lost)) => {}
                Ok(None) => return Err(BusError::Closed.into()),
                Err(late) if found.is_empty() => {
                    return Err(unreadable.unwrap_or_else(|| ControlError::NoAnswer(late.into())));
                }
                Err(_) => return Ok(found),
            }
        }
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

#[cfg(test)]
mod tests {
    use relogin_bus::local::LocalBus;
    use tokio::time::sleep;

    use super::*;

    fn revoked(n: u64) -> ControlAnswer {
        ControlAnswer::Revoked { revoked: n, more: false }
    }

    /// An instance that answers after this long.
    async fn instance(bus: &Arc<LocalBus>, n: u64, after: Duration) {
        let mut requests = super::super::bus::listen_for_each(bus.as_ref(), "session").await.unwrap();
        let bus = Arc::clone(bus);
        tokio::spawn(async move {
            let (request, _) = requests.next_since().await.unwrap();
            sleep(after).await;
            bus.publish(&request.reply.unwrap(), text(&revoked(n)).into()).await.unwrap();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn instances_are_waited_for_until_all_have_answered_and_not_for_ever() {
        let bus = Arc::new(LocalBus::new());
        let place = ControlPlace::Bus(bus.clone(), "session".to_owned());
        let ask = async |all: usize| {
            let began = Instant::now();
            (place.ask_each(&ControlRequest::Status, |found| found.len() >= all).await, began.elapsed())
        };
        assert!(matches!(ask(1).await, (Err(ControlError::NobodyOnBus(_)), _)));
        for (all, expected, took) in [
            // One that nobody knows of may be there.
            (1, 2, SETTLING),
            (3, 3, Duration::from_secs(4)),
            (4, 3, GATHERING),
        ] {
            for (n, after) in [(1, 0), (2, 200), (3, 4_000), (4, 6_000)] {
                instance(&bus, n, Duration::from_millis(after)).await;
            }
            let (answers, elapsed) = ask(all).await;
            assert_eq!(answers.unwrap(), (1..=expected).map(revoked).collect::<Vec<_>>());
            assert_eq!(elapsed, took);
        }
        let _silent = super::super::bus::listen_for_each(bus.as_ref(), "session").await.unwrap();
        let (answers, elapsed) = ask(1).await;
        assert!(matches!(answers, Err(ControlError::NoAnswer(_))) && elapsed == GATHERING);
    }
}
