//! The stage of a scenario: the parts of one arrangement, started on demand and stopped with the
//! stage, and the evidence.
//!
//! Every scenario plays on both arrangements; only this file knows how they differ.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command, sync::watch};

use crate::{
    browser::{Browser, Loading, PLAIN_HOST},
    chromedriver::Chromedriver,
    clock::Clock,
    front::{Front, Happening, PageGateway},
    net::Address,
    node::Script,
    parts::Part,
    process::Process,
    res::Res,
};

/// How page, gateway and service are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One `relogin serve`: page, gateway and service.
    Embedded,
    /// `relogin serve --nats --gateway embedded`, and nats-server.
    EmbeddedOverNats,
    /// `relogin serve --nats` behind nats-server and two Resgates.
    Resgate,
}

/// The parts that a scenario plays with.
#[derive(Debug)]
pub struct Stage {
    arrangement: Arrangement,
    evidence: PathBuf,
    browsers: Vec<Arc<Browser>>,
    fronts: Vec<Record>,
    driver: Option<Chromedriver>,
    gateways: Vec<Slot>,
    service: Slot,
    nats: Slot,
    /// A legacy service in place of ours.
    legacy: Option<Process>,
    /// What starts the service, if it is not started directly.
    wrapper: Vec<String>,
    folder: TempDir,
    listens_everywhere: bool,
}

/// A place for a server that may be killed and started again.
#[derive(Debug)]
struct Slot {
    label: String,
    address: Address,
    args: Vec<String>,
    process: Option<Process>,
}

impl Stage {
    pub(crate) fn new(arrangement: Arrangement, evidence: PathBuf) -> Result<Self> {
        if evidence.exists() {
            fs::remove_dir_all(&evidence).context("clearing old evidence")?;
        }
        fs::create_dir_all(&evidence).context("making a folder for the evidence")?;
        let slot = |label: &str| -> Result<Slot> {
            Ok(Slot { label: label.to_owned(), address: Address::reserve()?, args: Vec::new(), process: None })
        };
        let gateways = match arrangement {
            Arrangement::Embedded | Arrangement::EmbeddedOverNats => Vec::new(),
            Arrangement::Resgate => vec![slot("resgate-1")?, slot("resgate-2")?],
        };
        let mut stage = Self {
            arrangement,
            evidence,
            browsers: Vec::new(),
            fronts: Vec::new(),
            driver: None,
            gateways,
            service: slot("relogin")?,
            nats: slot("nats")?,
            legacy: None,
            wrapper: Vec::new(),
            folder: tempfile::tempdir().context("making a folder")?,
            listens_everywhere: false,
        };
        stage.nats.args = args(["-a", "127.0.0.1", "-p", &stage.nats.address.port().to_string()]);
        let nats = stage.nats_url();
        for gateway in &mut stage.gateways {
            let port = gateway.address.port().to_string();
            let connect = ["--wsheadauth", "session.connect", "--headauth", "session.connect"];
            gateway.args =
                args(["--addr", "127.0.0.1", "--port", &port, "--nats", &nats, "-DV"].into_iter().chain(connect));
        }
        Ok(stage)
    }

    /// Has the service started by a program that ends by running it in its own place, from the next
    /// start on: `prlimit --nofile=1024`, `ip netns exec NAME`. No words: directly.
    pub fn under(&mut self, wrapper: &[&str]) {
        self.wrapper = args(wrapper);
    }

    /// The service's process: its id, its memory, what it says.
    ///
    /// # Errors
    /// If it does not run.
    pub fn service(&self) -> Result<&Process> {
        self.service.process.as_ref().context("the service does not run")
    }

    /// Waits until the service has ended by itself.
    ///
    /// # Errors
    /// If it does not, or does not run.
    pub async fn service_ends(&mut self) -> Result<ExitStatus> {
        self.service.process.take().context("the service does not run")?.ended().await
    }

