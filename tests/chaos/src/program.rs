//! Keeps a program running, as a service manager does: a program that ends is started again.
//! Kills and halts it when told to. Knows no particular program.

use std::{ffi::OsString, path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context, Result, ensure};
use relogin_tests::process::Process;
use rustix::process::{Signal, kill_process};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is called in logs.
    pub label: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it runs, without the variables of ours.
    pub folder: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// What it says when it is ready.
    pub ready: &'static str,
}

/// A program that is kept running. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>,
    supervisor: JoinHandle<Result<Ends>>,
}

/// How often a program has ended, and how the last time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// By itself.
    pub by_itself: u32,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Kill(Duration),
    Freeze(Duration),
}

/// How long until a program that has ended is started again.
const AGAIN: Duration = Duration::from_millis(200);

impl Program {
    /// Starts it; returns once it is ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start(spec: Spec) -> Result<Self> {
        let process = spec.start()?;
        let ready = spec.ready;
        process.line("that it is ready", |line| line.contains(ready).then_some(())).await?;
        let (orders, ordered) = mpsc::unbounded_channel();
        Ok(Self { orders, supervisor: tokio::spawn(keep(spec, process, ordered)) })
    }

    /// Kills it, and starts it again after this long; returns when that is done.
    pub async fn kill(&self, down: Duration) {
        self.order(Order::Kill(down)).await;
    }

    /// Has it stand still for this long.
    pub async fn freeze(&self, length: Duration) {
        self.order(Order::Freeze(length)).await;
    }

    /// Asks it to end. It must not have ended in a panic before, and end well now.
    ///
    /// # Errors
    /// If it did or does otherwise.
    pub async fn stop(self) -> Result<Ends> {
        drop(self.orders);
        self.supervisor.await?
    }

    async fn order(&self, order: Order) {
        let (done, is_done) = oneshot::channel();
        // A supervisor that has failed says so when it is stopped.
        let _ = self.orders.send((order, done));
        let _ = is_done.await;
    }
}

impl Spec {
    fn start(&self) -> Result<Process> {
        Process::start(&self.path, &self.args, &self.log, |command| {
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELOGIN_")) {
                command.env_remove(name);
            }
            command.current_dir(&self.folder);
        })
    }

    /// Whether it may have ended like this: refused, or asked to, but not in a panic.
    fn judge(&self, status: ExitStatus, process: &Process) -> Result<()> {
        let is_panic =
            !matches!(status.code(), Some(0..=2)) || process.lines().iter().any(|line| line.contains("panicked at"));
        ensure!(!is_panic, "{} ended with {status}\n{}", self.label, process.last_words());
        Ok(())
    }
}

async fn keep(
    spec: Spec,
    mut process: Process,
    mut orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>,
) -> Result<Ends> {
    let mut ends = Ends::default();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            status = process.gone() => {
                spec.judge(status?, &process)?;
                ends.by_itself += 1;
                sleep(AGAIN).await;
                process = spec.start()?;
                continue;
            }
        };
        match order {
            Some((Order::Kill(down), done)) => {
                process.kill().await?;
                sleep(down).await;
                process = spec.start()?;
                let _ = done.send(());
            }
            Some((Order::Freeze(length), done)) => {
                // It may have ended just now.
                if let Ok(pid) = process.pid() {
                    let _ = kill_process(pid, Signal::STOP);
                    sleep(length).await;
                    let _ = kill_process(pid, Signal::CONT);
                }
                let _ = done.send(());
            }
            None => {
                if let Ok(pid) = process.pid() {
                    kill_process(pid, Signal::TERM).context("asking it to end")?;
                }
                let status = tokio::time::timeout(relogin_tests::DEADLINE, process.gone()).await;
                let status =
                    status.with_context(|| format!("{} does not end\n{}", spec.label, process.last_words()))??;
                spec.judge(status, &process)?;
                return Ok(ends);
            }
        }
    }
}
