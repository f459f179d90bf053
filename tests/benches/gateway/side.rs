//! The two sides that are compared, each with the processes that it needs.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    DEADLINE,
    net::Address,
    parts::Part,
    process::{Memory, Process},
    stage::alone,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, time::sleep};

use crate::constant;

/// Whose gateway it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    Ours,
    Resgate,
    /// Nobody's: what sockets alone cost ([`crate::constant`]).
    Constant,
}

impl Gateway {
    pub(crate) const BOTH: [Self; 2] = [Self::Ours, Self::Resgate];
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Resgate, Self::Constant];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Resgate => "Resgate",
            Self::Constant => "constant",
        }
    }
}

/// A gateway and what is behind it.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) gateway: Gateway,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where services connect, if that is by NATS.
    pub(crate) nats: Option<SocketAddr>,
    /// What they are called in tables, the gateway first.
    processes: Vec<(&'static str, Process)>,
    folder: TempDir,
    _reserved: Address,
}

/// The processor time of each process.
#[derive(Clone, Debug)]
pub(crate) struct Times(Vec<(&'static str, Duration)>);

/// Processes that can be a gateway.
const RELOGIN: &str = "relogin";
const RESGATE: &str = "Resgate";

/// The only user, and the password.
pub(crate) const USER: &str = "jane";
/// Her password.
pub(crate) const PASSWORD: &str = "tell nobody";

/// Logins are not what is measured.
const CHEAP: [&str; 2] = ["--password-cost", "m=8,t=1,p=1"];

/// How long nobody may do anything before the processes count as idle, and how much processor time
/// is nothing.
const IDLE: Duration = Duration::from_millis(400);
const NOTHING: Duration = Duration::from_millis(10);

impl Side {
    /// The gateway with the session service, which has all sessions on disk: ours in one process,
    /// Resgate with nats-server and the service behind it.
    pub(crate) async fn with_sessions(gateway: Gateway) -> Result<Self> {
        let mut side = Self::empty(gateway).await?;
        let options = ["--sessions-per-user", "100000", "--throttle", "off"];
        match gateway {
            Gateway::Ours => side.start_relogin(&options).await?,
            Gateway::Resgate => {
                let nats = side.start_nats().await?;
                side.start_resgate(&nats).await?;
                side.start_relogin(&[&options[..], &["--nats", &nats, "--gateway", "none"]].concat()).await?;
            }
            Gateway::Constant => side.start_constant().await?,
        }
        side.put_gateway_first();
        Ok(side)
    }

    /// The gateway with a nats-server, for a service to connect to.
    pub(crate) async fn before_nats(gateway: Gateway) -> Result<Self> {
        let mut side = Self::empty(gateway).await?;
        let nats = side.start_nats().await?;
        match gateway {
            Gateway::Ours => side.start_relogin(&["--nats", &nats, "--gateway", "embedded"]).await?,
            Gateway::Resgate => side.start_resgate(&nats).await?,
            Gateway::Constant => side.start_constant().await?,
        }
        side.put_gateway_first();
        Ok(side)
    }

    async fn empty(gateway: Gateway) -> Result<Self> {
        // Not a temporary folder, which may be in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let reserved = Address::reserve()?;
        let address = reserved.get();
        let side = Self { gateway, address, nats: None, processes: Vec::new(), folder, _reserved: reserved };
        let users = side.users();
        let arguments = [&["user", "add", USER, "--password-stdin", "--users", &users], &CHEAP[..]].concat();
        let mut adding = Process::start(&Part::Relogin.path()?, arguments, &side.log("user"), |command| {
            alone(command, side.folder.path());
            command.stdin(Stdio::piped());
        })?;
        adding.stdin().context("it was piped")?.write_all(PASSWORD.as_bytes()).await?;
        adding.succeeds().await?;
        Ok(side)
    }

    async fn start_relogin(&mut self, options: &[&str]) -> Result<()> {
        let (listen, users) = (self.address.to_string(), self.users());
        let mut arguments = vec!["serve", "--data", "data", "--users", &users];
        arguments.extend(CHEAP);
        if self.gateway == Gateway::Ours {
            arguments.extend(["--listen", &listen]);
        }
        arguments.extend(options);
        let program = Part::Relogin.path()?;
        let process = Process::start(&program, arguments, &self.log("relogin"), |command| {
            alone(command, self.folder.path());
        })?;
        process.line("that it is ready", |line| line.starts_with("relogin: ready on ").then_some(())).await?;
        self.processes.push((RELOGIN, process));
        Ok(())
    }

    async fn start_resgate(&mut self, nats: &str) -> Result<()> {
        let port = self.address.port().to_string();
        let arguments = ["--addr", "127.0.0.1", "--port", &port, "--nats", nats];
        let process = Process::start(&Part::Resgate.path()?, arguments, &self.log("resgate"), |_| {})?;
        process.line("that it is ready", |line| line.contains("Server ready").then_some(())).await?;
        self.processes.push((RESGATE, process));
        Ok(())
    }

    async fn start_constant(&mut self) -> Result<()> {
        let nats = self.nats.map_or_else(|| "-".to_owned(), |nats| nats.to_string());
        let arguments = [constant::PROGRAM, &self.address.to_string(), &nats];
        let process = Process::start(&env::current_exe()?, arguments, &self.log("constant"), |_| {})?;
        process.line("that it is ready", |line| (line == constant::READY).then_some(())).await?;
        self.processes.push((constant::PROGRAM, process));
        Ok(())
    }

    async fn start_nats(&mut self) -> Result<String> {
        let arguments = ["-a", "127.0.0.1", "-p", "-1"];
        let process = Process::start(&Part::NatsServer.path()?, arguments, &self.log("nats"), |_| {})?;
        let address: SocketAddr = process
            .line("where it listens", |line| {
                line.split_once("Listening for client connections on ")?.1.trim().parse().ok()
            })
            .await?;
        process.line("that it is ready", |line| line.contains("Server is ready").then_some(())).await?;
        self.processes.push(("nats-server", process));
        self.nats = Some(address);
        Ok(format!("nats://{address}"))
    }

    fn put_gateway_first(&mut self) {
        let gateway = match self.gateway {
            Gateway::Ours => RELOGIN,
            Gateway::Resgate => RESGATE,
            Gateway::Constant => constant::PROGRAM,
        };
        self.processes.sort_by_key(|(name, _)| *name != gateway);
    }

    fn users(&self) -> String {
        self.folder.path().join("users.toml").display().to_string()
    }

    fn log(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), format!("{name}.log"))
    }

    /// The processor time that each process has taken so far.
    pub(crate) fn times(&self) -> Result<Times> {
        let times = self.processes.iter().map(|(name, process)| Ok((*name, process.processor_time()?)));
        times.collect::<Result<_>>().map(Times)
    }

    /// What the gateway's process holds of memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        self.processes.first().context("it has a gateway")?.1.memory()
    }

    /// Waits until no process does anything.
    pub(crate) async fn is_idle(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let before = self.times()?;
            // The system has no event for that.
            sleep(IDLE).await;
            if self.times()?.since(&before).total() <= NOTHING {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{:?} does not come to rest", self.gateway);
        }
    }
}

impl Times {
    /// The differences.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&before.0)
                .map(|((name, now), (_, before))| (*name, now.saturating_sub(*before)))
                .collect(),
        )
    }

    /// Of all processes together.
    pub(crate) fn total(&self) -> Duration {
        self.0.iter().map(|(_, time)| *time).sum()
    }

    /// Of the gateway's process.
    pub(crate) fn gateway(&self) -> Duration {
        self.0.first().map_or(Duration::ZERO, |(_, time)| *time)
    }

    /// Several of the same processes, added up.
    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum: Vec<(&'static str, Duration)> = Vec::new();
        for Self(times) in all {
            for (at, (name, time)) in times.iter().enumerate() {
                match sum.get_mut(at) {
                    Some((_, sum)) => *sum += *time,
                    None => sum.push((name, *time)),
                }
            }
        }
        Self(sum)
    }

    /// As text: microseconds for each of `count` things, process by process.
    pub(crate) fn each(&self, count: usize) -> String {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count.max(1) as f64;
        let parts: Vec<_> = self.0.iter().map(|(name, time)| format!("{name} {:.1}", each(*time))).collect();
        format!("{:.1} us ({})", each(self.total()), parts.join(", "))
    }
}
