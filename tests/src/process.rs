//! Child processes that end with their guard and whose output is kept. Knows no particular program.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::{DEADLINE, secrets};

/// How much memory a process holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, since it started.
    pub peak: u64,
}

/// A running program. Dropping it kills it, through its own handle.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: watch::Receiver<Vec<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Tests that `nohup` has started must not hand the ignored SIGHUP down.
const LET_HANG_UP: &[&str] = if cfg!(target_os = "linux") { &["env", "--default-signal=HUP"] } else { &[] };

impl Process {
    /// Starts `program`. Its output is appended to `log`, and can be waited for with
    /// [`Process::line`].
    ///
    /// # Errors
    /// If the program cannot be started or the log not be written.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: &Path,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::start_under(&[], program, args, log, adjust)
    }

    /// As [`Process::start`], by a program that ends by running `program` in its own place:
    /// `prlimit`, `ip netns exec`. It is the first of `wrapper`, the rest are its arguments.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_under<A: AsRef<OsStr>>(
        wrapper: &[String],
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: &Path,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hangups = LET_HANG_UP.iter().map(OsStr::new);
        let mut words = hangups.chain(wrapper.iter().map(OsStr::new)).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        command
            .args(words)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        adjust(&mut command);
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut log = OpenOptions::new().create(true).append(true).open(log).context("opening a log")?;
        writeln!(log, "--- {:?}", command.as_std())?;

        let (lines, output) = watch::channel(Vec::new());
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(keep(stdout, log.try_clone()?, lines.clone())));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(keep(stderr, log, lines)));
        }
        Ok(Self { name, child, output, readers })
    }

    /// Waits for a line of output for which `find` has an answer, from the start on.
    ///
    /// # Errors
    /// If the program ends its output without one, or the deadline passes. The error has the last
    /// lines.
    pub async fn line<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut output = self.output.clone();
        let mut seen = 0;
        let search = async {
            loop {
                let found = {
                    let lines = output.borrow_and_update();
                    let found = lines[seen..].iter().find_map(|line| find(line));
                    seen = lines.len();
                    found
                };
                if let Some(found) = found {
                    return Ok(found);
                }
                if output.changed().await.is_err() {
                    bail!("{} ended before it said {what}", self.name);
                }
            }
        };
        timeout(DEADLINE, search)
            .await
            .unwrap_or_else(|_| Err(anyhow!("{} did not say {what} in time", self.name)))
            .with_context(|| self.last_words())
    }

    /// The process id, for signals.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn pid(&self) -> Result<Pid> {
        self.child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .with_context(|| format!("{} has ended already", self.name))
    }

    /// All lines that it has put out so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.borrow().clone()
    }

    /// What it holds of the machine's memory.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn memory(&self) -> Result<Memory> {
        let pid = self.pid()?.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading a process's status")?;
        let bytes = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).context("no such line")?;
            let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("reading a count of kilobytes")?;
            Ok::<_, anyhow::Error>(kilobytes * 1024)
        };
        Ok(Memory { resident: bytes("VmRSS")?, peak: bytes("VmHWM")? })
    }

    /// The processor time that it has taken so far, in steps of 10 ms.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.pid()?)
    }

    /// The program's standard input, if it was piped and not taken before.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If it could not be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))?;
        self.finish().await;
        Ok(())
    }

    /// As [`Process::kill`], and waits until nobody is left who could write to its output: what it
    /// has started is gone, too.
    ///
    /// # Errors
    /// If it could not be killed.
    pub async fn kill_all(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))?;
        for reader in self.readers.drain(..) {
            reader.await.context("reading to the end of its output")?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn stop(self) -> Result<ExitStatus> {
        kill_process(self.pid()?, Signal::TERM).with_context(|| format!("stopping {}", self.name))?;
        self.ended().await
    }

    /// As [`Process::stop`], with all lines that it has put out.
    ///
    /// # Errors
    /// As [`Process::stop`].
    pub async fn stop_saying(self) -> Result<(ExitStatus, Vec<String>)> {
        kill_process(self.pid()?, Signal::TERM).with_context(|| format!("stopping {}", self.name))?;
        self.ended_saying().await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn ended(mut self) -> Result<ExitStatus> {
        let status = timeout(DEADLINE, self.child.wait())
            .await
            .map_err(|_| anyhow!("{} did not end in time\n{}", self.name, self.last_words()))??;
        self.finish().await;
        Ok(status)
    }

    /// Waits until it has ended by itself, however long that takes. Cancel safe.
    ///
    /// # Errors
    /// If the system does not say.
    pub async fn gone(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("waiting for {}", self.name))
    }

    /// As [`Process::ended`], with all lines that it has put out.
    ///
    /// # Errors
    /// As [`Process::ended`].
    pub async fn ended_saying(self) -> Result<(ExitStatus, Vec<String>)> {
        let output = self.output.clone();
        let status = self.ended().await?;
        Ok((status, output.borrow().clone()))
    }

    /// Waits until it has ended well.
    ///
    /// # Errors
    /// If it fails, with its last words.
    pub async fn succeeds(mut self) -> Result<()> {
        let status = timeout(DEADLINE, self.child.wait()).await;
        self.finish().await;
        match status {
            Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} failed: {status:?}\n{}", self.name, self.last_words()),
            Err(_) => bail!("{} did not end in time\n{}", self.name, self.last_words()),
        }
    }

    /// The last lines of its output.
    #[must_use]
    pub fn last_words(&self) -> String {
        let lines = self.output.borrow();
        let tail = lines.len().saturating_sub(12);
        format!("{} said last:\n{}", self.name, lines[tail..].join("\n"))
    }

    /// Lets the readers take in what was still in the pipes.
    async fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // A grandchild may hold the pipe open; its output no longer matters.
            if timeout(Duration::from_secs(1), reader).await.is_err() {
                continue;
            }
        }
    }
}

impl Drop for Process {
    /// Whatever a test is about, our own program must have said no secret while it ran.
    fn drop(&mut self) {
        if self.name == "relogin" && !std::thread::panicking() {
            let lines = self.output.borrow();
            let told: Vec<_> =
                lines.iter().filter_map(|line| secrets::found_in(line).map(|what| (what, line))).collect();
            assert!(told.is_empty(), "secrets in what {} says: {told:#?}", self.name);
        }
    }
}

/// The processor time that a process has taken so far, in steps of 10 ms.
///
/// # Errors
/// If there is no such process.
pub fn processor_time(pid: Pid) -> Result<Duration> {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).context("reading a process's times")?;
    // Behind the name, which may have blanks in it: user and system time are the twelfth and the
    // thirteenth.
    let (_, rest) = stat.rsplit_once(')').context("the name has no end")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Raises the limit of open files as far as it may be, for this process and those that it starts.
/// Answers the limit.
///
/// # Errors
/// If the system refuses.
pub fn raise_descriptor_limit() -> Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raising our own limit of open files")?;
    Ok(maximum.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX))
}

/// Reads lines to the end of `source`, into the log and for those who wait for one.
async fn keep(source: impl AsyncRead + Unpin, mut log: File, lines: watch::Sender<Vec<String>>) {
    let mut source = BufReader::new(source).lines();
    while let Ok(Some(line)) = source.next_line().await {
        // The log is for people; a full disk should fail the test where it matters, not here.
        let _ = writeln!(log, "{line}");
        lines.send_modify(|lines| lines.push(line));
    }
}
