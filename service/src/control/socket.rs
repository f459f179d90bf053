//! The Unix socket on which a service answers operators: a request and an answer for each
//! connection. Whoever may open the socket's file may do everything, so only its owner may. Must
//! not know what is asked.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use relogin_host::errors::Chain;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixSocket, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    ANSWER_DEADLINE, Control, export,
    protocol::{ControlAnswer, ControlRefusal, MAX_REQUEST, text},
};

/// Where the socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPlace {
    /// There is none.
    Off,
    /// In the data folder, if the service has one.
    InData(PathBuf),
    /// At this path.
    At(PathBuf),
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("another process listens on the control socket {}; choose another one with --control-socket", .0.display())]
    InUse(PathBuf),
    /// There is a file.
    #[error("{} is there and no socket; remove it, or choose another path with --control-socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on the control socket {}; choose another one with --control-socket", .0.display())]
    System(PathBuf, #[source] io::Error),
}

/// A socket that listens.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, which is removed when this is dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have replaced it.
    id: (u64, u64),
}

/// Only its owner may connect.
const MODE: u32 = 0o600;

/// How many connections are served at a time; more wait in the system's queue.
const AT_ONCE: usize = 8;

/// How many may wait there.
const BACKLOG: u32 = 64;

/// How long the process that owns a socket may take to accept a connection, before it counts as
/// alive.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// How long a client may take to send its request, and how long to take the answer.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait if no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

impl ControlSocket {
    /// Listens at `path`. The file of a process that is gone is replaced.
    ///
    /// # Errors
    /// [`SocketError`] if a process listens there already, or the system refuses.
    pub async fn open(path: &Path) -> Result<Self, SocketError> {
        clear(path).await?;
        let system = |error| SocketError::System(path.to_owned(), error);
        let socket = UnixSocket::new_stream().map_err(system)?;
        socket.bind(path).map_err(system)?;
        let file = SocketFile::at(path).map_err(system)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(system)?;
        let listener = socket.listen(BACKLOG).map_err(system)?;
        Ok(Self { listener, file })
    }

    /// Answers requests until `stop`. Those that were read by then are answered.
    pub async fn run(self, control: Arc<Control>, stop: CancellationToken) {
        let Self { listener, file } = self;
        let (places, serving) = (Arc::new(Semaphore::new(AT_ONCE)), TaskTracker::new());
        let accepting = async {
            loop {
                let place = Arc::clone(&places).acquire_owned().await;
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (control, stop) = (Arc::clone(&control), stop.clone());
                        serving.spawn(async move {
                            if let Err(error) = serve(stream, &control, &stop).await {
                                debug!("a request of an operator was not answered: {}", Chain(&error));
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!("cannot accept connections on the control socket: {}", Chain(&error));
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        // From here on, whoever connects is told that nobody listens.
        drop((listener, file));
        serving.close();
        serving.wait().await;
    }
}

/// Removes the file of a socket on which nobody listens any more.
async fn clear(path: &Path) -> Result<(), SocketError> {
    let system = |error| SocketError::System(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        // The system refuses connections to any other file as well.
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match timeout(PROBE_DEADLINE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(system),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(system(error)),
        Ok(Ok(_) | Err(_)) | Err(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// Reads a request and answers it. Whoever says nothing is not answered.
async fn serve(mut stream: UnixStream, control: &Control, stop: &CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    // With its line break, and one byte more, which tells that it is too long.
    let mut reader = BufReader::new(read.take(MAX_REQUEST as u64 + 2));
    let reading = timeout(TRANSFER_DEADLINE, reader.read_until(b'\n', &mut line));
    match stop.run_until_cancelled(reading).await {
        Some(read) => read??,
        None => return Ok(()),
    };
    let request = line.strip_suffix(b"\n").unwrap_or(&line);
    if line.is_empty() {
        return Ok(());
    }
    let answer = if request.len() > MAX_REQUEST {
        ControlAnswer::Error(ControlRefusal::too_long())
    } else {
        timeout(ANSWER_DEADLINE, control.answer(request)).await?
    };
    let exports = answer == ControlAnswer::Export {};
    let mut answer = text(&answer);
    answer.push(b'\n');
    timeout(TRANSFER_DEADLINE, write.write_all(&answer)).await??;
    // Cut short by a stop, it lacks its last line.
    if exports && let Some(store) = &control.health.store {
        stop.run_until_cancelled(export::send(store.as_ref(), &mut write)).await.transpose()?;
    }
    Ok(())
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id_of(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id_of(&self.path).is_ok_and(|there| there == self.id) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Device and inode of a file.
fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
