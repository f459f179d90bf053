//! Users that a program knows, started anew for each question (`--users exec:PROGRAM`, docs/users.md). Knows no sessions and no RES.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use relogin_session::{User, UserId};
use thiserror::Error;
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};

use super::{Credentials, DirectoryError, UserDirectory, Verdict, foreign};

/// Asks a program: the question goes to its standard input, the answer comes from its standard output.
#[derive(Debug)]
pub struct ExecDirectory {
    program: String,
    arguments: Vec<String>,
    logins: Lane,
    /// Apart, so that no relogin waits for a login.
    others: Lane,
}

/// How many programs may run at a time, and how many wait for that.
#[derive(Debug)]
struct Lane {
    running: Semaphore,
    taken: Semaphore,
    deadline: Duration,
}

/// Why the program did not answer.
#[derive(Debug, Error)]
enum RunError {
    #[error("the users program {0:?} cannot be started")]
    Start(String, #[source] io::Error),
    #[error("the users program {0:?} cannot be talked to")]
    Pipe(String, #[source] io::Error),
    #[error("the users program {0:?} ended with {1}")]
    Status(String, ExitStatus),
    #[error("the users program {0:?} did not answer in time")]
    Late(String),
    #[error("the users program {0:?} wrote more than {MAX_ANSWER} bytes")]
    TooLong(String),
    #[error("the users program {0:?} failed")]
    Answer(String, #[source] foreign::ForeignError),
}

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// How many programs run at a time for logins, and as many again for all else.
const RUNNING: usize = 8;

/// How many questions may wait for each program that runs.
const WAITING_PER_RUNNING: usize = 64;

/// How long a login's program may take, its wait for a turn not counted; its gateway is asked for patience at once.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);

/// How long another program may take: a relogin waits for it, and its gateway for that, 3 s at most.
const DEADLINE: Duration = Duration::from_secs(2);

impl ExecDirectory {
    /// A directory that runs `program` with `arguments`, with no shell in between.
    #[must_use]
    pub fn new(program: String, arguments: Vec<String>) -> Self {
        Self { program, arguments, logins: Lane::new(RUNNING, LOGIN_DEADLINE), others: Lane::new(RUNNING, DEADLINE) }
    }

    /// Runs the program once, in its turn. However this ends, so does the program: it is killed when its handle is dropped.
    async fn ask(&self, lane: &Lane, question: Bytes) -> Result<Vec<u8>, DirectoryError> {
        let _place = lane.taken.try_acquire().map_err(|_| DirectoryError::Busy)?;
        let _turn = lane.running.acquire().await.map_err(foreign::failed)?;
        let mut child = self.start().map_err(|error| foreign::failed(RunError::Start(self.program.clone(), error)))?;
        let answered = timeout(lane.deadline, self.talk(&mut child, question)).await;
        if answered.is_err() {
            // Waits for its end, so that it leaves nothing behind.
            child.kill().await.ok();
        }
        answered.unwrap_or_else(|_| Err(RunError::Late(self.program.clone()))).map_err(foreign::failed)
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its complaints go where ours do.
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
                // It may know its answer without having read the question.
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

    fn read<T>(&self, answer: Result<T, foreign::ForeignError>) -> Result<T, DirectoryError> {
        answer.map_err(|error| foreign::failed(RunError::Answer(self.program.clone(), error)))
    }
}

impl Lane {
    fn new(running: usize, deadline: Duration) -> Self {
        let taken = running + running * WAITING_PER_RUNNING;
        Self { running: Semaphore::new(running), taken: Semaphore::new(taken), deadline }
    }
}

#[async_trait]
impl UserDirectory for ExecDirectory {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<Verdict, DirectoryError> {
        queued();
        let answer = self.ask(&self.logins, foreign::ask_login(credentials)).await?;
        self.read(foreign::read_login(&answer))
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        let answer = self.ask(&self.others, foreign::ask_user(id)).await?;
        self.read(foreign::read_user(&answer, id))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, OpenOptions},
        io::Read,
        os::unix::fs::OpenOptionsExt,
        path::Path,
    };

    use relogin_session::api::Password;
    use rustix::fs::{CWD, FileType, Mode, OFlags};

    use super::*;
    use crate::errors::Chain;

    /// A directory that runs a shell script.
    fn sh(script: &str) -> ExecDirectory {
        ExecDirectory::new("sh".into(), vec!["-c".into(), script.into()])
    }

    async fn verify(directory: &ExecDirectory) -> Result<Verdict, String> {
        let password = Password::new("hunter2".to_owned());
        let credentials = Credentials { username: "jane", password: &password, remote_addr: None };
        directory.verify(credentials, &|| {}).await.map_err(|error| Chain(&error).to_string())
    }

    async fn find(directory: &ExecDirectory) -> Result<Option<User>, String> {
        directory.find(&UserId::Number(3)).await.map_err(|error| Chain(&error).to_string())
    }

    #[tokio::test]
    async fn the_program_is_asked_and_believed() {
        let jane = User { id: UserId::Number(3), name: "Jane".into(), role: "user".into() };
        let directory = sh(r#"read -r question
            case $question in
            '{"username":"jane","password":"hunter2","remoteAddr":null}'|'{"id":3}')
                echo '{"user":{"id":3,"name":"Jane","role":"user"}}';;
            *) exit 1;;
            esac"#);
        assert_eq!(verify(&directory).await, Ok(Verdict::Right(jane.clone())));
        assert_eq!(find(&directory).await, Ok(Some(jane)));
        let nobody = sh(r#"echo '{"user":null}'"#);
        assert_eq!((verify(&nobody).await, find(&nobody).await), (Ok(Verdict::Wrong(None)), Ok(None)));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_failure_of_ours_and_is_not_repeated() {
        for (script, expected) in [
            ("cat", "failed: its answer is none"),
            ("", "failed: its answer is none"),
            ("cat; exit 3", "ended with exit status: 3"),
            ("kill -9 $$", "ended with signal: 9"),
            ("head -c 70000 /dev/zero", "wrote more than 65536 bytes"),
            ("yes", "wrote more than 65536 bytes"),
        ] {
            let error = verify(&sh(script)).await.unwrap_err();
            assert!(error.contains(expected), "{script}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let missing = ExecDirectory::new("/no/such/program".into(), vec![]);
        let error = find(&missing).await.unwrap_err();
        assert!(error.contains("the users program \"/no/such/program\" cannot be started: No such file"), "{error}");
    }

    /// A program that never answers and says so through a pipe, whose reader sees when no such program is left.
    fn hanging(pipe: &Path) -> ExecDirectory {
        rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        sh(&format!("exec 3>'{}'; echo >&3; exec sleep 1000", pipe.display()))
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mut directory = hanging(&pipe);
        directory.others.deadline = Duration::from_secs(1);
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let mut reader = OpenOptions::new().read(true).custom_flags(flags).open(&pipe).unwrap();
        assert!(find(&directory).await.unwrap_err().ends_with("did not answer in time"));
        // With a program alive at the other end, this would be told to come again.
        assert!(reader.read_to_end(&mut Vec::new()).is_ok());
    }

    #[tokio::test]
    async fn the_program_of_a_caller_who_gives_up_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mut directory = hanging(&pipe);
        directory.others.deadline = Duration::from_secs(1_000_000);
        let runs = tokio::task::spawn_blocking(move || {
            let mut reader = File::open(pipe).unwrap();
            reader.read_exact(&mut [0]).unwrap();
            reader
        });
        let mut reader = tokio::select! {
            reader = runs => reader.unwrap(),
            answer = find(&directory) => panic!("{answer:?}"),
        };
        let end = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()).unwrap());
        assert_eq!(timeout(Duration::from_secs(60), end).await.expect("it is killed").unwrap(), 0);
    }

    #[tokio::test]
    async fn programs_are_few_at_a_time_and_logins_hold_up_nobody_else() {
        let mut directory = sh(r#"echo '{"user":null}'"#);
        directory.logins = Lane { running: Semaphore::new(1), taken: Semaphore::new(2), deadline: LOGIN_DEADLINE };
        let running = directory.logins.running.acquire().await.unwrap();
        let mut first = Box::pin(verify(&directory));
        let mut second = Box::pin(verify(&directory));
        assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
        assert!(verify(&directory).await.unwrap_err().contains("too many password checks are waiting"));
        assert_eq!(find(&directory).await, Ok(None));
        drop(running);
        assert_eq!((first.await, second.await), (Ok(Verdict::Wrong(None)), Ok(Verdict::Wrong(None))));
    }
}
