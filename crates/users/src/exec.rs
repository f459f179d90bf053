//! Users that a program knows, started for each request (`--users exec:PROGRAM`, docs/users.md).
//! Must not depend on sessions or RES.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use relogin_session::{User, UserId};
use rustix::fs::{Access, access};
use thiserror::Error;
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};

use crate::{Credentials, DirectoryError, PasswordChange, PasswordChanged, PasswordCheck, UserDirectory, external};

/// Asks a program: the request goes to its standard input, the answer comes from its standard
/// output.
#[derive(Debug)]
pub struct ExecDirectory {
    program: String,
    arguments: Vec<String>,
    at_once: usize,
    logins: Lane,
    /// Separate, so that no relogin waits for a login.
    others: Lane,
}

/// How many programs may run at a time, how many requests may wait for that, and how long each may
/// take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// This many run at a time for logins, and as many again for everything else.
    pub running: usize,
    /// This many requests wait on either side.
    pub waiting: usize,
    /// How long a login's program may take, not counting the wait for its turn; its gateway is
    /// asked for more time at once.
    pub login_deadline: Duration,
    /// How long another program may take: a relogin waits for it, and the relogin's gateway waits 3
    /// s at most.
    pub deadline: Duration,
}

#[derive(Debug)]
struct Lane {
    running: Semaphore,
    taken: Semaphore,
    deadline: Duration,
}

/// A users program that could never be started.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// There is no such file, or it is none.
    #[error("there is no users program {0}; name one with --users exec:PROGRAM, by its path or as one in PATH")]
    Missing(String),
    /// The file may not be run.
    #[error("the users program {0} is not executable; run: chmod +x {0}")]
    NotExecutable(String),
}

/// Why the program did not answer.
#[derive(Debug, Error)]
enum RunError {
    #[error("cannot start the users program {0:?}")]
    Start(String, #[source] io::Error),
    #[error("cannot communicate with the users program {0:?}")]
    Pipe(String, #[source] io::Error),
    #[error("the users program {0:?} ended with {1}")]
    Status(String, ExitStatus),
    #[error("the users program {0:?} did not answer in time")]
    Late(String),
    #[error("the users program {0:?} wrote more than {MAX_ANSWER} bytes")]
    TooLong(String),
    #[error("the users program {0:?} failed")]
    Answer(String, #[source] external::ExternalError),
}

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        let (login_deadline, deadline) = (Duration::from_secs(10), Duration::from_secs(2));
        Self { running: 8, waiting: 512, login_deadline, deadline }
    }
}

impl ExecDirectory {
    /// A directory that runs `program` with `arguments`, without a shell.
    #[must_use]
    pub fn new(program: String, arguments: Vec<String>, limits: Limits) -> Self {
        let lane = |deadline| Lane::new(limits, deadline);
        Self {
            program,
            arguments,
            at_once: limits.running,
            logins: lane(limits.login_deadline),
            others: lane(limits.deadline),
        }
    }

    /// Looks for the program where it is looked for at each request, with `path` as PATH. It is not
    /// run, because that might do something.
    ///
    /// # Errors
    /// [`ProgramError`] if it cannot be started.
    pub fn check(&self, path: Option<&OsStr>) -> Result<(), ProgramError> {
        let places: Vec<_> = match self.program.contains('/') {
            true => vec![PathBuf::from(&self.program)],
            false => path.iter().flat_map(std::env::split_paths).map(|folder| folder.join(&self.program)).collect(),
        };
        let files = || places.iter().filter(|place| place.is_file());
        match files().find(|file| access(*file, Access::EXEC_OK).is_ok()) {
            Some(_) => Ok(()),
            None => Err(match files().next() {
                Some(file) => ProgramError::NotExecutable(file.display().to_string()),
                None => ProgramError::Missing(self.program.clone()),
            }),
        }
    }

    /// Runs the program once, in its turn. However this ends, the program ends too: it is killed
    /// when its handle is dropped.
    async fn ask(&self, lane: &Lane, question: Bytes) -> Result<Vec<u8>, DirectoryError> {
        let _place = lane.taken.try_acquire().map_err(|_| DirectoryError::Busy)?;
        let _turn = lane.running.acquire().await.map_err(external::failed)?;
        let mut child = self.start().map_err(|error| external::failed(RunError::Start(self.program.clone(), error)))?;
        let answered = timeout(lane.deadline, self.talk(&mut child, question)).await;
        if answered.is_err() {
            // Waits for its end, so that it leaves nothing behind.
            child.kill().await.ok();
        }
        answered.unwrap_or_else(|_| Err(RunError::Late(self.program.clone()))).map_err(external::failed)
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its standard error goes where the service's goes.
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
    }

    async fn talk(&self, child: &mut Child, question: Bytes) -> Result<Vec<u8>, RunError> {
        let pipe = |error| RunError::Pipe(self.program.clone(), error);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let ask = async {
            let Some(mut stdin) = stdin else { return Ok(()) };
            let written = async {
                stdin.write_all(&question).await?;
                stdin.write_all(b"\n").await?;
                stdin.shutdown().await
            };
            match written.await {
                // It may answer without having read the request.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            }
        };
        let hear = async {
            let mut answer = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
            }
            Ok(answer)
        };
        let ((), answer) = tokio::try_join!(ask, hear).map_err(pipe)?;
        if answer.len() as u64 > MAX_ANSWER {
            return Err(RunError::TooLong(self.program.clone()));
        }
        let status = child.wait().await.map_err(pipe)?;
        if status.success() { Ok(answer) } else { Err(RunError::Status(self.program.clone(), status)) }
    }

    fn read<T>(&self, answer: Result<T, external::ExternalError>) -> Result<T, DirectoryError> {
        answer.map_err(|error| external::failed(RunError::Answer(self.program.clone(), error)))
    }
}

impl Lane {
    fn new(limits: Limits, deadline: Duration) -> Self {
        let Limits { running, waiting, .. } = limits;
        Self { running: Semaphore::new(running), taken: Semaphore::new(running + waiting), deadline }
    }
}

#[async_trait]
impl UserDirectory for ExecDirectory {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError> {
        queued();
        let answer = self.ask(&self.logins, external::ask_login(credentials)).await?;
        self.read(external::read_login(&answer))
    }

    async fn change_password(
        &self,
        change: PasswordChange<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordChanged, DirectoryError> {
        queued();
        let answer = self.ask(&self.logins, external::ask_change(change)).await?;
        self.read(external::read_changed(&answer))
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        let answer = self.ask(&self.others, external::ask_user(id)).await?;
        self.read(external::read_user(&answer, id))
    }
}