    /// Lets the service listen on all addresses of this machine, and another port, from its next
    /// start on.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn listen_everywhere(&mut self) -> Result<()> {
        self.service.address = Address::reserve_everywhere()?;
        self.listens_everywhere = true;
        Ok(())
    }

    /// Starts everything, with the demo's users and counter; `options` go to `relogin serve
    /// --demo`.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn up(&mut self, options: &[&str]) -> Result<()> {
        self.serve(&[&["--demo"], options].concat()).await
    }

    /// Starts everything; `options` go to `relogin serve`.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn serve(&mut self, options: &[&str]) -> Result<()> {
        if self.arrangement != Arrangement::Embedded {
            self.start_nats().await?;
        }
        self.restart_with(options).await?;
        for gateway in 0..self.gateways.len() {
            self.start_resgate(gateway).await?;
        }
        Ok(())
    }

    /// Starts everything with a legacy service (tests/legacy/service.cjs) in place of ours, which
    /// serves the page and does nothing else.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn legacy(&mut self, manners: &[&str]) -> Result<()> {
        self.legacy_without_page(manners).await?;
        let listen = self.service.address.get().to_string();
        let data = self.data().display().to_string();
        self.service.args = args(["serve", "--demo", "--listen", &listen, "--data", &data]);
        self.start_service().await
    }

    /// As [`Stage::legacy`], without the page.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn legacy_without_page(&mut self, manners: &[&str]) -> Result<()> {
        self.start_nats().await?;
        let nats = self.nats_url();
        let modules = Part::Resclient.path()?.join("node_modules");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("legacy/service.cjs").display().to_string();
        let arguments = [&[script.as_str(), &nats], manners].concat();
        let process = Process::start(&Part::Node.path()?, arguments, &self.evidence.join("legacy.log"), |command| {
            command.env("NODE_PATH", modules);
        })?;
        process.line("that it is ready", |line| (line == "ready").then_some(())).await?;
        self.legacy = Some(process);
        for gateway in 0..self.gateways.len() {
            // Its methods are login, relogin and logout, and no others.
            self.gateways[gateway].args.retain(|arg| !arg.contains("headauth") && arg != "session.connect");
            self.start_resgate(gateway).await?;
        }
        Ok(())
    }

    /// Waits until the legacy service has said a line with these words.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn legacy_says(&self, what: &str, words: &str) -> Result<()> {
        let process = self.legacy.as_ref().context("the legacy service does not run")?;
        process.line(what, |line| line.contains(words).then_some(())).await
    }

    /// Starts the service, which was stopped, with these options on the same data.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn restart_with(&mut self, options: &[&str]) -> Result<()> {
        let mut listen = self.service.address.get();
        if self.listens_everywhere {
            listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let listen = listen.to_string();
        let data = self.data().display().to_string();
        // A name that leads to this machine is refused, unless it is named.
        let plain = format!("http://{PLAIN_HOST}");
        self.service.args = args(["serve", "--listen", &listen, "--data", &data, "--allow-origin", &plain]);
        let gateway = match self.arrangement {
            Arrangement::Embedded => None,
            Arrangement::EmbeddedOverNats => Some("embedded"),
            Arrangement::Resgate => Some("none"),
        };
        if let Some(gateway) = gateway {
            self.service.args.extend(args(["--nats", &self.nats_url(), "--gateway", gateway]));
        }
        self.service.args.extend(args(options));
        self.start_service().await
    }

    /// How the parts are put together.
    #[must_use]
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// A folder that goes with the stage.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder of the service.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where logs and pictures are kept.
    #[must_use]
    pub fn evidence(&self) -> &Path {
        &self.evidence
    }

    /// The address that the service serves the page on (and, embedded, the gateway).
    #[must_use]
    pub fn service_addr(&self) -> SocketAddr {
        self.service.address.get()
    }

    /// The address of the first gateway.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        self.gateways.first().unwrap_or(&self.service).address.get()
    }

    /// The address of the other Resgate.
    ///
    /// # Errors
    /// If the arrangement has only one gateway.
    pub fn other_gateway_addr(&self) -> Result<SocketAddr> {
        Ok(self.gateways.get(1).context("there is one gateway only")?.address.get())
    }

    /// The WebSocket address of the first gateway.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        format!("ws://{}/", self.gateway_addr())
    }

    /// The address of the NATS server.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.nats.address.get())
    }

    /// A front that serves the page and passes its connection on to the first gateway.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn front(&mut self) -> Result<Front> {
        let told = match self.arrangement {
            Arrangement::Embedded | Arrangement::EmbeddedOverNats => PageGateway::Nothing,
            Arrangement::Resgate => PageGateway::Front,
        };
        let front = Front::start(self.service_addr(), self.gateway_addr(), told).await?;
        self.fronts.push(front.record());
        Ok(front)
    }

    /// Starts a browser with a profile of its own: empty, or what an earlier browser of this label
    /// left.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn browser(&mut self, label: &str) -> Result<Arc<Browser>> {
        self.browser_for(label, Loading::Awaited).await
    }

    /// As [`Stage::browser`], for pages that load or not.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn browser_for(&mut self, label: &str, loading: Loading) -> Result<Arc<Browser>> {
        self.browser_with(label, loading, &[]).await
    }

    /// The same with `more` arguments.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn browser_with(&mut self, label: &str, loading: Loading, more: &[&str]) -> Result<Arc<Browser>> {
        let profile = self.folder.path().join(format!("profile-{label}"));
        if self.driver.is_none() {
            self.driver = Some(Chromedriver::start(&self.evidence.join("chromedriver.log")).await?);
        }
        let driver = self.driver.as_ref().context("the driver was started")?;
        let browser = Arc::new(Browser::start_with(driver, label, &profile, loading, more).await?);
        self.browsers.push(browser.clone());
        Ok(browser)
    }

    /// Starts a browser and opens the page in it.
    ///
    /// # Errors
    /// If either fails.
    pub async fn page(&mut self, label: &str, url: &str) -> Result<Arc<Browser>> {
        let browser = self.browser(label).await?;
        browser.open(url).await?;
        Ok(browser)
    }

    /// Keeps what can be seen of a browser that was started elsewhere, if the scenario fails.
    pub fn keep(&mut self, browser: &Arc<Browser>) {
        self.browsers.push(browser.clone());
    }

    /// Keeps what happens at a front that was started elsewhere, if the scenario fails.
    pub fn keep_record(&mut self, front: &Front) {
        self.fronts.push(front.record());
    }

    /// Opens a raw connection to the first gateway.
    ///
    /// # Errors
    /// If it is not taken.
    pub async fn res(&self) -> Result<Res> {
        Res::connect(&self.gateway_url()).await
    }

    /// Starts a clock: a guest who watches the demo's counter.
    ///
    /// # Errors
    /// If the guest is not let in.
    pub async fn clock(&self) -> Result<Clock> {
        let mut guest = self.res().await?;
        guest.log_in("guest", "guest").await?;
        guest.request("subscribe.ticker.model", None).await?.ok()?;
        Ok(Clock::of(guest))
    }

    /// Runs a script of ResClient's against the first gateway.
    ///
    /// # Errors
    /// If it does not start.
    pub fn script(&self, name: &str) -> Result<Script> {
        Script::start(name, &self.gateway_url(), &self.evidence.join(format!("{name}.log")))
    }

    /// Kills the gateway that connections are on (SIGKILL). Embedded, that is the service too.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill_gateway(&mut self) -> Result<()> {
        self.gateways.first_mut().unwrap_or(&mut self.service).kill().await
    }

    /// Starts the gateway again that [`Stage::kill_gateway`] killed.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_gateway(&mut self) -> Result<()> {
        match self.arrangement {
            Arrangement::Embedded | Arrangement::EmbeddedOverNats => self.start_service().await,
            Arrangement::Resgate => self.start_resgate(0).await,
        }
    }

    /// Waits until the first Resgate has ended by itself.
    ///
    /// # Errors
    /// If it does not, or there is none.
    pub async fn gateway_ends(&mut self) -> Result<()> {
        let gateway = self.gateways.first_mut().context("there is no Resgate")?;
        gateway.process.take().context("the gateway does not run")?.ended().await.map(drop)
    }

    /// Kills the service (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill_service(&mut self) -> Result<()> {
        self.service.kill().await
    }

    /// Waits until the service has logged a line with these words since it started last.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn service_says(&self, what: &str, words: &str) -> Result<()> {
        let process = self.service()?;
        process.line(what, |line| line.contains(words).then_some(())).await
    }

    /// Asks the service to stop (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// If it does not, or reports an error meanwhile; but what is lost of an audit trail is one.
    pub async fn stop_service(&mut self) -> Result<ExitStatus> {
        Ok(self.stop_service_saying().await?.0)
    }

    /// As [`Stage::stop_service`], with all lines that it has put out.
    ///
    /// # Errors
    /// As [`Stage::stop_service`].
    pub async fn stop_service_saying(&mut self) -> Result<(ExitStatus, Vec<String>)> {
        let process = self.service.process.take().context("the service does not run")?;
        let (status, lines) = process.stop_saying().await?;
        let meanwhile = lines.iter().skip_while(|line| !line.contains("stopping; send the signal again"));
        let errors: Vec<_> = meanwhile.filter(|line| line.contains(" ERROR ") && !line.contains("audit")).collect();
        ensure!(errors.is_empty(), "errors of a stop: {errors:#?}");
        Ok((status, lines))
    }

    /// Starts the service, with the same options and data as before.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start_service(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let process =
            self.service.start(Part::Relogin, &self.wrapper, &self.evidence, |command| alone(command, folder))?;
        process.line("that it is ready", |line| line.starts_with("relogin: ready on ").then_some(())).await
    }

    /// Starts the service, with the same options and data as before, waits until it has ended, and
    /// gives its exit code and what it has said.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn service_refuses(&mut self) -> Result<(Option<i32>, String)> {
        let folder = self.folder.path();
        self.service.start(Part::Relogin, &self.wrapper, &self.evidence, |command| alone(command, folder))?;
        let process = self.service.process.take().context("the service was started")?;
        let (status, lines) = process.ended_saying().await?;
        Ok((status.code(), lines.join("\n")))
    }

    /// Runs `relogin` with these arguments to its end, and gives its exit code and what it has
    /// said.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn relogin_says(&self, args: &[&str]) -> Result<(Option<i32>, String)> {
        let log = self.evidence.join("relogin-commands.log");
        let program = Part::Relogin.path()?;
        let process = Process::start_under(&self.wrapper, &program, args, &log, |command| {
            alone(command, self.folder.path());
        })?;
        let (status, lines) = process.ended_saying().await?;
        Ok((status.code(), lines.join("\n")))
    }

    /// Runs `relogin` with these arguments and this input to its end.
    ///
    /// # Errors
    /// If it fails.
    pub async fn relogin(&self, args: &[&str], input: &str) -> Result<()> {
        let log = self.evidence.join("relogin-commands.log");
        let mut process = Process::start(&Part::Relogin.path()?, args, &log, |command| {
            alone(command, self.folder.path());
            command.stdin(Stdio::piped());
        })?;
        let mut stdin = process.stdin().context("its input was piped")?;
        stdin.write_all(input.as_bytes()).await.context("writing its input")?;
        drop(stdin);
        process.succeeds().await
    }

    /// Kills the NATS server (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill_nats(&mut self) -> Result<()> {
        self.nats.kill().await
    }

    /// Starts the NATS server.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start_nats(&mut self) -> Result<()> {
        let process = self.nats.start(Part::NatsServer, &[], &self.evidence, |_| {})?;
        process.line("that it is ready", |line| line.contains("Server is ready").then_some(())).await
    }

    /// Writes down what can be seen now; the logs are there already.
    pub(crate) async fn save_evidence(&self) {
        for browser in &self.browsers {
            browser.save_evidence(&self.evidence).await;
        }
        for (number, record) in self.fronts.iter().enumerate() {
            let lines: Vec<_> = record.borrow().iter().map(ToString::to_string).collect();
            // The test has failed already; what cannot be written is missing.
            let _ = fs::write(self.evidence.join(format!("front-{number}.log")), lines.join("\n"));
        }
    }

    async fn start_resgate(&mut self, which: usize) -> Result<()> {
        let gateway = self.gateways.get_mut(which).context("no such gateway")?;
        let process = gateway.start(Part::Resgate, &[], &self.evidence, |_| {})?;
        process.line("that it is ready", |line| line.contains("Server ready").then_some(())).await?;
        // It says so before it listens.
        gateway.address.listens().await
    }
}

type Record = watch::Receiver<Vec<Happening>>;

impl Slot {
    fn start(
        &mut self,
        part: Part,
        wrapper: &[String],
        logs: &Path,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<&Process> {
        let log = logs.join(format!("{}.log", self.label));
        let process = Process::start_under(wrapper, &part.path()?, &self.args, &log, adjust)?;
        Ok(self.process.insert(process))
    }

    async fn kill(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.label))?.kill().await
    }
}

/// Neither the developer's environment nor a relogin.toml of theirs takes part.
pub fn alone(command: &mut Command, folder: &Path) {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELOGIN_")) {
        command.env_remove(name);
    }
    command.current_dir(folder);
}

fn args<'a>(args: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Vec<String> {
    args.into_iter().map(|arg| arg.as_ref().to_owned()).collect()
}
